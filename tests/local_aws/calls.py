# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The log of CloudHSM requests, for tests that count calls."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 10_000


@dataclass(frozen=True)
class Call:
    """One CloudHSM request.

    Attributes:
        operation: Name as in `X-Amz-Target`.
        parameters: The decoded request body.
        time: Virtual time of arrival, seconds since the epoch.
        account: AWS account id.
        region: AWS Region.
        signed: `X-Amz-Date` of the signature, None when there was none.
        outcome: `ok`, the error code, or `dropped` when no answer was sent.
    """

    operation: str
    parameters: Any
    time: float
    account: str
    region: str
    signed: str | None
    outcome: str


class CallLog:
    """The last 10,000 calls, oldest first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=KEPT)

    def add(self, call: Call) -> None:
        """Append a call."""
        with self._lock:
            self._calls.append(call)

    def clear(self) -> None:
        """Forget every call."""
        with self._lock:
            self._calls.clear()

    def read(self, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the calls, of one operation or of all."""
        with self._lock:
            return [asdict(call) for call in self._calls if operation in (None, call.operation)]
