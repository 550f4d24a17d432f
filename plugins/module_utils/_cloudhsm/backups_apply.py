# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Carry out what is wished of one backup and its copies in other regions."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from . import api, backups
from . import backups_plan as plan
from .common import AnsibleCloudHSMError, error_code, may_have_had_effect
from .plan import PlanError
from .transformations import with_tags
from .waiters import Verdict

if t.TYPE_CHECKING:
    from .waiters import Wait

# How long DescribeBackups may take to show a copy that was asked for.
SETTLE_SECONDS = 120

_Backup = dict[str, t.Any]


@dataclass
class BackupOutcome:
    """What a run found and did, or in check mode would do. Complete at any moment.

    Attributes:
        changed: Whether anything was or would be changed.
        actions: What that is, a line each.
        before: The backup as it was found; None: AWS does not know it.
        backup: The backup as it is now, or as check mode predicts it.
        copies: By region, the copies that there are.
        copied_before: The regions that had a copy.
        copied_after: The regions that were, or would be, copied to.
        warnings: What a person should know.
    """

    changed: bool = False
    actions: list[str] = field(default_factory=list)
    before: _Backup | None = None
    backup: _Backup | None = None
    copies: dict[str, _Backup] = field(default_factory=dict)
    copied_before: set[str] = field(default_factory=set)
    copied_after: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


