# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Carry out what is wished of one cluster.

CreateCluster has no idempotency token. So it is sent once; where its answer is lost, the cluster that it made is looked for by
the tag Name that went with it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from . import api, clusters
from . import clusters_plan as plan
from . import clusters_states as states
from .common import AnsibleCloudHSMError, error_code, may_have_had_effect
from .creation import ADOPT_SECONDS
from .deletion import SETTLE_SECONDS
from .plan import PlanError
from .resources import CLUSTER_BUSY_STATES
from .transformations import to_cluster, with_tags
from .waiters import Verdict, WaitError, look_idle

if t.TYPE_CHECKING:
    from .waiters import Wait

_Cluster = dict[str, t.Any]

_LATER = "Run again later, or set wait=true."


@dataclass
class ClusterOutcome:
    """What a run found and did, or in check mode would do. Complete at any moment.

    Attributes:
        actions: What was or would be changed, a line each.
        before: The cluster as it was found; None: there was none.
        cluster: The cluster as it was shown last, or as check mode predicts it.
        warnings: What a person should know.
    """

    actions: list[str] = field(default_factory=list)
    before: _Cluster | None = None
    cluster: _Cluster | None = None
    warnings: list[str] = field(default_factory=list)


class ClusterKeeper:
    """Brings one cluster to what is wished for.

    Args:
        client: The client for every call but CreateCluster.
        make_creating_client: Makes a client whose own retries are off; called only when a cluster is created.
        wait: The bound of the run.
        patient: Wait for what AWS does by itself; else only for a cluster whose CreateCluster answer was lost.
        outcome: What the run found and did.
    """

    def __init__(
        self,
        client: t.Any,
        make_creating_client: t.Callable[[], t.Any],
        wait: Wait,
        patient: bool,
        outcome: ClusterOutcome,
    ) -> None:
        self._client = client
        self._make_creating_client = make_creating_client
        self._wait = wait
        self._patient = patient
        self._outcome = outcome

    def converge(self, wish: plan.Wish, check_mode: bool) -> None:
        """Find the cluster, and carry out what is to be done.

        Args:
            wish: What it is to be like.
            check_mode: Change nothing, wait for nothing, and predict.

        Raises:
            PlanError: It cannot or must not be done.
            AnsibleCloudHSMError: A call failed.
            WaitError: What was waited for did not come in time, or cannot come any more.
        """
        cluster = (
            self._describe(wish.cluster_id) if wish.cluster_id else plan.choose(self._all(), wish.name, wish.present)
        )
        self._outcome.before = self._outcome.cluster = dict(cluster) if cluster else None
        if wish.present:
            self._ensure(self._outcome.before, wish, check_mode)
        else:
            self._remove(self._outcome.before, wish, check_mode)

    def _ensure(self, cluster: _Cluster | None, wish: plan.Wish, check_mode: bool) -> None:
        todo = plan.plan_present(cluster, wish)
        renamed = dict(todo.tag).get(plan.NAME_TAG)
        if renamed is not None:
            plan.check_name_free(self._all(), renamed)
        if check_mode:
            self._predict(cluster, todo, wish)
        elif cluster is None:
            self._create(wish)
        else:
            self._update(cluster, todo, wish)

    def _create(self, wish: plan.Wish) -> None:
        adopted = False
        try:
            made = clusters.create(self._make_creating_client(), wish.name, plan.creation_request(wish))
            cluster = with_tags(made)
        except AnsibleCloudHSMError as error:
            if not may_have_had_effect(error.exception):
                raise
            cluster, adopted = self._adopt(wish, error), True
        self._outcome.cluster = cluster
        self._outcome.actions += plan.actions(wish.name, plan.ClusterPlan(create=True))
        if self._patient:
            self._wait_ready(cluster["ClusterId"], seen=False, from_backup=wish.source_backup_id is not None)
            # Another run may have made one at the same moment; nobody is to go on with either before a person has chosen.
            plan.choose(self._all(), wish.name, present=True)
        if adopted:
            # Whatever is found in its place is held to the same wish.
            self._change(cluster["ClusterId"], plan.plan_present(self._outcome.cluster, wish))

    def _adopt(self, wish: plan.Wish, error: AnsibleCloudHSMError) -> _Cluster:
        """Find the cluster that a CreateCluster without an answer made. There was none of that name before."""
        found: list[_Cluster] = []

        def look() -> Verdict:
            cluster = plan.choose(self._all(), wish.name, present=True)
            found.extend([dict(cluster)] if cluster else [])
            return Verdict(bool(found), "the answer to CreateCluster was lost; looking for the cluster that it made")

        failure = ""
        try:
            self._wait.until(look, timeout=ADOPT_SECONDS)
        except (AnsibleCloudHSMError, WaitError) as unseen:
            failure = f" ({unseen})"
        if not found:
            raise AnsibleCloudHSMError(
                message=f"{error.message}. AWS may or may not have made the cluster: none of the name {wish.name!r} was seen "
                f"within {ADOPT_SECONDS} s{failure}. It was not asked for again, because that could make two. Run again in a few "
                "minutes: what is there is adopted",
                exception=error.exception,
            ) from error
        self._outcome.warnings.append(
            f"{str(error).rstrip('.')}. The cluster was made all the same, and was adopted: {found[0]['ClusterId']}."
        )
        return found[0]

    def _update(self, cluster: _Cluster, todo: plan.ClusterPlan, wish: plan.Wish) -> None:
        cluster_id, state = cluster["ClusterId"], cluster["State"]
        if state == states.DEGRADED:
            self._outcome.warnings.append(
                f"Cluster {cluster_id} is {state}: {cluster.get('StateMessage') or 'AWS gives no reason'}."
            )
        if state in states.course_of(cluster).pending:
            if self._patient:
                self._wait_ready(cluster_id, seen=True)
                todo = plan.plan_present(self._outcome.cluster, wish)
            elif todo.modifies:
                raise PlanError("wait", f"cluster {cluster_id} is {state}, and can be changed after that. {_LATER}")
        self._change(cluster_id, todo)

    def _change(self, cluster_id: str, todo: plan.ClusterPlan) -> None:
        if todo.retention_days is not None:
            clusters.modify(self._client, cluster_id, plan.retention_request(todo.retention_days))
            self._did(cluster_id, plan.ClusterPlan(retention_days=todo.retention_days))
        if todo.tag:
            api.tag_resource(self._client, cluster_id, dict(todo.tag))
            self._did(cluster_id, plan.ClusterPlan(tag=todo.tag))
        if todo.untag:
            api.untag_resource(self._client, cluster_id, todo.untag)
            self._did(cluster_id, plan.ClusterPlan(untag=todo.untag))
        if todo.hsm_type is not None:
            self._move(cluster_id, todo.hsm_type)
        elif todo.changes:
            self._look(cluster_id)

    def _move(self, cluster_id: str, hsm_type: str) -> None:
        """Have AWS move the HSMs to another type."""
        at_once = False
        try:
            answer = clusters.modify(self._client, cluster_id, {"HsmType": hsm_type})
            at_once = answer.get("State") == states.ACTIVE
        except AnsibleCloudHSMError as error:
            self._unless_done(error, cluster_id, lambda now: states.is_moving(now, hsm_type))
        self._did(cluster_id, plan.ClusterPlan(hsm_type=hsm_type))
        if self._patient:
            self._wait.until(
                lambda: states.look_begun(self._look(cluster_id), hsm_type, at_once), timeout=SETTLE_SECONDS
            )
            self._wait.until(lambda: states.look_moved(self._look(cluster_id), cluster_id, hsm_type))
        else:
            self._look(cluster_id)

    def _remove(self, cluster: _Cluster | None, wish: plan.Wish, check_mode: bool) -> None:
        todo = plan.plan_absent(cluster, wish.force)
        if check_mode and todo.changes:
            self._predict(cluster, todo, wish)
        if check_mode or cluster is None:
            return
        cluster_id = cluster["ClusterId"]
        if todo.delete and cluster["State"] in CLUSTER_BUSY_STATES:
            if not self._patient:
                raise PlanError(
                    "wait", f"cluster {cluster_id} is {cluster['State']}, and can be deleted after that. {_LATER}"
                )
            self._wait.until(lambda: self._look_idle(cluster_id))
            # An HSM may have come meanwhile.
            todo = plan.plan_absent(self._outcome.cluster, wish.force)
        if todo.delete:
            self._delete(cluster_id)
        if self._patient and cluster["State"] != states.DELETED:
            self._wait.until(lambda: states.look_deleted(self._look(cluster_id), cluster_id))

    def _delete(self, cluster_id: str) -> None:
        try:
            deleted = clusters.delete(self._client, cluster_id)
        except AnsibleCloudHSMError as error:
            self._unless_done(error, cluster_id, states.is_leaving)
            deleted = True
        if deleted:
            self._did(cluster_id, plan.ClusterPlan(delete=True))
        self._look(cluster_id)

    def _unless_done(
        self, error: AnsibleCloudHSMError, cluster_id: str, done: t.Callable[[_Cluster | None], bool]
    ) -> None:
        """Raise an error, unless it only says that the call was carried out.

        A call whose answer was lost is repeated, and the repeated call is refused because the first had its effect.
        """
        refused = error_code(error.exception) == "CloudHsmInvalidRequestException"
        if not refused and not may_have_had_effect(error.exception):
            raise error
        if not done(self._describe(cluster_id)):
            raise error

    def _wait_ready(self, cluster_id: str, seen: bool, from_backup: bool = False) -> None:
        shown = [seen]

        def look() -> Verdict:
            verdict = states.look_ready(cluster := self._describe(cluster_id), cluster_id, shown[0], from_backup)
            if cluster is not None:
                self._outcome.cluster, shown[0] = cluster, True
            return verdict

        self._wait.until(look)

    def _look_idle(self, cluster_id: str) -> Verdict:
        cluster = self._look(cluster_id)
        return look_idle(to_cluster(cluster)) if cluster else Verdict(True, "")

    def _predict(self, cluster: _Cluster | None, todo: plan.ClusterPlan, wish: plan.Wish) -> None:
        self._outcome.actions = plan.actions(cluster["ClusterId"] if cluster else wish.name, todo)
        self._outcome.cluster = plan.predict(cluster, todo, wish)

    def _did(self, cluster_id: str, done: plan.ClusterPlan) -> None:
        self._outcome.actions += plan.actions(cluster_id, done)

    def _look(self, cluster_id: str) -> _Cluster | None:
        self._outcome.cluster = self._describe(cluster_id)
        return self._outcome.cluster

    def _describe(self, cluster_id: str) -> _Cluster | None:
        shown, _moment = api.describe_cluster(self._client, cluster_id)
        return with_tags(shown) if shown else None

    def _all(self) -> list[_Cluster]:
        shown, _moment = api.describe_clusters(self._client)
        return [with_tags(cluster) for cluster in shown]
