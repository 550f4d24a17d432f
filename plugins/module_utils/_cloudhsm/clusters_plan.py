# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Decide what to do to one cluster. Plain values in, a plan out: no AWS, no Ansible, no clock.

A cluster is a dictionary as DescribeClusters shows it, except that its tags stand as a dictionary under "tags".
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import backups_plan
from .clusters_states import ACTIVE, DELETED, UNINITIALIZED, course_of
from .marks import PROTECTED_TAG, is_protected
from .plan import PlanError
from .resources import CLUSTER_DELETED_STATES

NAME_TAG = "Name"
# The type that needs no Mode, and that AWS moves to another one.
FIRST_TYPE = "hsm1.medium"
# From the user guide, "Configure backup retention".
_DEFAULT_RETENTION_DAYS = 90

_Cluster = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Wish:
    """What a cluster is to be like; None: as it is, or as AWS chooses.

    Attributes:
        cluster_id: The cluster; empty where it is named.
        name: Its tag Name; empty where its id is known.
        present: It is to be there; else it is to be deleted.
        subnet_ids: The subnets of its zones.
        hsm_type: The type of its HSMs.
        mode: "FIPS" or "NON_FIPS".
        network_type: "IPV4" or "DUALSTACK".
        backup_retention_days: How long AWS keeps its backups.
        source_backup_id: Id or ARN of the backup that it is made from.
        tags: The tags.
        purge_tags: It is to have no other tags.
        force: Delete it although it is protected.
    """

    cluster_id: str = ""
    name: str = ""
    present: bool = True
    subnet_ids: tuple[str, ...] | None = None
    hsm_type: str | None = None
    mode: str | None = None
    network_type: str | None = None
    backup_retention_days: int | None = None
    source_backup_id: str | None = None
    tags: t.Mapping[str, str] | None = None
    purge_tags: bool = True
    force: bool = False


@dataclass(frozen=True)
class ClusterPlan:
    """What to do to a cluster, in this order.

    Attributes:
        create: Create it.
        retention_days: Have AWS keep its backups for so many days; None: leave that.
        tag: Tags to set.
        untag: Keys of tags to take off.
        hsm_type: Move its HSMs to this type; None: leave them.
        delete: Delete it.
    """

    create: bool = False
    retention_days: int | None = None
    tag: tuple[tuple[str, str], ...] = ()
    untag: tuple[str, ...] = ()
    hsm_type: str | None = None
    delete: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self != ClusterPlan()

    @property
    def modifies(self) -> bool:
        """Whether ModifyCluster is to be called."""
        return self.retention_days is not None or self.hsm_type is not None


def choose(clusters: t.Iterable[_Cluster], name: str, present: bool) -> _Cluster | None:
    """Choose the cluster of a name.

    Args:
        clusters: All clusters, as AWS lists them.
        name: The tag Name.
        present: One that is being deleted does not count; else it does, where there is no other.

    Raises:
        PlanError: There are two.
    """
    named = [cluster for cluster in clusters if cluster["tags"].get(NAME_TAG) == name and cluster["State"] != DELETED]
    living = [cluster for cluster in named if cluster["State"] not in CLUSTER_DELETED_STATES]
    if len(living) > 1:
        listed = ", ".join(f"{cluster['ClusterId']} ({cluster['State']})" for cluster in living)
        raise PlanError(
            "name",
            f"{len(living)} clusters have the tag {NAME_TAG} {name!r}: {listed}. Say by cluster_id which one is meant, and give "
            "the others another name or delete them.",
        )
    if living or present or not named:
        return living[0] if living else None
    return max(named, key=lambda cluster: cluster["CreateTimestamp"])


def check_name_free(clusters: t.Iterable[_Cluster], name: str) -> None:
    """Refuse to give a cluster a name that another one has.

    Raises:
        PlanError: Another one has it.
    """
    other = choose(clusters, name, present=True)
    if other is not None:
        raise PlanError(
            "tags", f"cluster {other['ClusterId']} has the tag {NAME_TAG} {name!r} already. Give this one another name."
        )


