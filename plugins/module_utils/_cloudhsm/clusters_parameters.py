# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters of cloudhsm_cluster: their specification, their check, and the wish they express."""

from __future__ import annotations

import re
import typing as t

from .backups_plan import KEPT_TAGS
from .clusters_plan import NAME_TAG, Wish
from .marks import PROTECTED_TAG
from .parameters import check_cluster_id, check_durations, waiting_argument_spec
from .plan import PlanError

# The patterns of the service's own API model, as far as they say something. AWS checks them too, but says less, and later.
_SUBNET_ID = re.compile(r"subnet-[0-9a-fA-F]{8,17}")
_HSM_TYPE = re.compile(r"p?hsm[0-9][a-z.]*\.[a-zA-Z]+")
_BACKUP = re.compile(r"(arn:aws[a-z-]*:cloudhsm:[a-z0-9-]+:[0-9]{12}:backup/)?backup-[2-7a-zA-Z]{11,16}")
# It is the value of a tag.
_NAME = re.compile(r"[\w .:/=+@-]{1,256}")
MOST_SUBNETS = 10
# From the user guide, "Configure backup retention".
RETENTION_DAYS = range(7, 380)

_FOR_PRESENT = (
    "subnet_ids",
    "hsm_type",
    "mode",
    "network_type",
    "backup_retention_days",
    "source_backup_id",
    "tags",
)


def cluster_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of cloudhsm_cluster."""
    return {
        "cluster_id": {"type": "str"},
        "name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "subnet_ids": {"type": "list", "elements": "str"},
        "hsm_type": {"type": "str"},
        "mode": {"type": "str", "choices": ["FIPS", "NON_FIPS"]},
        "network_type": {"type": "str", "choices": ["IPV4", "DUALSTACK"]},
        "backup_retention_days": {"type": "int"},
        "source_backup_id": {"type": "str"},
        "tags": {"type": "dict", "aliases": ["resource_tags"]},
        "purge_tags": {"type": "bool", "default": True},
        "force": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        **waiting_argument_spec(),
    }


def make_cluster_wish(params: t.Mapping[str, t.Any]) -> Wish:
    """Return what the parameters of cloudhsm_cluster wish for.

    Raises:
        PlanError: A parameter is malformed, or contradicts another one.
    """
    if params["cluster_id"] is not None:
        check_cluster_id("cluster_id", params["cluster_id"])
    else:
        _check_format("name", params["name"], _NAME, "a value of a tag: 1 to 256 letters, digits, spaces and _.:/=+-@")
    check_durations(params, "wait_timeout", "wait_delay")
    present = params["state"] == "present"
    if present:
        _check_present(params)
    else:
        _check_absent(params)
    return Wish(
        cluster_id=params["cluster_id"] or "",
        name=params["name"] or "",
        present=present,
        subnet_ids=tuple(params["subnet_ids"]) if params["subnet_ids"] is not None else None,
        hsm_type=params["hsm_type"],
        mode=params["mode"],
        network_type=params["network_type"],
        backup_retention_days=params["backup_retention_days"],
        source_backup_id=params["source_backup_id"],
        tags=_make_tags(params["tags"], params["name"]),
        purge_tags=params["purge_tags"],
        force=params["force"],
    )


def _check_absent(params: t.Mapping[str, t.Any]) -> None:
    for parameter in _FOR_PRESENT:
        if params[parameter] is not None:
            raise PlanError(parameter, "is for state=present only.")


def _check_present(params: t.Mapping[str, t.Any]) -> None:
    _check_subnets(params["subnet_ids"])
    if params["hsm_type"] is not None:
        _check_format("hsm_type", params["hsm_type"], _HSM_TYPE, "a type of HSM, such as hsm2m.medium")
    if params["source_backup_id"] is not None:
        _check_format("source_backup_id", params["source_backup_id"], _BACKUP, "the id or the ARN of a backup")
    days = params["backup_retention_days"]
    if days is not None and days not in RETENTION_DAYS:
        raise PlanError("backup_retention_days", f"is {days}. AWS keeps backups for 7 to 379 days.")


def _check_subnets(subnet_ids: t.Sequence[str] | None) -> None:
    if subnet_ids is None:
        return
    if not 1 <= len(subnet_ids) <= MOST_SUBNETS:
        raise PlanError(
            "subnet_ids", f"are {len(subnet_ids)}. AWS takes 1 to {MOST_SUBNETS}, each in another zone of one VPC."
        )
    for subnet_id in subnet_ids:
        _check_format("subnet_ids", subnet_id, _SUBNET_ID, "a subnet id, such as subnet-0123456789abcdef0")
        if subnet_ids.count(subnet_id) > 1:
            raise PlanError("subnet_ids", f"{subnet_id} stands twice. Name each subnet once.")


def _make_tags(tags: t.Mapping[str, t.Any] | None, name: str | None) -> dict[str, str] | None:
    if tags is None:
        return None
    for key in tags:
        if key.startswith(KEPT_TAGS) and key != PROTECTED_TAG:
            raise PlanError(
                "tags",
                f"{key!r} begins with {' or '.join(KEPT_TAGS)}, which is reserved, except for {PROTECTED_TAG}. Take another key.",
            )
    if name is not None and str(tags.get(NAME_TAG, name)) != name:
        raise PlanError(
            "tags", f"{NAME_TAG} is {tags[NAME_TAG]!r}, and name is {name!r}. To rename a cluster, give cluster_id."
        )
    if NAME_TAG in tags:
        _check_format(
            "tags", str(tags[NAME_TAG]), _NAME, f"a {NAME_TAG}: 1 to 256 letters, digits, spaces and _.:/=+-@"
        )
    return {key: str(value) for key, value in tags.items()}


def _check_format(parameter: str, value: str, pattern: re.Pattern[str], wanted: str) -> None:
    if not pattern.fullmatch(value):
        raise PlanError(parameter, f"{value!r} is not {wanted}.")
