# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Every duration, limit and undocumented behaviour of the local AWS, with its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

INVALID_REQUEST = "CloudHsmInvalidRequestException"


def _knob(default: float | int | bool | str, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Knobs:
    """The settings of one local AWS. Durations are virtual seconds.

    A change counts for what begins after it: a state change that is already under way keeps its times.
    """

    cluster_create_seconds: float = _knob(180.0, 'CreateCluster to UNINITIALIZED (documented: "a few minutes")')
    cluster_delete_seconds: float = _knob(120.0, "DeleteCluster to DELETED (no source)")
    deleted_cluster_listed_seconds: float = _knob(
        86400.0, "how long DescribeClusters lists a DELETED cluster (recorded right after deletion, then unknown)"
    )
    hsm_create_seconds: float = _knob(600.0, "CreateHsm to ACTIVE (third parties measured 313 s to 20 min)")
    hsm_delete_seconds: float = _knob(120.0, "DeleteHsm until the HSM is no longer listed (third party: about 120 s)")
    eni_release_seconds: float = _knob(0.0, "how long the address stays taken after the HSM is gone (unknown)")
    backup_seconds: float = _knob(60.0, "a backup's CREATE_IN_PROGRESS to READY (unknown)")
    describe_lag_seconds: float = _knob(0.0, "DescribeClusters shows the state of that many seconds ago (inferred)")

    quota_clusters: int = _knob(4, "clusters per account and Region (documented)")
    quota_hsms: int = _knob(6, "HSMs per account and Region (documented)")
    quota_hsms_per_cluster: int = _knob(28, "HSMs per cluster (documented)")
    quota_counts_leaving: bool = _knob(True, "DELETE_IN_PROGRESS HSMs and clusters count (inferred)")
    quota_error_code: str = _knob(INVALID_REQUEST, "error of CreateCluster and CreateHsm over a quota (unknown)")
    quota_error_message: str = _knob(
        "The request would exceed the limit of {limit} {what}.", "its text; {limit} and {what} are filled in (unknown)"
    )

    address_busy_code: str = _knob(INVALID_REQUEST, "error of CreateHsm for a taken address (unknown)")
    address_busy_message: str = _knob(
        "IP address {address} is not available in subnet {subnet}.",
        "its text; {address} and {subnet} are filled in (unknown)",
    )
    no_capacity_code: str = _knob("CloudHsmServiceException", "error of CreateHsm in an AZ without capacity (unknown)")
    no_capacity_message: str = _knob(
        "There is not enough capacity in Availability Zone {az}.", "its text; {az} is filled in (unknown)"
    )

    delete_hsm_again_accepted: bool = _knob(
        False, "DeleteHsm of an HSM in DELETE_IN_PROGRESS answers with its id, else InvalidRequest (unknown)"
    )
    hsm1_medium_accepted: bool = _knob(False, "CreateCluster accepts hsm1.medium (live: refused since 2025)")

    backup_on_add_to_empty_cluster: bool = _knob(
        True, "a backup is made when the first HSM of an ACTIVE cluster without HSM becomes ACTIVE (inferred)"
    )
    backup_of_unusable_hsm: bool = _knob(
        False, "DeleteHsm of an HSM that is DEGRADED or CREATE_IN_PROGRESS makes a backup (unknown)"
    )
    backup_of_initialized_cluster: bool = _knob(
        False, "DeleteHsm in a cluster that is INITIALIZED, not ACTIVE, makes a backup (documented wording says no)"
    )

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check(knob.name, type(knob.default), getattr(self, knob.name))

    def changed(self, values: Mapping[str, Any]) -> Knobs:
        """Return a copy with some knobs set.

        Raises:
            ValueError: A name is unknown or a value is of the wrong kind.
        """
        unknown = sorted(set(values) - {knob.name for knob in fields(self)})
        if unknown:
            raise ValueError(f"unknown knob: {', '.join(unknown)}")
        return replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """Return all knobs by name."""
        return asdict(self)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one `name=value` of the command line.

    Raises:
        ValueError: The text has no `=`, the name is unknown, or the value does not fit the knob.
    """
    name, equals, value = text.partition("=")
    kinds: dict[str, Any] = {knob.name: type(knob.default) for knob in fields(Knobs)}
    if not equals or name not in kinds:
        raise ValueError(f"not a knob setting: {text!r} (want NAME=VALUE with one of {', '.join(sorted(kinds))})")
    if kinds[name] is bool:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return name, value.lower() == "true"
    setting = kinds[name](value)
    Knobs().changed({name: setting})
    return name, setting


def _check(name: str, kind: type, value: Any) -> None:
    if kind is str and not (isinstance(value, str) and value):
        raise ValueError(f"{name} must be a text, not {value!r}")
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    if kind is int and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"{name} must be a whole number, 0 or more, not {value!r}")
    if kind is float and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0
    ):
        raise ValueError(f"{name} must be a number of seconds, 0 or more, not {value!r}")