def plan_present(cluster: _Cluster | None, wish: Wish) -> ClusterPlan:
    """Decide what makes a cluster as it is wished for.

    Args:
        cluster: The cluster; None: there is none.
        wish: The wish.

    Raises:
        PlanError: It cannot be done.
    """
    if cluster is None:
        _check_creation(wish)
        return ClusterPlan(create=True)
    if cluster["State"] in CLUSTER_DELETED_STATES:
        raise PlanError(
            "cluster_id",
            f"{cluster['ClusterId']} is {cluster['State']}. To make a new cluster, of a backup of this one if you like, give "
            "name in place of cluster_id.",
        )
    _check_fixed(cluster, wish)
    tag, untag = _tag_changes(cluster["tags"], wish)
    days = wish.backup_retention_days
    return ClusterPlan(
        retention_days=days if days != retention_days(cluster) else None,
        tag=tag,
        untag=untag,
        hsm_type=_hsm_type_change(cluster, wish.hsm_type),
    )


def _check_creation(wish: Wish) -> None:
    if wish.cluster_id:
        raise PlanError(
            "cluster_id",
            f"there is no cluster {wish.cluster_id} in this account and region. Check the id, region and profile; to create a "
            "cluster, give name in its place.",
        )
    required: dict[str, t.Any] = {"subnet_ids": wish.subnet_ids, "hsm_type": wish.hsm_type}
    if wish.hsm_type != FIRST_TYPE:
        required["mode"] = wish.mode
    for parameter, value in required.items():
        if value is None:
            raise PlanError(
                parameter, f"is missing. There is no cluster of the name {wish.name!r}, and to create it AWS needs it."
            )


def _check_fixed(cluster: _Cluster, wish: Wish) -> None:
    """Refuse what AWS fixes when it creates a cluster."""
    wanted = {
        "subnet_ids": sorted(wish.subnet_ids) if wish.subnet_ids else None,
        "mode": wish.mode,
        "network_type": wish.network_type,
        # The parameter may be an ARN; AWS shows the id.
        "source_backup_id": wish.source_backup_id.rpartition("/")[2] if wish.source_backup_id else None,
    }
    found = {
        "subnet_ids": sorted(cluster.get("SubnetMapping", {}).values()),
        # There was one mode before AWS showed any, and one kind of network.
        "mode": cluster.get("Mode", "FIPS"),
        "network_type": cluster.get("NetworkType", "IPV4"),
        "source_backup_id": cluster.get("SourceBackupId"),
    }
    for parameter, value in wanted.items():
        if value is not None and value != found[parameter]:
            raise PlanError(
                parameter,
                f"cluster {cluster['ClusterId']} has {_text(found[parameter])}, and {_text(value)} is wanted. AWS fixes it when "
                f"it creates a cluster. Leave {parameter} out, or make another cluster of a backup of this one.",
            )


def _text(value: t.Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "none")


def _hsm_type_change(cluster: _Cluster, wanted: str | None) -> str | None:
    """The type to move to. AWS moves hsm1.medium to hsm2m.medium, and back within 24 hours, of an ACTIVE cluster (user guide)."""
    found, state = cluster["HsmType"], cluster["State"]
    if wanted in (None, found):
        return None
    if wanted == FIRST_TYPE and "HsmTypeRollbackExpiration" not in cluster:
        advice = f"AWS moves no cluster to {FIRST_TYPE}, but takes a move from it back for 24 hours."
    elif state != ACTIVE and state not in course_of(cluster).pending:
        advice = f"AWS moves only a cluster that is {ACTIVE}, and it is {state}."
    else:
        return wanted
    raise PlanError("hsm_type", f"cluster {cluster['ClusterId']} has {found}, and {wanted} is wanted. {advice}")


def _tag_changes(tags: t.Mapping[str, str], wish: Wish) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    if wish.tags is None:
        return (), ()
    # The name is what runs find the cluster by: without it, the next one would make another cluster.
    name = {NAME_TAG: tags[NAME_TAG]} if NAME_TAG in tags else {}
    wanted = {**name, **wish.tags}
    return backups_plan.tag_changes(tags, backups_plan.Wish(tags=wanted, purge_tags=wish.purge_tags))


def retention_days(cluster: _Cluster) -> int | None:
    """Return for how many days AWS keeps the backups of a cluster; None: it does not say."""
    value = cluster.get("BackupRetentionPolicy", {}).get("Value")
    return int(value) if value else None


