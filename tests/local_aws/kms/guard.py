# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What must be true before moto may carry out an operation on a key."""

from __future__ import annotations

from typing import Any

from . import state as st
from .errors import UNSUPPORTED, KmsError, not_implemented
from .key_stores import connected_key_store
from .keys import CRYPTOGRAPHIC, REFUSALS, check_create_key, check_state

# Automatic rotation is for neither of our kinds of key; the other two are documented for keys of a custom key store,
# and a key with imported material would need a second one.
NOT_FOR_OURS = (
    "DisableKeyRotation",
    "EnableKeyRotation",
    "GetKeyRotationStatus",
    "ListKeyRotations",
    "RotateKeyOnDemand",
)
NOT_IN_A_KEY_STORE = ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")
# moto encrypts with a key of AES whatever the key's spec; an answer would pretend that an imported RSA key was used.
NOT_WITH_RSA = ("Decrypt", "Encrypt", "ReEncrypt")


def check(ctx: st.Context, operation: str, request: dict[str, Any]) -> None:
    """Raise the error with which KMS refuses a request.

    A key that does not exist is left to moto.
    """
    if operation == "CreateKey":
        check_create_key(ctx, request)
    if operation == "GenerateRandom" and "CustomKeyStoreId" in request:
        _check_hsm(ctx, connected_key_store(ctx, request["CustomKeyStoreId"]))
    for moto_key in _named(ctx, request):
        key = ctx.store.keys.get(moto_key.key_id)
        if key is not None:
            _check_support(operation, moto_key, key)
        check_state(ctx, operation, moto_key)
        if key is not None and key.store_id is not None and operation in CRYPTOGRAPHIC:
            _check_hsm(ctx, ctx.store.key_stores[key.store_id])


def _named(ctx: st.Context, request: dict[str, Any]) -> list[st.MotoKey]:
    names = [request[member] for member in ("KeyId", "SourceKeyId", "DestinationKeyId") if member in request]
    found = [ctx.keys.find(name) for name in names]
    if "CiphertextBlob" in request:
        found.append(ctx.keys.of_ciphertext(request["CiphertextBlob"]))
    return [moto_key for moto_key in found if moto_key is not None]


def _check_support(operation: str, moto_key: st.MotoKey, key: st.Key) -> None:
    in_key_store = key.store_id is not None
    if operation in NOT_FOR_OURS or (in_key_store and operation in NOT_IN_A_KEY_STORE):
        origin = st.AWS_CLOUDHSM if in_key_store else st.EXTERNAL
        raise KmsError(UNSUPPORTED, f"{moto_key.arn} origin is {origin} which is not valid for this operation.")
    if operation == "ReplicateKey":
        raise not_implemented("ReplicateKey of a key with imported material")
    if operation in NOT_WITH_RSA and moto_key.spec.startswith("RSA_"):
        raise not_implemented(f"{operation} with an imported RSA key")
    if operation == "GetPublicKey" and key.material_id is None:
        code, message = REFUSALS[st.PENDING_IMPORT]
        raise KmsError(code, message.format(arn=moto_key.arn))


def _check_hsm(ctx: st.Context, store: st.KeyStore) -> None:
    """Raise an error when a CONNECTED key store has nothing behind it: it stays CONNECTED, but nothing works."""
    cluster = ctx.clusters.facts(ctx.account, ctx.region, store.cluster_id)
    if cluster is None or not cluster.active_azs:
        raise KmsError(ctx.knobs.kms_no_hsm_code, ctx.knobs.kms_no_hsm_message)
