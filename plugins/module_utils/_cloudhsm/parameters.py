# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters of the modules on the AWS side: their specification, their check, and the wish they express."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .creation import CreateOptions
from .plan import Absent, Placement, PlanError, Present

# The patterns of the service's own API model. AWS checks them too, but says less, and later.
_CLUSTER_ID = re.compile(r"cluster-[2-7a-zA-Z]{11,16}")
_HSM_ID = re.compile(r"hsm-[2-7a-zA-Z]{11,16}")
_ZONE = re.compile(r"[a-z]{2}(-gov)?-(east|west|north|south|central){1,2}-[0-9][a-z]")
# Longer than anybody means, and short enough for the clocks.
MOST_SECONDS = 3_650 * 86_400


def cluster_info_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of cloudhsm_cluster_info."""
    return {
        "cluster_ids": {"type": "list", "elements": "str"},
        "states": {"type": "list", "elements": "str"},
        "vpc_ids": {"type": "list", "elements": "str"},
        "tags": {"type": "dict"},
    }


def hsm_argument_spec(activity: dict[str, t.Any], saved_placements: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the parameters of cloudhsm_hsm.

    Args:
        activity: The parameters that name an environment and its activity store.
        saved_placements: The option that names a store of placements.
    """
    placement = {"availability_zone": {"type": "str", "required": True}, "ip_address": {"type": "str"}}
    return {
        "cluster_id": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "count": {"type": "int"},
        "exact": {"type": "bool", "default": False},
        "availability_zones": {"type": "list", "elements": "str"},
        "placements": {"type": "list", "elements": "dict", "options": placement},
        "saved_placements": saved_placements,
        "ip_conflict": {"type": "str", "choices": ["fail", "any"], "default": "fail"},
        "ip_conflict_timeout": {"type": "int", "default": 300},
        "az_fallback": {"type": "bool", "default": False},
        "replace_degraded": {"type": "bool", "default": False},
        "hsm_ids": {"type": "list", "elements": "str"},
        "key_stores": {"type": "str", "choices": ["refuse", "ignore"], "default": "refuse"},
        "force": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        "activity": {"type": "dict", "options": activity},
        **waiting_argument_spec(),
    }


def waiting_argument_spec(timeout: int = 3600, delay: float = 30) -> dict[str, t.Any]:
    """Return the parameters that bound a wait, in seconds, and that show it.

    Args:
        timeout: Default of wait_timeout.
        delay: Default of wait_delay.
    """
    return {
        "wait_timeout": {"type": "int", "default": timeout},
        "wait_delay": {"type": "float", "default": delay},
        "progress_path": {"type": "path"},
    }


def cluster_filters(params: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Return the filters of DescribeClusters that the parameters of cloudhsm_cluster_info ask for.

    Raises:
        PlanError: A cluster id is malformed.
    """
    for cluster_id in params["cluster_ids"] or []:
        check_cluster_id("cluster_ids", cluster_id)
    names = {"clusterIds": "cluster_ids", "states": "states", "vpcIds": "vpc_ids"}
    return {name: params[parameter] for name, parameter in names.items() if params[parameter] is not None}


def check_cluster_id(parameter: str, value: str) -> None:
    """Refuse what is no cluster id.

    Raises:
        PlanError: It is malformed.
    """
    _check_format(parameter, value, _CLUSTER_ID, "a cluster id, such as cluster-abcdefghijk")


def check_durations(params: t.Mapping[str, t.Any], *names: str) -> None:
    """Refuse what is no duration.

    Raises:
        PlanError: One is not more than 0, or more than the clocks can count.
    """
    for name in names:
        # Neither does what is no number lie between the two.
        if not 0 < params[name] <= MOST_SECONDS:
            raise PlanError(
                name, f"{params[name]} is no duration. Set it to more than 0 and at most {MOST_SECONDS} seconds."
            )


def make_wish(params: t.Mapping[str, t.Any]) -> Present | Absent:
    """Return what the parameters of cloudhsm_hsm wish for.

    Raises:
        PlanError: A parameter is malformed, or contradicts another one.
    """
    check_cluster_id("cluster_id", params["cluster_id"])
    check_durations(params, "wait_timeout", "wait_delay", "ip_conflict_timeout")
    return _make_absent(params) if params["state"] == "absent" else _make_present(params)


def create_options(params: t.Mapping[str, t.Any]) -> CreateOptions:
    """Return how far the creation of an HSM may go from what was asked for."""
    return CreateOptions(
        az_fallback=params["az_fallback"],
        any_address=params["ip_conflict"] == "any",
        address_patience=params["ip_conflict_timeout"] if params["wait"] else 0,
    )


def _make_absent(params: t.Mapping[str, t.Any]) -> Absent:
    for parameter in ("count", "placements", "saved_placements", "availability_zones", "activity"):
        if params[parameter] is not None:
            raise PlanError(
                parameter,
                "is for state=present only. To keep some HSMs use state=present with count and exact=true; to delete "
                "some use state=absent with hsm_ids; to delete all use state=absent alone.",
            )
    hsm_ids = params["hsm_ids"]
    if hsm_ids is None:
        return Absent(force=params["force"])
    if not hsm_ids:
        raise PlanError("hsm_ids", "is empty. Name the HSMs to delete, or leave it out to delete all of the cluster's.")
    for hsm_id in hsm_ids:
        _check_format("hsm_ids", hsm_id, _HSM_ID, "an HSM id, such as hsm-abcdefghijk")
    return Absent(tuple(hsm_ids), force=params["force"])


def _make_present(params: t.Mapping[str, t.Any]) -> Present:
    if params["hsm_ids"] is not None:
        raise PlanError("hsm_ids", "is for state=absent only. For state=present give count or placements.")
    placements = _make_placements(params["placements"] or [])
    count = params["count"]
    if placements and count is not None:
        raise PlanError("count", f"is {count}, but placements says how many HSMs are wanted. Give one of them.")
    if count is not None and count < 1:
        raise PlanError("count", f"is {count}. With state=present it is 1 or more; for no HSM use state=absent.")
    zones = tuple(params["availability_zones"] or ())
    for zone in zones:
        _check_format("availability_zones", zone, _ZONE, "an Availability Zone, such as eu-west-1a")
    return Present(
        count=len(placements) or count or 1,
        exact=params["exact"],
        availability_zones=zones,
        placements=placements,
        replace_degraded=params["replace_degraded"],
        force=params["force"],
    )


def _make_placements(placements: list[dict[str, t.Any]]) -> tuple[Placement, ...]:
    addresses = set()
    for placement in placements:
        _check_format("placements", placement["availability_zone"], _ZONE, "an Availability Zone, such as eu-west-1a")
        address = placement["ip_address"]
        if address is None:
            continue
        try:
            ipaddress.IPv4Address(address)
        except ValueError as error:
            raise PlanError("placements", f"{address!r} is no IPv4 address, such as 192.0.2.10.") from error
        if address in addresses:
            raise PlanError("placements", f"{address} stands twice. Each HSM has an address of its own.")
        addresses.add(address)
    return tuple(Placement(placement["availability_zone"], placement["ip_address"]) for placement in placements)


def _check_format(parameter: str, value: str, pattern: re.Pattern[str], wanted: str) -> None:
    if not pattern.fullmatch(value):
        raise PlanError(parameter, f"{value if len(value) <= 40 else value[:40] + '…'!r} is not {wanted}.")
