# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Key material on its way into KMS."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from harness.kms import Import, World, wrap

DAY = 86400
OAEP = "RSAES_OAEP_SHA_256"
RSA_AES = "RSA_AES_KEY_WRAP_SHA_256"
AES = bytes(range(100, 132))
P256_OID = bytes.fromhex("2a8648ce3d030107")
PRIME239_OID = bytes.fromhex("2a8648ce3d030106")


def create(kms: Any, spec: str = "SYMMETRIC_DEFAULT", usage: str = "ENCRYPT_DECRYPT") -> str:
    return kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]


def pkcs8(key: Any) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def parameters_for(kms: Any, key_id: str, algorithm: str = OAEP) -> dict[str, Any]:
    return kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")


@pytest.fixture
def key_id(world: World, kms: Any) -> str:
    """A symmetric key without material."""
    return create(kms)


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_new_key_waits_for_its_material(world: World, kms: Any) -> None:
    made = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    for shown in (made, kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]):
        assert (shown["KeyState"], shown["Enabled"], shown["Origin"]) == ("PendingImport", False, "EXTERNAL")
        assert shown["CreationDate"].timestamp() == world.clock.now()
        assert not {"ExpirationModel", "ValidTo", "CurrentKeyMaterialId"} & set(shown)


@pytest.mark.parametrize(("key_spec", "bits"), [("RSA_2048", 2048), ("RSA_3072", 3072), ("RSA_4096", 4096)])
def test_parameters(world: World, kms: Any, key_id: str, key_spec: str, bits: int) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    answer = kms.get_parameters_for_import(KeyId=arn, WrappingAlgorithm=OAEP, WrappingKeySpec=key_spec)
    assert answer["KeyId"] == arn
    assert answer["ParametersValidTo"].timestamp() == world.clock.now() + DAY
    public = load_der_public_key(answer["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == bits
    kms.import_key_material(
        KeyId=key_id,
        ImportToken=answer["ImportToken"],
        EncryptedKeyMaterial=wrap(answer["PublicKey"], OAEP, AES),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )


@pytest.mark.parametrize(
    ("spec", "usage", "algorithm", "key_spec"),
    [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", RSA_AES, "RSA_4096"),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "RSAES_PKCS1_V1_5", "RSA_2048"),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "SM2PKE", "SM2"),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", OAEP, "SM2"),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "RSA_AES_KEY_WRAP_SHA_1", "RSA_2048"),
        ("RSA_2048", "SIGN_VERIFY", OAEP, "RSA_4096"),
        ("ECC_NIST_P521", "SIGN_VERIFY", OAEP, "RSA_2048"),
    ],
)
def test_wrapping_that_does_not_suit(
    world: World, kms: Any, spec: str, usage: str, algorithm: str, key_spec: str
) -> None:
    request = {"KeyId": create(kms, spec, usage), "WrappingAlgorithm": algorithm, "WrappingKeySpec": key_spec}
    with pytest.raises(kms.exceptions.UnsupportedOperationException):
        kms.get_parameters_for_import(**request)
    world.set_knobs(kms_unsupported_code="ValidationException")
    with pytest.raises(ClientError, match="ValidationException"):
        kms.get_parameters_for_import(**request)


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", OAEP])
def test_aes(kms: Any, key_id: str, import_material: Import, algorithm: str) -> None:
    answer = import_material(key_id, AES, algorithm)
    shown = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (answer["KeyId"], answer["KeyMaterialId"]) == (shown["Arn"], shown["CurrentKeyMaterialId"])
    assert (shown["KeyState"], shown["Enabled"]) == ("Enabled", True)
    assert shown["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"
    # A ciphertext of moto is the key's id, an initialization vector, a tag, and what AES-GCM made of the text.
    key_in_blob, vector, tag, text = blob[:36], blob[36:48], blob[48:64], blob[64:]
    assert key_in_blob.decode() == key_id
    assert AESGCM(AES).decrypt(vector, text + tag, b"") == b"secret"


@pytest.mark.parametrize(("spec", "size"), [("HMAC_224", 28), ("HMAC_256", 32), ("HMAC_384", 48), ("HMAC_512", 128)])
def test_hmac(world: World, kms: Any, import_material: Import, spec: str, size: int) -> None:
    material = os.urandom(size)
    key_id = create(kms, spec, "GENERATE_VERIFY_MAC")
    answer = import_material(key_id, material)
    assert "KeyMaterialId" not in answer
    algorithm = f"HMAC_SHA_{spec[-3:]}"
    mac = kms.generate_mac(KeyId=key_id, Message=b"text", MacAlgorithm=algorithm)["Mac"]
    assert mac == hmac.digest(material, b"text", f"sha{spec[-3:]}")


@pytest.mark.parametrize("algorithm", ["RSA_AES_KEY_WRAP_SHA_1", RSA_AES])
def test_rsa(world: World, kms: Any, import_material: Import, rsa_key: rsa.RSAPrivateKey, algorithm: str) -> None:
    key_id = create(kms, "RSA_2048", "SIGN_VERIFY")
    import_material(key_id, pkcs8(rsa_key), algorithm)
    signing = {"KeyId": key_id, "Message": b"text", "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"}
    signature = kms.sign(**signing)["Signature"]
    rsa_key.public_key().verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())
    ours = rsa_key.sign(b"text", padding.PKCS1v15(), hashes.SHA256())
    assert kms.verify(**signing, Signature=ours)["SignatureValid"]
    public = rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert kms.get_public_key(KeyId=key_id)["PublicKey"] == public


