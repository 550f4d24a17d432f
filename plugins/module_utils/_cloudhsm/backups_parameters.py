# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters of the modules about backups: their specification, their check, and the wish they express."""

from __future__ import annotations

import datetime
import re
import typing as t

from .backups_plan import KEPT_TAGS, Wish
from .parameters import check_cluster_id, check_durations, waiting_argument_spec
from .plan import PlanError

# The patterns of the service's own API model.
_BACKUP_ID = re.compile(r"backup-[2-7a-zA-Z]{11,16}")
_REGION = re.compile(r"[a-z]{2}(-gov)?-(east|west|north|south|central){1,2}-[0-9]")

_FILTERS = {
    "backupIds": "backup_ids",
    "sourceBackupIds": "source_backup_ids",
    "clusterIds": "cluster_ids",
    "states": "states",
}


def backup_info_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of cloudhsm_backup_info."""
    return {
        "backup_ids": {"type": "list", "elements": "str"},
        "source_backup_ids": {"type": "list", "elements": "str"},
        "cluster_ids": {"type": "list", "elements": "str"},
        "states": {"type": "list", "elements": "str"},
        "never_expires": {"type": "bool"},
        "tags": {"type": "dict"},
        "shared": {"type": "bool", "default": False},
        "created_since": {"type": "str"},
    }


def backup_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of cloudhsm_backup."""
    return {
        "backup_id": {"type": "str"},
        "cluster_id": {"type": "str"},
        "created_since": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "never_expires": {"type": "bool"},
        "tags": {"type": "dict", "aliases": ["resource_tags"]},
        "purge_tags": {"type": "bool", "default": True},
        "copy_to_regions": {"type": "list", "elements": "str"},
        "force": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        **waiting_argument_spec(),
    }


def backup_filters(params: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Return the filters of DescribeBackups that the parameters of cloudhsm_backup_info ask for.

    Raises:
        PlanError: An id is malformed.
    """
    for parameter in ("backup_ids", "source_backup_ids"):
        for backup_id in params[parameter] or []:
            _check_backup_id(parameter, backup_id)
    for cluster_id in params["cluster_ids"] or []:
        check_cluster_id("cluster_ids", cluster_id)
    filters = {name: params[parameter] for name, parameter in _FILTERS.items() if params[parameter] is not None}
    if params["never_expires"] is not None:
        filters["neverExpires"] = [str(params["never_expires"]).lower()]
    return filters


def read_moment(parameter: str, text: str | None) -> datetime.datetime | None:
    """Read a moment.

    Args:
        parameter: Where it stands.
        text: ISO 8601 with an offset from UTC; None: none was given.

    Raises:
        PlanError: It is none, or does not say which time zone it is in.
    """
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PlanError(
            parameter,
            f"{text!r} is no moment in ISO 8601 with an offset from UTC, such as 2026-01-01T09:00:00Z or "
            "2026-01-01T10:00:00+01:00.",
        )
    return moment


def make_backup_wish(params: t.Mapping[str, t.Any], region: str | None) -> Wish:
    """Return what the parameters of cloudhsm_backup wish for.

    Args:
        params: The parameters.
        region: The region of the backup.

    Raises:
        PlanError: A parameter is malformed, or contradicts another one.
    """
    check_durations(params, "wait_timeout", "wait_delay")
    if params["backup_id"] is not None:
        _check_backup_id("backup_id", params["backup_id"])
    if params["cluster_id"] is not None:
        check_cluster_id("cluster_id", params["cluster_id"])
    if params["backup_id"] and params["created_since"] is not None:
        raise PlanError("created_since", "goes with cluster_id. A backup that backup_id names has the age that it has.")
    if params["state"] == "absent":
        _check_absent(params)
    return Wish(
        backup_id=params["backup_id"] or "",
        cluster_id=params["cluster_id"] or "",
        created_since=read_moment("created_since", params["created_since"]),
        present=params["state"] == "present",
        never_expires=params["never_expires"],
        tags=_make_tags(params["tags"]),
        purge_tags=params["purge_tags"],
        copy_to_regions=_make_regions(params["copy_to_regions"] or [], region),
        force=params["force"],
    )


def _check_absent(params: t.Mapping[str, t.Any]) -> None:
    if params["backup_id"] is None:
        raise PlanError(
            "backup_id",
            "is missing. With state=absent it names the backup: the newest one of a cluster would be another one in each run.",
        )
    for parameter in ("never_expires", "tags", "copy_to_regions"):
        if params[parameter] is not None:
            raise PlanError(parameter, "is for state=present only.")


def _make_tags(tags: t.Mapping[str, t.Any] | None) -> dict[str, str] | None:
    if tags is None:
        return None
    for key in tags:
        if key.startswith(KEPT_TAGS):
            raise PlanError(
                "tags", f"{key!r} begins with {' or '.join(KEPT_TAGS)}, which is reserved. Take another key."
            )
    return {key: str(value) for key, value in tags.items()}


def _make_regions(regions: t.Sequence[str], own: str | None) -> tuple[str, ...]:
    for region in regions:
        if not _REGION.fullmatch(region):
            raise PlanError("copy_to_regions", f"{region!r} is not a region, such as eu-central-1.")
        if region == own:
            raise PlanError("copy_to_regions", f"the backup is in {region} already. Name other regions.")
    return tuple(dict.fromkeys(regions))


def _check_backup_id(parameter: str, value: str) -> None:
    if not _BACKUP_ID.fullmatch(value):
        raise PlanError(parameter, f"{value!r} is not a backup id, such as backup-abcdefghijk.")
