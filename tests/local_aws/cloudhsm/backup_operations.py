# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""DescribeBackups, ModifyBackupAttributes, DeleteBackup, RestoreBackup and CopyBackupToRegion."""

from __future__ import annotations

from typing import Any

from . import state as st
from .backups import delete, expire
from .errors import invalid
from .history import History
from .lookup import backup_exists, filtered, live_backup
from .paging import page
from .policies import shared_with
from .tags import as_dict
from .views import backup_view

PAGE = 50
NO_SOURCE = ""
# Regions of another partition, between which nothing is copied (documented).
GOV_CLOUD = "us-gov-"


def describe_backups(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """List backups, newest first unless `SortAscending` (the default order is recorded, not documented)."""
    filters = dict(request.get("Filters") or {})
    if "neverExpires" in filters:
        filters["neverExpires"] = [_truth(value) for value in filters["neverExpires"]]
    owned = [(ctx, backup) for backup in ctx.store.backups.values() if backup_exists(ctx, backup)]
    found = filtered(
        ctx,
        shared_with(ctx) if request.get("Shared") else owned,
        filters,
        {
            "backupIds": lambda entry: entry[1].backup_id,
            "clusterIds": lambda entry: backup_view(entry[1], entry[0]).get("ClusterId"),
            "states": lambda entry: entry[1].state(ctx.now),
            "neverExpires": lambda entry: str(entry[1].never_expires).lower(),
            "sourceBackupIds": lambda entry: entry[1].origin.backup_id if entry[1].origin else NO_SOURCE,
        },
    )
    newest_first = not request.get("SortAscending", False)
    shown, token = page(
        ctx, found, lambda entry: (entry[1].created, entry[1].number), request, PAGE, descending=newest_first
    )
    answer: dict[str, Any] = {"Backups": [backup_view(backup, owner) for owner, backup in shown]}
    return answer | ({"NextToken": token} if token else {})


def modify_backup_attributes(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Exempt a READY backup (inferred) from retention, or submit it to it again."""
    backup = live_backup(ctx, request["BackupId"])
    _require(ctx, backup, st.READY)
    backup.never_expires = request["NeverExpires"]
    if backup.cluster_id in ctx.store.clusters:
        expire(ctx, backup.cluster_id)
    return {"Backup": backup_view(backup, ctx)}


def delete_backup(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a READY backup (inferred), even a cluster's last one (documented); it can be restored for seven days."""
    backup = live_backup(ctx, request["BackupId"])
    _require(ctx, backup, st.READY)
    delete(ctx, backup)
    return {"Backup": backup_view(backup, ctx)}


def restore_backup(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Take a backup back from PENDING_DELETION (documented)."""
    backup = live_backup(ctx, request["BackupId"])
    _require(ctx, backup, st.PENDING_DELETION)
    backup.status.change(ctx.now, st.Status(st.READY))
    backup.delete_at = None
    if backup.cluster_id in ctx.store.clusters:
        # Retention takes it again, unless it is exempted from it meanwhile (documented as a race; when is unknown).
        ctx.later(ctx.now + st.DAY, "expire", backup.cluster_id)
    return {"Backup": backup_view(backup, ctx)}


def copy_backup_to_region(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Copy a READY backup. The answer does not tell the copy's id (documented); each call makes another one (inferred)."""
    backup = live_backup(ctx, request["BackupId"])
    _require(ctx, backup, st.READY)
    region = request["DestinationRegion"]
    if region == ctx.region:
        raise invalid(f"DestinationRegion: the backup is in {region} already.")
    if region.startswith(GOV_CLOUD) != ctx.region.startswith(GOV_CLOUD):
        raise invalid(f"DestinationRegion: {region} is in another partition than {ctx.region}.")
    tags = as_dict(request["TagList"]) if "TagList" in request else backup.tags.at(ctx.now) or {}
    there = ctx.elsewhere(ctx.account, region)
    status = History(ctx.now, st.Status(st.CREATE_IN_PROGRESS))
    failed = ctx.struck("failed_copy", backup.cluster_id)
    status.plan(ctx.now + ctx.knobs.backup_copy_seconds, st.Status(st.DELETED if failed else st.READY))
    copy = st.Backup(
        number=ctx.ids.number(),
        backup_id=ctx.ids.backup(),
        cluster_id=backup.cluster_id,
        hsm_type=backup.hsm_type,
        mode=backup.mode,
        claim=backup.claim,
        created=backup.created,
        shown_from=ctx.now,
        status=status,
        tags=History(ctx.now, tags),
        origin=st.Origin(ctx.region, backup.backup_id, backup.cluster_id, ctx.now),
    )
    there.store.backups[copy.backup_id] = copy
    if not failed and ctx.contents.has_snapshot(backup.backup_id):
        ctx.contents.copy_snapshot(backup.backup_id, copy.backup_id)
    return {
        "DestinationBackup": {
            "CreateTimestamp": round(backup.created, 3),
            "SourceRegion": ctx.region,
            "SourceBackup": backup.backup_id,
            "SourceCluster": backup.cluster_id,
        }
    }


def _require(ctx: st.Context, backup: st.Backup, state: str) -> None:
    if backup.state(ctx.now) != state:
        raise invalid(f"Backup '{backup.backup_id}' is in state {backup.state(ctx.now)}, not {state}.")


def _truth(value: str) -> str:
    if value.lower() not in ("true", "false"):
        raise invalid(f"Filters: neverExpires must be true or false, not '{value}'.")
    return value.lower()