@pytest.mark.parametrize("algorithm", [RSA_AES, OAEP])
def test_ecc(
    world: World, kms: Any, import_material: Import, ec_key: ec.EllipticCurvePrivateKey, algorithm: str
) -> None:
    key_id = create(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    import_material(key_id, pkcs8(ec_key), algorithm)
    signature = kms.sign(KeyId=key_id, Message=b"text", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    ec_key.public_key().verify(signature, b"text", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()])
def test_other_curves(world: World, kms: Any, import_material: Import, curve: ec.EllipticCurve) -> None:
    spec = {"secp384r1": "ECC_NIST_P384", "secp521r1": "ECC_NIST_P521", "secp256k1": "ECC_SECG_P256K1"}[curve.name]
    key = ec.generate_private_key(curve)
    key_id = create(kms, spec, "SIGN_VERIFY")
    import_material(key_id, pkcs8(key), RSA_AES)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert kms.get_public_key(KeyId=key_id)["PublicKey"] == public


def test_imported_rsa_key_does_not_pretend_to_encrypt(
    world: World, kms: Any, import_material: Import, rsa_key: rsa.RSAPrivateKey
) -> None:
    key_id = create(kms, "RSA_2048")
    import_material(key_id, pkcs8(rsa_key), RSA_AES)
    with pytest.raises(kms.exceptions.UnsupportedOperationException, match="not implemented"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256")


def unsuitable() -> list[Any]:
    key = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    traditional = PrivateFormat.TraditionalOpenSSL
    return [
        pytest.param("SYMMETRIC_DEFAULT", AES[:16], id="AES-128"),
        pytest.param("SYMMETRIC_DEFAULT", AES + b"\n", id="AES and a line end"),
        pytest.param("HMAC_384", AES, id="HMAC too short"),
        pytest.param("HMAC_224", b"x" * 129, id="HMAC too long"),
        pytest.param("RSA_3072", pkcs8(key), id="RSA of another size"),
        pytest.param("RSA_2048", pkcs8(curve), id="ECC for RSA"),
        pytest.param("RSA_2048", key.private_bytes(Encoding.DER, traditional, NoEncryption()), id="PKCS #1"),
        pytest.param("RSA_2048", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), id="PEM"),
        pytest.param("RSA_2048", pkcs8(key)[:-1], id="RSA cut off"),
        pytest.param(
            "RSA_2048",
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")),
            id="RSA encrypted",
        ),
        pytest.param("ECC_NIST_P384", pkcs8(curve), id="another curve"),
        pytest.param("ECC_NIST_P256", curve.private_bytes(Encoding.DER, traditional, NoEncryption()), id="SEC 1"),
        pytest.param("ECC_NIST_P256", pkcs8(curve).replace(P256_OID, PRIME239_OID), id="a curve that nobody knows"),
        pytest.param("ECC_NIST_P256", pkcs8(ed25519.Ed25519PrivateKey.generate()), id="Ed25519"),
    ]


@pytest.mark.parametrize(("spec", "material"), unsuitable())
def test_material_that_does_not_suit(
    world: World, kms: Any, import_material: Import, spec: str, material: bytes
) -> None:
    usage = {"SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT", "HMAC": "GENERATE_VERIFY_MAC"}
    asymmetric = spec.startswith(("RSA", "ECC"))
    key_id = create(kms, spec, "SIGN_VERIFY" if asymmetric else usage.get(spec, "GENERATE_VERIFY_MAC"))
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_material(key_id, material, RSA_AES if asymmetric else OAEP)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"


def attempt(kms: Any, key_id: str, token: bytes, wrapped: bytes, **more: Any) -> dict[str, Any]:
    request = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"} | more
    return kms.import_key_material(
        KeyId=key_id,
        ImportToken=token,
        EncryptedKeyMaterial=wrapped,
        **{member: value for member, value in request.items() if value is not None},
    )


@pytest.mark.parametrize("algorithm", [OAEP, RSA_AES])
@pytest.mark.parametrize("position", [0, -1])
def test_tampered_ciphertext(
    world: World, kms: Any, ec_key: ec.EllipticCurvePrivateKey, algorithm: str, position: int
) -> None:
    key_id = create(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    parameters = parameters_for(kms, key_id, algorithm)
    wrapped = bytearray(wrap(parameters["PublicKey"], algorithm, pkcs8(ec_key)))
    wrapped[position] ^= 1
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        attempt(kms, key_id, parameters["ImportToken"], bytes(wrapped))
    # Nothing has happened: the right ciphertext still goes with the token.
    wrapped[position] ^= 1
    attempt(kms, key_id, parameters["ImportToken"], bytes(wrapped))


@pytest.mark.parametrize(
    ("asked", "used"), [("RSAES_OAEP_SHA_1", OAEP), (OAEP, "RSAES_OAEP_SHA_1"), (RSA_AES, OAEP), (OAEP, RSA_AES)]
)
def test_another_algorithm_than_asked_for(
    world: World, kms: Any, ec_key: ec.EllipticCurvePrivateKey, asked: str, used: str
) -> None:
    key_id = create(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    parameters = parameters_for(kms, key_id, asked)
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        attempt(kms, key_id, parameters["ImportToken"], wrap(parameters["PublicKey"], used, pkcs8(ec_key)))


def test_wrapping_key_of_another_token(kms: Any, key_id: str) -> None:
    first, second = parameters_for(kms, key_id), parameters_for(kms, key_id)
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        attempt(kms, key_id, first["ImportToken"], wrap(second["PublicKey"], OAEP, AES))
    attempt(kms, key_id, first["ImportToken"], wrap(first["PublicKey"], OAEP, AES))


def test_token_that_is_none_of_this_key(kms: Any, key_id: str) -> None:
    other = parameters_for(kms, create(kms))
    wrapped = wrap(other["PublicKey"], OAEP, AES)
    for token in (other["ImportToken"], b"garbage"):
        with pytest.raises(kms.exceptions.InvalidImportTokenException):
            attempt(kms, key_id, token, wrapped)


def test_expired_token(world: World, kms: Any, key_id: str) -> None:
    parameters = parameters_for(kms, key_id)
    wrapped = wrap(parameters["PublicKey"], OAEP, AES)
    world.clock.advance(DAY)
    with pytest.raises(kms.exceptions.ExpiredImportTokenException):
        attempt(kms, key_id, parameters["ImportToken"], wrapped)
    world.clock.advance(-1)
    attempt(kms, key_id, parameters["ImportToken"], wrapped)


def test_token_for_one_import(world: World, kms: Any, key_id: str) -> None:
    parameters = parameters_for(kms, key_id)
    wrapped = wrap(parameters["PublicKey"], OAEP, AES)
    attempt(kms, key_id, parameters["ImportToken"], wrapped)
    with pytest.raises(kms.exceptions.InvalidImportTokenException):
        attempt(kms, key_id, parameters["ImportToken"], wrapped)
    world.set_knobs(kms_import_token_reusable=True)
    attempt(kms, key_id, parameters["ImportToken"], wrapped)


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        (None, None),
        ("KEY_MATERIAL_EXPIRES", None),
        ("KEY_MATERIAL_DOES_NOT_EXPIRE", DAY),
        ("KEY_MATERIAL_EXPIRES", 0),
        ("KEY_MATERIAL_EXPIRES", -1),
        ("KEY_MATERIAL_EXPIRES", 365 * DAY + 1),
    ],
)
def test_expiration_that_makes_no_sense(
    world: World, kms: Any, key_id: str, model: str | None, seconds: float | None
) -> None:
    parameters = parameters_for(kms, key_id)
    valid_to = None if seconds is None else moment(world.clock.now() + seconds)
    with pytest.raises(ClientError, match="ValidationException.*ValidTo"):
        attempt(
            kms,
            key_id,
            parameters["ImportToken"],
            wrap(parameters["PublicKey"], OAEP, AES),
            ExpirationModel=model,
            ValidTo=valid_to,
        )


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


@pytest.mark.parametrize("seconds", [1, 365 * DAY])
def test_expiration_that_makes_sense(
    world: World, kms: Any, key_id: str, import_material: Import, seconds: float
) -> None:
    valid_to = moment(world.clock.now() + seconds)
    import_material(key_id, AES, ValidTo=valid_to)
    shown = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (shown["ExpirationModel"], shown["ValidTo"]) == ("KEY_MATERIAL_EXPIRES", valid_to)


def test_import_types(kms: Any, key_id: str, import_material: Import) -> None:
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_material(key_id, AES, ImportType="EXISTING_KEY_MATERIAL")
    material_id = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(ClientError, match="ValidationException"):
        import_material(key_id, AES, ImportType="NEW_KEY_MATERIAL", KeyMaterialId=material_id)
    imported = import_material(key_id, AES, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="from the HSM")
    again = import_material(key_id, AES, ImportType="EXISTING_KEY_MATERIAL", KeyMaterialId=imported["KeyMaterialId"])
    assert again == imported | {"ResponseMetadata": again["ResponseMetadata"]}
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_material(key_id, AES, KeyMaterialId=material_id)
    with pytest.raises(kms.exceptions.UnsupportedOperationException, match="not implemented"):
        import_material(key_id, bytes(32), ImportType="NEW_KEY_MATERIAL")


def test_import_types_are_for_symmetric_encryption_keys(world: World, kms: Any, import_material: Import) -> None:
    key_id = create(kms, "HMAC_256", "GENERATE_VERIFY_MAC")
    for more in ({"ImportType": "NEW_KEY_MATERIAL"}, {"KeyMaterialDescription": "from the HSM"}):
        with pytest.raises(kms.exceptions.UnsupportedOperationException):
            import_material(key_id, AES, **more)


def test_only_keys_of_origin_external(world: World, kms: Any) -> None:
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    with pytest.raises(kms.exceptions.UnsupportedOperationException):
        parameters_for(kms, key_id)
    with pytest.raises(kms.exceptions.UnsupportedOperationException):
        attempt(kms, key_id, b"token", b"wrapped")
    with pytest.raises(kms.exceptions.UnsupportedOperationException):
        kms.delete_imported_key_material(KeyId=key_id)


def test_keys_are_named_by_id_or_arn(kms: Any, key_id: str) -> None:
    kms.create_alias(AliasName="alias/imported", TargetKeyId=key_id)
    for name in ("alias/imported", "11111111-1111-1111-1111-111111111111"):
        with pytest.raises(kms.exceptions.NotFoundException):
            parameters_for(kms, name)
        with pytest.raises(kms.exceptions.NotFoundException):
            kms.delete_imported_key_material(KeyId=name)
    kms.delete_alias(AliasName="alias/imported")
