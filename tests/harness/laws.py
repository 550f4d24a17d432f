# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What holds of AWS CloudHSM whatever is asked of it: how states, ids, addresses and backups may change.

Each law compares two sightings of everything, between which one thing was done or time went by.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from local_aws.knobs import Knobs

from .world import Seen

DAY = 86400
NOTHING = "nothing"
HARDWARE = {"ClusterCsr", "HsmCertificate", "AwsHardwareCertificate", "ManufacturerHardwareCertificate"}

Arrows = dict[str, tuple[str, ...]]
# From the user guide and what Terraform waits for; the letters that no arrow leads to are for the side door only.
CLUSTER: Arrows = {
    NOTHING: ("CREATE_IN_PROGRESS",),
    "CREATE_IN_PROGRESS": ("UNINITIALIZED",),
    "UNINITIALIZED": ("INITIALIZE_IN_PROGRESS", "DELETE_IN_PROGRESS"),
    "INITIALIZE_IN_PROGRESS": ("INITIALIZED",),
    "INITIALIZED": ("ACTIVE", "DELETE_IN_PROGRESS"),
    "ACTIVE": ("UPDATE_IN_PROGRESS", "MODIFY_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"),
    "UPDATE_IN_PROGRESS": ("ACTIVE",),
    "MODIFY_IN_PROGRESS": ("ACTIVE",),
    "ROLLBACK_IN_PROGRESS": ("ACTIVE",),
    "DELETE_IN_PROGRESS": ("DELETED",),
    "DELETED": (NOTHING,),
}
CLUSTER_FROM_BACKUP: Arrows = CLUSTER | {
    "CREATE_IN_PROGRESS": ("INITIALIZE_IN_PROGRESS", "ACTIVE"),
    "INITIALIZE_IN_PROGRESS": ("ACTIVE",),
    "INITIALIZED": (),
    "UNINITIALIZED": (),
}
HSM: Arrows = {
    NOTHING: ("CREATE_IN_PROGRESS",),
    "CREATE_IN_PROGRESS": ("ACTIVE", "DEGRADED", "DELETE_IN_PROGRESS"),
    "ACTIVE": ("DEGRADED", "DELETE_IN_PROGRESS"),
    "DEGRADED": ("DELETE_IN_PROGRESS",),
    "DELETE_IN_PROGRESS": ("DELETED", NOTHING),
    "DELETED": (NOTHING,),
}
BACKUP: Arrows = {
    NOTHING: ("CREATE_IN_PROGRESS",),
    "CREATE_IN_PROGRESS": ("READY",),
    "READY": ("PENDING_DELETION",),
    "PENDING_DELETION": ("READY", "DELETED"),
    "DELETED": (NOTHING,),
}
COPY: Arrows = BACKUP | {"CREATE_IN_PROGRESS": ("READY", "DELETED")}
# What never changes about a thing, once it is there.
FIXED_OF_CLUSTER = (
    "CreateTimestamp",
    "SubnetMapping",
    "VpcId",
    "SecurityGroup",
    "Mode",
    "NetworkType",
    "SourceBackupId",
)
FIXED_OF_HSM = ("ClusterId", "AvailabilityZone", "SubnetId", "EniIp")
FIXED_OF_BACKUP = ("ClusterId", "CreateTimestamp", "BackupArn", "HsmType", "Mode", "SourceBackup", "SourceRegion")


@dataclass
class Done:
    """What was done between two sightings.

    Attributes:
        refused: A request that was answered with an error and had no effect.
        deleted: Backups that DeleteBackup was asked for.
        restored: Backups that RestoreBackup was asked for.
        exempted: Backups whose NeverExpires was set.
        replaced: Network interfaces of HSMs that AWS replaced.
        tagged: Tags that a request gave to a resource, by its id.
        emptied: Clusters that lost their last ACTIVE HSM.
        removed: The cluster and, in it, the users of an HSM that DeleteHsm was asked for; None of an empty one.
    """

    refused: bool = False
    deleted: set[str] = field(default_factory=set)
    restored: set[str] = field(default_factory=set)
    exempted: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    tagged: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    emptied: set[str] = field(default_factory=set)
    removed: dict[str, Any] = field(default_factory=dict)


