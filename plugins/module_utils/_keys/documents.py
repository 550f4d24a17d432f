# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The two kinds of document in a store: immutable parts with the keys, and the manifest that names them. Values in and out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t
from dataclasses import dataclass, field, replace

from .errors import DamageError
from .records import KeyRecord, check_digest

PART_FORMAT = "hsmops-key-part"
MANIFEST_FORMAT = "hsmops-key-backup"
VERSION = 1

# A secret of Secrets Manager takes 65,536 bytes; a part leaves room for what stands around its keys.
MOST_PART_BYTES = 60 * 1024
MOST_MANIFEST_BYTES = 64 * 1024

_LABEL = re.compile(rb'"label":("(?:[ !#-\[\]-~]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*")')


@dataclass(frozen=True)
class WrappedDataKey:
    """A data key as one recipient can open it.

    Attributes:
        kind: "kms" or "custodian".
        key: ARN of the KMS key; empty for a custodian.
        fingerprint: SHA-256 of the recipient's SubjectPublicKeyInfo.
        algorithm: "RSAES_OAEP_SHA_256" or "RSAES_OAEP_SHA_1", the names that KMS uses.
        blob: The data key under the recipient's public key.
    """

    kind: str
    key: str
    fingerprint: str
    algorithm: str
    blob: bytes = field(repr=False)


@dataclass(frozen=True)
class DataKey:
    """A data key of one run, as the manifest describes it.

    Attributes:
        id: Its name.
        check: Its check value.
        mac_key: The key of the codes of this run, wrapped by RFC 5649 under the data key.
        wrapped: The data key for each recipient.
    """

    id: str
    check: str
    mac_key: bytes = field(repr=False)
    wrapped: tuple[WrappedDataKey, ...]

    @property
    def recipients(self) -> frozenset[str]:
        """The fingerprints of those who can open it."""
        return frozenset(form.fingerprint for form in self.wrapped)


@dataclass(frozen=True)
class Part:
    """Keys that one run wrapped.

    Attributes:
        name: The backup's name.
        data_key: Id of the data key.
        keys: The keys.
        mac: Authentication code of everything above, hexadecimal; empty while there is none.
    """

    name: str
    data_key: str
    keys: tuple[KeyRecord, ...]
    mac: str = ""

    def signed_content(self) -> bytes:
        """Return what the code authenticates."""
        return _canonical(self._plain())

    def to_bytes(self) -> bytes:
        """Return the document."""
        return _canonical({**self._plain(), "mac": self.mac})

    def _plain(self) -> dict[str, t.Any]:
        return {
            "format": PART_FORMAT,
            "version": VERSION,
            "name": self.name,
            "data_key": self.data_key,
            "keys": [key.to_plain() for key in self.keys],
        }


@dataclass(frozen=True)
class PartEntry:
    """A part in the manifest.

    Attributes:
        digest: SHA-256 of the document, by which stores know it.
        keys: How many keys it holds.
        data_key: Id of their data key.
        dropped: Positions of keys that count no more: wrapped anew elsewhere, or pruned.
        superseded: Positions of keys that another one with the same class, label and id has replaced on the HSM.
    """

    digest: str
    keys: int
    data_key: str
    dropped: tuple[int, ...] = ()
    superseded: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a backup consists of.

    Attributes:
        name: The backup's name.
        generation: One more with each manifest of this name.
        created: ISO 8601, UTC.
        token: Label, serial number, model and manufacturer of the token.
        data_keys: Every data key that a part needs, and that of the code.
        parts: The parts.
        mac_data_key: Id of the data key whose key of codes made `mac`.
        mac: Authentication code of everything above, hexadecimal; empty while there is none.
    """

    name: str
    generation: int
    created: str
    token: t.Mapping[str, str]
    data_keys: tuple[DataKey, ...]
    parts: tuple[PartEntry, ...]
    mac_data_key: str
    mac: str = ""

    @property
    def keys(self) -> int:
        """How many keys it covers."""
        return sum(entry.keys - len(entry.dropped) for entry in self.parts)

    def with_mac(self, mac: str) -> Manifest:
        """Return it with its code."""
        return replace(self, mac=mac)

    def signed_content(self) -> bytes:
        """Return what the code authenticates."""
        return _canonical(self._plain())

    def to_bytes(self) -> bytes:
        """Return the document."""
        return _canonical({**self._plain(), "mac": self.mac})

    def _plain(self) -> dict[str, t.Any]:
        return {
            "format": MANIFEST_FORMAT,
            "version": VERSION,
            "name": self.name,
            "generation": self.generation,
            "created": self.created,
            "token": dict(self.token),
            "keys": self.keys,
            "data_keys": [
                {
                    "id": data_key.id,
                    "check": data_key.check,
                    "mac_key": _to_text(data_key.mac_key),
                    "wrapped": [{**vars(form), "blob": _to_text(form.blob)} for form in data_key.wrapped],
                }
                for data_key in self.data_keys
            ],
            "parts": [
                {**vars(entry), "dropped": list(entry.dropped), "superseded": list(entry.superseded)}
                for entry in self.parts
            ],
            "mac_data_key": self.mac_data_key,
        }


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a document: the name of a part, the fingerprint of a manifest."""
    return hashlib.sha256(content).hexdigest()


