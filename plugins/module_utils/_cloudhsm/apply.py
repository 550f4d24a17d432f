# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Carry a plan out. Check mode makes the same plan and stops there."""

from __future__ import annotations

import typing as t

from .deletion import Deleter
from .plan import Plan, PlanError
from .waiters import DegradedError, look_idle, look_usable

if t.TYPE_CHECKING:
    from .creation import Creator
    from .resources import Cluster
    from .view import ClusterView
    from .waiters import Wait

    MakePlan = t.Callable[[Cluster], Plan]


def converge(
    view: ClusterView, make_plan: MakePlan, creator: Creator, wait: Wait, may_wait: bool, check_mode: bool
) -> None:
    """Look at the cluster, plan, and do it. What was found and done stands in the outcome of the view.

    Args:
        view: The cluster.
        make_plan: Makes the plan for the cluster as it is.
        creator: Creates HSMs.
        wait: The bound of the run.
        may_wait: Wait until it is so; else send the calls and leave.
        check_mode: Change nothing.

    Raises:
        PlanError: It cannot or must not be done.
        AnsibleCloudHSMError: A call to AWS failed.
        WaitError: It did not come in time.
    """
    deleter = Deleter(view, wait if may_wait else None)

    def carry_out(plan: Plan) -> None:
        in_the_way = plan.delete_first + plan.gone_first
        if plan.create and in_the_way and not may_wait:
            raise PlanError(
                "wait",
                f"{', '.join(map(str, in_the_way))} must be gone before the new HSM can be created. Set wait=true, or run "
                "again when it is.",
            )
        deleter.delete(plan.delete_first)
        deleter.wait_gone(plan.gone_first)
        awaited = [*plan.adopt, *(creator.create(wish) for wish in plan.create)]
        if awaited and may_wait:
            wait.until(lambda: look_usable(view.look(), awaited))
        deleter.delete(plan.delete_after)
        deleter.finish(plan.leaving)

    view.outcome.before = view.look()
    plan = view.outcome.plan = _plan(view, make_plan, wait, may_wait, check_mode)
    _warn_degraded(view, plan)
    creator.check_addresses(plan.create)
    if check_mode:
        return
    try:
        carry_out(plan)
    except DegradedError as error:
        again = make_plan(view.look())
        if not any(hsm.hsm_id == error.hsm.hsm_id for hsm in again.delete):
            raise
        # Once in a run: a second one that degrades says that something else is wrong.
        view.outcome.warnings.append(f"{error.hsm} became DEGRADED while it was waited for, and is replaced.")
        carry_out(again)
    if plan.delete and may_wait and (again := make_plan(view.look())).create:
        # What was taken for usable when the plan was made was on its way out: DescribeClusters may lag.
        carry_out(again)


def _plan(view: ClusterView, make_plan: MakePlan, wait: Wait, may_wait: bool, check_mode: bool) -> Plan:
    """Plan for the cluster; where it is passing into another state and something is to be changed, wait for that first."""
    cluster = view.cluster
    if cluster.busy and not _nothing_to_do(make_plan, cluster):
        passing = f"cluster {cluster.cluster_id} is {cluster.state} and accepts no change of its HSMs meanwhile"
        if not may_wait:
            raise PlanError("wait", f"{passing}. Run again later, or set wait=true.")
        if check_mode:
            view.outcome.warnings.append(f"{passing}: a run would wait, and decide then.")
            return Plan()
        wait.until(lambda: look_idle(view.look()))
    return make_plan(view.cluster)


def _nothing_to_do(make_plan: MakePlan, cluster: Cluster) -> bool:
    try:
        return not make_plan(cluster).changes
    except PlanError:
        # A refusal need not hold for the state that follows.
        return False


def _warn_degraded(view: ClusterView, plan: Plan) -> None:
    view.outcome.warnings.extend(
        f"{hsm} is DEGRADED ({hsm.state_message or 'no message from AWS'}): it serves nobody, never heals and is paid for. "
        "Set replace_degraded=true to have it replaced, or delete it with state=absent and hsm_ids."
        for hsm in plan.degraded
    )
