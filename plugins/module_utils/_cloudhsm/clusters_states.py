# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What the states of a cluster mean, and what to make of one look at it. Pure.

A cluster is a dictionary as DescribeClusters shows it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .resources import CLUSTER_BUSY_STATES, CLUSTER_DELETED_STATES
from .waiters import Verdict, WaitError

ACTIVE = "ACTIVE"
DEGRADED = "DEGRADED"
DELETED = "DELETED"
LEAVING = "DELETE_IN_PROGRESS"
UNINITIALIZED = "UNINITIALIZED"

_Cluster = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Course:
    """What the states of a cluster mean for a wait. A state in none of the sets is new, and is waited out.

    Attributes:
        pending: It goes on by itself.
        success: What was waited for has come.
        failure: It cannot come any more.
    """

    pending: frozenset[str]
    success: frozenset[str]
    failure: frozenset[str]


_LOST = CLUSTER_DELETED_STATES | {DEGRADED}
# A new cluster becomes UNINITIALIZED; whoever is quicker than this run may have gone on with it.
NEW = Course(CLUSTER_BUSY_STATES, frozenset((UNINITIALIZED, "INITIALIZED", ACTIVE)), _LOST)
# One from a backup becomes ACTIVE by itself, whatever it passes through.
RESTORED = Course(CLUSTER_BUSY_STATES | {UNINITIALIZED, "INITIALIZED"}, frozenset((ACTIVE,)), _LOST)
# Right after DeleteCluster, AWS may still show the state from before.
DELETION = Course(
    CLUSTER_BUSY_STATES | {UNINITIALIZED, "INITIALIZED", ACTIVE, DEGRADED, LEAVING}, frozenset((DELETED,)), frozenset()
)


def course_of(cluster: _Cluster, from_backup: bool = False) -> Course:
    """Say what the states of a cluster that is to be there mean.

    Args:
        cluster: The cluster.
        from_backup: It is known to come from a backup, whether or not AWS shows that.
    """
    return RESTORED if from_backup or cluster.get("SourceBackupId") else NEW


def look_ready(cluster: _Cluster | None, cluster_id: str, seen: bool, from_backup: bool = False) -> Verdict:
    """Say whether a cluster has come to the end of what AWS does by itself.

    Args:
        cluster: The cluster as it is shown now; None: it is not.
        cluster_id: Its id.
        seen: It was shown before. DescribeClusters may lag behind CreateCluster.
        from_backup: It is known to come from a backup.

    Raises:
        WaitError: It is lost.
    """
    if cluster is None and not seen:
        return Verdict(False, f"cluster {cluster_id} is not shown yet")
    state = cluster["State"] if cluster else DELETED
    if cluster is None or state in CLUSTER_DELETED_STATES:
        raise WaitError(
            f"cluster {cluster_id} is {state}: somebody deletes it while it is waited for. Find out who, and run again"
        )
    course = course_of(cluster, from_backup)
    if state in course.failure:
        raise WaitError(
            f"cluster {cluster_id} is {state} and will not become {' or '.join(sorted(course.success))}: "
            f"{cluster.get('StateMessage') or 'AWS gives no reason'}. If nothing in it is needed, delete it with state=absent, "
            "and run again"
        )
    return Verdict(state in course.success, f"cluster {cluster_id} is {state}")


def look_moved(cluster: _Cluster | None, cluster_id: str, hsm_type: str) -> Verdict:
    """Say whether the HSMs of a cluster have moved to another type.

    Raises:
        WaitError: AWS gave the move up, or the cluster is lost.
    """
    verdict = look_ready(cluster, cluster_id, seen=True)
    if cluster is not None and verdict.done and cluster["HsmType"] != hsm_type:
        raise WaitError(
            f"cluster {cluster_id} is {cluster['State']} with {cluster['HsmType']} again: AWS gave its move to {hsm_type} up, or "
            f"somebody took it back. {cluster.get('StateMessage') or 'AWS gives no reason'}"
        )
    return verdict


def look_begun(cluster: _Cluster | None, hsm_type: str, at_once: bool) -> Verdict:
    """Say whether AWS shows that it has begun to move the HSMs of a cluster to another type. DescribeClusters may lag.

    Args:
        cluster: The cluster as it is shown now; None: it is not.
        hsm_type: The type.
        at_once: The answer to ModifyCluster said that this was all, as for a cluster without an HSM.
    """
    begun = cluster is None or cluster["State"] != ACTIVE or (at_once and cluster["HsmType"] == hsm_type)
    return Verdict(begun, "" if begun else "AWS does not show yet that it changes hsm_type")


def is_moving(cluster: _Cluster | None, hsm_type: str) -> bool:
    """Say whether a ModifyCluster that failed has moved the HSMs to another type all the same, or begun to."""
    return cluster is not None and (
        cluster["HsmType"] == hsm_type or cluster["State"] in ("MODIFY_IN_PROGRESS", "ROLLBACK_IN_PROGRESS")
    )


def is_leaving(cluster: _Cluster | None) -> bool:
    """Say whether a cluster is deleted or being deleted."""
    return cluster is None or cluster["State"] in CLUSTER_DELETED_STATES


def look_deleted(cluster: _Cluster | None, cluster_id: str) -> Verdict:
    """Say whether a cluster is DELETED, or no longer listed."""
    state = cluster["State"] if cluster else DELETED
    return Verdict(state in DELETION.success, f"cluster {cluster_id} is {state}")
