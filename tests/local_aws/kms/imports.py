# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""GetParametersForImport, ImportKeyMaterial and DeleteImportedKeyMaterial."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

from . import state as st
from .errors import NOT_FOUND, UNSUPPORTED, KmsError, invalid, not_implemented
from .keys import DAY, DOES_NOT_EXPIRE, EXPIRES, check_state, state_of
from .material import checked, incorrect, make_wrapping_key, may_wrap, unwrap

TOKEN_BYTES = 256
LONGEST_VALIDITY = 365 * DAY
# Members for keys that may have several materials.
SYMMETRIC_ONLY = ("ImportType", "KeyMaterialId", "KeyMaterialDescription")


def get_parameters_for_import(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Give out a wrapping key and the token that belongs to it; earlier ones stay good (documented)."""
    moto_key, key = _importable(ctx, "GetParametersForImport", request["KeyId"])
    algorithm, key_spec = request["WrappingAlgorithm"], request["WrappingKeySpec"]
    if not may_wrap(moto_key.spec, algorithm, key_spec):
        raise KmsError(
            ctx.knobs.kms_unsupported_code,
            f"Material of a key of spec {moto_key.spec} cannot be wrapped with {algorithm} and {key_spec}.",
        )
    private, public = make_wrapping_key(key_spec)
    token = secrets.token_bytes(TOKEN_BYTES)
    valid_to = ctx.now + ctx.knobs.kms_import_parameters_seconds
    key.parameters[token] = st.ImportParameters(algorithm, private, valid_to)
    return {
        "KeyId": moto_key.arn,
        "ImportToken": base64.b64encode(token).decode(),
        "PublicKey": base64.b64encode(public).decode(),
        "ParametersValidTo": round(valid_to, 3),
    }


def import_key_material(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Unwrap material and let the key work with it: at first any that suits, later only the same (documented)."""
    moto_key, key = _importable(ctx, "ImportKeyMaterial", request["KeyId"])
    parameters = _parameters(ctx, key, request["ImportToken"])
    valid_to = _validity(ctx, request)
    _check_symmetric_only(ctx, moto_key, key, request)
    wrapped = request["EncryptedKeyMaterial"]
    material = checked(moto_key.spec, unwrap(parameters.algorithm, parameters.wrapping_key, wrapped))
    material_id = _material_id(moto_key, material)
    if material_id != (key.material_id or material_id):
        raise incorrect("This is not the key material that was imported before.")
    if material_id != request.get("KeyMaterialId", material_id):
        raise incorrect(f"The id of this key material is {material_id}.")
    # A key that waits for its material becomes Enabled; one that somebody disabled stays so.
    if state_of(ctx, moto_key) == st.PENDING_IMPORT:
        ctx.keys.enable(moto_key.key_id)
    ctx.keys.set_material(moto_key.key_id, material)
    parameters.used = True
    key.material_id = material_id
    key.has_material = True
    key.valid_to = valid_to
    return _answer(moto_key, key)


def delete_imported_key_material(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete the material; the key can have the same again. Without material it succeeds too (documented)."""
    moto_key, key = _importable(ctx, "DeleteImportedKeyMaterial", request["KeyId"])
    if request.get("KeyMaterialId", key.material_id) != key.material_id:
        raise KmsError(NOT_FOUND, f"{moto_key.arn} has no key material {request['KeyMaterialId']}.")
    key.has_material = False
    key.valid_to = None
    ctx.keys.wipe(moto_key.key_id)
    return _answer(moto_key, key)


def _importable(ctx: st.Context, operation: str, key_id: str) -> tuple[st.MotoKey, st.Key]:
    # These operations take an id or an ARN, no alias.
    moto_key = None if "alias/" in key_id else ctx.keys.find(key_id)
    if moto_key is None:
        raise KmsError(NOT_FOUND, f"Key '{key_id}' does not exist.")
    key = ctx.store.keys.get(moto_key.key_id)
    if key is None or key.store_id is not None:
        raise KmsError(UNSUPPORTED, f"{moto_key.arn} origin is not EXTERNAL.")
    check_state(ctx, operation, moto_key)
    return moto_key, key


def _parameters(ctx: st.Context, key: st.Key, token: bytes) -> st.ImportParameters:
    parameters = key.parameters.get(token)
    if parameters is None:
        raise KmsError(
            "InvalidImportTokenException", "The import token is invalid or associated with a different KMS key."
        )
    if ctx.now >= parameters.valid_to:
        raise KmsError("ExpiredImportTokenException", "The import token is expired.")
    if parameters.used and not ctx.knobs.kms_import_token_reusable:
        raise KmsError("InvalidImportTokenException", "The import token has been used.")
    return parameters


def _validity(ctx: st.Context, request: dict[str, Any]) -> float | None:
    """Return when the material expires, None for never."""
    if request.get("ExpirationModel", EXPIRES) == DOES_NOT_EXPIRE:
        if "ValidTo" in request:
            raise invalid(f"ValidTo is not valid with {DOES_NOT_EXPIRE}.")
        return None
    if "ValidTo" not in request:
        raise invalid(f"ValidTo is required with {EXPIRES}, the default ExpirationModel.")
    if not 0 < request["ValidTo"] - ctx.now <= LONGEST_VALIDITY:
        raise invalid("ValidTo must be in the future, at most 365 days from now.")
    return float(request["ValidTo"])


def _check_symmetric_only(ctx: st.Context, moto_key: st.MotoKey, key: st.Key, request: dict[str, Any]) -> None:
    given = [member for member in SYMMETRIC_ONLY if member in request]
    if given and moto_key.spec != st.SYMMETRIC:
        raise KmsError(ctx.knobs.kms_unsupported_code, f"{', '.join(given)}: only for symmetric encryption keys.")
    kind = request.get("ImportType")
    if kind == "NEW_KEY_MATERIAL" and "KeyMaterialId" in request:
        raise invalid("KeyMaterialId cannot be specified with NEW_KEY_MATERIAL.")
    if kind == "NEW_KEY_MATERIAL" and key.material_id is not None:
        raise not_implemented("A second key material")
    if kind == "EXISTING_KEY_MATERIAL" and key.material_id is None:
        raise incorrect("No key material has been imported before.")


def _material_id(moto_key: st.MotoKey, material: bytes) -> str:
    """Return 64 hexadecimal digits that follow from the key's id and the material, as documented; how is unknown."""
    return hashlib.sha256(moto_key.key_id.encode() + material).hexdigest()


def _answer(moto_key: st.MotoKey, key: st.Key) -> dict[str, Any]:
    answer = {"KeyId": moto_key.arn}
    if moto_key.spec == st.SYMMETRIC and key.material_id is not None:
        answer["KeyMaterialId"] = key.material_id
    return answer
