# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The plans: what is created and what is deleted, by tables and by rules that hold for every cluster."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import (
    Absent,
    Placement,
    PlanError,
    Present,
    plan_absent,
    plan_present,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.resources import Cluster, Hsm
from hypothesis import given
from hypothesis import strategies as st

ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
MAPPING = {zone: f"subnet-0000000{number}" for number, zone in enumerate(ZONES)}


def hsm(number: int, state: str = "ACTIVE", zone: str = ZONES[0], address: str | None = None) -> Hsm:
    return Hsm(f"hsm-{number}", zone, state, f"eni-{number}", address or f"10.0.0.{number}")


def cluster(*hsms: Hsm, state: str = "ACTIVE") -> Cluster:
    return Cluster("cluster-abcdefghijk", state, MAPPING, hsms)


def places(plan) -> list[str]:
    return [str(wish.placement) for wish in plan.create]


@pytest.mark.parametrize(
    ("hsms", "wish", "created"),
    [
        ((), Present(), ["eu-west-1a"]),
        ((), Present(count=4), ["eu-west-1a", "eu-west-1b", "eu-west-1c", "eu-west-1a"]),
        ((), Present(count=2, availability_zones=("eu-west-1c", "eu-west-1a")), ["eu-west-1c", "eu-west-1a"]),
        ((hsm(1),), Present(), []),
        ((hsm(1),), Present(count=2), ["eu-west-1b"]),
        ((hsm(1, "CREATE_IN_PROGRESS"),), Present(), []),
        ((hsm(1, "DELETE_IN_PROGRESS"),), Present(), ["eu-west-1a"]),
        ((hsm(1, "DELETED"),), Present(), ["eu-west-1a"]),
        ((hsm(1, "DEGRADED"),), Present(), ["eu-west-1a"]),
        ((), Present(placements=(Placement("eu-west-1b", "10.0.1.9"),)), ["eu-west-1b at 10.0.1.9"]),
        ((hsm(1, address="10.0.0.8"),), Present(placements=(Placement("eu-west-1a", "10.0.0.9"),)), []),
        (
            (hsm(1, address="10.0.0.9"),),
            Present(count=2, placements=(Placement("eu-west-1a", "10.0.0.9"), Placement("eu-west-1b", "10.0.1.9"))),
            ["eu-west-1b at 10.0.1.9"],
        ),
    ],
)
def test_present_creates_what_is_missing(hsms, wish, created):
    plan = plan_present(cluster(*hsms), wish)

    assert places(plan) == created
    assert plan.delete == ()


@pytest.mark.parametrize("state", ["ACTIVE", "UNINITIALIZED"])
def test_nothing_is_created_beside_an_hsm_in_an_unknown_state(state):
    with pytest.raises(PlanError, match="'SOMETHING_NEW', which this version does not know"):
        plan_present(cluster(hsm(1, "SOMETHING_NEW"), state=state), Present())
    assert not plan_present(cluster(hsm(1, "SOMETHING_NEW"), hsm(2), state=state), Present()).changes


def test_placement_with_an_address_chooses_its_hsm_first():
    wish = Present(count=2, placements=(Placement("eu-west-1a"), Placement("eu-west-1a", "10.0.0.9")))

    assert places(plan_present(cluster(hsm(1, address="10.0.0.9")), wish)) == ["eu-west-1a"]


def test_hsm_that_is_being_created_is_adopted():
    coming = hsm(1, "CREATE_IN_PROGRESS")

    assert plan_present(cluster(coming), Present()).adopt == (coming,)


def test_degraded_hsm_is_reported_and_stays():
    degraded = hsm(1, "DEGRADED")
    plan = plan_present(cluster(degraded, hsm(2)), Present())

    assert plan.degraded == (degraded,)
    assert not plan.changes


def test_degraded_hsm_is_replaced_after_the_new_one_is_usable():
    degraded = hsm(1, "DEGRADED")
    plan = plan_present(cluster(degraded), Present(replace_degraded=True))

    assert (len(plan.create), plan.delete_first, plan.delete_after) == (1, (), (degraded,))


