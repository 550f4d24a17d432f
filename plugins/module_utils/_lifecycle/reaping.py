# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The side of the reaper: delete the HSMs of one environment that nobody uses, and of no other.

Claim in Redis, mark in AWS, settle, commit in Redis, delete, wait, unmark, finish. A job that says that it needs the HSM,
at any moment up to the commit, makes the commit fail; one that comes later finds the mark.
"""

from __future__ import annotations

import math
import secrets
import typing as t
from dataclasses import dataclass

from .._activity.endpoint import ActivityError
from .._activity.plan import explain
from .._cloudhsm import api
from .._cloudhsm.common import (
    ACCESS_DENIED_CODES,
    CREDENTIAL_CODES,
    THROTTLING_CODES,
    AnsibleCloudHSMError,
    error_code,
)
from .._cloudhsm.deadline import SigningDeadline
from .._cloudhsm.deletion import Deleter
from .._cloudhsm.marks import check_room, doomed_tags, is_protected
from .marking import take_off

if t.TYPE_CHECKING:
    from .._activity.api import ActivityStore
    from .._cloudhsm.resources import Cluster, Hsm
    from .._cloudhsm.view import ClusterView
    from .._cloudhsm.waiters import Wait
    from .plan import Environment

# How long a deletion is announced for, once everybody can see the mark.
DOOMED_SECONDS = 60
CLAIM_SECONDS = 180
# How long the claim stays after the commit: jobs look at the mark then, and the reaper at its end takes the claim off.
COMMITTED_SECONDS = 180

# AWS has certainly not carried out what it answers with one of these.
_REFUSALS = ACCESS_DENIED_CODES | CREDENTIAL_CODES | THROTTLING_CODES


@dataclass(frozen=True)
class Spared:
    """The HSMs stay after all.

    Attributes:
        reason: Why, in words.
    """

    reason: str


class Reaper:
    """Deletes the HSMs of one environment if nobody uses it.

    Args:
        view: The cluster. It has been looked at.
        store: The activity store.
        environment: The environment.
        wait: The bound of the run.
        settle: Seconds after which everybody is shown a tag that was written.
        remember: Saves where the HSMs of the cluster are, so that they come back there.
    """

    def __init__(
        self,
        view: ClusterView,
        store: ActivityStore,
        environment: Environment,
        wait: Wait,
        settle: float,
        remember: t.Callable[[Cluster], None],
    ) -> None:
        self._view = view
        self._store = store
        self._environment = environment
        self._wait = wait
        self._settle = settle
        self._remember = remember
        self._token = secrets.token_hex(8)
        self._deadline = -math.inf
        self._signing = SigningDeadline(view.client, "DeleteHsm", lambda: self._deadline)

    def reap(self, hsms: t.Sequence[Hsm]) -> Spared | None:
        """Delete these HSMs, wait until they are gone and until AWS's backup of them is READY.

        Returns:
            Why they were spared, None where they are gone.

        Raises:
            ActivityError: Redis did not answer.
            AnsibleCloudHSMError: A call to AWS failed, or AWS has replaced an HSM.
            PlacementError: It could not be saved where the HSMs are.
            PlanError: There is no room for the marks.
            WaitError: It did not come in time.
        """
        ids = [hsm.hsm_id for hsm in hsms]
        name, idle_after = self._environment.name, self._environment.idle_after
        claim = self._store.claim_retiring({name: ids}, self._token, idle_after, CLAIM_SECONDS)[0]
        if not claim.granted:
            return Spared(explain(claim, idle_after))
        refused = False
        try:
            if changed := self._what_changed(ids):
                return Spared(changed)
            self._remember(self._view.cluster)
            self._mark(ids)
            self._wait.pause(self._settle)
            commit = self._store.commit([name], self._token, COMMITTED_SECONDS)[0]
            if not commit.granted:
                return Spared(explain(commit, idle_after))
            Deleter(self._view, self._wait).delete(hsms)
        except AnsibleCloudHSMError as error:
            # Of several attempts, an earlier one whose answer was lost may still arrive.
            refused = self._signing.sent == 1 and error_code(error.exception) in _REFUSALS
            raise
        finally:
            self._leave(ids, refused)
        return None

    def _what_changed(self, ids: t.Collection[str]) -> str:
        """Look again, now that the claim is there, and say what is not as it was when it was decided."""
        cluster = self._view.look()
        present = {hsm.hsm_id for hsm in cluster.hsms if not hsm.leaving}
        if present != set(ids):
            return f"the HSMs of {cluster.cluster_id} have changed since they were looked at"
        return "protected" if is_protected(self._view.tags) else ", ".join(map(str, self._view.live_marks))

    def _mark(self, ids: t.Collection[str]) -> None:
        deadline = self._view.aws_time + self._settle + DOOMED_SECONDS
        tags = doomed_tags(self._token, ids, deadline)
        check_room(self._view.cluster_id, self._view.tags, tags)
        # Before the call: a tag whose answer is lost may be there all the same.
        self._deadline = deadline
        api.tag_resource(self._view.client, self._view.cluster_id, tags)

    def _leave(self, ids: t.Collection[str], refused: bool) -> None:
        """Take the marks off, unless a request that was sent may still have its effect, and let the claim go."""
        marked, self._deadline = self._deadline > 0, -math.inf
        warnings = self._view.outcome.warnings
        there = any(hsm.hsm_id in ids and not hsm.leaving for hsm in self._view.cluster.hsms)
        if marked and there and self._signing.sent and not refused:
            warnings.append(
                f"It is not known what came of DeleteHsm. The marks on {self._view.cluster_id} stay, and keep jobs from "
                "relying on its HSMs, until nothing can come of it any more: about a quarter of an hour."
            )
        elif marked and (warning := take_off(self._view, doomed_tags(self._token, ids, 0))):
            warnings.append(warning)
        try:
            self._store.finish([self._environment.name], self._token)
        except ActivityError as error:
            warnings.append(f"The claim stays until it expires. {error}")