def refusals_have_no_effect(before: Seen, now: Seen, done: Done, _knobs: Knobs) -> None:
    """An error changes nothing."""
    if done.refused and before.now == now.now:
        assert (before.clusters, before.backups) == (now.clusters, now.backups)


def states_follow_the_arrows(before: Seen, now: Seen, done: Done, _knobs: Knobs) -> None:
    """Every state was reached along documented arrows, be it over several while time went by."""
    old, new = _by_id(before), _by_id(now)
    for cluster_id in {*old, *new}:
        was, became = old.get(cluster_id, {}), new.get(cluster_id, {})
        arrows = CLUSTER_FROM_BACKUP if "SourceBackupId" in (was or became) else CLUSTER
        _require(arrows, was.get("State", NOTHING), became.get("State", NOTHING), cluster_id)
        _follow_hsms(was.get("Hsms", []), became.get("Hsms", []), done)
    backups_before, backups_now = _backups(before), _backups(now)
    for backup_id in {*backups_before, *backups_now}:
        one, two = backups_before.get(backup_id, {}), backups_now.get(backup_id, {})
        arrows = COPY if "SourceBackup" in (one or two) else BACKUP
        _require(arrows, one.get("BackupState", NOTHING), two.get("BackupState", NOTHING), backup_id)
        came_back = one.get("BackupState") == "PENDING_DELETION" and two.get("BackupState") == "READY"
        assert not came_back or backup_id in done.restored, f"{backup_id} came back by itself"


def _follow_hsms(before: list[dict[str, Any]], now: list[dict[str, Any]], done: Done) -> None:
    old, new = ({hsm["EniId"]: hsm for hsm in hsms} for hsms in (before, now))
    for eni_id in {*old, *new}:
        was, became = old.get(eni_id, {}), new.get(eni_id, {})
        if eni_id in done.replaced:
            assert was["HsmId"] != became["HsmId"]
            assert became["State"] in ("CREATE_IN_PROGRESS", "ACTIVE", "DEGRADED")
        else:
            _require(HSM, was.get("State", NOTHING), became.get("State", NOTHING), eni_id)
            assert not was or not became or was["HsmId"] == became["HsmId"], f"{eni_id} has another HsmId"


def what_is_fixed_stays(before: Seen, now: Seen, _done: Done, _knobs: Knobs) -> None:
    """Nothing that is told once for all is told differently later."""
    old_clusters, old_backups = _by_id(before), _backups(before)
    old_hsms = {hsm["EniId"]: hsm for _place, cluster in before.all_clusters for hsm in cluster["Hsms"]}
    for _place, cluster in now.all_clusters:
        _same(old_clusters.get(cluster["ClusterId"]), cluster, FIXED_OF_CLUSTER)
        for hsm in cluster["Hsms"]:
            _same(old_hsms.get(hsm["EniId"]), hsm, FIXED_OF_HSM)
            assert cluster["SubnetMapping"][hsm["AvailabilityZone"]] == hsm["SubnetId"]
    for _place, backup in now.all_backups:
        _same(old_backups.get(backup["BackupId"]), backup, FIXED_OF_BACKUP)


