# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Decide what to do to one backup. Plain values in, a plan out: no AWS, no Ansible, no clock.

A backup is a dictionary as DescribeBackups shows it, except that its tags stand as a dictionary under "tags".
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .plan import PlanError
from .waiters import Verdict, WaitError

if t.TYPE_CHECKING:
    import datetime

CREATING = "CREATE_IN_PROGRESS"
READY = "READY"
LEAVING = "PENDING_DELETION"
DELETED = "DELETED"

# What begins so is AWS's own, or says what goes on with an HSM; whoever purges the tags leaves it alone.
KEPT_TAGS = ("aws:", "hsmops:")

_Backup = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Wish:
    """What a backup is to be like; None: as it is.

    Attributes:
        backup_id: The backup; empty: the newest READY one of the cluster.
        cluster_id: The cluster; empty where the backup is named.
        created_since: The newest one must be at least as new as this.
        present: It is to be there; else it is to be deleted.
        never_expires: Exempt it from the retention of its cluster.
        tags: The tags.
        purge_tags: It is to have no other tags.
        copy_to_regions: Regions that are to have a copy.
        force: Delete also the last READY backup of a cluster.
    """

    backup_id: str = ""
    cluster_id: str = ""
    created_since: datetime.datetime | None = None
    present: bool = True
    never_expires: bool | None = None
    tags: t.Mapping[str, str] | None = None
    purge_tags: bool = True
    copy_to_regions: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class BackupPlan:
    """What to do to a backup, in this order.

    Attributes:
        restore: Take it back from PENDING_DELETION.
        never_expires: Set the attribute to this; None: leave it.
        tag: Tags to set.
        untag: Keys of tags to take off.
        copy_to: Regions to copy it to.
        delete: Delete it.
    """

    restore: bool = False
    never_expires: bool | None = None
    tag: tuple[tuple[str, str], ...] = ()
    untag: tuple[str, ...] = ()
    copy_to: tuple[str, ...] = ()
    delete: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self != BackupPlan()


def choose(backups: t.Sequence[_Backup], since: datetime.datetime | None) -> tuple[_Backup | None, Verdict]:
    """Choose the newest READY backup of a cluster that is new enough.

    Args:
        backups: All backups of the cluster, newest first.
        since: It must be at least as new as this; None: any age will do.

    Returns:
        The backup, or None, and what to make of the look: done when there is one, pending while one may still come.

    Raises:
        PlanError: There is none, and nothing says that one is coming.
    """
    newer = [backup for backup in backups if since is None or backup["CreateTimestamp"] >= since]
    found = next((backup for backup in newer if backup["BackupState"] == READY), None)
    if found:
        return found, Verdict(True, "")
    if since is None and not any(backup["BackupState"] == CREATING for backup in newer):
        raise PlanError(
            "cluster_id",
            f"it has no READY backup, and none is being made: {_seen(backups)}. AWS makes one when an HSM is added to an "
            "active cluster or removed from it, and once a day while there is one. To wait for one that is about to "
            "begin, set created_since.",
        )
    wanted = f" made since {moment_text(since)}" if since else ""
    return None, Verdict(False, f"no READY backup{wanted} is shown yet: {_seen(backups)}")


def _seen(backups: t.Sequence[_Backup]) -> str:
    if not backups:
        return "AWS shows no backup at all"
    shown = [
        f"{backup['BackupId']} of {moment_text(backup['CreateTimestamp'])} is {backup['BackupState']}"
        for backup in backups
    ]
    return f"the newest is {shown[0]}" if len(shown) == 1 else f"of {len(shown)}, the newest are {'; '.join(shown[:3])}"


def look_ready(backup: _Backup | None, backup_id: str) -> Verdict:
    """Say whether a backup that is being made is READY.

    Raises:
        WaitError: It will not become so.
    """
    state = backup["BackupState"] if backup else DELETED
    if state in (LEAVING, DELETED):
        raise WaitError(f"{backup_id} is {state} and will not become READY: somebody deleted it, or AWS gave it up")
    # An unknown state is waited out, because the wait has a bound.
    return Verdict(state == READY, f"backup {backup_id} is {state}")


def plan_present(backup: _Backup, wish: Wish, copies: t.Mapping[str, t.Sequence[_Backup]]) -> BackupPlan:
    """Decide what makes a backup as it is wished for.

    Args:
        backup: The backup.
        wish: The wish.
        copies: By region, what DescribeBackups shows there as copied from it.

    Raises:
        PlanError: It is gone for ever.
    """
    state = backup["BackupState"]
    if state == DELETED:
        raise PlanError(
            "backup_id",
            f"{backup['BackupId']} is DELETED, and AWS restores a backup only for 7 days after DeleteBackup. Choose "
            "another one, or set state=absent.",
        )
    tag, untag = tag_changes(backup["tags"], wish)
    given = wish.never_expires
    return BackupPlan(
        restore=state == LEAVING,
        never_expires=given if given is not None and given != backup.get("NeverExpires", False) else None,
        tag=tag,
        untag=untag,
        copy_to=tuple(region for region in wish.copy_to_regions if find_copy(copies[region]) is None),
    )


