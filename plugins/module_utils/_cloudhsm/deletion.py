# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Delete exactly the HSMs that were meant, and prove by AWS's own backup that nothing is lost."""

from __future__ import annotations

import typing as t

from . import api
from .common import AnsibleCloudHSMError, error_code, may_have_had_effect
from .plan import PlanError
from .waiters import Verdict, WaitError, WaitTimeoutError, look_backed_up, look_gone, look_settled

if t.TYPE_CHECKING:
    import datetime

    from .resources import Hsm
    from .view import ClusterView
    from .waiters import Wait


# How long DescribeClusters may take to show that an HSM is leaving.
SETTLE_SECONDS = 120


class Deleter:
    """Deletes HSMs of one cluster.

    Args:
        view: The cluster.
        wait: The bound of the run; None: send the deletions and wait for nothing.
    """

    def __init__(self, view: ClusterView, wait: Wait | None) -> None:
        self._view = view
        self._wait = wait

    def delete(self, hsms: t.Sequence[Hsm]) -> None:
        """Delete HSMs by their ids, wait until they are gone and until the backup that AWS makes of them is READY.

        Raises:
            PlanError: One is still being created, and nothing may be waited for.
            AnsibleCloudHSMError: A call failed, or AWS has replaced an HSM.
            WaitError: An HSM stays, or no backup appears.
        """
        if not hsms:
            return
        self._wait_created([hsm for hsm in hsms if hsm.coming])
        hsms = [self._now(hsm) for hsm in hsms]
        proof_wanted = self._is_proof_wanted(hsms)
        # A backup that the addition of an HSM brought a moment ago may bear the same second: told apart by its id.
        older = {backup["BackupId"] for backup in self._backups()} if proof_wanted else set()
        since = self._view.seen_at
        for hsm in hsms:
            self._delete_one(hsm)
        self.wait_gone(hsms)
        if proof_wanted:
            self._wait_backed_up(older, since)

    def wait_gone(self, hsms: t.Sequence[Hsm]) -> None:
        """Wait until these HSMs are gone, whoever deletes them."""
        if hsms and self._wait:
            self._wait.until(lambda: look_gone(self._view.look(), hsms))

    def finish(self, leaving: t.Sequence[Hsm]) -> None:
        """Wait for the end of a deletion that somebody else began, and show the backup that there is then."""
        self.wait_gone(leaving)
        if not leaving or self._wait is None or not self._view.cluster.activated:
            return
        ready = [backup for backup in self._backups() if backup["BackupState"] == "READY"]
        self._view.outcome.backups = ready[:1]
        newest = (
            f"{ready[0]['BackupId']} of {ready[0]['CreateTimestamp']:%Y-%m-%d %H:%M:%S} UTC"
            if ready
            else "there is none"
        )
        self._view.outcome.warnings.append(
            f"{', '.join(map(str, leaving))} was being deleted already. When that began is not known, so no backup proves it "
            f"safe by itself. The newest READY one: {newest}."
        )

    def _now(self, hsm: Hsm) -> Hsm:
        return next((now for now in self._view.cluster.hsms if now.hsm_id == hsm.hsm_id), hsm)

    def _wait_created(self, coming: t.Sequence[Hsm]) -> None:
        """Let AWS finish first what it creates: it does not document the deletion of an HSM that is not finished."""
        if coming and self._wait is None:
            raise PlanError(
                "wait",
                f"{', '.join(map(str, coming))} must be created before it can be deleted. Run again later, or set "
                "wait=true.",
            )
        if coming and self._wait:
            self._wait.until(lambda: look_settled(self._view.look(), coming))

    def _delete_one(self, hsm: Hsm) -> None:
        known = self._send(hsm)
        if not known and (now := self._view.look().find(hsm)) and now.hsm_id != hsm.hsm_id:
            raise AnsibleCloudHSMError(
                message=f"{hsm} was not deleted: AWS has replaced it with {now}, which was not asked for. See whether it "
                "should go, and run again"
            )
        self._view.outcome.deleted.append(hsm)
        self._view.outcome.actions.append(f"delete {hsm}")

    def _send(self, hsm: Hsm) -> bool:
        """Send DeleteHsm. Returns False where AWS does not know the id."""
        try:
            return api.delete_hsm(self._view.client, self._view.cluster_id, hsm.hsm_id)
        except AnsibleCloudHSMError as error:
            # A call whose answer was lost is repeated, and the repeated call is refused because the first had its effect.
            refused = error_code(error.exception) == "CloudHsmInvalidRequestException"
            if not refused and not may_have_had_effect(error.exception):
                raise
            if not self._is_leaving(hsm):
                raise
            return True

    def _is_leaving(self, hsm: Hsm) -> bool:
        def look() -> Verdict:
            now = self._view.look().find(hsm)
            return Verdict(
                now is None or now.leaving, f"the answer to DeleteHsm was lost; looking whether {hsm} leaves"
            )

        return self._wait.until(look, timeout=SETTLE_SECONDS) if self._wait else look().done

    def _is_proof_wanted(self, hsms: t.Sequence[Hsm]) -> bool:
        """Say whether AWS makes a backup of this deletion that can be waited for."""
        if not self._view.cluster.activated:
            return False
        if all(hsm.degraded for hsm in hsms):
            self._view.outcome.warnings.append(
                "AWS does not document a backup of an HSM that was DEGRADED: none was waited for."
            )
            return False
        if self._wait is None:
            self._view.outcome.warnings.append(
                "AWS makes a backup while it removes an HSM. With wait=false nobody looked for it."
            )
        return self._wait is not None

    def _backups(self) -> list[dict[str, t.Any]]:
        return api.describe_backups(self._view.client, self._view.cluster_id)

    def _wait_backed_up(self, older: set[str], since: datetime.datetime) -> None:
        def look() -> Verdict:
            backups = [backup for backup in self._backups() if backup["BackupId"] not in older]
            verdict, self._view.outcome.backups = look_backed_up(backups, since)
            return verdict

        try:
            t.cast("Wait", self._wait).until(look)
        except WaitTimeoutError as error:
            raise WaitError(
                f"Timed out after {error.timeout:.0f} s: {error.pending}. The HSM is deleted, and no READY backup made since "
                f"{since:%Y-%m-%d %H:%M:%S} UTC proves that its keys are safe. Watch DescribeBackups of "
                f"{self._view.cluster_id}, delete nothing else of this cluster, and ask AWS support if none appears"
            ) from error
