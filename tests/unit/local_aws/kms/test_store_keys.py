# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""KMS keys in a custom key store."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from harness.kms import ANCHOR, CLUSTER, PASSWORD, REGION, World

DAY = 86400


@pytest.fixture
def key(kms: Any, connected_id: str) -> dict[str, Any]:
    """A key in the connected store, as CreateKey answered."""
    return kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=connected_id)["KeyMetadata"]


def disconnect(world: World, kms: Any, store_id: str) -> None:
    kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    world.clock.advance(world.knobs.kms_disconnect_seconds)


def reconnect(world: World, kms: Any, store_id: str) -> None:
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    world.clock.advance(world.knobs.kms_connect_seconds)


def state(kms: Any, key: dict[str, Any]) -> str:
    return kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]


def test_metadata(world: World, kms: Any, connected_id: str, key: dict[str, Any]) -> None:
    for shown in (key, kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]):
        assert shown["CreationDate"].timestamp() == world.clock.now()
        assert {
            "Origin": "AWS_CLOUDHSM",
            "CustomKeyStoreId": connected_id,
            "CloudHsmClusterId": CLUSTER,
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": "Enabled",
            "Enabled": True,
        }.items() <= shown.items()
        assert "ExpirationModel" not in shown


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"CustomKeyStoreId": "cks-0"}, "CustomKeyStoreNotFoundException"),
        ({"CustomKeyStoreId": None}, "ValidationException"),
        ({"Origin": "EXTERNAL"}, "ValidationException"),
        ({"Origin": "EXTERNAL_KEY_STORE"}, "UnsupportedOperationException.*not implemented"),
        ({"KeySpec": "RSA_2048"}, "UnsupportedOperationException"),
        ({"CustomerMasterKeySpec": "HMAC_256"}, "UnsupportedOperationException"),
        ({"KeyUsage": "SIGN_VERIFY"}, "UnsupportedOperationException"),
        ({"MultiRegion": True}, "UnsupportedOperationException"),
    ],
)
def test_create_refuses(kms: Any, connected_id: str, change: dict[str, Any], code: str) -> None:
    request = {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": connected_id} | change
    with pytest.raises(ClientError, match=code):
        kms.create_key(**{member: value for member, value in request.items() if value is not None})


def test_create_wants_a_connected_store(kms: Any, store_id: str) -> None:
    with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
        kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store_id)


@pytest.mark.parametrize("azs", [[], [f"{REGION}a"], [f"{REGION}a", f"{REGION}a"]])
def test_create_wants_hsms_in_two_zones(world: World, kms: Any, connected_id: str, azs: list[str]) -> None:
    world.clusters.change(active_azs=azs)
    with pytest.raises(kms.exceptions.CloudHsmClusterInvalidConfigurationException):
        kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=connected_id)


def test_other_operations_want_one_hsm(world: World, kms: Any, key: dict[str, Any]) -> None:
    world.clusters.change(active_azs=[f"{REGION}b"])
    made = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]


def test_disconnected_store_makes_its_keys_unavailable(
    world: World, kms: Any, connected_id: str, key: dict[str, Any]
) -> None:
    kms.create_alias(AliasName="alias/in-a-store", TargetKeyId=key["KeyId"])
    elsewhere = kms.create_key()["KeyMetadata"]["KeyId"]
    ciphertext = kms.encrypt(KeyId="alias/in-a-store", Plaintext=b"secret")["CiphertextBlob"]
    foreign = kms.encrypt(KeyId=elsewhere, Plaintext=b"secret")["CiphertextBlob"]
    disconnect(world, kms, connected_id)
    assert state(kms, key) == "Unavailable"
    assert not kms.describe_key(KeyId="alias/in-a-store")["KeyMetadata"]["Enabled"]
    for attempt in (
        lambda: kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x"),
        lambda: kms.encrypt(KeyId="alias/in-a-store", Plaintext=b"x"),
        lambda: kms.generate_data_key(KeyId=key["Arn"], KeySpec="AES_256"),
        lambda: kms.generate_data_key_without_plaintext(KeyId=key["Arn"], KeySpec="AES_256"),
        lambda: kms.decrypt(CiphertextBlob=ciphertext),
        lambda: kms.re_encrypt(CiphertextBlob=ciphertext, DestinationKeyId=elsewhere),
        lambda: kms.re_encrypt(CiphertextBlob=foreign, DestinationKeyId=key["KeyId"]),
    ):
        with pytest.raises(kms.exceptions.KMSInvalidStateException, match=f"{key['Arn']} is unavailable"):
            attempt()
    kms.delete_alias(AliasName="alias/in-a-store")
    reconnect(world, kms, connected_id)
    assert state(kms, key) == "Enabled"
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"secret"


