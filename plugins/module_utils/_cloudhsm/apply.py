# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Carry a plan out. Check mode makes the same plan and stops there."""

from __future__ import annotations

import typing as t

from .creation import UnclearCreationError
from .deletion import Deleter
from .plan import Plan, PlanError
from .waiters import DegradedError, Verdict, look_idle, look_usable

if t.TYPE_CHECKING:
    from .creation import Creator
    from .guard import Guard
    from .resources import Cluster
    from .view import ClusterView
    from .waiters import Wait

    MakePlan = t.Callable[[Cluster], Plan]

# How long DescribeClusters may take to show an HSM that was created. AWS states no figure; a run that waits for the HSM
# anyway loses nothing by it.
SHOWN_SECONDS = 120


def converge(
    view: ClusterView,
    make_plan: MakePlan,
    creator: Creator,
    guard: Guard,
    wait: Wait,
    may_wait: bool,
    check_mode: bool,
) -> None:
    """Look at the cluster, plan, and do it. What was found and done stands in the outcome of the view.

    Args:
        view: The cluster.
        make_plan: Makes the plan for the cluster as it is.
        creator: Creates HSMs.
        guard: Keeps others from undoing or doubling it.
        wait: The bound of the run.
        may_wait: Wait until it is so; else send the calls and leave.
        check_mode: Change nothing.

    Raises:
        PlanError: It cannot or must not be done.
        AnsibleCloudHSMError: A call to AWS failed.
        WaitError: It did not come in time.
    """
    run = _Run(view, make_plan, creator, guard, wait, may_wait)
    if check_mode:
        view.outcome.before = view.look()
        run.plan(check_mode=True)
        return
    guard.declare()
    view.outcome.before = view.look()
    guard.clear()
    run.carry_out(run.plan())
    run.confirm()


