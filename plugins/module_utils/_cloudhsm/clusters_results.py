# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""From clusters to what cloudhsm_cluster returns. Pure."""

from __future__ import annotations

import typing as t

from .clusters_plan import NAME_TAG, retention_days
from .clusters_states import DELETED
from .progress import duration
from .transformations import resource_result

if t.TYPE_CHECKING:
    from .clusters_apply import ClusterOutcome


def cluster_result(cluster: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Make what the module returns of a cluster, as with_tags makes it: the form of cloudhsm_cluster_info."""
    shown = {key: value for key, value in cluster.items() if key not in ("SubnetIds", "tags")}
    return {**resource_result(shown), "tags": dict(cluster["tags"])}


def outcome_result(outcome: ClusterOutcome, elapsed: float, check_mode: bool) -> dict[str, t.Any]:
    """Make what the module returns of a run, complete or not.

    Args:
        outcome: What the run found and did, or would have done.
        elapsed: Seconds that it took.
        check_mode: It did nothing.
    """
    result: dict[str, t.Any] = {
        "changed": bool(outcome.actions),
        "actions": outcome.actions,
        "elapsed": round(elapsed, 1),
        "summary": _summary(outcome, elapsed, check_mode),
    }
    if outcome.cluster is not None:
        result["cluster"] = cluster_result(outcome.cluster)
    return result


def _summary(outcome: ClusterOutcome, elapsed: float, check_mode: bool) -> str:
    """Say in one line what there is, and what the run did or would do."""
    cluster = outcome.before if check_mode else outcome.cluster
    there_is = "no cluster"
    if cluster is not None:
        hsms = len(cluster.get("Hsms", []))
        name = cluster["tags"].get(NAME_TAG)
        named = f" ({name})" if name else ""
        there_is = f"{cluster['ClusterId']}{named} {cluster['State']} with {hsms} HSM{'' if hsms == 1 else 's'}"
    listed = ", ".join(outcome.actions)
    if check_mode and listed:
        return f"{there_is}; would {listed}"
    return f"{there_is}; {listed or 'nothing to change'}, in {duration(elapsed)}"


def outcome_diff(outcome: ClusterOutcome) -> dict[str, t.Any]:
    """Make the difference that a run made to a cluster, or would make."""
    return {"before": _line(outcome.before), "after": _line(outcome.cluster)}


def _line(cluster: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    if cluster is None or cluster["State"] == DELETED:
        return {}
    return {
        "backup_retention_days": retention_days(cluster),
        "cluster_id": cluster.get("ClusterId", "chosen by AWS"),
        "hsm_type": cluster["HsmType"],
        "mode": cluster.get("Mode"),
        "network_type": cluster.get("NetworkType"),
        "source_backup_id": cluster.get("SourceBackupId"),
        "state": cluster["State"],
        "subnet_ids": sorted(cluster.get("SubnetIds") or cluster.get("SubnetMapping", {}).values()),
        "tags": dict(cluster["tags"]),
    }
