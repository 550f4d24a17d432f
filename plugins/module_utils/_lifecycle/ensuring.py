# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The side of those who need an HSM: what they write in Redis and in AWS, and in which order they read.

Each side writes its own store before it reads the other's. So of a reaper and a job, or of two creators, at least one sees
the other, even if Redis forgets everything at any moment.
"""

from __future__ import annotations

import math
import random
import secrets
import typing as t

from .._activity.endpoint import ActivityError
from .._activity.heartbeat import Heartbeat
from .._activity.plan import explain
from .._cloudhsm import api
from .._cloudhsm.deadline import DeadlineError
from .._cloudhsm.guard import NoGuard
from .._cloudhsm.marks import check_room, creating_tags
from .._cloudhsm.plan import PlanError
from .._cloudhsm.waiters import Verdict
from .marking import take_off
from .plan import check_settle

if t.TYPE_CHECKING:
    from .._cloudhsm.guard import Guard
    from .._cloudhsm.marks import Mark
    from .._cloudhsm.view import ClusterView
    from .._cloudhsm.waiters import Wait

# How long a creation is announced for. A creator that dies leaves its mark; the others wait until it is void.
CREATING_SECONDS = 60
# The environment is said to be in use at each look, and must not grow idle in between.
MOST_DELAY = 600
# A claim keeps the others out while its holder works; it is renewed, so that it can be short.
CLAIM_SECONDS = 180


def make_guard(
    params: t.Mapping[str, t.Any], view: ClusterView, wait: Wait, observers: list[t.Callable[[t.Any], None]]
) -> Guard:
    """Make the guard that the parameters of cloudhsm_hsm ask for.

    Args:
        params: The parameters.
        view: The cluster.
        wait: The bound of the run.
        observers: Those who are told of every look of a wait; whoever keeps an environment in use is one of them.

    Raises:
        ActivityError: A parameter is wrong, or the store is not configured.
    """
    activity = params["activity"]
    if not activity:
        return NoGuard()
    if problem := check_settle(activity["settle"]):
        raise ActivityError(f"activity.settle: {problem}.")
    if wait.delay > MOST_DELAY:
        raise ActivityError(
            f"wait_delay: {wait.delay:g} is too long. Each look keeps the environment in use: set it to at most {MOST_DELAY}."
        )
    heartbeat = Heartbeat(activity, view.outcome.warnings.append)
    observers.append(heartbeat.beat)
    return ActivityGuard(view, heartbeat, wait, activity["settle"], params["wait"])


class ActivityGuard:
    """Guards one run in one cluster by the activity protocol.

    Args:
        view: The cluster.
        heartbeat: Says in Redis that the environment is in use.
        wait: The bound of the run.
        settle: Seconds after which everybody is shown a tag that was written.
        may_wait: Wait for what others do; else refuse.
    """

    announces = True

    def __init__(
        self, view: ClusterView, heartbeat: Heartbeat, wait: Wait, settle: float, may_wait: bool = True
    ) -> None:
        self._view = view
        self._heartbeat = heartbeat
        self._wait = wait
        self._settle = settle
        self._may_wait = may_wait
        self._token = secrets.token_hex(8)
        self._deadline: float | None = None
        self._announced = 0.0
        self.obstacle = ""

    def deadline(self) -> float:
        """Return until when CreateHsm may be signed, in unix seconds of AWS's clock. Without the right to create: never."""
        return -math.inf if self._deadline is None else self._deadline

    def declare(self) -> None:
        """Say that the environment is in use.

        Raises:
            ActivityError: It could not be said.
        """
        self._heartbeat.touch()

    def clear(self) -> None:
        """Have no deletion stand against an HSM that is there.

        A deletion that is not committed yet is called off. One that may be is waited for: until its HSM is gone, or until
        nothing can come of it any more. Nobody finishes a deletion that another began.
        """

        looked = True

        def look() -> Verdict:
            nonlocal looked
            if not looked:
                self._view.look()
            looked = False
            self._take_off({mark.key for mark in self._view.void_marks})
            threats = [mark for mark in self._threats() if not self._call_off(mark)]
            if threats and not self._may_wait:
                raise PlanError(
                    "wait", f"{self._text(threats)}, and it may be too late to call it off. Run again later."
                )
            return Verdict(not threats, f"{self._text(threats)}; waiting until it is done, or void")

        self._wait.until(look)

    def open(self) -> bool:
        """Claim the right to create in Redis, and announce it in AWS.

        Returns:
            False where somebody else is about to create, or it cannot be said to everybody.
        """
        # A new mark each time: a request to take the last one off may still be on its way.
        self._token = secrets.token_hex(8)
        store, environment = self._heartbeat.store, self._heartbeat.environment
        grant = store.claim_creating([environment], self._token, CLAIM_SECONDS)[0]
        if not grant.granted:
            self.obstacle = f"{environment}: {explain(grant, 0)}"
            return False
        try:
            self._view.look()
            self._announce()
            self._wait.pause(self._settle)
            self._view.look()
        except BaseException:
            self.close()
            raise
        others = [mark for mark in self._view.live_marks if not mark.hsm_id and mark.token != self._token]
        if others:
            self.obstacle = f"{self._view.cluster_id}: {self._text(others)}"
            self.close()
            # Two that meet here would meet again if both came back at once.
            self._wait.pause(random.uniform(0, 2 * self._settle))
            return False
        return True

    def extend(self) -> None:
        """Announce it for longer, where the time left might be too short for a request.

        Raises:
            DeadlineError: The announcement has lapsed, so that others may have gone on without it.
        """
        if self._deadline is None or self._wait.elapsed - self._announced < CREATING_SECONDS / 2:
            return
        deadline = self._deadline
        try:
            self._heartbeat.store.renew([self._heartbeat.environment], self._token, CLAIM_SECONDS)
        except ActivityError as error:
            # The mark is what keeps others out; the claim only spares them the way to it.
            self._view.outcome.warnings.append(f"The claim could not be renewed. {error}")
        self._view.look()
        if self._view.aws_time > deadline or not self._own_keys() <= set(self._view.tags):
            raise DeadlineError(
                message=f"The creation of an HSM in {self._view.cluster_id} was announced for too short a time. Run again"
            )
        self._announce()

    def close(self, clear: bool = True) -> None:
        """Take the mark off, and let the claim go.

        Args:
            clear: False leaves the mark, because a request that was sent may still have its effect: others wait until the
                mark is void.
        """
        announced, self._deadline = self._deadline is not None, None
        if announced and clear:
            self._take_off(self._own_keys())
        elif announced:
            self._view.outcome.warnings.append(
                f"It is not known yet what came of CreateHsm. So the tag {', '.join(self._own_keys())} keeps others from "
                f"creating an HSM in {self._view.cluster_id}, for about a quarter of an hour."
            )
        try:
            self._heartbeat.store.finish([self._heartbeat.environment], self._token)
        except ActivityError as error:
            self._view.outcome.warnings.append(f"The claim stays until it expires. {error}")

    def _announce(self) -> None:
        deadline = self._view.aws_time + self._settle + CREATING_SECONDS
        tags = creating_tags(self._token, deadline)
        check_room(self._view.cluster_id, self._view.tags, tags)
        # Before the call: a tag whose answer is lost may be there all the same.
        self._deadline, self._announced = deadline, self._wait.elapsed
        api.tag_resource(self._view.client, self._view.cluster_id, tags)

    def _own_keys(self) -> set[str]:
        return set(creating_tags(self._token, 0))

    def _threats(self) -> list[Mark]:
        present = {hsm.hsm_id for hsm in self._view.cluster.hsms if not hsm.leaving}
        return [mark for mark in self._view.live_marks if mark.hsm_id in present]

    def _call_off(self, mark: Mark) -> bool:
        """Call a deletion off that is not committed. Its reaper finds its claim gone, and deletes nothing."""
        try:
            if not self._heartbeat.store.cancel([self._heartbeat.environment], mark.token)[0].granted:
                return False
        except ActivityError:
            return False
        self._view.outcome.actions.append(f"call off the {mark}")
        self._take_off({mark.key})
        return True

    def _take_off(self, keys: set[str]) -> None:
        if keys and (warning := take_off(self._view, keys)):
            self._view.outcome.warnings.append(warning)

    @staticmethod
    def _text(marks: t.Sequence[Mark]) -> str:
        return ", ".join(map(str, marks))
