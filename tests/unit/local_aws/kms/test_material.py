# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Key material after its import: expiry, deletion, and the same material again."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from harness.kms import Import, World

DAY = 86400
AES = bytes(range(200, 232))
RSA_AES = "RSA_AES_KEY_WRAP_SHA_256"


@pytest.fixture
def key_id(world: World, kms: Any) -> str:
    """A symmetric key without material."""
    return kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]


def state(kms: Any, key_id: str) -> str:
    return kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]


def test_nothing_works_before_the_import(kms: Any, key_id: str) -> None:
    for attempt in (
        lambda: kms.encrypt(KeyId=key_id, Plaintext=b"x"),
        lambda: kms.generate_data_key(KeyId=key_id, KeySpec="AES_256"),
        lambda: kms.enable_key(KeyId=key_id),
        lambda: kms.disable_key(KeyId=key_id),
    ):
        with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending import"):
            attempt()


@pytest.mark.parametrize(
    ("spec", "usage", "operation", "more"),
    [
        ("HMAC_256", "GENERATE_VERIFY_MAC", "generate_mac", {"Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}),
        (
            "ECC_NIST_P256",
            "SIGN_VERIFY",
            "sign",
            {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"},
        ),
        ("ECC_NIST_P256", "SIGN_VERIFY", "get_public_key", {}),
    ],
)
def test_nor_for_other_kinds(
    world: World, kms: Any, spec: str, usage: str, operation: str, more: dict[str, Any]
) -> None:
    key_id = kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending import"):
        getattr(kms, operation)(KeyId=key_id, **more)


def test_delete_and_import_again(kms: Any, key_id: str, import_material: Import) -> None:
    material_id = import_material(key_id, AES)["KeyMaterialId"]
    ciphertext = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    deleted = kms.delete_imported_key_material(KeyId=key_id)
    assert deleted["KeyMaterialId"] == material_id
    shown = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (shown["KeyState"], shown["Enabled"]) == ("PendingImport", False)
    assert not {"ExpirationModel", "ValidTo"} & set(shown)
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending import"):
        kms.decrypt(CiphertextBlob=ciphertext)
    kms.delete_imported_key_material(KeyId=key_id, KeyMaterialId=material_id)
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_material(key_id, bytes(32))
    assert state(kms, key_id) == "PendingImport"
    assert import_material(key_id, AES, "RSAES_OAEP_SHA_1")["KeyMaterialId"] == material_id
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"secret"


def test_delete_of_another_material(kms: Any, key_id: str, import_material: Import) -> None:
    import_material(key_id, AES)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.delete_imported_key_material(KeyId=key_id, KeyMaterialId="0" * 64)
    assert state(kms, key_id) == "Enabled"


def test_other_material_over_the_first(kms: Any, key_id: str, import_material: Import) -> None:
    import_material(key_id, AES)
    ciphertext = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_material(key_id, bytes(32))
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"secret"


def test_private_key_is_the_same_however_it_is_written(world: World, kms: Any, import_material: Import) -> None:
    made = kms.create_key(Origin="EXTERNAL", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    key_id = made["KeyMetadata"]["KeyId"]
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    import_material(key_id, der, RSA_AES)
    # The same without the optional public point at the end; three lengths around it are shorter then.
    point = 70
    body = bytearray(der[3:-point])
    for position in (25, 27):
        body[position] -= point
    import_material(key_id, bytes([0x30, len(body)]) + bytes(body), RSA_AES)
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_material(key_id, other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), RSA_AES)


def test_expiry(world: World, kms: Any, key_id: str, import_material: Import) -> None:
    valid_to = datetime.datetime.fromtimestamp(world.clock.now() + 10 * DAY, datetime.timezone.utc)
    import_material(key_id, AES, ValidTo=valid_to)
    ciphertext = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    world.clock.advance(10 * DAY - 1)
    assert state(kms, key_id) == "Enabled"
    world.clock.advance(1)
    assert state(kms, key_id) == "PendingImport"
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending import"):
        kms.decrypt(CiphertextBlob=ciphertext)
    import_material(key_id, AES)
    shown = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (shown["ExpirationModel"], "ValidTo" in shown) == ("KEY_MATERIAL_DOES_NOT_EXPIRE", False)
    world.clock.advance(400 * DAY)
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"secret"


def test_import_again_moves_the_expiry(world: World, kms: Any, key_id: str, import_material: Import) -> None:
    for days in (1, 3):
        valid_to = datetime.datetime.fromtimestamp(world.clock.now() + days * DAY, datetime.timezone.utc)
        import_material(key_id, AES, ValidTo=valid_to)
    world.clock.advance(2 * DAY)
    assert state(kms, key_id) == "Enabled"
    world.clock.advance(DAY)
    assert state(kms, key_id) == "PendingImport"


def test_disabled_key_stays_disabled(kms: Any, key_id: str, import_material: Import) -> None:
    import_material(key_id, AES)
    kms.disable_key(KeyId=key_id)
    import_material(key_id, AES)
    assert state(kms, key_id) == "Disabled"
    kms.delete_imported_key_material(KeyId=key_id)
    assert state(kms, key_id) == "PendingImport"
    import_material(key_id, AES)
    assert state(kms, key_id) == "Enabled"


def test_key_pending_deletion(world: World, kms: Any, key_id: str, import_material: Import) -> None:
    import_material(key_id, AES)
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    kms.delete_imported_key_material(KeyId=key_id)
    assert state(kms, key_id) == "PendingDeletion"
    with pytest.raises(kms.exceptions.KMSInvalidStateException, match="is pending deletion"):
        import_material(key_id, AES)
    kms.cancel_key_deletion(KeyId=key_id)
    assert state(kms, key_id) == "PendingImport"
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    world.clock.advance(7 * DAY)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=key_id)


def test_no_automatic_rotation_and_no_replica(kms: Any, key_id: str, import_material: Import) -> None:
    import_material(key_id, AES)
    for attempt in (
        lambda: kms.enable_key_rotation(KeyId=key_id),
        lambda: kms.rotate_key_on_demand(KeyId=key_id),
        lambda: kms.replicate_key(KeyId=key_id, ReplicaRegion="eu-central-1"),
    ):
        with pytest.raises(ClientError, match="UnsupportedOperationException"):
            attempt()
