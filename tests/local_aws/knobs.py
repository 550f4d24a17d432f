# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Every duration, limit and undocumented behaviour of the local AWS, with its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any

INVALID_REQUEST = "CloudHsmInvalidRequestException"


@dataclass(frozen=True)
class Knobs:
    """The settings of one local AWS. Durations are virtual seconds.

    A change counts for what begins after it: a state change that is already under way keeps its times.
    """

    cluster_create_seconds: Annotated[float, 'CreateCluster to UNINITIALIZED (documented: "a few minutes")'] = 180.0
    cluster_delete_seconds: Annotated[float, "DeleteCluster to DELETED (no source)"] = 120.0
    deleted_cluster_listed_seconds: Annotated[
        float, "how long DescribeClusters lists a DELETED cluster (recorded right after deletion, then unknown)"
    ] = 86400.0
    hsm_create_seconds: Annotated[float, "CreateHsm to ACTIVE (third parties measured 313 s to 20 min)"] = 600.0
    hsm_delete_seconds: Annotated[float, "DeleteHsm until the HSM is no longer listed (third party: about 120 s)"] = (
        120.0
    )
    eni_release_seconds: Annotated[float, "how long the address stays taken after the HSM is gone (unknown)"] = 0.0
    backup_seconds: Annotated[float, "a backup's CREATE_IN_PROGRESS to READY (unknown)"] = 60.0
    describe_lag_seconds: Annotated[float, "DescribeClusters shows the state of that many seconds ago (inferred)"] = 0.0

    quota_clusters: Annotated[int, "clusters per account and Region (documented)"] = 4
    quota_hsms: Annotated[int, "HSMs per account and Region (documented)"] = 6
    quota_hsms_per_cluster: Annotated[int, "HSMs per cluster (documented)"] = 28
    quota_counts_leaving: Annotated[bool, "DELETE_IN_PROGRESS HSMs and clusters count (inferred)"] = True
    quota_error_code: Annotated[str, "error of CreateCluster and CreateHsm over a quota (unknown)"] = INVALID_REQUEST
    quota_error_message: Annotated[str, "its text; {limit} and {what} are filled in (unknown)"] = (
        "The request would exceed the limit of {limit} {what}."
    )

    address_busy_code: Annotated[str, "error of CreateHsm for a taken address (unknown)"] = INVALID_REQUEST
    address_busy_message: Annotated[str, "its text; {address} and {subnet} are filled in (unknown)"] = (
        "IP address {address} is not available in subnet {subnet}."
    )
    no_capacity_code: Annotated[str, "error of CreateHsm in an AZ without capacity (unknown)"] = (
        "CloudHsmServiceException"
    )
    no_capacity_message: Annotated[str, "its text; {az} is filled in (unknown)"] = (
        "There is not enough capacity in Availability Zone {az}."
    )

    delete_hsm_again_accepted: Annotated[
        bool, "DeleteHsm of an HSM in DELETE_IN_PROGRESS answers with its id, else InvalidRequest (unknown)"
    ] = False
    hsm1_medium_accepted: Annotated[bool, "CreateCluster accepts hsm1.medium (live: refused since 2025)"] = False

    backup_on_add_to_empty_cluster: Annotated[
        bool, "a backup is made when the first HSM of an ACTIVE cluster without HSM becomes ACTIVE (inferred)"
    ] = True
    backup_of_unusable_hsm: Annotated[
        bool, "DeleteHsm of an HSM that is DEGRADED or CREATE_IN_PROGRESS makes a backup (unknown)"
    ] = False
    backup_of_initialized_cluster: Annotated[
        bool, "DeleteHsm in a cluster that is INITIALIZED, not ACTIVE, makes a backup (documented wording says no)"
    ] = False

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
