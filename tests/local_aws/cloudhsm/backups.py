# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""When backups come into being, how long they live, and which one fills a new HSM.

Nobody can ask for a backup. AWS documents these reasons: activation, adding an HSM to an active cluster, removing one from
it, and a period of at most a day.
"""

from __future__ import annotations

from . import state as st
from .history import History


def back_up(ctx: st.Context, cluster: st.Cluster, at: float | None = None) -> None:
    """Make a backup of what the cluster's HSMs hold now.

    Args:
        ctx: The context.
        cluster: What is backed up.
        at: When the backup begins, virtual time. Default: now.
    """
    begins = ctx.now if at is None else at
    status = History(begins, st.Status(st.CREATE_IN_PROGRESS))
    backup = st.Backup(
        number=ctx.ids.number(),
        backup_id=ctx.ids.backup(),
        cluster_id=cluster.cluster_id,
        hsm_type=cluster.hsm_type,
        mode=cluster.mode,
        claim=cluster.claim,
        created=begins,
        shown_from=begins,
        status=status,
        tags=History(begins, {}),
    )
    ctx.store.backups[backup.backup_id] = backup
    if ctx.contents.alive(cluster.cluster_id):
        ctx.contents.snapshot(cluster.cluster_id, backup.backup_id)
    if not ctx.struck("stuck_backup", cluster.cluster_id):
        ready = begins + ctx.knobs.backup_seconds
        status.plan(ready, st.Status(st.READY))
        # A newer backup lets go of the one that was spared for being the last.
        ctx.later(ready, "expire", cluster.cluster_id)
        ctx.later(max(ready, begins + int(cluster.retention_days) * st.DAY), "expire", cluster.cluster_id)


def back_up_on_add(ctx: st.Context, cluster: st.Cluster) -> None:
    """Make the backup that adding an HSM to an ACTIVE cluster brings (documented), if another HSM is there to take it from.

    It is made at CreateHsm (a third party saw it within a minute).
    """
    if cluster.state(ctx.now) == st.ACTIVE and cluster.active_hsms(ctx.now):
        back_up(ctx, cluster)


def back_up_on_first(ctx: st.Context, cluster: st.Cluster) -> None:
    """Make the backup of the addition when the first HSM of a parked cluster is ACTIVE (inferred)."""
    if cluster.state(ctx.now) == st.ACTIVE and ctx.knobs.backup_on_add_to_empty_cluster:
        back_up(ctx, cluster)


def back_up_on_remove(ctx: st.Context, cluster: st.Cluster, hsm_state: str | None, gone: float) -> None:
    """Make the backup that removing an HSM from an ACTIVE cluster brings (documented), of what it holds before it goes."""
    from_active = cluster.state(ctx.now) == st.ACTIVE
    from_initialized = cluster.state(ctx.now) == st.INITIALIZED and ctx.knobs.backup_of_initialized_cluster
    usable = hsm_state == st.ACTIVE or ctx.knobs.backup_of_unusable_hsm
    if (from_active or from_initialized) and usable and not ctx.struck("no_backup", cluster.cluster_id):
        back_up(ctx, cluster, gone if ctx.knobs.backup_begins_when_hsm_gone else ctx.now)


def back_up_periodically(ctx: st.Context, cluster_id: str) -> None:
    """Make the daily backup of an ACTIVE cluster with an HSM, and put down the next one."""
    cluster = ctx.store.clusters[cluster_id]
    if cluster.state(ctx.now) in (st.DELETE_IN_PROGRESS, st.DELETED) or not ctx.knobs.backup_period_seconds:
        return
    if cluster.state(ctx.now) == st.ACTIVE and cluster.active_hsms(ctx.now):
        back_up(ctx, cluster)
    ctx.later(ctx.now + ctx.knobs.backup_period_seconds, "periodic_backup", cluster_id)


def of_cluster(ctx: st.Context, cluster_id: str, *states: str | None) -> list[st.Backup]:
    """Return the cluster's own backups that are in one of these states, oldest first; copies belong to no cluster."""
    found = [
        backup
        for backup in ctx.store.backups.values()
        if backup.cluster_id == cluster_id and backup.origin is None and backup.state(ctx.now) in states
    ]
    return sorted(found, key=lambda backup: (backup.created, backup.number))


def expire(ctx: st.Context, cluster_id: str) -> None:
    """Delete the backups that are older than the cluster's retention, but never its last one (documented)."""
    cluster = ctx.store.clusters[cluster_id]
    if cluster.state(ctx.now) == st.DELETED and not ctx.knobs.deleted_cluster_backups_expire:
        return
    for backup in of_cluster(ctx, cluster_id, st.READY)[:-1]:
        # AWS's own sum may be a rounding of the clock's away from ours.
        old = ctx.now - backup.created >= int(cluster.retention_days) * st.DAY - 0.001
        if old and not backup.never_expires:
            delete(ctx, backup)


def delete(ctx: st.Context, backup: st.Backup) -> None:
    """Put a backup into PENDING_DELETION, which ends in DELETED (documented)."""
    backup.delete_at = ctx.now + ctx.knobs.backup_pending_deletion_seconds
    backup.status.change(ctx.now, st.Status(st.PENDING_DELETION))
    backup.status.plan(backup.delete_at, st.Status(st.DELETED))
    ctx.later(backup.delete_at, "backup_deleted", backup.backup_id)


def forget_contents(ctx: st.Context, backup_id: str) -> None:
    """Let the contents of a backup go once it is DELETED."""
    if ctx.store.backups[backup_id].state(ctx.now) == st.DELETED:
        ctx.contents.forget_snapshot(backup_id)


def latest(ctx: st.Context, cluster: st.Cluster) -> str | None:
    """Return where the contents of a new HSM of the cluster come from: the newest backup, or the one that made it."""
    states = [st.READY] + [st.PENDING_DELETION] * ctx.knobs.restore_from_pending_deletion
    filled = [
        b.backup_id for b in of_cluster(ctx, cluster.cluster_id, *states) if ctx.contents.has_snapshot(b.backup_id)
    ]
    if filled:
        return filled[-1]
    # The contents of the backup that a cluster was made from are kept under the cluster's own id.
    return cluster.cluster_id if ctx.contents.has_snapshot(cluster.cluster_id) else None