def creation_request(wish: Wish) -> dict[str, t.Any]:
    """Make the members of the request that creates a cluster."""
    members = {
        "SubnetIds": list(wish.subnet_ids or ()),
        "HsmType": wish.hsm_type,
        "Mode": wish.mode,
        "NetworkType": wish.network_type,
        "SourceBackupId": wish.source_backup_id,
        "TagList": [{"Key": key, "Value": value} for key, value in _creation_tags(wish).items()],
    }
    given = {name: value for name, value in members.items() if value is not None}
    return given | (retention_request(wish.backup_retention_days) if wish.backup_retention_days else {})


def retention_request(days: int) -> dict[str, t.Any]:
    """Make the member of a request that says how long AWS keeps backups. It wants the number as a string."""
    return {"BackupRetentionPolicy": {"Type": "DAYS", "Value": str(days)}}


def _creation_tags(wish: Wish) -> dict[str, str]:
    return {NAME_TAG: wish.name, **(wish.tags or {})}


def plan_absent(cluster: _Cluster | None, force: bool) -> ClusterPlan:
    """Decide whether to delete a cluster.

    Args:
        cluster: The cluster; None: AWS does not know it.
        force: Delete it although it is protected.

    Raises:
        PlanError: It is protected, or has HSMs.
    """
    if cluster is None or cluster["State"] in CLUSTER_DELETED_STATES:
        return ClusterPlan()
    cluster_id = cluster["ClusterId"]
    if not force and is_protected(cluster["tags"]):
        raise PlanError(
            "force",
            f"cluster {cluster_id} has the tag {PROTECTED_TAG}={cluster['tags'][PROTECTED_TAG]}. If it is to be deleted all the "
            "same, set force=true, or that tag to false.",
        )
    hsms = [hsm for hsm in cluster.get("Hsms", []) if hsm.get("State") != DELETED]
    if hsms:
        named = ", ".join(f"{hsm['HsmId']} ({hsm.get('State', 'in an unknown state')})" for hsm in hsms)
        raise PlanError(
            "state",
            f"cluster {cluster_id} has HSMs: {named}. AWS deletes only a cluster without any. Run "
            f"hsmops.cloudhsm.cloudhsm_hsm with cluster_id={cluster_id} and state=absent first: it deletes them, waits until "
            "they are gone, and sees that there is a backup of them.",
        )
    return ClusterPlan(delete=True)


def predict(cluster: _Cluster | None, plan: ClusterPlan, wish: Wish) -> dict[str, t.Any]:
    """Say what a cluster will be like once a plan is carried out and has come to its end.

    One that is to be created lacks what AWS chooses, and has its subnets under "SubnetIds": their zones are not known.
    """
    if cluster is None:
        defaults = {"NetworkType": "IPV4", **retention_request(_DEFAULT_RETENTION_DAYS)}
        shown = {key: value for key, value in creation_request(wish).items() if key != "TagList"}
        state = ACTIVE if wish.source_backup_id else UNINITIALIZED
        return {**defaults, **shown, "Hsms": [], "State": state, "tags": _creation_tags(wish)}
    after = {
        **cluster,
        "tags": {key: value for key, value in {**cluster["tags"], **dict(plan.tag)}.items() if key not in plan.untag},
    }
    if plan.retention_days is not None:
        after |= retention_request(plan.retention_days)
    if plan.hsm_type is not None:
        after["HsmType"] = plan.hsm_type
    if plan.delete:
        after["State"] = DELETED
    return after


def actions(what: str, plan: ClusterPlan) -> list[str]:
    """Say what a plan does, a line each.

    Args:
        what: The id of the cluster, or the name of one that is to be created.
        plan: The plan.
    """
    lines = [f"create cluster {what}"] if plan.create else []
    if plan.retention_days is not None:
        lines.append(f"set backup_retention_days of {what} to {plan.retention_days}")
    lines += [f"tag {what}: {', '.join(key for key, _value in plan.tag)}"] if plan.tag else []
    lines += [f"untag {what}: {', '.join(plan.untag)}"] if plan.untag else []
    lines += [f"set hsm_type of {what} to {plan.hsm_type}"] if plan.hsm_type else []
    return lines + ([f"delete cluster {what}"] if plan.delete else [])
