# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Which environments lose their HSMs: by tables, and by rules that hold for whatever there is."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.plan import Claim, Holder, Snapshot
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.marks import Mark
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.resources import Cluster, Hsm
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.plan import (
    DELETE,
    DUE,
    KEEP,
    NOTHING,
    START_CLOCK,
    Decision,
    Environment,
    decide,
    limit,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000
ENVIRONMENT = Environment("dev", "cluster-a", 1800)
IDLE = Snapshot(NOW, "string", str(NOW - 3600))
HSM = Hsm("hsm-a", "eu-west-1a", "ACTIVE", "eni-a", "10.0.0.4")
CLUSTER = Cluster("cluster-a", "ACTIVE", {"eu-west-1a": "subnet-a"}, (HSM,))
LIVE_MARK = Mark("hsmops:doomed/t/hsm-a", "t", "hsm-a", NOW)
VOID_MARK = Mark("hsmops:creating/t", "t", "", NOW - 901)


def with_hsm(state: str, more: tuple[Hsm, ...] = ()) -> Cluster:
    return dataclasses.replace(CLUSTER, hsms=(dataclasses.replace(HSM, state=state), *more))


def in_state(state: str) -> Cluster:
    return dataclasses.replace(CLUSTER, state=state)


@pytest.mark.parametrize(
    ("snapshot", "cluster", "marks", "action", "reason"),
    [
        (IDLE, CLUSTER, (), DELETE, "last used 3600 s ago; idle after 1800 s"),
        (IDLE, CLUSTER, (VOID_MARK,), DELETE, "last used 3600 s ago"),
        (IDLE, with_hsm("DEGRADED"), (), DELETE, "last used 3600 s ago"),
        (IDLE, CLUSTER, (LIVE_MARK,), KEEP, "deletion of hsm-a announced by t"),
        (IDLE, with_hsm("CREATE_IN_PROGRESS"), (), KEEP, "CREATE_IN_PROGRESS"),
        (IDLE, with_hsm("SHINY"), (), KEEP, "SHINY"),
        (IDLE, with_hsm("DELETE_IN_PROGRESS"), (), NOTHING, "no HSM but one that is being deleted"),
        (IDLE, dataclasses.replace(CLUSTER, hsms=()), (), NOTHING, "no HSM"),
        (IDLE, in_state("INITIALIZED"), (), KEEP, "not known to have been activated"),
        (IDLE, in_state("UPDATE_IN_PROGRESS"), (), KEEP, "not known to have been activated"),
        (IDLE, in_state("MODIFY_IN_PROGRESS"), (), KEEP, "cluster-a is MODIFY_IN_PROGRESS"),
        (Snapshot(NOW, "none", ""), CLUSTER, (), START_CLOCK, "there is no record"),
        (Snapshot(NOW, "string", "soon"), CLUSTER, (), KEEP, "not a moment"),
        (Snapshot(NOW, "hash", ""), CLUSTER, (), KEEP, "not a moment"),
        (Snapshot(NOW, "string", str(NOW + 60)), CLUSTER, (), KEEP, "in the future"),
        (Snapshot(NOW, "string", str(NOW - 60)), CLUSTER, (), KEEP, "last used 60 s ago"),
        (dataclasses.replace(IDLE, holders=(Holder("job-7", 60),)), CLUSTER, (), KEEP, "held by job-7"),
        (dataclasses.replace(IDLE, holders=None), CLUSTER, (), KEEP, "another type"),
        (
            dataclasses.replace(IDLE, claim=Claim("creating", "t", expires_in=60)),
            CLUSTER,
            (),
            KEEP,
            "claimed (creating)",
        ),
        (dataclasses.replace(IDLE, claim=Claim("unknown")), CLUSTER, (), KEEP, "no step wrote"),
    ],
)
def test_decisions(snapshot, cluster, marks, action, reason):
    decision = decide(ENVIRONMENT, snapshot, cluster, marks, NOW)

    assert decision.action == action
    assert reason in decision.reason


@pytest.mark.parametrize("snapshot", [IDLE, Snapshot(NOW, "none", "")])
def test_what_is_protected_stays(snapshot):
    protected = dataclasses.replace(ENVIRONMENT, protected=True)

    assert decide(protected, snapshot, CLUSTER, (), NOW) == Decision(KEEP, "protected", (HSM,))
    assert decide(ENVIRONMENT, snapshot, CLUSTER, (), NOW, protected_by_tag=True).reason == "protected"


@pytest.mark.parametrize("snapshot", [IDLE, Snapshot(NOW, "none", "")])
def test_what_is_to_be_kept_stays(snapshot):
    kept = dataclasses.replace(ENVIRONMENT, keep="working hours")

    assert decide(kept, snapshot, CLUSTER, (), NOW) == Decision(KEEP, "working hours", (HSM,))


def test_what_is_not_prepared_is_due():
    decision = decide(dataclasses.replace(ENVIRONMENT, prepared=False), IDLE, CLUSTER, (), NOW)

    assert (decision.action, decision.hsms) == (DUE, (HSM,))


@pytest.mark.parametrize(("since", "action"), [(NOW - 3601, KEEP), (NOW - 3600, DELETE), (NOW, DELETE)])
def test_what_was_used_since_the_preparation_stays(since, action):
    """The last use was an hour ago."""
    decision = decide(dataclasses.replace(ENVIRONMENT, unused_since=since), IDLE, CLUSTER, (), NOW)

    assert decision.action == action
    assert ("used after the look" in decision.reason) == (action == KEEP)


STATES = ["CREATE_IN_PROGRESS", "ACTIVE", "DEGRADED", "DELETE_IN_PROGRESS", "DELETED", "OTHER"]
snapshots = st.builds(
    Snapshot,
    now=st.just(NOW),
    kind=st.sampled_from(["none", "string", "hash"]),
    value=st.sampled_from(["", "x", *(str(NOW + shift) for shift in (-7200, -1801, -1800, -1, 3, 60))]),
    holders=st.sampled_from([(), None, (Holder("j", 60),), (Holder("j", None),)]),
    claim=st.sampled_from([None, *(Claim(phase, "t") for phase in ("creating", "retiring", "committed", "unknown"))]),
)
clusters = st.builds(
    Cluster,
    cluster_id=st.just("cluster-a"),
    state=st.sampled_from(["ACTIVE", "INITIALIZED", "DEGRADED", "MODIFY_IN_PROGRESS", "OTHER"]),
    hsms=st.lists(
        st.builds(Hsm, hsm_id=st.from_regex("hsm-[a-z]{3}", fullmatch=True), state=st.sampled_from(STATES))
    ).map(tuple),
)
marks = st.lists(
    st.builds(
        Mark,
        key=st.just("k"),
        token=st.just("t"),
        hsm_id=st.sampled_from(["", "hsm-a"]),
        deadline=st.sampled_from([None, NOW + 60, NOW - 899, NOW - 901]),
    )
)


@given(snapshot=snapshots, cluster=clusters, found=marks, protected=st.booleans())
def test_only_what_is_known_to_be_idle_is_deleted(snapshot, cluster, found, protected):
    decision = decide(ENVIRONMENT, snapshot, cluster, found, NOW, protected)

    assert set(decision.hsms) == (
        {hsm for hsm in cluster.hsms if not hsm.leaving} if decision.action != NOTHING else set()
    )
    if decision.action == DELETE:
        assert snapshot.kind == "string"
        assert int(snapshot.value) < NOW - 1800
        assert snapshot.holders == ()
        assert snapshot.claim is None
        assert cluster.state == "ACTIVE"
        assert all(hsm.state in ("ACTIVE", "DEGRADED") for hsm in decision.hsms)
        assert all(mark.is_void(NOW) for mark in found)
        assert not protected
    if decision.action == START_CLOCK:
        assert snapshot.kind == "none"


@given(
    idle=st.dictionaries(st.text("abcdef", min_size=1), st.none() | st.floats(0, 1e6), max_size=12),
    most=st.integers(0, 12),
    action=st.sampled_from([DELETE, DUE]),
)
def test_no_more_than_allowed_go_and_those_idle_for_longest_first(idle, most, action):
    decisions = {name: Decision(action, "idle", (HSM,), seconds) for name, seconds in idle.items()}
    decisions["other"] = Decision(KEEP, "held")
    limited = limit(decisions, most)

    gone = [name for name, decision in limited.items() if decision.action == action]
    assert len(gone) == min(most, len(idle))
    assert limited["other"] == decisions["other"]
    spared = [idle[name] or 0 for name in idle if name not in gone]
    assert all((idle[name] or 0) >= max(spared, default=0) for name in gone)
