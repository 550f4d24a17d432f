# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What to do to one backup."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import backups_plan as plan
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.backups_results import backup_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.transformations import with_tags
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import WaitError
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
STATES = ["CREATE_IN_PROGRESS", "READY", "PENDING_DELETION", "DELETED"]
keys = st.sampled_from(["a", "b", "c", "hsmops:x", "aws:y"])
tags = st.dictionaries(keys, st.sampled_from(["1", "2"]))
own_tags = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2"]))


def backup(number: int = 0, state: str = "READY", minutes: int = 0, **more) -> dict:
    return {
        "BackupId": f"backup-{number}",
        "BackupState": state,
        "ClusterId": "cluster-abcdefghijk",
        "CreateTimestamp": NOON + datetime.timedelta(minutes=minutes),
        "tags": {},
        **more,
    }


@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(-5, 5)), max_size=6), st.integers(-5, 5))
def test_chosen_is_the_newest_ready_one_that_is_new_enough(kinds, since):
    found = [backup(number, state, minutes) for number, (state, minutes) in enumerate(kinds)]
    found.sort(key=lambda one: one["CreateTimestamp"], reverse=True)
    moment = NOON + datetime.timedelta(minutes=since)
    chosen, verdict = plan.choose(found, moment)
    fit = [one for one in found if one["BackupState"] == "READY" and one["CreateTimestamp"] >= moment]

    assert chosen == (fit[0] if fit else None)
    assert verdict.done == bool(fit)
    # A backup of the very moment is new enough; whoever waits is told what there is.
    assert fit or not found or found[0]["BackupId"] in verdict.text


def test_one_that_is_being_made_is_waited_for_without_a_moment_too():
    assert not plan.choose([backup(0, "CREATE_IN_PROGRESS")], None)[1].done
    with pytest.raises(PlanError, match="none is being made"):
        plan.choose([backup(0, "PENDING_DELETION")], None)


@given(tags, own_tags, st.booleans())
def test_tags_become_what_is_wished_and_reserved_ones_stay(before, wished, purge):
    found = backup(tags=before)
    wish = plan.Wish(tags=wished, purge_tags=purge)
    after = plan.predict(found, plan.plan_present(found, wish, {}))
    reserved = {key: value for key, value in before.items() if key.startswith(("aws:", "hsmops:"))}

    assert after["tags"] == ({**reserved, **wished} if purge else {**before, **wished})
    assert not plan.plan_present(after, wish, {}).changes


@given(st.booleans(), st.none() | st.booleans(), st.none() | own_tags, st.sampled_from(STATES[:3]))
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(never, wished_never, wished_tags, state):
    found = backup(state=state, NeverExpires=never, tags={"a": "0"})
    wish = plan.Wish(never_expires=wished_never, tags=wished_tags)
    todo = plan.plan_present(found, wish, {})

    assert todo.restore == (state == "PENDING_DELETION")
    assert bool(plan.actions("backup-0", todo)) == todo.changes
    assert not plan.plan_present(plan.predict(found, todo), wish, {}).changes


@pytest.mark.parametrize(
    ("states", "chosen"),
    [
        ([], None),
        (["DELETED", "PENDING_DELETION"], None),
        (["CREATE_IN_PROGRESS"], 0),
        (["CREATE_IN_PROGRESS", "READY"], 1),
        (["DELETED", "CREATE_IN_PROGRESS"], 1),
        (["READY", "READY"], 0),
    ],
)
def test_copy_that_counts(states, chosen):
    copies = [backup(number, state) for number, state in enumerate(states)]
    found = plan.find_copy(copies)

    assert found == (None if chosen is None else copies[chosen])
    todo = plan.plan_present(backup(), plan.Wish(copy_to_regions=("eu-central-1",)), {"eu-central-1": copies})
    assert todo.copy_to == (() if found else ("eu-central-1",))


def test_copy_is_told_from_older_ones():
    older, new = backup(1, "DELETED"), backup(2, "CREATE_IN_PROGRESS")
    assert plan.look_copied([older], {"backup-1"}, "r")[0] is None
    assert plan.look_copied([older, new], {"backup-1"}, "r")[0] == new
    assert plan.look_copied([older, backup(2)], {"backup-1"}, "r")[1].done
    with pytest.raises(WaitError, match="backup-1 in r ended DELETED"):
        plan.look_copied([older], set(), "r")


@pytest.mark.parametrize("state", ["PENDING_DELETION", "DELETED"])
def test_backup_that_will_not_be_ready(state):
    with pytest.raises(WaitError, match=f"backup-0 is {state}"):
        plan.look_ready(backup(state=state), "backup-0")
    with pytest.raises(WaitError):
        plan.look_ready(None, "backup-0")


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("sibling", [None, *STATES])
def test_last_ready_backup(sibling, force):
    siblings = [backup()] + ([backup(1, sibling)] if sibling else [])
    if force or sibling == "READY":
        assert plan.plan_absent(backup(), siblings, force).delete
    else:
        with pytest.raises(PlanError, match="^force: backup-0 is the last READY backup"):
            plan.plan_absent(backup(), siblings, force)


def test_nothing_to_delete():
    for found in (None, backup(state="PENDING_DELETION"), backup(state="DELETED")):
        assert not plan.plan_absent(found, [], False).changes


def test_result_is_in_utc_whatever_the_host_says():
    there = datetime.timezone(datetime.timedelta(hours=-7))
    shown = {
        "BackupId": "backup-0",
        "CreateTimestamp": NOON.astimezone(there),
        "TagList": [{"Key": "A b", "Value": "1"}],
    }
    wanted = {"backup_id": "backup-0", "create_timestamp": "2026-01-01T12:00:00.000000+00:00", "tags": {"A b": "1"}}

    assert backup_result(shown) == backup_result(with_tags(shown)) == wanted
