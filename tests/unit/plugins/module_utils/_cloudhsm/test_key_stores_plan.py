# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the state of a custom key store means."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import key_stores_plan as plan
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import WaitError

STATES = ["CONNECTED", "CONNECTING", "DISCONNECTED", "DISCONNECTING", "FAILED", "SOMETHING_NEW", ""]


def store(state: str, number: int = 0, error_code: str = "") -> plan.KeyStore:
    return plan.KeyStore(f"cks-{number}", "payments", "cluster-abcdefghijk", state, error_code)


@pytest.mark.parametrize("state", STATES)
def test_refusal(state):
    reason = plan.refusal([store("DISCONNECTED", 1), store(state, 2)])

    assert (reason is None) == (state in ("DISCONNECTED", "FAILED"))
    if reason:
        assert "cks-2 (payments)" in reason
        assert "cks-1" not in reason
        assert "state=disconnected" in reason


def test_no_key_store_is_no_reason():
    assert plan.refusal([]) is None


@pytest.mark.parametrize(
    ("state", "connected", "disconnected"),
    [
        ("CONNECTED", (), ("disconnect",)),
        ("CONNECTING", (), ("disconnect",)),
        ("DISCONNECTED", ("connect",), ()),
        ("DISCONNECTING", ("connect",), ()),
        ("FAILED", ("disconnect", "connect"), ("disconnect",)),
        ("SOMETHING_NEW", ("connect",), ("disconnect",)),
    ],
)
def test_steps(state, connected, disconnected):
    assert [step.calls for step in plan.make_steps([store(state)], "connected")] == [connected]
    assert [step.calls for step in plan.make_steps([store(state)], "disconnected")] == [disconnected]
    assert [step.calls for step in plan.make_steps([store(state)], "queried")] == [()]


@pytest.mark.parametrize(("state", "refused"), [("DISCONNECTED", False), ("DISCONNECTING", True), ("FAILED", True)])
def test_connecting_may_need_a_wait(state, refused):
    steps = plan.make_steps([store(state)], "connected")
    if refused:
        with pytest.raises(PlanError, match="^wait: "):
            plan.check_without_wait(steps)
    else:
        plan.check_without_wait(steps)


@pytest.mark.parametrize("state", STATES)
def test_looks(state):
    assert plan.look_disconnected(store(state)).done == (state == "DISCONNECTED")
    if state in ("FAILED", "DISCONNECTING"):
        with pytest.raises(WaitError):
            plan.look_connected(store(state))
    else:
        assert plan.look_connected(store(state)).done == (state == "CONNECTED")


@pytest.mark.parametrize("look", [plan.look_connected, plan.look_disconnected])
def test_key_store_that_is_gone(look):
    with pytest.raises(WaitError, match="the key store is gone"):
        look(None)


# The codes of the API reference.
@pytest.mark.parametrize(
    "code",
    [
        "INVALID_CREDENTIALS", "CLUSTER_NOT_FOUND", "NETWORK_ERRORS", "INTERNAL_ERROR", "INSUFFICIENT_CLOUDHSM_HSMS",
        "USER_LOCKED_OUT", "USER_NOT_FOUND", "USER_LOGGED_IN", "SUBNET_NOT_FOUND", "INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET",
    ],
)  # fmt: skip
def test_every_code_has_its_advice(code):
    text = plan.failed_text(store("FAILED", error_code=code))

    assert code in text
    assert "See what KMS documents" not in text
    assert "See what KMS documents" in plan.failed_text(store("FAILED", error_code="NEW_CODE"))
