# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The application of an estate, in a process of its own; started by `estates.py`. JSON in, JSON out."""

from __future__ import annotations

import hashlib
import json
import sys
import typing as t

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key

from harness.tokens import attributes, make_pair, make_secret

TEXT = b"what only the holder of this key can read"


def fill(session: pkcs11.Session, kinds: list[list[t.Any]], flags: dict[str, bool]) -> list[dict[str, str]]:
    """Make a key of each label and kind, use it, and return what came of that.

    Args:
        session: The session.
        kinds: Labels, with the names of types and their sizes or curves.
        flags: Attributes of the secret and private keys.
    """
    for label, kind, size in kinds:
        if kind in ("AES", "GENERIC_SECRET"):
            make_secret(session, label, size, KeyType[kind], **flags)
        else:
            make_pair(session, label, size, **flags)
    return [_use(session, label, kind) for label, kind, _size in kinds]


def _use(session: pkcs11.Session, label: str, kind: str) -> dict[str, str]:
    found = {"label": label, "kind": kind}
    if kind == "AES":
        vector = session.generate_random(128)
        return found | {
            "vector": vector.hex(),
            "made": _secret(session, label).encrypt(TEXT, mechanism_param=vector).hex(),
        }
    if kind == "GENERIC_SECRET":
        return found | {"made": _secret(session, label).sign(TEXT, mechanism=Mechanism.SHA256_HMAC).hex()}
    public = session.get_key(ObjectClass.PUBLIC_KEY, label=label)
    encoded = encode_rsa_public_key(public) if kind == "RSA" else encode_ec_public_key(public)
    found |= {"public": encoded.hex(), "made": _sign(session, label, kind).hex()}
    if kind == "RSA":
        outside = t.cast("t.Any", load_der_public_key(encoded))
        found["sealed"] = outside.encrypt(TEXT, padding.PKCS1v15()).hex()
    return found


def unusable(session: pkcs11.Session, used: list[dict[str, str]]) -> list[str]:
    """Return the labels of those keys that do not open, or do not sign, what they did once; and why."""
    faults = []
    for was in used:
        try:
            fine = _works(session, was)
        except (pkcs11.PKCS11Error, InvalidSignature) as error:
            faults.append(f"{was['label']}: {type(error).__name__}")
        else:
            faults += [] if fine else [f"{was['label']}: it is another key"]
    return faults


def _works(session: pkcs11.Session, was: dict[str, str]) -> bool:
    label, made = was["label"], bytes.fromhex(was["made"])
    if was["kind"] == "AES":
        return _secret(session, label).decrypt(made, mechanism_param=bytes.fromhex(was["vector"])) == TEXT
    if was["kind"] == "GENERIC_SECRET":
        return _secret(session, label).sign(TEXT, mechanism=Mechanism.SHA256_HMAC) == made
    # The public half was kept outside all the time: what the private half signs now, it has to accept.
    outside, signature = load_der_public_key(bytes.fromhex(was["public"])), _sign(session, label, was["kind"])
    public = session.get_key(ObjectClass.PUBLIC_KEY, label=label)
    if isinstance(outside, ec.EllipticCurvePublicKey):
        half = len(signature) // 2
        encoded = encode_dss_signature(*(int.from_bytes(part, "big") for part in (signature[:half], signature[half:])))
        outside.verify(encoded, hashlib.sha256(TEXT).digest(), ec.ECDSA(Prehashed(hashes.SHA256())))
        return public.verify(hashlib.sha256(TEXT).digest(), made, mechanism=Mechanism.ECDSA)
    t.cast("t.Any", outside).verify(signature, TEXT, padding.PKCS1v15(), hashes.SHA256())
    private = session.get_key(ObjectClass.PRIVATE_KEY, label=label)
    opened = private.decrypt(bytes.fromhex(was["sealed"]), mechanism=Mechanism.RSA_PKCS)
    return opened == TEXT and public.verify(TEXT, made, mechanism=Mechanism.SHA256_RSA_PKCS)


def _sign(session: pkcs11.Session, label: str, kind: str) -> bytes:
    key = session.get_key(ObjectClass.PRIVATE_KEY, label=label)
    if kind == "RSA":
        return key.sign(TEXT, mechanism=Mechanism.SHA256_RSA_PKCS)
    return key.sign(hashlib.sha256(TEXT).digest(), mechanism=Mechanism.ECDSA)


def _secret(session: pkcs11.Session, label: str) -> t.Any:
    return session.get_key(ObjectClass.SECRET_KEY, label=label)


def described(session: pkcs11.Session) -> dict[str, str]:
    """Return the attributes of every key, by class and label."""
    return {" ".join(name): repr(sorted(found.items())) for name, found in attributes(session).items()}


def labels(session: pkcs11.Session) -> list[str]:
    """Return the labels of the secret and private keys."""
    classes = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
    return sorted(key.label for kind in classes for key in session.get_objects({Attribute.CLASS: kind}))


def destroy(session: pkcs11.Session, label: str) -> None:
    """Destroy every key of a label."""
    for key in list(session.get_objects({Attribute.LABEL: label})):
        key.destroy()


def bring(session: pkcs11.Session, label: str, value: str) -> None:
    """Create an AES key whose bytes, in hexadecimal, the test knows."""
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.TOKEN: True,
            Attribute.VALUE: bytes.fromhex(value), Attribute.LABEL: label, Attribute.ID: label.encode(),
            Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False, Attribute.ENCRYPT: True, Attribute.DECRYPT: True,
        }
    )  # fmt: skip


ACTIONS: dict[str, t.Callable[..., t.Any]] = {
    action.__name__: action for action in (fill, unusable, described, labels, destroy, bring)
}


def main() -> None:
    """Log in, do one thing, and say what came of it."""
    request = json.load(sys.stdin)
    token = pkcs11.lib(request["module"]).get_token(token_label=request["label"])
    with token.open(rw=True, user_pin=request["pin"]) as session:
        json.dump(ACTIONS[request["action"]](session, **request["arguments"]), sys.stdout)


if __name__ == "__main__":
    main()
