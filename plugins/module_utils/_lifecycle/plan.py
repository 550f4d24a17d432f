# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Decide which environments lose their HSMs. Plain values in, decisions out: no AWS, no Redis, no clock."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass, field

from .._activity.plan import judge

if t.TYPE_CHECKING:
    from .._activity.plan import Snapshot
    from .._cloudhsm.marks import Mark
    from .._cloudhsm.resources import Cluster, Hsm

DELETE = "delete"
START_CLOCK = "start_clock"
DUE = "due"
KEEP = "keep"
NOTHING = "nothing"

# The claim lives for three minutes, in which the announcement is made and everybody is shown it.
MOST_SETTLE = 120


@dataclass(frozen=True)
class Place:
    """An account and region, as far as a task can tell them.

    Attributes:
        region: The region.
        connection: What the client is made with in place of the task's own, by the names that amazon.aws has for it there.
    """

    region: str
    connection: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Environment:
    """One environment, as whoever runs the reaper describes it.

    Attributes:
        name: Its name in the activity store.
        idle_after: Seconds without use before its HSMs may go.
        protected: Its HSMs are never deleted.
        keep: Why its HSMs are not deleted now, whatever its activity; nothing where that decides.
        key_stores: "refuse": its HSMs stay while KMS has a key store on the cluster that needs them; "ignore": KMS is not asked.
        prepared: What has to be done before they are deleted is done; else it is only told that they are due.
        unused_since: They are deleted only if the last use was before that, in unix seconds of the activity store's clock.
    """

    name: str
    cluster_id: str
    idle_after: float
    protected: bool = False
    keep: str = ""
    key_stores: str = "refuse"
    prepared: bool = True
    unused_since: float | None = None


@dataclass(frozen=True)
class Decision:
    """What becomes of one environment.

    Attributes:
        action: DELETE, DUE (they may go, when what comes before that is done), START_CLOCK (there is an HSM and no record: the
            time begins to count), KEEP, or NOTHING to keep.
        reason: Why, in words.
        hsms: The HSMs that it is about.
        idle_seconds: For how long nobody has used it, where that is known.
    """

    action: str
    reason: str
    hsms: tuple[Hsm, ...] = ()
    idle_seconds: float | None = None


def decide(
    environment: Environment,
    snapshot: Snapshot,
    cluster: Cluster,
    marks: t.Iterable[Mark],
    now: float,
    protected_by_tag: bool = False,
) -> Decision:
    """Decide about one environment.

    Args:
        environment: The environment.
        snapshot: Its activity, as the activity store has it.
        cluster: Its cluster.
        marks: The marks on it.
        now: Unix seconds of AWS's own clock.
        protected_by_tag: The cluster has the tag that protects it.
    """
    hsms = tuple(hsm for hsm in cluster.hsms if not hsm.leaving)
    if not hsms:
        return Decision(NOTHING, "no HSM" + (" but one that is being deleted" if cluster.hsms else ""))
    if environment.protected or protected_by_tag:
        return Decision(KEEP, "protected", hsms)
    if environment.keep:
        return Decision(KEEP, environment.keep, hsms)
    judgement = judge(snapshot, environment.idle_after)
    if judgement.status == "unknown" and snapshot.kind == "none":
        return Decision(START_CLOCK, judgement.reason, hsms)
    obstacle = _obstacle(cluster, hsms, [mark for mark in marks if not mark.is_void(now)])
    if judgement.status != "idle" or obstacle:
        reason = judgement.reason if judgement.status != "idle" else obstacle
        return Decision(KEEP, reason, hsms, judgement.idle_seconds)
    if environment.unused_since is not None and (judgement.last_access or 0) > environment.unused_since:
        used = "it was used after the look that its deletion was prepared for"
        return Decision(KEEP, f"{judgement.reason}; {used}", hsms, judgement.idle_seconds)
    return Decision(DELETE if environment.prepared else DUE, judgement.reason, hsms, judgement.idle_seconds)


def check_settle(seconds: float) -> str | None:
    """Say what is wrong with the time after which everybody is shown a tag, or None."""
    return (
        None if 0 <= seconds <= MOST_SETTLE else f"{seconds} is less than 0, or too much. Set it to 0 to {MOST_SETTLE}"
    )


def limit(decisions: t.Mapping[str, Decision], most: int) -> dict[str, Decision]:
    """Let no more than so many environments lose their HSMs: those first that have been idle for longest."""
    doomed = [name for name, decision in decisions.items() if decision.action in (DELETE, DUE)]
    doomed.sort(key=lambda name: (-(decisions[name].idle_seconds or 0), name))
    spared = set(doomed[most:])
    return {
        name: dataclasses.replace(
            decision, action=KEEP, reason=f"{decision.reason}; kept, because no more than {most} may go in one run"
        )
        if name in spared
        else decision
        for name, decision in decisions.items()
    }


def _obstacle(cluster: Cluster, hsms: t.Iterable[Hsm], marks: t.Iterable[Mark]) -> str:
    """Say what stands against deleting idle HSMs now, or nothing."""
    if not cluster.activated:
        return (
            f"cluster {cluster.cluster_id} is {cluster.state}, so it is not known to have been activated, and AWS makes no "
            "backup of what is in its last HSM"
        )
    if cluster.busy:
        return f"cluster {cluster.cluster_id} is {cluster.state}"
    unready = [f"{hsm} is {hsm.state}" for hsm in hsms if not (hsm.usable or hsm.degraded)]
    if unready:
        return ", ".join(unready)
    announced = [str(mark) for mark in marks]
    return ", ".join(announced)
