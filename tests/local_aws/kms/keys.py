# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""KMS keys of custom key stores and with imported material: their states, and what moto's answers say of them."""

from __future__ import annotations

from typing import Any

from . import state as st
from .errors import INVALID_STATE, KmsError, invalid, not_implemented
from .key_stores import check_two_zones, connected_key_store

DAY = 86400.0
DEFAULT_WINDOW_DAYS = 30
EXPIRES = "KEY_MATERIAL_EXPIRES"
DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"

CRYPTOGRAPHIC = (
    "Decapsulate",
    "Decrypt",
    "DeriveSharedSecret",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
)
# The key states in which an operation is refused, from the guide's page "Key states of AWS KMS keys".
REFUSING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CRYPTOGRAPHIC, (st.DISABLED, st.PENDING_DELETION, st.PENDING_IMPORT, st.UNAVAILABLE)),
    "CancelKeyDeletion": (st.ENABLED, st.DISABLED, st.PENDING_IMPORT, st.UNAVAILABLE),
    "CreateGrant": (st.DISABLED, st.PENDING_DELETION, st.PENDING_IMPORT),
    "DisableKey": (st.PENDING_DELETION, st.PENDING_IMPORT),
    "EnableKey": (st.PENDING_DELETION, st.PENDING_IMPORT),
    "GetParametersForImport": (st.PENDING_DELETION,),
    "GetPublicKey": (st.PENDING_DELETION,),
    "ImportKeyMaterial": (st.PENDING_DELETION,),
    "ScheduleKeyDeletion": (st.PENDING_DELETION,),
}
# Code and text of each, from the same page.
REFUSALS = {
    st.DISABLED: ("DisabledException", "{arn} is disabled."),
    st.PENDING_DELETION: (INVALID_STATE, "{arn} is pending deletion (or pending replica deletion)."),
    st.PENDING_IMPORT: (
        INVALID_STATE,
        "{arn} is pending import because no key material has ever been imported or one of the imported key materials is"
        " deleted or expired.",
    ),
    st.UNAVAILABLE: (INVALID_STATE, "{arn} is unavailable."),
}


def settle(ctx: st.Context) -> None:
    """Let happen what was due: material expires, keys are deleted."""
    for key in list(ctx.store.keys.values()):
        if ctx.keys.find(key.key_id) is None:
            # Somebody has reset moto.
            del ctx.store.keys[key.key_id]
        elif key.deletion_date is not None and key.deletion_date <= ctx.now:
            ctx.keys.delete(key.key_id)
            del ctx.store.keys[key.key_id]
        elif key.has_material and key.valid_to is not None and key.valid_to <= ctx.now:
            key.has_material = False
            key.valid_to = None
            ctx.keys.wipe(key.key_id)


def state_of(ctx: st.Context, moto_key: st.MotoKey) -> str:
    """Return KeyState. A key pending deletion stays that, whatever else holds (documented)."""
    key = ctx.store.keys.get(moto_key.key_id)
    if key is None or moto_key.state == st.PENDING_DELETION:
        return moto_key.state
    if key.store_id is None:
        return moto_key.state if key.has_material else st.PENDING_IMPORT
    connection = ctx.store.key_stores[key.store_id].connection_at(ctx.now)
    return moto_key.state if connection.state == st.CONNECTED else st.UNAVAILABLE


def check_state(ctx: st.Context, operation: str, moto_key: st.MotoKey) -> None:
    """Raise the documented error when the key's state forbids an operation."""
    state = state_of(ctx, moto_key)
    if state not in REFUSING.get(operation, ()):
        return
    if operation == "CancelKeyDeletion":
        raise KmsError(INVALID_STATE, f"{moto_key.arn} is not pending deletion (or pending replica deletion).")
    code, message = REFUSALS[state]
    raise KmsError(code, message.format(arn=moto_key.arn))


def check_create_key(ctx: st.Context, request: dict[str, Any]) -> None:
    """Raise an error when a key cannot be made in the key store that the request names."""
    origin = request.get("Origin", "AWS_KMS")
    if origin == "EXTERNAL_KEY_STORE" or "XksKeyId" in request:
        raise not_implemented("A key in an external key store")
    if ("CustomKeyStoreId" in request) != (origin == st.AWS_CLOUDHSM):
        raise invalid(f"CustomKeyStoreId goes with Origin {st.AWS_CLOUDHSM}, and only with that.")
    if "CustomKeyStoreId" not in request:
        return
    store = connected_key_store(ctx, request["CustomKeyStoreId"])
    spec = request.get("KeySpec", request.get("CustomerMasterKeySpec", st.SYMMETRIC))
    usage = request.get("KeyUsage", "ENCRYPT_DECRYPT")
    if (spec, usage) != (st.SYMMETRIC, "ENCRYPT_DECRYPT") or request.get("MultiRegion"):
        raise KmsError(
            ctx.knobs.kms_unsupported_code,
            "A custom key store takes symmetric encryption keys of a single Region only.",
        )
    check_two_zones(ctx.clusters.facts(ctx.account, ctx.region, store.cluster_id))


def key_created(ctx: st.Context, request: dict[str, Any], answer: dict[str, Any]) -> None:
    """Remember a key that moto has just made, if it is one of ours."""
    if request.get("Origin") in (st.EXTERNAL, st.AWS_CLOUDHSM):
        key_id = answer["KeyMetadata"]["KeyId"]
        ctx.store.keys[key_id] = st.Key(key_id, ctx.now, request.get("CustomKeyStoreId"))
    key_described(ctx, request, answer)


def key_described(ctx: st.Context, _request: dict[str, Any], answer: dict[str, Any]) -> None:
    """Complete the metadata of a key of ours."""
    metadata = answer["KeyMetadata"]
    key = ctx.store.keys.get(metadata["KeyId"])
    moto_key = ctx.keys.find(metadata["KeyId"])
    if key is None or moto_key is None:
        return
    state = state_of(ctx, moto_key)
    metadata |= {"CreationDate": round(key.created, 3), "KeyState": state, "Enabled": state == st.ENABLED}
    if key.deletion_date is not None:
        metadata["DeletionDate"] = round(key.deletion_date, 3)
    if key.store_id is not None:
        store = ctx.store.key_stores[key.store_id]
        metadata |= {"CustomKeyStoreId": store.store_id, "CloudHsmClusterId": store.cluster_id}
    if key.has_material:
        metadata["ExpirationModel"] = DOES_NOT_EXPIRE if key.valid_to is None else EXPIRES
    if key.valid_to is not None:
        metadata["ValidTo"] = round(key.valid_to, 3)
    if key.material_id is not None and moto_key.spec == st.SYMMETRIC:
        metadata["CurrentKeyMaterialId"] = key.material_id


def deletion_scheduled(ctx: st.Context, request: dict[str, Any], answer: dict[str, Any]) -> None:
    """Count the waiting period of a key of ours in virtual time."""
    key = _named(ctx, request)
    if key is not None and answer.get("DeletionDate") is not None:
        key.deletion_date = ctx.now + DAY * request.get("PendingWindowInDays", DEFAULT_WINDOW_DAYS)
        answer["DeletionDate"] = round(key.deletion_date, 3)


def deletion_cancelled(ctx: st.Context, request: dict[str, Any], _answer: dict[str, Any]) -> None:
    """Forget when a key of ours was to be deleted."""
    key = _named(ctx, request)
    if key is not None:
        key.deletion_date = None


def _named(ctx: st.Context, request: dict[str, Any]) -> st.Key | None:
    moto_key = ctx.keys.find(request["KeyId"])
    return ctx.store.keys.get(moto_key.key_id) if moto_key else None