def read_part(content: bytes, entry: PartEntry) -> Part:
    """Read a part that the manifest names.

    Raises:
        DamageError: It is not that part. The text names the first key that is damaged, where one can be named.
    """
    keys: list[KeyRecord] = []
    try:
        plain = _parse(content, PART_FORMAT)
        keys.extend(KeyRecord.from_plain(key) for key in plain["keys"])
        part = Part(plain["name"], plain["data_key"], tuple(keys), plain["mac"])
    except DamageError as error:
        raise DamageError(f"part {entry.digest[:12]}: {error}{'' if keys else _names_in(content)}") from error
    except (KeyError, TypeError) as error:
        raise DamageError(f"part {entry.digest[:12]}: a member is missing or of the wrong kind") from error
    if digest_of(content) != entry.digest or len(keys) != entry.keys or part.data_key != entry.data_key:
        names = ", ".join(str(key.ref) for key in keys)
        raise DamageError(
            f"part {entry.digest[:12]}: it is not the one that the manifest names. It claims to hold {names}"
        )
    return part


def read_manifest(content: bytes, name: str) -> Manifest:
    """Read the manifest of the backup of this name; nothing is authenticated yet.

    Raises:
        DamageError: It is none, or that of another backup.
    """
    try:
        plain = _parse(content, MANIFEST_FORMAT)
        data_keys = tuple(_read_data_key(data_key) for data_key in plain["data_keys"])
        parts = tuple(_read_entry(entry) for entry in plain["parts"])
        manifest = Manifest(
            plain["name"], int(plain["generation"]), str(plain["created"]), dict(plain["token"]),
            data_keys, parts, plain["mac_data_key"], plain["mac"],
        )  # fmt: skip
        known = {data_key.id for data_key in data_keys}
        if not {entry.data_key for entry in parts} | {manifest.mac_data_key} <= known:
            raise ValueError("a data key is missing")
    except DamageError as error:
        raise DamageError(f"the manifest: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamageError("the manifest: a member is missing or of the wrong kind") from error
    if manifest.name != name:
        raise DamageError(f"the manifest: it is that of the backup {manifest.name!r}")
    if manifest.to_bytes() != content:
        raise DamageError("the manifest: it is not in the form in which it was written")
    return manifest


def _read_data_key(plain: t.Mapping[str, t.Any]) -> DataKey:
    forms = tuple(
        WrappedDataKey(
            form["kind"], form["key"], check_digest(form["fingerprint"]), form["algorithm"], _to_bytes(form["blob"])
        )
        for form in plain["wrapped"]
    )
    return DataKey(plain["id"], plain["check"], _to_bytes(plain["mac_key"]), forms)


def _read_entry(plain: t.Mapping[str, t.Any]) -> PartEntry:
    keys, dropped, superseded = int(plain["keys"]), tuple(plain["dropped"]), tuple(plain["superseded"])
    if not set(dropped) | set(superseded) <= set(range(keys)):
        raise ValueError("a position that the part does not have")
    return PartEntry(check_digest(plain["digest"]), keys, plain["data_key"], dropped, superseded)


def _parse(content: bytes, wanted: str) -> dict[str, t.Any]:
    try:
        plain = json.loads(content)
    except ValueError as error:
        raise DamageError("it is cut or no JSON") from error
    if not isinstance(plain, dict) or plain.get("format") != wanted:
        raise DamageError(f"it is no {wanted}")
    if plain.get("version") != VERSION:
        raise DamageError(f"its version is {plain.get('version')!r}, and this collection reads version {VERSION}")
    return plain


def _names_in(content: bytes) -> str:
    """Say which keys a part is about that cannot be read as a whole."""
    labels = [json.loads(label).encode("unicode_escape").decode() for label in _LABEL.findall(content)]
    return f". It names the keys {', '.join(map(repr, labels))}" if labels else ""


def _canonical(plain: t.Mapping[str, t.Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _to_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
