# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_key_store against the KMS of the local AWS."""

from __future__ import annotations

import functools

import botocore.client
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_key_store
from botocore.exceptions import ClientError, ConnectionClosedError
from harness.modules import run_module

PASSWORD = "kmsPswd1"


@pytest.fixture
def run(connection, cluster_id):
    return functools.partial(run_module, cloudhsm_key_store, cluster_id=cluster_id, **connection)


@pytest.fixture
def kms(aws):
    return aws.client("kms")


@pytest.fixture
def store_id(aws, cluster_id, kms) -> str:
    """A key store, DISCONNECTED, on a cluster with two HSMs."""
    for zone in "ab":
        aws.client("cloudhsmv2").create_hsm(ClusterId=cluster_id, AvailabilityZone=f"eu-west-1{zone}")
    aws.advance(700)
    aws.create_user(cluster_id, "kmsuser", PASSWORD)
    return kms.create_custom_key_store(
        CustomKeyStoreName="payments",
        CloudHsmClusterId=cluster_id,
        TrustAnchorCertificate=aws.trust_anchor(cluster_id),
        KeyStorePassword=PASSWORD,
    )["CustomKeyStoreId"]


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What modules ask KMS for, and faults by operation: an exception to raise before the call, or "lost" after it."""

    class Calls(list):
        faults: dict = {}

    made = Calls()
    made.faults = {}
    ask = botocore.client.BaseClient._make_api_call

    def asked(client, operation, parameters):
        if client.meta.service_model.service_name != "kms":
            return ask(client, operation, parameters)
        made.append(operation)
        fault = made.faults.get(operation)
        if isinstance(fault, Exception):
            raise fault
        answer = ask(client, operation, parameters)
        if made.faults.pop(operation, None) == "lost":
            raise ConnectionClosedError(endpoint_url="https://kms.example.com")
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", asked)
    return made


def error(code: str, operation: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation
    )


def states(result: dict) -> list[str]:
    return [store["connection_state"] for store in result["key_stores"]]


def writes(calls: list[str]) -> list[str]:
    return [call for call in calls if not call.startswith("Describe")]


def test_connect_and_disconnect_each_in_check_mode_first_and_each_again(run, store_id, cluster_id, calls):
    for state, reached, call in (
        ("connected", "CONNECTED", "ConnectCustomKeyStore"),
        ("disconnected", "DISCONNECTED", "DisconnectCustomKeyStore"),
    ):
        calls.clear()
        predicted = run(state=state, check=True, diff=True)
        assert (predicted["changed"], states(predicted), writes(calls)) == (True, [reached], [])
        made = run(state=state, diff=True)
        assert (made["changed"], states(made), writes(calls)) == (True, [reached], [call])
        for member in ("actions", "diff", "key_stores", "needs_hsm"):
            assert made[member] == predicted[member]
        assert made["needs_hsm"] == (state == "connected")
        for check in (True, False):
            again = run(state=state, check=check)
            assert (again["changed"], again["key_stores"]) == (False, made["key_stores"])
        assert writes(calls) == [call]
    assert made["key_stores"][0] == {
        "custom_key_store_id": store_id,
        "custom_key_store_name": "payments",
        "cloud_hsm_cluster_id": cluster_id,
        "connection_state": "DISCONNECTED",
    }


def test_query_changes_nothing(run, kms, store_id, calls):
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    calls.clear()
    for check in (True, False):
        found = run(check=check)
        assert (found["changed"], states(found), found["needs_hsm"]) == (False, ["CONNECTING"], True)
    assert calls == ["DescribeCustomKeyStores"] * 2


def test_cluster_without_a_key_store(aws, run, store_id):
    other = aws.lay_out("other")
    for state in ("queried", "connected", "disconnected"):
        result = run(cluster_id=other, state=state)
        assert (result["changed"], result["key_stores"], result["needs_hsm"]) == (False, [], False)
    assert any(
        "there is nothing to connect" in warning for warning in run(cluster_id=other, state="connected")["warnings"]
    )


def test_every_page_is_read(run, kms, store_id, monkeypatch):
    # Key stores outside of CloudHSM name no cluster.
    foreign = {"CustomKeyStoreId": "cks-0", "CustomKeyStoreName": "external", "ConnectionState": "CONNECTED"}
    pages = {
        None: {"CustomKeyStores": [foreign], "Truncated": True, "NextMarker": "more"},
        "more": kms.describe_custom_key_stores(),
    }
    monkeypatch.setattr(
        botocore.client.BaseClient,
        "_make_api_call",
        lambda _client, _operation, parameters: pages[parameters.get("Marker")],
    )

    assert [store["custom_key_store_id"] for store in run()["key_stores"]] == [store_id]


def test_what_another_run_began_is_waited_for(run, kms, store_id, calls):
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    calls.clear()
    connected = run(state="connected")
    assert (connected["changed"], states(connected), writes(calls)) == (False, ["CONNECTED"], [])

    kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    calls.clear()
    assert "wait: " in run(state="connected", wait=False)["msg"]
    again = run(state="connected")
    assert (again["changed"], states(again), writes(calls)) == (True, ["CONNECTED"], ["ConnectCustomKeyStore"])


def test_wait_false(run, store_id, calls):
    begun = run(state="connected", wait=False)
    assert (begun["changed"], states(begun)) == (True, ["CONNECTING"])
    assert not run(state="connected", wait=False)["changed"]
    assert states(run(state="disconnected", wait=False)) == ["DISCONNECTING"]


def test_failed_key_store_is_disconnected_and_tried_once(aws, run, store_id, calls):
    aws.set_knobs(kms_connect_error="INVALID_CREDENTIALS")
    failed = run(state="connected", diff=True)
    assert failed["failed"]
    assert "INVALID_CREDENTIALS. KMS does not know the password of kmsuser" in failed["msg"]
    assert (failed["changed"], states(failed), failed["needs_hsm"]) == (True, ["FAILED"], False)
    assert failed["key_stores"][0]["connection_error_code"] == "INVALID_CREDENTIALS"

    calls.clear()
    assert "INVALID_CREDENTIALS" in run(state="connected")["msg"]
    assert writes(calls) == ["DisconnectCustomKeyStore", "ConnectCustomKeyStore"]
    assert run(state="connected", wait=False)["msg"].startswith("wait: ")

    aws.set_knobs(kms_connect_error="none")
    mended = run(state="connected")
    assert states(mended) == ["CONNECTED"]
    assert [action.split()[0] for action in mended["actions"]] == ["disconnect", "connect"]


def test_failed_key_store_can_be_disconnected(aws, run, store_id):
    aws.set_knobs(kms_connect_error="NETWORK_ERRORS")
    run(state="connected")

    assert states(run(state="disconnected")) == ["DISCONNECTED"]


@pytest.mark.parametrize("refuses", [True, False])
def test_cluster_without_an_hsm(aws, run, store_id, cluster_id, refuses):
    cloudhsm = aws.client("cloudhsmv2")
    for hsm in cloudhsm.describe_clusters()["Clusters"][0]["Hsms"]:
        cloudhsm.delete_hsm(ClusterId=cluster_id, HsmId=hsm["HsmId"])
    aws.advance(200)
    aws.set_knobs(kms_connect_refuses_without_hsm=refuses)
    result = run(state="connected")

    assert ("The cluster has no active HSM" in result["msg"]) or refuses
    assert result["failed"]


def test_state_does_not_show_the_loss_of_the_last_hsm(aws, run, store_id, cluster_id):
    run(state="connected")
    cloudhsm = aws.client("cloudhsmv2")
    for hsm in cloudhsm.describe_clusters()["Clusters"][0]["Hsms"]:
        cloudhsm.delete_hsm(ClusterId=cluster_id, HsmId=hsm["HsmId"])
    aws.advance(200)

    assert (states(run()), run()["needs_hsm"]) == (["CONNECTED"], True)


def test_time_is_bounded(aws, run, store_id):
    aws.set_knobs(kms_connect_seconds=4000)
    begun = aws.clock.now()
    late = run(state="connected", wait_timeout=300)

    assert "Timed out after 300 s: key store cks-" in late["msg"]
    assert "is CONNECTING" in late["msg"]
    assert (late["changed"], states(late)) == (True, ["CONNECTING"])
    assert 300 <= aws.clock.now() - begun <= 330


def test_key_store_that_somebody_disconnects_meanwhile(aws, run, kms, store_id, calls):
    aws.set_knobs(kms_disconnect_seconds=10**6)
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    look = botocore.client.BaseClient._make_api_call
    disconnected = []

    def meanwhile(client, operation, parameters):
        if len(calls) == 3 and not disconnected:
            disconnected.append(True)
            kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
        return look(client, operation, parameters)

    calls.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", meanwhile)
        assert "somebody disconnects it" in run(state="connected")["msg"]


@pytest.mark.parametrize(
    ("operation", "state"),
    [
        ("DescribeCustomKeyStores", "queried"),
        ("ConnectCustomKeyStore", "connected"),
    ],
)
def test_denied_names_the_permission(run, store_id, calls, operation, state):
    calls.faults[operation] = error("AccessDeniedException", operation)
    denied = run(state=state)

    assert denied["failed"]
    assert f"permission kms:{operation}" in denied["msg"]
    assert f"Access denied: allow {operation}" in denied["msg"]
    assert (denied["error"]["code"], denied["changed"]) == ("AccessDeniedException", False)
    assert calls.count(operation) == 1


def test_throttled_call_is_repeated_within_a_bound(run, store_id, calls):
    calls.faults["DescribeCustomKeyStores"] = error("ThrottlingException", "DescribeCustomKeyStores")

    assert "throttled the call in each of 6 rounds" in run()["msg"]
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("operation", "state"), [("ConnectCustomKeyStore", "connected"), ("DisconnectCustomKeyStore", "disconnected")]
)
def test_lost_answer(run, store_id, calls, operation, state):
    run(state="disconnected" if state == "connected" else "connected")
    calls.clear()
    calls.faults[operation] = "lost"
    result = run(state=state)

    assert (result["changed"], states(result), result.get("failed")) == (True, [state.upper()], None)
    assert calls.count(operation) == 1


def test_refused_call_that_was_not_carried_out(run, store_id, calls):
    calls.faults["ConnectCustomKeyStore"] = error("CustomKeyStoreInvalidStateException", "ConnectCustomKeyStore")
    refused = run(state="connected")

    assert (refused["error"]["code"], refused["changed"]) == ("CustomKeyStoreInvalidStateException", False)


def test_bad_input(run, calls):
    for arguments, message in (
        ({"cluster_id": "dev"}, "cluster_id: 'dev' is not a cluster id"),
        ({"state": "present"}, "value of state must be one of: connected, disconnected, queried"),
        ({"wait_timeout": 0}, "wait_timeout: 0 is no duration"),
        ({"wait_delay": -1}, "wait_delay: -1.0 is no duration"),
        ({"region": ""}, "region: none is configured"),
    ):
        result = run(**arguments)
        assert result["failed"], arguments
        assert message in result["msg"]
    assert calls == []