def test_disabled_while_unavailable_shows_afterwards(
    world: World, kms: Any, connected_id: str, key: dict[str, Any]
) -> None:
    disconnect(world, kms, connected_id)
    kms.disable_key(KeyId=key["KeyId"])
    assert state(kms, key) == "Unavailable"
    reconnect(world, kms, connected_id)
    assert state(kms, key) == "Disabled"
    with pytest.raises(kms.exceptions.DisabledException):
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")


def test_parked_behind_a_connected_store(world: World, kms: Any, connected_id: str, key: dict[str, Any]) -> None:
    world.clusters.change(active_azs=[])
    [store] = kms.describe_custom_key_stores()["CustomKeyStores"]
    assert (store["ConnectionState"], state(kms, key)) == ("CONNECTED", "Enabled")
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="KMS cannot communicate"):
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    world.set_knobs(kms_no_hsm_code="KMSInternalException")
    with pytest.raises(kms.exceptions.KMSInternalException) as caught:
        kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    world.clusters.change(active_azs=[f"{REGION}a"])
    kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")


def test_random_bytes_of_the_cluster(world: World, kms: Any, connected_id: str) -> None:
    request = {"NumberOfBytes": 8, "CustomKeyStoreId": connected_id}
    assert len(kms.generate_random(**request)["Plaintext"]) == 8
    world.clusters.change(active_azs=[])
    with pytest.raises(kms.exceptions.KMSInvalidStateException):
        kms.generate_random(**request)
    disconnect(world, kms, connected_id)
    with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
        kms.generate_random(**request)


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("enable_key_rotation", {}),
        ("get_key_rotation_status", {}),
        ("rotate_key_on_demand", {}),
        ("generate_data_key_pair", {"KeyPairSpec": "RSA_2048"}),
        ("get_parameters_for_import", {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}),
        ("delete_imported_key_material", {}),
        ("import_key_material", {"ImportToken": b"x", "EncryptedKeyMaterial": b"x"}),
    ],
)
def test_not_for_keys_of_a_store(kms: Any, key: dict[str, Any], operation: str, more: dict[str, Any]) -> None:
    with pytest.raises(kms.exceptions.UnsupportedOperationException):
        getattr(kms, operation)(KeyId=key["KeyId"], **more)


def test_life_of_a_key_and_its_store(world: World, kms: Any, connected_id: str, key: dict[str, Any]) -> None:
    ciphertext = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"secret")["CiphertextBlob"]
    gone = kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)["DeletionDate"]
    assert gone.timestamp() == world.clock.now() + 7 * DAY
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["DeletionDate"] == gone
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending deletion"):
        kms.decrypt(CiphertextBlob=ciphertext)
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending deletion"):
        kms.schedule_key_deletion(KeyId=key["KeyId"])
    disconnect(world, kms, connected_id)
    assert state(kms, key) == "PendingDeletion"
    with pytest.raises(kms.exceptions.CustomKeyStoreHasCMKsException):
        kms.delete_custom_key_store(CustomKeyStoreId=connected_id)
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    world.clock.advance(8 * DAY)
    assert state(kms, key) == "Unavailable"
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is not pending deletion"):
        kms.cancel_key_deletion(KeyId=key["KeyId"])
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    world.clock.advance(30 * DAY - 1)
    assert state(kms, key) == "PendingDeletion"
    world.clock.advance(1)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=key["KeyId"])
    kms.delete_custom_key_store(CustomKeyStoreId=connected_id)
    kms.create_custom_key_store(
        CustomKeyStoreName="next",
        CloudHsmClusterId=CLUSTER,
        TrustAnchorCertificate=ANCHOR,
        KeyStorePassword=PASSWORD,
    )


def test_keys_follow_their_store_to_a_clone(world: World, kms: Any, connected_id: str, key: dict[str, Any]) -> None:
    clone = "cluster-clone222222"
    ciphertext = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"secret")["CiphertextBlob"]
    disconnect(world, kms, connected_id)
    world.clusters.add(clone)
    world.clusters.passwords[clone] = dict(world.clusters.passwords[CLUSTER])
    world.clusters.found.pop(CLUSTER)
    kms.update_custom_key_store(CustomKeyStoreId=connected_id, CloudHsmClusterId=clone)
    reconnect(world, kms, connected_id)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["CloudHsmClusterId"] == clone
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"secret"
