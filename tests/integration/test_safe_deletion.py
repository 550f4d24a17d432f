# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What must be known or saved before the last HSM of a cluster goes, and what brings it back to its place."""

from __future__ import annotations

import functools
import time

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import key_stores
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import AnsibleCloudHSMError
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_hsm, hsm_reap
from harness.modules import run_module

RECORD = "hsm:dev:last_access"
PLACEMENTS = "hsm:dev:placements"
TABLE = "placements"


@pytest.fixture
def ensure(connection, cluster_id, redis_url):
    activity = {"env": "dev", "redis_url": redis_url}
    return functools.partial(run_module, cloudhsm_hsm, cluster_id=cluster_id, activity=activity, **connection)


@pytest.fixture
def delete(connection, cluster_id):
    return functools.partial(run_module, cloudhsm_hsm, cluster_id=cluster_id, state="absent", **connection)


@pytest.fixture
def reap(connection, cluster_id, redis_url):
    environments = [{"env": "dev", "cluster_id": cluster_id}]
    return functools.partial(run_module, hsm_reap, **connection, environments=environments, redis_url=redis_url)


@pytest.fixture
def idle(store, hsm):
    """An HSM that nobody has used for an hour."""
    store.set(RECORD, int(time.time()) - 3600, ex=7200)
    return hsm


def only(result: dict) -> dict:
    [environment] = result["environments"]
    return environment


# KMS


@pytest.fixture
def key_store(aws, cluster_id, idle):
    """A connected custom key store of KMS on the cluster of the idle HSM."""
    aws.client("cloudhsmv2").create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1b")
    aws.advance(700)
    aws.create_user(cluster_id, "kmsuser", "kmsPswd1")
    kms = aws.client("kms")
    made = kms.create_custom_key_store(
        CustomKeyStoreName="payments",
        CloudHsmClusterId=cluster_id,
        TrustAnchorCertificate=aws.trust_anchor(cluster_id),
        KeyStorePassword="kmsPswd1",
    )["CustomKeyStoreId"]
    kms.connect_custom_key_store(CustomKeyStoreId=made)
    aws.advance(1800)
    aws.clear_calls()
    return made


@pytest.mark.parametrize("check_mode", [True, False])
def test_reap_keeps_what_a_key_store_of_kms_needs(aws, reap, key_store, cluster_id, check_mode):
    kept = only(reap(check=check_mode))
    assert (kept["status"], f"{key_store} (payments) is CONNECTED" in kept["reason"]) == ("kept", True)
    assert not aws.calls("TagResource")


@pytest.mark.parametrize("state", ["ignored", "disconnected"])
def test_reap_deletes_what_no_key_store_of_kms_needs(aws, reap, key_store, cluster_id, state):
    if state == "disconnected":
        aws.client("kms").disconnect_custom_key_store(CustomKeyStoreId=key_store)
        aws.advance(600)
    environment = {"env": "dev", "cluster_id": cluster_id, "key_stores": "ignore" if state == "ignored" else "refuse"}
    assert only(reap(environments=[environment]))["status"] == "deleted"


def test_reap_deletes_nothing_when_kms_does_not_tell(aws, reap, idle, cluster_id, monkeypatch):
    def denied(_client, cluster_id):
        raise AnsibleCloudHSMError(message=f"describe the key stores on {cluster_id}: denied")

    monkeypatch.setattr(key_stores, "of_cluster", denied)
    result = reap()
    assert (result["failed"], only(result)["status"], only(result)["deleted"]) == (True, "failed", [])


@pytest.mark.parametrize("check", [True, False])
def test_the_last_hsm_is_not_deleted_while_a_key_store_of_kms_needs_it(aws, delete, key_store, idle, check):
    refused = delete(check=check)
    assert refused["msg"].startswith("key_stores: KMS has a custom key store on cluster")
    assert not aws.calls("DeleteHsm")
    assert len(delete(hsm_ids=[idle])["deleted"]) == 1, "another HSM stays"
    assert len(delete(key_stores="ignore")["deleted"]) == 1


def test_kms_is_not_asked_where_no_hsm_is_deleted(delete, ensure, monkeypatch):
    monkeypatch.setattr(key_stores, "of_cluster", lambda _client, _cluster_id: pytest.fail("asked"))
    assert not ensure(check=True).get("failed")
    assert delete()["changed"] is False


# Places


@pytest.fixture
def table(aws):
    aws.client("dynamodb").create_table(
        TableName=TABLE,
        KeySchema=[
            {"AttributeName": "ClusterId", "KeyType": "HASH"},
            {"AttributeName": "IpAddress", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("ClusterId", "IpAddress")],
        BillingMode="PAY_PER_REQUEST",
    )
    return {"store": "dynamodb", "table": TABLE}


@pytest.mark.parametrize("kept", ["redis", "dynamodb"])
def test_an_hsm_comes_back_to_its_place(aws, reap, ensure, store, table, cluster_id, kept):
    saved = table if kept == "dynamodb" else {"store": "redis"}
    first = ensure(saved_placements=saved, availability_zones=["eu-west-1b"])["hsms"][0]
    store.set(RECORD, int(time.time()) - 3600, ex=7200)
    assert only(reap(saved_placements=saved))["status"] == "deleted"
    assert store.exists(PLACEMENTS) == (kept == "redis")

    aws.clear_calls()
    again = ensure(saved_placements=saved)
    assert (again["hsms"][0]["availability_zone"], again["hsms"][0]["eni_ip"]) == ("eu-west-1b", first["eni_ip"])
    [asked] = aws.calls("CreateHsm")
    assert asked["parameters"]["IpAddress"] == first["eni_ip"]


def test_nothing_is_deleted_when_its_place_cannot_be_saved(aws, reap, store, idle):
    store.lpush(PLACEMENTS, "something else")
    found = only(reap(saved_placements={"store": "redis"}))

    assert (found["status"], found["deleted"]) == ("failed", [])
    assert found["reason"].startswith("env: the record of placements hsm:dev:placements")
    assert not aws.calls("DeleteHsm")
    assert not store.exists("hsm:dev:claim")


def test_places_are_not_asked_for_where_nothing_is_missing(ensure, store, hsm):
    store.lpush(PLACEMENTS, "something else")
    assert ensure(saved_placements={"store": "redis"})["changed"] is False


def test_a_place_that_cannot_be_read_is_said_before_anything_is_made(aws, ensure, store):
    store.lpush(PLACEMENTS, "something else")
    refused = ensure(saved_placements={"store": "redis"})
    assert refused["msg"].startswith("env: the record of placements")
    assert not aws.calls("CreateHsm")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"saved_placements": {"store": "redis"}, "activity": None},
            "saved_placements: store=redis is the Redis of activity",
        ),
        ({"saved_placements": {"store": "dynamodb"}}, "table"),
        ({"saved_placements": {"store": "redis"}, "activity": None, "state": "absent"}, "saved_placements: "),
    ],
)
def test_what_does_not_go_together_is_refused(ensure, given, message):
    assert message in ensure(**given)["msg"]
