# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What every state of a cluster means for each wait."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import clusters_states as states
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import WaitError
from harness.answers import model

# The API reference has one that botocore's model lacks.
STATES = {*model().shape_for("ClusterState").enum, "PENDING_ROLLBACK"}
WORDS = {True: "done", False: "pending", None: "lost"}
ID = "cluster-abcdefghijk"

BUSY = "CREATE_IN_PROGRESS INITIALIZE_IN_PROGRESS UPDATE_IN_PROGRESS MODIFY_IN_PROGRESS PENDING_ROLLBACK ROLLBACK_IN_PROGRESS"
NEW = dict.fromkeys(BUSY.split(), "pending") | {
    "UNINITIALIZED": "done",
    "INITIALIZED": "done",
    "ACTIVE": "done",
    "DEGRADED": "lost",
    "DELETE_IN_PROGRESS": "lost",
    "DELETED": "lost",
    "SOMETHING_NEW": "pending",
}
RESTORED = NEW | {"UNINITIALIZED": "pending", "INITIALIZED": "pending"}
DELETION = dict.fromkeys(NEW, "pending") | {"DELETED": "done"}


def shown(state: str, **members: str) -> dict:
    return {"ClusterId": ID, "State": state, "HsmType": "hsm2m.medium", **members}


def outcome(look, *arguments) -> str:
    try:
        return WORDS[look(*arguments).done]
    except WaitError:
        return WORDS[None]


@pytest.mark.parametrize("course", [states.NEW, states.RESTORED, states.DELETION])
def test_every_state_is_in_one_set_of_each_course(course):
    assert course.pending | course.success | course.failure == STATES
    assert len(course.pending) + len(course.success) + len(course.failure) == len(STATES)


def test_look_ready():
    restored = {"SourceBackupId": "backup-abcdefghijk"}
    for seen in (True, False):
        assert {state: outcome(states.look_ready, shown(state), ID, seen) for state in NEW} == NEW
        assert {state: outcome(states.look_ready, shown(state, **restored), ID, seen) for state in NEW} == RESTORED
        assert {state: outcome(states.look_ready, shown(state), ID, seen, True) for state in NEW} == RESTORED
    assert outcome(states.look_ready, None, ID, False) == "pending"
    assert outcome(states.look_ready, None, ID, True) == "lost"


def test_look_deleted():
    assert {state: outcome(states.look_deleted, shown(state), ID) for state in NEW} == DELETION
    assert outcome(states.look_deleted, None, ID) == "done"


@pytest.mark.parametrize(
    ("state", "hsm_type", "begun", "moved", "moving"),
    [
        ("ACTIVE", "hsm1.medium", "pending", "lost", False),
        ("ACTIVE", "hsm2m.medium", "pending", "done", True),
        ("MODIFY_IN_PROGRESS", "hsm1.medium", "done", "pending", True),
        ("MODIFY_IN_PROGRESS", "hsm2m.medium", "done", "pending", True),
        ("ROLLBACK_IN_PROGRESS", "hsm1.medium", "done", "pending", True),
        ("UPDATE_IN_PROGRESS", "hsm1.medium", "done", "pending", False),
        ("DEGRADED", "hsm2m.medium", "done", "lost", True),
        ("DELETED", "hsm2m.medium", "done", "lost", True),
    ],
)
def test_move_to_another_type(state, hsm_type, begun, moved, moving):
    cluster = shown(state, HsmType=hsm_type)

    assert outcome(states.look_begun, cluster, "hsm2m.medium", False) == begun
    assert outcome(states.look_moved, cluster, ID, "hsm2m.medium") == moved
    assert states.is_moving(cluster, "hsm2m.medium") == moving


def test_move_that_is_done_at_once():
    assert outcome(states.look_begun, shown("ACTIVE"), "hsm2m.medium", True) == "done"
    assert outcome(states.look_begun, shown("ACTIVE", HsmType="hsm1.medium"), "hsm2m.medium", True) == "pending"


def test_cluster_that_vanishes_while_it_is_moved():
    assert outcome(states.look_begun, None, "hsm2m.medium", False) == "done"
    assert outcome(states.look_moved, None, ID, "hsm2m.medium") == "lost"
    assert not states.is_moving(None, "hsm2m.medium")


def test_failure_says_why():
    with pytest.raises(
        WaitError, match=r"is DEGRADED and will not become ACTIVE: No capacity\. If nothing in it is needed"
    ):
        states.look_ready(shown("DEGRADED", StateMessage="No capacity"), ID, True, True)
