# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import http.client
import json
import pickle
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from harness.kms import ACCOUNT, CLUSTER, REGION, Import, World
from local_aws.kms.service import OPERATIONS
from local_aws.moto_bridge import MotoKeys

SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=0"


def post(world: World, operation: str, body: bytes, authorization: str | None = SIGNED) -> tuple[int, dict[str, Any]]:
    headers = {"X-Amz-Target": f"TrentService.{operation}"}
    connection = http.client.HTTPConnection(urlsplit(world.url).netloc)
    try:
        connection.request("POST", "/", body, headers | ({"Authorization": authorization} if authorization else {}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("operation", "body", "status", "code"),
    [
        ("MakeTea", b"{}", 404, "UnknownOperationException"),
        ("ListKeys", b"{", 400, "SerializationException"),
        ("ListKeys", b"[]", 400, "ValidationException"),
        ("ListKeys", b'{"Limit": 0}', 400, "ValidationException"),
        (
            "ImportKeyMaterial",
            b'{"KeyId": "a", "ImportToken": "?", "EncryptedKeyMaterial": ""}',
            400,
            "ValidationException",
        ),
        ("DescribeCustomKeyStores", b'{"CustomKeyStoreId": "cks-0"}', 400, "CustomKeyStoreNotFoundException"),
    ],
)
def test_errors(world: World, operation: str, body: bytes, status: int, code: str) -> None:
    found, answer = post(world, operation, body)
    assert (found, answer["__type"]) == (status, code)
    assert answer["message"]


@pytest.mark.parametrize("authorization", [None, "Bearer x", "AWS4-HMAC-SHA256 Credential=testing"])
def test_unsigned_request_is_refused(world: World, authorization: str | None) -> None:
    status, answer = post(world, "ListKeys", b"{}", authorization)
    assert (status, answer["__type"]) == (403, "MissingAuthenticationTokenException")


def test_fault_of_our_own_is_an_internal_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_ctx: Any, _request: Any) -> Any:
        raise KeyError("oops")

    monkeypatch.setitem(OPERATIONS, "DescribeCustomKeyStores", broken)
    status, answer = post(world, "DescribeCustomKeyStores", b"{}")
    assert (status, answer["__type"]) == (500, "InternalFailure")


def test_the_rest_is_that_of_moto(world: World, kms: Any) -> None:
    made = kms.create_key(Description="plain", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
    assert (made["KeyState"], made["Origin"], made["KeyUsage"]) == ("Enabled", "AWS_KMS", "ENCRYPT_DECRYPT")
    assert kms.list_resource_tags(KeyId=made["KeyId"])["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.encrypt(KeyId="alias/nothing", Plaintext=b"x")
    with pytest.raises(ClientError, match="InvalidCiphertextException|AccessDeniedException"):
        kms.decrypt(CiphertextBlob=b"\xff" * 80)


def test_states_of_plain_keys_are_respected_too(world: World, kms: Any) -> None:
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key_id)
    with pytest.raises(kms.exceptions.DisabledException):
        kms.encrypt(KeyId=key_id, Plaintext=b"x")


def test_accounts_and_regions_do_not_see_each_other(world: World, kms: Any, store_id: str) -> None:
    assert len(kms.describe_custom_key_stores()["CustomKeyStores"]) == 1
    assert world.client("us-east-1").describe_custom_key_stores()["CustomKeyStores"] == []


def test_state_goes_through_a_file(world: World, kms: Any, connected_id: str, import_material: Import) -> None:
    imported = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    parameters = kms.get_parameters_for_import(
        KeyId=imported, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    stored = kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=connected_id)["KeyMetadata"]["KeyId"]
    import_material(imported, bytes(32))
    kms.disconnect_custom_key_store(CustomKeyStoreId=connected_id)
    saved = pickle.dumps(world.kms.state)
    world.kms.reset()
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []
    world.kms.state = pickle.loads(saved)
    world.clock.advance(world.knobs.kms_disconnect_seconds)
    [store] = kms.describe_custom_key_stores()["CustomKeyStores"]
    assert (store["CloudHsmClusterId"], store["ConnectionState"]) == (CLUSTER, "DISCONNECTED")
    assert kms.describe_key(KeyId=stored)["KeyMetadata"]["KeyState"] == "Unavailable"
    assert kms.describe_key(KeyId=imported)["KeyMetadata"]["KeyState"] == "Enabled"
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        kms.import_key_material(
            KeyId=imported,
            ImportToken=parameters["ImportToken"],
            EncryptedKeyMaterial=b"x",
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )


def test_keys_that_moto_has_lost_are_forgotten(world: World, kms: Any, connected_id: str) -> None:
    key_id = kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=connected_id)["KeyMetadata"]["KeyId"]
    MotoKeys(ACCOUNT, REGION).delete(key_id)
    kms.disconnect_custom_key_store(CustomKeyStoreId=connected_id)
    world.clock.advance(world.knobs.kms_disconnect_seconds)
    kms.delete_custom_key_store(CustomKeyStoreId=connected_id)


def test_nothing_is_served_during_a_pause(world: World, kms: Any, store_id: str) -> None:
    request = threading.Thread(target=kms.delete_custom_key_store, kwargs={"CustomKeyStoreId": store_id})
    with world.kms.paused():
        request.start()
        request.join(0.2)
        [store] = world.kms.state.values()
        assert (request.is_alive(), list(store.key_stores)) == (True, [store_id])
    request.join()
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []


def test_saved_state_does_not_change_any_more(world: World, kms: Any, store_id: str) -> None:
    saved = world.kms.state
    kms.update_custom_key_store(CustomKeyStoreId=store_id, NewCustomKeyStoreName="new")
    [store] = next(iter(saved.values())).key_stores.values()
    assert store.name == "store"