class BackupKeeper:
    """Brings one backup to what is wished for.

    Args:
        make_client: Makes the client of a region; None: that of the task.
        make_unrepeated_client: Makes the client for CopyBackupToRegion.
        wait: The bound of the run; None: wait for nothing.
        outcome: What the run found and did.
    """

    def __init__(
        self,
        make_client: t.Callable[[str | None], t.Any],
        make_unrepeated_client: t.Callable[[], t.Any],
        wait: Wait | None,
        outcome: BackupOutcome,
    ) -> None:
        self._make_client = make_client
        self._make_unrepeated_client = make_unrepeated_client
        self._wait = wait
        self._outcome = outcome
        self._clients: dict[str | None, t.Any] = {}

    def converge(self, wish: plan.Wish, check_mode: bool) -> None:
        """Find the backup, and carry out what is to be done.

        Args:
            wish: What it is to be like.
            check_mode: Change nothing, wait for nothing, and predict.

        Raises:
            PlanError: It cannot or must not be done.
            AnsibleCloudHSMError: A call failed.
            WaitError: What was waited for did not come in time, or cannot come any more.
        """
        if wish.present:
            self._ensure(wish, check_mode)
        else:
            self._remove(wish, check_mode)

    def _ensure(self, wish: plan.Wish, check_mode: bool) -> None:
        backup = self._find(wish, check_mode)
        if backup is None:
            return
        copies = {region: self._copies(backup["BackupId"], region) for region in wish.copy_to_regions}
        there = {region: dict(copy) for region, found in copies.items() if (copy := plan.find_copy(found))}
        self._outcome.copies, self._outcome.copied_before = there, set(there)
        todo = plan.plan_present(backup, wish, copies)
        if check_mode:
            self._predict(backup, todo)
            return
        if backup["BackupState"] == plan.CREATING:
            backup = self._wait_ready(backup, todo)
        if todo.restore:
            self._restore(backup["BackupId"])
            # AWS shows no tags of a backup that is PENDING_DELETION.
            todo = plan.plan_present(self._look(backup["BackupId"]), wish, copies)
        self._change(backup["BackupId"], todo)
        older = self._begin_copies(backup["BackupId"], todo.copy_to, copies)
        self._wait_copies(backup["BackupId"], wish.copy_to_regions, older)

    def _remove(self, wish: plan.Wish, check_mode: bool) -> None:
        backup = self._note(self._describe(wish.backup_id))
        cluster_id = backup.get("ClusterId") if backup else None
        todo = plan.plan_absent(backup, self._of_cluster(cluster_id) if cluster_id else [], wish.force)
        if backup is None or not todo.changes:
            return
        if check_mode:
            self._predict(backup, todo)
            return
        if backup["BackupState"] == plan.CREATING:
            self._wait_ready(backup, todo)
        self._delete(wish.backup_id)
        if cluster_id and not wish.force:
            self._keep_last(backup, self._of_cluster(cluster_id))

    def _find(self, wish: plan.Wish, check_mode: bool) -> _Backup | None:
        if wish.cluster_id:
            return self._note(self._choose(wish, check_mode))
        backup = self._note(self._describe(wish.backup_id))
        if backup is None:
            raise PlanError(
                "backup_id",
                f"there is no backup {wish.backup_id} in this account and region. Check the id, region and profile.",
            )
        return backup

    def _choose(self, wish: plan.Wish, check_mode: bool) -> _Backup | None:
        chosen: list[_Backup] = []

        def look() -> Verdict:
            found, verdict = plan.choose(self._of_cluster(wish.cluster_id), wish.created_since)
            chosen.extend([dict(found)] if found else [])
            return verdict

        if self._wait and not check_mode:
            self._wait.until(look)
        elif not (verdict := look()).done and check_mode:
            # What would be done to a backup that is not there yet is not known; that something would, is.
            self._outcome.changed = bool(wish.never_expires or wish.tags or wish.copy_to_regions)
            self._outcome.warnings.append(f"{verdict.text}. A run without check mode waits for one.")
        elif not verdict.done:
            raise PlanError("wait", f"{verdict.text}. Run again later, or set wait=true.")
        return chosen[0] if chosen else None

    def _wait_ready(self, backup: _Backup, todo: plan.BackupPlan) -> _Backup:
        """Wait for a backup that is being made: AWS changes only what is READY.

        Raises:
            PlanError: It is to be changed, and nothing may be waited for.
        """
        backup_id = backup["BackupId"]
        if self._wait:
            self._wait.until(lambda: plan.look_ready(self._describe(backup_id), backup_id))
            return self._look(backup_id)
        if todo.changes:
            raise PlanError(
                "wait", f"{backup_id} must be made before it can be changed. Run again later, or set wait=true."
            )
        return backup

    def _restore(self, backup_id: str) -> None:
        try:
            backups.restore(self._client(), backup_id)
        except AnsibleCloudHSMError as error:
            self._unless_done(error, backup_id, (plan.READY,))
        self._did(plan.BackupPlan(restore=True), backup_id)

    def _delete(self, backup_id: str) -> None:
        try:
            backups.delete(self._client(), backup_id)
        except AnsibleCloudHSMError as error:
            self._unless_done(error, backup_id, (plan.LEAVING, plan.DELETED))
        self._did(plan.BackupPlan(delete=True), backup_id)
        self._outcome.backup = self._describe(backup_id)

    def _unless_done(self, error: AnsibleCloudHSMError, backup_id: str, states: tuple[str, ...]) -> None:
        """Raise an error, unless it only says that the call was carried out.

        A call whose answer was lost is repeated, and the repeated call is refused because the first had its effect.
        """
        refused = error_code(error.exception) == "CloudHsmInvalidRequestException"
        if not refused and not may_have_had_effect(error.exception):
            raise error
        now = self._describe(backup_id)
        if (now["BackupState"] if now else plan.DELETED) not in states:
            raise error

    def _keep_last(self, backup: _Backup, siblings: list[_Backup]) -> None:
        """Take a deletion back that left nothing, because somebody deleted another backup at the same moment."""
        if any(sibling["BackupState"] == plan.READY for sibling in siblings):
            return
        self._restore(backup["BackupId"])
        self._look(backup["BackupId"])
        raise PlanError("force", f"it was restored at once, because meanwhile {plan.last_ready_text(backup)}")

    def _change(self, backup_id: str, todo: plan.BackupPlan) -> None:
        if todo.never_expires is not None:
            backups.modify_attributes(self._client(), backup_id, todo.never_expires)
            self._did(plan.BackupPlan(never_expires=todo.never_expires), backup_id)
        if todo.tag:
            api.tag_resource(self._client(), backup_id, dict(todo.tag))
            self._did(plan.BackupPlan(tag=todo.tag), backup_id)
        if todo.untag:
            api.untag_resource(self._client(), backup_id, todo.untag)
            self._did(plan.BackupPlan(untag=todo.untag), backup_id)
        if self._outcome.changed:
            self._look(backup_id)

    def _begin_copies(
        self, backup_id: str, regions: t.Sequence[str], copies: t.Mapping[str, t.Sequence[_Backup]]
    ) -> dict[str, set[str]]:
        """Ask for copies. Returns, by region, the ids of those that were there before."""
        older: dict[str, set[str]] = {}
        client = self._make_unrepeated_client() if regions else None
        for region in regions:
            older[region] = {copy["BackupId"] for copy in copies[region]}
            try:
                backups.copy(client, backup_id, region)
            except AnsibleCloudHSMError as error:
                self._adopt(error, backup_id, region, older[region])
            self._did(plan.BackupPlan(copy_to=(region,)), backup_id)
            self._outcome.copied_after.add(region)
        return older

    def _adopt(self, error: AnsibleCloudHSMError, backup_id: str, region: str, older: set[str]) -> None:
        """Look for the copy that a call made whose answer was lost: another call would make another one."""
        if not may_have_had_effect(error.exception):
            raise error

        def look() -> Verdict:
            new = [copy for copy in self._copies(backup_id, region) if copy["BackupId"] not in older]
            return Verdict(bool(new), f"the answer to CopyBackupToRegion was lost; looking for the copy in {region}")

        if not (self._wait.until(look, timeout=SETTLE_SECONDS) if self._wait else look().done):
            raise AnsibleCloudHSMError(
                message=f"The answer to CopyBackupToRegion was lost, and no new copy of {backup_id} is shown in {region}. It was "
                "not asked for again, because that could make two. Run again: a copy that appears meanwhile is taken",
                exception=error.exception,
            ) from error
        self._outcome.warnings.append(
            f"The answer to CopyBackupToRegion was lost. The copy of {backup_id} that appeared in {region} was taken."
        )

    def _wait_copies(self, backup_id: str, regions: t.Sequence[str], older: t.Mapping[str, set[str]]) -> None:
        def look() -> Verdict:
            pending = []
            for region in regions:
                copies = self._copies(backup_id, region)
                found, verdict = plan.look_copied(copies, older.get(region, set()), region)
                if found:
                    self._outcome.copies[region] = dict(found)
                pending += [] if verdict.done else [verdict.text]
            return Verdict(not pending, "; ".join(pending))

        unfinished = [copy for copy in self._outcome.copies.values() if copy["BackupState"] != plan.READY]
        if not older and not unfinished:
            return
        if self._wait:
            self._wait.until(look)
        else:
            look()

    def _predict(self, backup: _Backup, todo: plan.BackupPlan) -> None:
        self._outcome.changed = todo.changes
        self._outcome.actions = plan.actions(backup["BackupId"], todo)
        self._outcome.backup = plan.predict(backup, todo)
        self._outcome.copied_after = set(todo.copy_to)

    def _did(self, done: plan.BackupPlan, backup_id: str) -> None:
        self._outcome.changed = True
        self._outcome.actions += plan.actions(backup_id, done)

    def _note(self, backup: _Backup | None) -> _Backup | None:
        self._outcome.before = self._outcome.backup = backup
        return backup

    def _look(self, backup_id: str) -> _Backup:
        """Look at a backup that is known to be there."""
        backup = self._describe(backup_id)
        if backup is None:
            raise PlanError("backup_id", f"{backup_id} has vanished meanwhile. Somebody deletes it: find out who.")
        self._outcome.backup = backup
        return backup

    def _describe(self, backup_id: str) -> _Backup | None:
        found = backups.describe(self._client(), {"backupIds": [backup_id]})
        return next((with_tags(backup) for backup in found if backup["BackupId"] == backup_id), None)

    def _of_cluster(self, cluster_id: str) -> list[_Backup]:
        return [with_tags(backup) for backup in backups.describe(self._client(), {"clusterIds": [cluster_id]})]

    def _copies(self, backup_id: str, region: str) -> list[_Backup]:
        found = backups.describe(self._client(region), {"sourceBackupIds": [backup_id]})
        return [with_tags(backup) for backup in found]

    def _client(self, region: str | None = None) -> t.Any:
        if region not in self._clients:
            self._clients[region] = self._make_client(region)
        return self._clients[region]
