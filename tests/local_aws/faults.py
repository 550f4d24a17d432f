# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Faults on demand: what goes wrong, where, and how many times."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

REQUEST_KINDS = {
    "throttle": "ThrottlingException, no effect",
    "error_before": "500 CloudHsmInternalFailureException, no effect",
    "error_after": "500 CloudHsmInternalFailureException after the effect",
    "drop_answer": "the effect happens, then the connection closes without an answer",
    "deny": "CloudHsmAccessDeniedException (or the code given), no effect",
    "fail": "the code and message given, no effect",
    "hold": "the request is held on the wire for `seconds` of virtual time before AWS sees it",
    "hold_answer": "the effect happens, and the answer is held on the wire for `seconds` of virtual time",
}
# They strike beside the other kinds, not instead of them.
HOLDS = ("hold", "hold_answer")
CONDITION_KINDS = {
    "no_capacity": "CreateHsm finds no capacity in the Availability Zone `az`",
    "degraded_hsm": "an HSM that is created ends DEGRADED",
    "busy_address": "CreateHsm finds the address that it names taken",
    "no_backup": "DeleteHsm makes no backup",
    "stuck_backup": "a backup stays CREATE_IN_PROGRESS",
    "failed_copy": "CopyBackupToRegion ends DELETED",
}
DEFAULT_CODES = {
    "throttle": "ThrottlingException",
    "error_before": "CloudHsmInternalFailureException",
    "error_after": "CloudHsmInternalFailureException",
    "deny": "CloudHsmAccessDeniedException",
}
DEFAULT_MESSAGES = {
    "throttle": "Rate exceeded",
    "error_before": "Internal failure. The request can be retried.",
    "error_after": "Internal failure. The request can be retried.",
    "deny": "The requester does not have permission to perform the requested operation.",
}


@dataclass(frozen=True)
class Fault:
    """One injected fault.

    Attributes:
        kind: One of `REQUEST_KINDS` or `CONDITION_KINDS`.
        operation: CloudHSM operation that a request fault hits; `*` is any.
        times: How many times it strikes; None is until it is cleared.
        code: Error code of `deny` and `fail`.
        message: Error text of a request fault.
        az: Only in this Availability Zone (`no_capacity`, `degraded_hsm`, `busy_address`).
        seconds: Virtual seconds of `hold` and `hold_answer`.
        region: Only in this Region.
        cluster_id: Only for this cluster; a request fault strikes requests that name it.
    """

    kind: str
    operation: str = "*"
    times: int | None = 1
    code: str | None = None
    message: str | None = None
    az: str | None = None
    seconds: float | None = None
    region: str | None = None
    cluster_id: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (*REQUEST_KINDS, *CONDITION_KINDS):
            raise ValueError(f"kind must be one of {', '.join([*REQUEST_KINDS, *CONDITION_KINDS])}, not {self.kind!r}")
        if self.times is not None and (
            isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 1
        ):
            raise ValueError(f"times must be a whole number, 1 or more, or null, not {self.times!r}")
        for name in ("operation", "code", "message", "az", "region", "cluster_id"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "operation"):
                raise ValueError(f"{name} must be a text, not {value!r}")
        if self.kind == "fail" and not self.code:
            raise ValueError("fail needs a code")
        if (self.kind in HOLDS) != (self.seconds is not None):
            raise ValueError(f"seconds is for {' and '.join(HOLDS)}, which need it")
        if self.seconds is not None and (
            isinstance(self.seconds, bool)
            or not isinstance(self.seconds, (int, float))
            or not 0 < self.seconds < math.inf
        ):
            raise ValueError(f"seconds must be a number above 0, not {self.seconds!r}")

    @property
    def error(self) -> tuple[str, str]:
        """Code and text of the error that this fault answers with."""
        code = self.code or DEFAULT_CODES[self.kind]
        return code, self.message or DEFAULT_MESSAGES.get(self.kind, "Injected failure.")


class Faults:
    """The faults that wait to strike, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: dict[int, tuple[Fault, int | None]] = {}

    def add(self, values: Mapping[str, Any]) -> int:
        """Inject a fault given by its attributes and return its number.

        Raises:
            ValueError: An attribute is unknown, missing or wrong.
        """
        unknown = sorted(set(values) - set(Fault.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown attribute of a fault: {', '.join(unknown)}")
        if "kind" not in values:
            raise ValueError("a fault needs a kind")
        fault = Fault(**values)
        with self._lock:
            self._number += 1
            self._waiting[self._number] = (fault, fault.times)
            return self._number

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """Return the faults that can still strike, each with its number and the times that are left."""
        with self._lock:
            return [
                {"fault": number, **asdict(fault), "times": left} for number, (fault, left) in self._waiting.items()
            ]

    def take_request_fault(self, operation: str, region: str, cluster_id: str | None) -> Fault | None:
        """Use up one strike of the oldest request fault for a request that is not a hold."""
        return self._take(
            lambda fault: (
                fault.kind in REQUEST_KINDS
                and fault.kind not in HOLDS
                and _is_about(fault, operation, region, cluster_id)
            )
        )

    def take_hold(self, kind: str, operation: str, region: str, cluster_id: str | None) -> float:
        """Use up one strike of a hold, and return its virtual seconds; 0 when there was none."""
        fault = self._take(lambda fault: fault.kind == kind and _is_about(fault, operation, region, cluster_id))
        return float(fault.seconds or 0) if fault else 0.0

    def take_condition(self, kind: str, region: str, cluster_id: str | None, az: str | None = None) -> bool:
        """Use up one strike of a condition; True when there was one."""
        return (
            self._take(
                lambda fault: (
                    fault.kind == kind
                    and fault.az in (None, az)
                    and fault.region in (None, region)
                    and fault.cluster_id in (None, cluster_id)
                )
            )
            is not None
        )

    def _take(self, matches: Any) -> Fault | None:
        with self._lock:
            for number, (fault, left) in self._waiting.items():
                if not matches(fault):
                    continue
                if left is not None:
                    if left == 1:
                        del self._waiting[number]
                    else:
                        self._waiting[number] = (fault, left - 1)
                return fault
        return None


def _is_about(fault: Fault, operation: str, region: str, cluster_id: str | None) -> bool:
    return (
        fault.operation in ("*", operation)
        and fault.region in (None, region)
        and fault.cluster_id in (None, cluster_id)
    )