def test_degraded_hsm_that_holds_the_wanted_address_goes_first():
    degraded = hsm(1, "DEGRADED")
    placement = Placement(degraded.availability_zone, degraded.eni_ip)
    plan = plan_present(cluster(degraded), Present(placements=(placement,), replace_degraded=True))

    assert (plan.delete_first, plan.delete_after) == ((degraded,), ())
    with pytest.raises(PlanError, match="placements: .*replace_degraded"):
        plan_present(cluster(degraded), Present(placements=(placement,)))


def test_exact_deletes_what_is_too_much_from_the_fullest_zone():
    plan = plan_present(cluster(hsm(1), hsm(2), hsm(3, zone=ZONES[1])), Present(count=2, exact=True))

    assert [victim.availability_zone for victim in plan.delete] == ["eu-west-1a"]


def test_exact_keeps_the_wanted_placements():
    kept = hsm(1, address="10.0.0.9")
    wish = Present(placements=(Placement(kept.availability_zone, kept.eni_ip),), exact=True)

    assert plan_present(cluster(kept, hsm(2), hsm(3, zone=ZONES[1])), wish).delete == (hsm(2), hsm(3, zone=ZONES[1]))


def test_exact_deletes_first_what_nobody_uses_yet():
    coming = hsm(2, "CREATE_IN_PROGRESS", ZONES[1])

    assert plan_present(cluster(hsm(1), coming), Present(exact=True)).delete == (coming,)


@pytest.mark.parametrize("state", ["UNINITIALIZED", "INITIALIZED", "DEGRADED", "SOMETHING_NEW"])
def test_cluster_that_was_never_activated_takes_one_hsm(state):
    assert len(plan_present(cluster(state=state), Present()).create) == 1
    with pytest.raises(PlanError, match=f"count: 2 HSMs .* is {state}: a cluster takes one HSM"):
        plan_present(cluster(state=state), Present(count=2))
    with pytest.raises(PlanError, match="replace_degraded: .*DEGRADED"):
        plan_present(cluster(hsm(1, "DEGRADED"), state=state), Present())
    with pytest.raises(PlanError, match="force: "):
        plan_present(cluster(hsm(1, "DEGRADED"), state=state), Present(replace_degraded=True))


def test_first_hsm_waits_for_the_one_that_leaves():
    leaving = hsm(1, "DELETE_IN_PROGRESS")

    assert plan_present(cluster(leaving, state="UNINITIALIZED"), Present()).gone_first == (leaving,)


@pytest.mark.parametrize("state", ["DELETE_IN_PROGRESS", "DELETED"])
def test_deleted_cluster_is_refused(state):
    with pytest.raises(PlanError, match=f"cluster_id: .* is {state}"):
        plan_present(cluster(state=state), Present())


@pytest.mark.parametrize(
    ("wish", "parameter"),
    [
        (Present(availability_zones=("eu-west-1d",)), "availability_zones"),
        (Present(placements=(Placement("eu-west-1d"),)), "placements"),
    ],
)
def test_zone_outside_the_mapping_is_refused(wish, parameter):
    with pytest.raises(PlanError, match=f"{parameter}: .*no subnet in eu-west-1d.*eu-west-1a, eu-west-1b"):
        plan_present(cluster(), wish)


def test_absent_deletes_all_or_those_named():
    hsms = (hsm(1), hsm(2, "DEGRADED"), hsm(3, "CREATE_IN_PROGRESS"), hsm(4, "DELETE_IN_PROGRESS"))

    assert plan_absent(cluster(*hsms), Absent()).delete == hsms[:3]
    assert plan_absent(cluster(*hsms), Absent()).leaving == hsms[3:]
    assert plan_absent(cluster(*hsms), Absent(("hsm-2", "hsm-9"))).delete == hsms[1:2]


