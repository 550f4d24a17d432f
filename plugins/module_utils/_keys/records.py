# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Keys as they are described: their classes, types and flags, and their records in a backup. No PKCS#11, no AWS, no Ansible."""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from dataclasses import dataclass, field

from .errors import DamageError

# The flags of each kind of key that C_UnwrapKey and C_CreateObject of CloudHSM take ("Interpreting the PKCS #11 library
# attributes table" of its user guide). A flag that is not here is not restored.
_BLOCK_CIPHER = ("encrypt", "decrypt", "wrap", "unwrap", "sign", "verify", "derive")
CAPABILITIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("secret", "aes"): _BLOCK_CIPHER,
    ("secret", "des3"): _BLOCK_CIPHER,
    ("secret", "generic"): ("sign", "verify", "derive"),
    ("private", "rsa"): ("decrypt", "unwrap", "sign", "derive"),
    ("private", "ec"): ("sign", "derive"),
    ("public", "rsa"): ("encrypt", "wrap", "verify"),
    ("public", "ec"): ("verify",),
}
KEY_CLASSES = ("secret", "private", "public")
_COMMON = ("modifiable", "destroyable", "private")
_OF_SECRETS = ("sensitive", "extractable")
# Where a key came from. No import can set these: they are kept for the record, and are never compared.
ORIGIN = ("local", "always_sensitive", "never_extractable", "trusted")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"([0-9a-f]{2})*")


def flags_of(key_class: str, key_type: str) -> tuple[str, ...]:
    """Return the flags that a key of this kind can have.

    Args:
        key_class: One of KEY_CLASSES.
        key_type: "aes", "des3", "generic", "rsa" or "ec".
    """
    secret = () if key_class == "public" else _OF_SECRETS
    return CAPABILITIES[key_class, key_type] + _COMMON + secret


@dataclass(frozen=True, order=True)
class KeyRef:
    """What a key is found by. PKCS#11 lets several keys have the same.

    Attributes:
        key_class: "secret", "private" or "public".
        label: CKA_LABEL. Bytes that are no UTF-8 stand in it as surrogates.
        id: CKA_ID in hexadecimal, lower case; may be empty.
    """

    key_class: str
    label: str
    id: str

    @property
    def printable_label(self) -> str:
        """The label as a module can return it: Ansible takes no surrogates, so bytes that are no UTF-8 stand there as \\xff."""
        return self.label.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def __str__(self) -> str:
        # Control characters and surrogates of a label must not reach a terminal.
        label = self.label.encode("unicode_escape").decode()
        return f"{self.key_class} key '{label}' (id {self.id or 'empty'})"


@dataclass(frozen=True)
class KeyRecord:
    """A key in a backup.

    Attributes:
        ref: Class, label and id.
        key_type: As in CAPABILITIES.
        size: Bits; None where the HSM does not say, as SoftHSM does of secrets that were unwrapped.
        curve: Name of the curve of an EC key, such as "secp256r1"; else empty.
        flags: Those of `flags_of` that are set, in that order.
        origin: Those of ORIGIN that were set.
        check: Its check value: method, colon, hexadecimal digits.
        blob: The key wrapped by RFC 5649 under a data key; empty for a public key.
        public: SubjectPublicKeyInfo of an asymmetric key, DER; else empty.
    """

    ref: KeyRef
    key_type: str
    size: int | None
    curve: str
    flags: tuple[str, ...]
    origin: tuple[str, ...]
    check: str
    blob: bytes = field(repr=False)
    public: bytes = field(repr=False)

    def to_plain(self) -> dict[str, t.Any]:
        """Return what `from_plain` takes, ready for JSON."""
        return {
            "class": self.ref.key_class,
            "label": self.ref.label,
            "id": self.ref.id,
            "type": self.key_type,
            "size": self.size,
            "curve": self.curve,
            "flags": list(self.flags),
            "origin": list(self.origin),
            "check": self.check,
            "mechanism": "rfc5649" if self.blob else "",
            "digest": hashlib.sha256(self.blob).hexdigest(),
            "blob": base64.b64encode(self.blob).decode(),
            "public": base64.b64encode(self.public).decode(),
        }

    @classmethod
    def from_plain(cls, plain: t.Mapping[str, t.Any]) -> KeyRecord:
        """Read a record.

        Raises:
            DamageError: It is none, or its blob is not the one that it was made with. The text names the key.
        """
        try:
            ref = KeyRef(_text(plain["class"]), _text(plain["label"]), _matching(_HEX, plain["id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError("a record has no class, label or id that can be read") from error
        try:
            blob, public = (base64.b64decode(_text(plain[member]), validate=True) for member in ("blob", "public"))
            if plain["digest"] != hashlib.sha256(blob).hexdigest():
                raise ValueError("its wrapped form is not the one that was stored")
            if plain["mechanism"] not in ("rfc5649" if blob else "", "") or bool(blob) == (ref.key_class == "public"):
                raise ValueError("it is wrapped in an unknown way")
            key_type = _text(plain["type"])
            flags, origin = tuple(map(_text, plain["flags"])), tuple(map(_text, plain["origin"]))
            if (ref.key_class, key_type) not in CAPABILITIES or not set(flags) <= set(
                flags_of(ref.key_class, key_type)
            ):
                raise ValueError("its type or flags are unknown")
            size = plain["size"]
            if not isinstance(size, (int, type(None))):
                raise TypeError("its size is no number")
            curve, check = _text(plain["curve"]), _text(plain["check"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"{ref}: {error or 'a member is missing'}") from error
        return cls(ref, key_type, size, curve, flags, origin, check, blob, public)


def check_digest(digest: t.Any) -> str:
    """Return a SHA-256 in hexadecimal.

    Raises:
        ValueError: It is none.
    """
    return _matching(_DIGEST, digest)


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of a text")
    return value


def _matching(pattern: re.Pattern[str], value: t.Any) -> str:
    if not pattern.fullmatch(_text(value)):
        raise ValueError("a malformed value")
    return value