def one_hsm_before_activation(_before: Seen, now: Seen, _done: Done, _knobs: Knobs) -> None:
    """A cluster that is not activated has one HSM at most; one that is made, deleted or gone has none."""
    most = {"UNINITIALIZED": 1, "INITIALIZE_IN_PROGRESS": 1, "INITIALIZED": 1}
    none = dict.fromkeys(("CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "DELETED"), 0)
    for _place, cluster in now.all_clusters:
        limit = (most | none).get(cluster["State"], len(cluster["Hsms"]))
        if "SourceBackupId" in cluster and cluster["State"] == "INITIALIZE_IN_PROGRESS":
            limit = 0
        assert len(present(cluster)) <= limit, f"{cluster['ClusterId']} is {cluster['State']} with {cluster['Hsms']}"


def quotas_hold(_before: Seen, now: Seen, _done: Done, knobs: Knobs) -> None:
    """No place has more than its quotas allow."""
    for views in now.clusters.values():
        assert len([view for view in views.values() if counts(view["State"], knobs)]) <= knobs.quota_clusters
        hsms = [[hsm for hsm in present(view) if counts(hsm["State"], knobs)] for view in views.values()]
        assert sum(map(len, hsms)) <= knobs.quota_hsms
        assert all(len(of_cluster) <= knobs.quota_hsms_per_cluster for of_cluster in hsms)


def addresses_are_unique(_before: Seen, now: Seen, _done: Done, _knobs: Knobs) -> None:
    """No two HSMs have the same address of the same subnet, and none an address that AWS reserves."""
    found = Counter((hsm["SubnetId"], hsm["EniIp"]) for _p, cluster in now.all_clusters for hsm in present(cluster))
    assert not [address for address, times in found.items() if times > 1]
    assert all(4 <= int(address.rsplit(".", 1)[1]) % 16 < 15 for _subnet, address in found)


def certificates_fit_the_state(before: Seen, now: Seen, _done: Done, _knobs: Knobs) -> None:
    """Certificates are those of the state, and stay the same for as long as they are shown."""
    old = _by_id(before)
    for _place, cluster in now.all_clusters:
        assert set(cluster["Certificates"]) == _certificates(cluster, old.get(cluster["ClusterId"], {}))
        was = old.get(cluster["ClusterId"], {}).get("Certificates", {})
        if "ClusterCertificate" in was and cluster["Certificates"]:
            assert cluster["Certificates"] == was


def _certificates(cluster: dict[str, Any], was: dict[str, Any]) -> set[str]:
    if cluster["State"] == "DELETED":
        return set()
    if "SourceBackupId" in cluster:
        return {"ClusterCertificate"}
    if cluster["State"] == "CREATE_IN_PROGRESS":
        return set()
    if cluster["State"] == "UNINITIALIZED":
        return HARDWARE if any(hsm["State"] == "ACTIVE" for hsm in cluster["Hsms"]) else set()
    if cluster["State"] == "DELETE_IN_PROGRESS":
        return set(was.get("Certificates", {})) if was else set(cluster["Certificates"])
    return {"ClusterCertificate"}


def backups_expire_by_retention_only(before: Seen, now: Seen, done: Done, knobs: Knobs) -> None:
    """A backup goes by itself only when it is old, may expire, and a newer one of its living cluster remains."""
    new = _backups(now)
    for _place, backup in before.all_backups:
        after = new.get(backup["BackupId"], {"BackupState": NOTHING})
        if backup["BackupState"] != "READY" or after["BackupState"] == "READY" or backup["BackupId"] in done.deleted:
            continue
        name = backup["BackupId"]
        assert "SourceBackup" not in backup, f"{name}, a copy, expired"
        assert not backup["NeverExpires"] or name in done.exempted, f"{name} may not expire"
        cluster = now.cluster(backup["ClusterId"]) or before.cluster(backup["ClusterId"])
        assert knobs.deleted_cluster_backups_expire or (cluster and before.cluster(backup["ClusterId"])), (
            f"{name} expired"
        )
        if cluster:
            days = int(cluster["BackupRetentionPolicy"]["Value"])
            assert now.now - backup["CreateTimestamp"] >= days * DAY, f"{name} expired too early"
        left = [other for other in now.own_backups(backup["ClusterId"]) if other["BackupState"] == "READY"]
        assert [b for b in left if b["CreateTimestamp"] >= backup["CreateTimestamp"]], f"{name} was the last one"


def last_backup_is_spared(before: Seen, now: Seen, done: Done, _knobs: Knobs) -> None:
    """The last READY backup of a cluster goes by DeleteBackup only."""
    for _place, cluster in before.all_clusters:
        ready = [backup["BackupId"] for backup in before.own_backups(cluster["ClusterId"]) if _is_ready(backup)]
        if set(ready) - done.deleted:
            assert any(map(_is_ready, now.own_backups(cluster["ClusterId"]))), f"{cluster['ClusterId']} has none left"


def pending_deletion_takes_a_week(before: Seen, now: Seen, done: Done, knobs: Knobs) -> None:
    """A backup is in PENDING_DELETION until its DeleteTimestamp, which is a week after the deletion."""
    old = _backups(before)
    for _place, backup in now.all_backups:
        if backup["BackupState"] == "PENDING_DELETION":
            assert now.now < backup["DeleteTimestamp"] <= now.now + knobs.backup_pending_deletion_seconds
            if backup["BackupId"] in done.deleted and _is_ready(old[backup["BackupId"]]):
                assert backup["DeleteTimestamp"] == now.now + knobs.backup_pending_deletion_seconds
        assert ("DeleteTimestamp" in backup) == (backup["BackupState"] in ("PENDING_DELETION", "DELETED")) or (
            "SourceBackup" in backup and backup["BackupState"] == "DELETED"
        )


def tags_change_by_tagging_only(before: Seen, now: Seen, done: Done, _knobs: Knobs) -> None:
    """Tags are those that were given last; what is deleted shows none."""
    for old, new, gone in (
        (_by_id(before), _by_id(now), ("DELETED",)),
        (_backups(before), _backups(now), ("PENDING_DELETION", "DELETED")),
    ):
        for name, view in new.items():
            state = view.get("State") or view["BackupState"]
            if state in gone:
                assert view["TagList"] == [], f"{name} is {state} and has tags"
            elif name in done.tagged:
                assert view["TagList"] == done.tagged[name]
            elif name in old and name not in done.restored:
                assert view["TagList"] == old[name]["TagList"]


LAWS = (
    refusals_have_no_effect,
    states_follow_the_arrows,
    what_is_fixed_stays,
    one_hsm_before_activation,
    quotas_hold,
    addresses_are_unique,
    certificates_fit_the_state,
    backups_expire_by_retention_only,
    last_backup_is_spared,
    pending_deletion_takes_a_week,
    tags_change_by_tagging_only,
)


def present(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the HSMs that are there, be it on their way out."""
    return [hsm for hsm in cluster["Hsms"] if hsm["State"] != "DELETED"]


def counts(state: str, knobs: Knobs) -> bool:
    """True when something in that state counts for a quota."""
    return state != "DELETED" and (knobs.quota_counts_leaving or state != "DELETE_IN_PROGRESS")


@cache
def _reached(kind: int, state: str) -> frozenset[str]:
    arrows = (CLUSTER, CLUSTER_FROM_BACKUP, HSM, BACKUP, COPY)[kind]
    found, todo = {state}, [state]
    while todo:
        more = set(arrows.get(todo.pop(), ())) - found
        found |= more
        todo += more
    return frozenset(found)


def _require(arrows: Arrows, before: str, now: str, name: str) -> None:
    kind = next(k for k, table in enumerate((CLUSTER, CLUSTER_FROM_BACKUP, HSM, BACKUP, COPY)) if table is arrows)
    assert now in _reached(kind, before), f"{name} went from {before} to {now}"


def _by_id(seen: Seen) -> dict[str, dict[str, Any]]:
    return {view["ClusterId"]: view for _place, view in seen.all_clusters}


def _backups(seen: Seen) -> dict[str, dict[str, Any]]:
    return {view["BackupId"]: view for _place, view in seen.all_backups}


def _is_ready(backup: dict[str, Any]) -> bool:
    return bool(backup["BackupState"] == "READY")


def _same(before: dict[str, Any] | None, now: dict[str, Any], members: tuple[str, ...]) -> None:
    if before:
        assert [before.get(member) for member in members] == [now.get(member) for member in members]