class _Run:
    """One run in one cluster; the arguments are those of `converge`."""

    def __init__(
        self, view: ClusterView, make_plan: MakePlan, creator: Creator, guard: Guard, wait: Wait, may_wait: bool
    ) -> None:
        self._view = view
        self._make_plan = make_plan
        self._creator = creator
        self._guard = guard
        self._wait = wait
        self._may_wait = may_wait
        self._deleter = Deleter(view, wait if may_wait else None)
        self._replaced_degraded = False

    def plan(self, check_mode: bool = False) -> Plan:
        """Plan for the cluster, and say what a person should know of it."""
        plan = self._view.outcome.plan = self._plan_when_idle(check_mode)
        _warn_degraded(self._view, plan)
        self._creator.check_addresses(plan.create)
        return plan

    def carry_out(self, plan: Plan) -> None:
        """Do it; what becomes DEGRADED meanwhile is replaced once where the wish allows it."""
        try:
            self._carry_out(plan)
        except DegradedError as error:
            again = self._make_plan(self._view.look())
            # Once in a run: a second one that degrades says that something else is wrong.
            if self._replaced_degraded or not any(hsm.hsm_id == error.hsm.hsm_id for hsm in again.delete):
                raise
            self._replaced_degraded = True
            self._view.outcome.warnings.append(f"{error.hsm} became DEGRADED while it was waited for, and is replaced.")
            self._carry_out(again)

    def confirm(self) -> None:
        """After a wait, declare the need again, look again, and do again what has come undone since.

        A record of the need may have been lost during the wait; and what was taken for usable when the plan was made may
        have been on its way out, because DescribeClusters may lag.
        """
        if not (self._guard.announces or self._view.outcome.deleted):
            return
        while self._may_wait and self._wait.waited:
            self._wait.waited = False
            self._guard.declare()
            self._view.look()
            self._guard.clear()
            again = self._make_plan(self._view.cluster)
            if again.create or again.adopt:
                self.carry_out(again)

    def _carry_out(self, plan: Plan) -> None:
        in_the_way = plan.delete_first + plan.gone_first
        if plan.create and in_the_way and not self._may_wait:
            raise PlanError(
                "wait",
                f"{', '.join(map(str, in_the_way))} must be gone before the new HSM can be created. Set wait=true, or run "
                "again when it is.",
            )
        self._deleter.delete(plan.delete_first)
        self._deleter.wait_gone(plan.gone_first)
        awaited = [*plan.adopt]
        if plan.create:
            permitted = self._permitted(plan)
            awaited = [*permitted.adopt, *self._create(permitted)]
        if awaited and self._may_wait:
            self._wait.until(lambda: look_usable(self._view.look(), awaited))
        self._deleter.delete(plan.delete_after)
        self._deleter.finish(plan.leaving)

    def _permitted(self, plan: Plan) -> Plan:
        """Return a plan whose creations nobody else makes meanwhile; the guard is open if it has any."""
        if plan.create and self._guard.open():
            return self._after_opening(plan)
        if not self._may_wait:
            raise PlanError("wait", f"{self._guard.obstacle}. Run again later, or set wait=true.")
        found: list[Plan] = []

        def attempt() -> Verdict:
            self._view.look()
            self._guard.clear()
            again = self._make_plan(self._view.cluster)
            if not again.create:
                found.append(again)
            elif self._guard.open():
                found.append(self._after_opening(again))
            return Verdict(bool(found), self._guard.obstacle)

        self._wait.until(attempt)
        return found[0]

    def _after_opening(self, plan: Plan) -> Plan:
        """Plan again for what the guard saw, and give the right back where nothing is to be created any more."""
        try:
            again = self._make_plan(self._view.cluster)
        except BaseException:
            self._guard.close()
            raise
        if not again.create:
            self._guard.close()
        return again

    def _create(self, plan: Plan) -> list[t.Any]:
        if not plan.create:
            return []
        # Until it is known what came of it, others must go on thinking that an HSM is being made.
        clear = False
        try:
            made = [self._creator.create(wish) for wish in plan.create]
            clear = self._is_shown()
        except UnclearCreationError:
            raise
        except Exception:
            clear = not self._view.unshown()
            raise
        finally:
            self._guard.close(clear)
        return made

    def _is_shown(self) -> bool:
        """Say whether AWS shows what was created, which is what others go by. Where nobody was told, nobody waits for it."""
        if not self._guard.announces:
            return True
        return self._wait.until(self._look_shown, SHOWN_SECONDS) if self._may_wait else self._look_shown().done

    def _look_shown(self) -> Verdict:
        if not self._view.unshown():
            return Verdict(True, "")
        self._view.look()
        unshown = self._view.unshown()
        return Verdict(not unshown, f"{', '.join(map(str, unshown))} is not shown by AWS")

    def _plan_when_idle(self, check_mode: bool) -> Plan:
        """Plan; where the cluster is passing into another state and something is to be changed, wait for that first."""
        view, cluster = self._view, self._view.cluster
        if cluster.busy and not self._nothing_to_do(cluster):
            passing = f"cluster {cluster.cluster_id} is {cluster.state} and accepts no change of its HSMs meanwhile"
            if not self._may_wait:
                raise PlanError("wait", f"{passing}. Run again later, or set wait=true.")
            if check_mode:
                view.outcome.warnings.append(f"{passing}: a run would wait, and decide then.")
                return Plan()
            self._wait.until(lambda: look_idle(view.look()))
            self._guard.clear()
        return self._make_plan(view.cluster)

    def _nothing_to_do(self, cluster: Cluster) -> bool:
        try:
            return not self._make_plan(cluster).changes
        except PlanError:
            # A refusal need not hold for the state that follows.
            return False


def _warn_degraded(view: ClusterView, plan: Plan) -> None:
    view.outcome.warnings.extend(
        f"{hsm} is DEGRADED ({hsm.state_message or 'no message from AWS'}): it serves nobody, never heals and is paid for. "
        "Set replace_degraded=true to have it replaced, or delete it with state=absent and hsm_ids."
        for hsm in plan.degraded
    )