def tag_changes(tags: t.Mapping[str, str], wish: Wish) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    if wish.tags is None:
        return (), ()
    tag = {key: value for key, value in wish.tags.items() if tags.get(key) != value}
    surplus = [key for key in tags if key not in wish.tags and not key.startswith(KEPT_TAGS)]
    return tuple(sorted(tag.items())), tuple(sorted(surplus)) if wish.purge_tags else ()


def find_copy(copies: t.Sequence[_Backup]) -> _Backup | None:
    """Choose the copy that counts, of all that were ever made: a READY one before one that is being made.

    A copy that failed is DELETED. One that is PENDING_DELETION is given up, so it does not count either.

    Args:
        copies: What DescribeBackups shows as copied from the backup.
    """
    for state in (READY, CREATING):
        for copy in copies:
            if copy["BackupState"] == state:
                return copy
    return None


def look_copied(copies: t.Sequence[_Backup], older: t.Container[str], region: str) -> tuple[_Backup | None, Verdict]:
    """Say whether the copy that was asked for is READY, and which one it is, where it is shown.

    Args:
        copies: What DescribeBackups shows in the region as copied from the backup.
        older: Ids of those that were there before.
        region: The region.

    Raises:
        WaitError: AWS has given the copy up.
    """
    new = [copy for copy in copies if copy["BackupId"] not in older]
    found = find_copy(new)
    if new and found is None:
        raise WaitError(
            f"the copy {new[0]['BackupId']} in {region} ended {new[0]['BackupState']}: AWS could not make it, or somebody "
            "deleted it. Run again to make another one"
        )
    if found is None:
        return None, Verdict(False, f"the copy in {region} is not shown yet")
    return found, Verdict(
        found["BackupState"] == READY, f"the copy {found['BackupId']} in {region} is {found['BackupState']}"
    )


def plan_absent(backup: _Backup | None, siblings: t.Sequence[_Backup], force: bool) -> BackupPlan:
    """Decide whether to delete a backup.

    Args:
        backup: The backup; None: AWS does not know it.
        siblings: All backups of its cluster.
        force: Delete also the last READY one.

    Raises:
        PlanError: It is the last READY backup of its cluster.
    """
    if backup is None or backup["BackupState"] in (LEAVING, DELETED):
        return BackupPlan()
    others = [other for other in siblings if other["BackupId"] != backup["BackupId"] and other["BackupState"] == READY]
    if backup.get("ClusterId") and not others and not force:
        raise PlanError("force", last_ready_text(backup))
    return BackupPlan(delete=True)


def last_ready_text(backup: _Backup) -> str:
    """Say why the last READY backup of a cluster stays."""
    return (
        f"{backup['BackupId']} is the last READY backup of {backup['ClusterId']}. AWS fills a new HSM from it: without it, "
        "every key and user is lost with the last HSM, and a cluster that has none now stays empty. Make another "
        "backup first, by adding or removing an HSM, or set force=true. Within 7 days, state=present restores it."
    )


def predict(backup: _Backup, plan: BackupPlan) -> dict[str, t.Any]:
    """Say what a backup will be like once a plan is carried out."""
    tags = {key: value for key, value in {**backup["tags"], **dict(plan.tag)}.items() if key not in plan.untag}
    after = {**backup, "tags": tags}
    if plan.restore:
        after = {key: value for key, value in after.items() if key != "DeleteTimestamp"} | {"BackupState": READY}
    if plan.delete:
        after["BackupState"] = LEAVING
    if plan.never_expires is not None:
        after["NeverExpires"] = plan.never_expires
    return after


def actions(backup_id: str, plan: BackupPlan) -> list[str]:
    """Say what a plan does, a line each."""
    lines = [f"restore {backup_id}"] if plan.restore else []
    if plan.never_expires is not None:
        lines.append(f"set never_expires of {backup_id} to {str(plan.never_expires).lower()}")
    lines += [f"tag {backup_id}: {', '.join(key for key, _value in plan.tag)}"] if plan.tag else []
    lines += [f"untag {backup_id}: {', '.join(plan.untag)}"] if plan.untag else []
    lines += [f"copy {backup_id} to {region}" for region in plan.copy_to]
    return lines + ([f"delete {backup_id}"] if plan.delete else [])


def moment_text(moment: datetime.datetime) -> str:
    """Write a moment for a person. AWS's are in UTC; another one keeps its offset."""
    return moment.isoformat(sep=" ", timespec="seconds")