@pytest.mark.parametrize("state", ["UNINITIALIZED", "INITIALIZED", "DEGRADED", "UPDATE_IN_PROGRESS", "SOMETHING_NEW"])
def test_last_hsm_of_a_cluster_that_may_never_have_been_activated_stays(state):
    with pytest.raises(PlanError, match=f"force: .*{state}.*would be lost"):
        plan_absent(cluster(hsm(1), state=state), Absent())
    with pytest.raises(PlanError, match="force: "):
        plan_absent(cluster(hsm(1), hsm(2, "DELETE_IN_PROGRESS"), state=state), Absent(("hsm-1",)))
    assert plan_absent(cluster(hsm(1), state=state), Absent(force=True)).changes


# --- rules that hold for every cluster and every wish

hsms_strategy = st.lists(
    st.tuples(
        st.sampled_from(["CREATE_IN_PROGRESS", "ACTIVE", "DEGRADED", "DELETE_IN_PROGRESS", "DELETED", "NEW"]),
        st.sampled_from(ZONES),
    ),
    max_size=6,
).map(lambda drawn: tuple(hsm(number, state, zone) for number, (state, zone) in enumerate(drawn)))
clusters = st.builds(
    lambda hsms, state: cluster(*hsms, state=state),
    hsms_strategy,
    st.sampled_from(["ACTIVE", "UNINITIALIZED", "INITIALIZED", "DEGRADED", "UPDATE_IN_PROGRESS", "NEW"]),
)
presents = st.builds(
    Present,
    count=st.integers(1, 5),
    exact=st.booleans(),
    availability_zones=st.lists(st.sampled_from(ZONES), unique=True).map(tuple),
    replace_degraded=st.booleans(),
    force=st.booleans(),
)


def plan_or_none(plan, *arguments):
    try:
        return plan(*arguments)
    except PlanError:
        return None


def after(before: Cluster, plan) -> Cluster:
    """The cluster once the plan was carried out and AWS has finished what it was doing."""
    kept = [
        Hsm(h.hsm_id, h.availability_zone, "ACTIVE" if h.coming else h.state, h.eni_id, h.eni_ip)
        for h in before.hsms
        if not h.leaving and h not in plan.delete
    ]
    made = [hsm(100 + n, "ACTIVE", w.placement.availability_zone) for n, w in enumerate(plan.create)]
    return Cluster(before.cluster_id, before.state, before.subnet_mapping, (*kept, *made))


@given(clusters, presents)
def test_present_reaches_its_wish_and_then_changes_nothing(before, wish):
    plan = plan_or_none(plan_present, before, wish)
    if plan is None:
        return
    reached = after(before, plan)
    usable = sum(h.usable for h in reached.hsms)

    assert usable >= wish.count
    assert not wish.exact or usable == wish.count
    assert not plan_present(reached, wish).changes


@given(clusters, presents)
def test_present_never_creates_more_than_is_missing(before, wish):
    plan = plan_or_none(plan_present, before, wish)
    counted = sum(h.usable or h.coming for h in before.hsms)

    assert plan is None or len(plan.create) == max(0, wish.count - counted)


@given(clusters, presents)
def test_present_never_deletes_a_usable_hsm_unless_exact(before, wish):
    plan = plan_or_none(plan_present, before, wish)

    assert plan is None or wish.exact or not any(h.usable or h.coming for h in plan.delete)


@given(clusters, presents)
def test_cluster_that_is_not_activated_never_gets_a_second_hsm(before, wish):
    plan = plan_or_none(plan_present, before, wish)
    if plan and plan.create and not before.activated:
        staying = [h for h in before.hsms if h.state in ("ACTIVE", "CREATE_IN_PROGRESS", "DEGRADED")]
        assert len(plan.create) + len([h for h in staying if h not in plan.delete_first]) == 1


@given(clusters, st.one_of(presents, st.builds(Absent, st.none(), st.just(False))))
def test_last_hsm_without_a_backup_is_never_deleted_unforced(before, wish):
    plan = plan_or_none(plan_absent if isinstance(wish, Absent) else plan_present, before, wish)
    if plan and plan.delete and not before.activated and not wish.force:
        assert [h for h in before.hsms if not h.leaving and h not in plan.delete]
