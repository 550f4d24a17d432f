# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Finding what a request names, and sorting out what its filters want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .errors import invalid, not_found
from .state import DELETED, Backup, Cluster, Context

T = TypeVar("T")


def cluster_exists(ctx: Context, cluster: Cluster, moment: float) -> bool:
    """True while a cluster is listed, also for a while as DELETED."""
    if cluster.state(moment) is None:
        return False
    gone = cluster.status.entered(moment) + ctx.knobs.deleted_cluster_listed_seconds
    return cluster.state(moment) != DELETED or moment <= gone


def live_cluster(ctx: Context, cluster_id: str) -> Cluster:
    """Return a cluster that is not DELETED.

    Raises:
        CloudHsmError: There is none of that id.
    """
    cluster = ctx.store.clusters.get(cluster_id)
    if cluster is None or cluster.state(ctx.now) == DELETED:
        raise not_found(cluster_id, ctx.knobs.unknown_id_code)
    return cluster


def backup_exists(ctx: Context, backup: Backup) -> bool:
    """True while a backup is listed, also for a while as DELETED."""
    if backup.shown_from > ctx.now:
        return False
    gone = backup.status.entered(ctx.now) + ctx.knobs.deleted_backup_listed_seconds
    return backup.state(ctx.now) != DELETED or ctx.now <= gone


def live_backup(ctx: Context, backup_id: str) -> Backup:
    """Return a backup that exists now.

    Raises:
        CloudHsmError: There is none of that id.
    """
    backup = ctx.store.backups.get(backup_id)
    if backup is None or backup.shown_from > ctx.now or backup.state(ctx.now) == DELETED:
        raise not_found(backup_id, ctx.knobs.unknown_id_code)
    return backup


def filtered(
    ctx: Context, items: list[T], filters: dict[str, list[str]] | None, members: dict[str, Callable[[T], Any]]
) -> list[T]:
    """Return the items that pass every filter; one of a filter's values is enough.

    Raises:
        CloudHsmError: A filter's name is not one of the operation's (inferred: the real behaviour is unknown).
    """
    for name, values in (filters or {}).items():
        if name in members:
            items = [item for item in items if members[name](item) in values]
        elif not ctx.knobs.unknown_filter_accepted:
            raise invalid(f"Filters: '{name}' is not a supported filter; use {', '.join(sorted(members))}.")
    return items
