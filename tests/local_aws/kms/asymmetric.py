# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Encryption with RSA keys. moto encrypts with AES whatever the key, so that nobody else could read it."""

from __future__ import annotations

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from . import keys
from .errors import KmsError
from .material import HASHES, OAEP, make_wrapping_key
from .state import Context, MotoKey

ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
AWS_KMS = "AWS_KMS"


def key_created(ctx: Context, request: dict[str, Any], answer: dict[str, Any]) -> None:
    """Give an RSA key for encryption a private key that is known here."""
    keys.key_created(ctx, request, answer)
    metadata = answer["KeyMetadata"]
    if (
        metadata["KeySpec"].startswith("RSA_")
        and metadata["KeyUsage"] == ENCRYPT_DECRYPT
        and metadata["Origin"] == AWS_KMS
    ):
        private, _public = make_wrapping_key(metadata["KeySpec"])
        ctx.keys.set_material(metadata["KeyId"], private)
        ctx.store.rsa_keys[metadata["KeyId"]] = private


def is_for_rsa(ctx: Context, operation: str, request: dict[str, Any]) -> bool:
    """True for an Encrypt or Decrypt with an RSA key of KMS's own; moto's ciphertexts name their key, these do not."""
    if operation not in ("Encrypt", "Decrypt") or "KeyId" not in request:
        return False
    key = ctx.keys.find(request["KeyId"])
    return key is not None and key.spec.startswith("RSA_")


def encrypt_or_decrypt(ctx: Context, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out an operation for which `is_for_rsa` holds.

    Raises:
        KmsError: The key is for signatures, the algorithm does not suit it, or the ciphertext is not for it.
    """
    key = ctx.keys.find(request["KeyId"])
    assert key is not None
    algorithm = request.get("EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
    if key.key_id not in ctx.store.rsa_keys or algorithm not in OAEP:
        # Documented: the API reference of both, InvalidKeyUsageException.
        raise KmsError("InvalidKeyUsageException", f"{key.arn} cannot be used with {operation} and {algorithm}.")
    private = load_der_private_key(ctx.store.rsa_keys[key.key_id], None)
    assert isinstance(private, rsa.RSAPrivateKey)
    answer = {"KeyId": key.arn, "EncryptionAlgorithm": algorithm}
    if operation == "Encrypt":
        return answer | {"CiphertextBlob": _text(private.public_key().encrypt(request["Plaintext"], _oaep(algorithm)))}
    return answer | {"Plaintext": _text(_decrypt(key, private, algorithm, request["CiphertextBlob"]))}


def public_key_given(ctx: Context, request: dict[str, Any], answer: dict[str, Any]) -> None:
    """GetPublicKey names the key by its ARN (documented), moto by its id."""
    key = ctx.keys.find(request["KeyId"])
    if key is not None:
        answer["KeyId"] = key.arn
        answer["KeySpec"] = key.spec


def _decrypt(key: MotoKey, private_key: rsa.RSAPrivateKey, algorithm: str, sealed: bytes) -> bytes:
    try:
        return private_key.decrypt(sealed, _oaep(algorithm))
    except ValueError:
        raise KmsError("InvalidCiphertextException", f"{key.arn} does not open this ciphertext.") from None


def _oaep(algorithm: str) -> padding.OAEP:
    digest = next(made() for name, made in HASHES.items() if algorithm.endswith(f"_{name}"))
    return padding.OAEP(padding.MGF1(digest), digest, None)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
