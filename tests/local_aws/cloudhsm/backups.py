# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""When backups come into being, and DescribeBackups."""

from __future__ import annotations

from typing import Any

from . import state as st
from .errors import invalid
from .history import History
from .lookup import filtered
from .paging import page
from .views import backup_view

PAGE = 50
NO_SOURCE = ""


def describe_backups(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """List backups, newest first unless `SortAscending` (the default order is recorded, not documented).

    No backup is ever shared with anybody here, so `Shared` finds none.
    """
    filters = dict(request.get("Filters") or {})
    if "neverExpires" in filters:
        filters["neverExpires"] = [_truth(value) for value in filters["neverExpires"]]
    existing = [] if request.get("Shared") else [b for b in ctx.store.backups.values() if b.created <= ctx.now]
    found = filtered(
        existing,
        filters,
        {
            "backupIds": lambda backup: backup.backup_id,
            "clusterIds": lambda backup: backup.cluster.cluster_id,
            "states": lambda backup: backup_view(backup, ctx)["BackupState"],
            "neverExpires": lambda backup: "false",
            "sourceBackupIds": lambda backup: NO_SOURCE,
        },
    )
    newest_first = not request.get("SortAscending", False)
    shown, token = page(found, lambda b: (b.created, b.number), request, PAGE, descending=newest_first)
    answer: dict[str, Any] = {"Backups": [backup_view(backup, ctx) for backup in shown]}
    return answer | ({"NextToken": token} if token else {})


def back_up(ctx: st.Context, cluster: st.Cluster, at: float, hsm: st.Hsm | None = None) -> None:
    """Make a backup of a cluster.

    Args:
        ctx: The request's context.
        cluster: What is backed up.
        at: When it begins, virtual time; may be in the future.
        hsm: The HSM that has to become ACTIVE for it, see `cancel_planned`.
    """
    status = History(at, st.Status(st.CREATE_IN_PROGRESS))
    if not ctx.faults.take_condition("stuck_backup"):
        status.plan(at + ctx.knobs.backup_seconds, st.Status(st.READY))
    backup = st.Backup(ctx.ids.number(), ctx.ids.backup(), cluster, at, status, History(at, {}), hsm)
    ctx.store.backups[backup.backup_id] = backup


def cancel_planned(ctx: st.Context, hsm: st.Hsm) -> None:
    """Forget the backup that an HSM would have brought about, had it become ACTIVE."""
    for backup in list(ctx.store.backups.values()):
        if backup.hsm is hsm and backup.created > ctx.now:
            del ctx.store.backups[backup.backup_id]


def back_up_on_add(ctx: st.Context, cluster: st.Cluster, hsm: st.Hsm, ready: float) -> None:
    """Make the backup that adding an HSM to an ACTIVE cluster brings (documented).

    With another HSM alive it is taken from that one at once (a third party saw it within a minute); the first HSM of a
    parked cluster can be backed up only once it is ACTIVE (inferred).
    """
    if cluster.state(ctx.now) != st.ACTIVE:
        return
    if any(other is not hsm and other.state(ctx.now) == st.ACTIVE for other in cluster.hsms):
        back_up(ctx, cluster, ctx.now)
    elif ctx.knobs.backup_on_add_to_empty_cluster:
        back_up(ctx, cluster, ready, hsm)


def back_up_on_remove(ctx: st.Context, cluster: st.Cluster, hsm_state: str | None) -> None:
    """Make the backup that removing an HSM from an ACTIVE cluster brings (documented), before the HSM goes."""
    from_active = cluster.state(ctx.now) == st.ACTIVE
    from_initialized = cluster.state(ctx.now) == st.INITIALIZED and ctx.knobs.backup_of_initialized_cluster
    usable = hsm_state == st.ACTIVE or ctx.knobs.backup_of_unusable_hsm
    if (from_active or from_initialized) and usable and not ctx.faults.take_condition("no_backup"):
        back_up(ctx, cluster, ctx.now)


def _truth(value: str) -> str:
    if value.lower() not in ("true", "false"):
        raise invalid(f"Filters: neverExpires must be true or false, not '{value}'.")
    return value.lower()
