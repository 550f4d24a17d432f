# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Read a backup, and see that it is what was written, before anything is made of it."""

from __future__ import annotations

import hmac
import typing as t

from .checks import prove_record
from .data_keys import Opener, OpenKey, open_data_key
from .documents import Manifest, Part, digest_of, read_manifest, read_part
from .errors import DamageError, KeyBackupError
from .hsm import Hsm, RefusedError
from .plan import Stored
from .stores import Store

_ADVICE = (
    "Nothing was imported. Somebody or something changed the backup: restore the store from its own history (versions, deletions "
    "that can be taken back), or make a new backup under another name and keep this one for an investigation."
)


def read_backup(
    store: Store, name: str, fingerprint: str | None, min_generation: int, whole: bool
) -> tuple[Stored, bytes | None]:
    """Read a backup.

    Args:
        store: Where it is.
        name: Its name.
        fingerprint: What the manifest's SHA-256 must be; None for any.
        min_generation: The least generation.
        whole: Whether a part that is missing or damaged is an error; else it is left out, and named in `Stored.damage`.

    Returns:
        The backup, and the document of its manifest; None where there is none.

    Raises:
        KeyBackupError: It is not the one that is wanted, or cannot be read.
    """
    content = store.get_manifest()
    if content is None:
        if fingerprint or min_generation:
            raise KeyBackupError(f"name: {store.place} holds no backup, and fingerprint or min_generation ask for one.")
        return Stored(None, {}), None
    _check_identity(content, store, fingerprint)
    try:
        manifest = read_manifest(content, name)
    except DamageError as error:
        raise DamageError(f"{store.place}: {error}. {_ADVICE}") from error
    if manifest.generation < min_generation:
        raise KeyBackupError(
            f"min_generation: {store.place} holds generation {manifest.generation}, and {min_generation} or later is wanted. "
            "An older backup was put in its place, or min_generation is wrong."
        )
    parts, damage = _read_parts(store, manifest)
    if damage and whole:
        raise DamageError(f"{store.place}: {'; '.join(damage)}. {_ADVICE}")
    return Stored(manifest, parts, tuple(damage)), content


def open_backup(hsm: Hsm, manifest: Manifest, parts: t.Iterable[Part], opener: Opener) -> dict[str, OpenKey]:
    """Open the data keys of a backup, and check who made its documents.

    Args:
        hsm: The HSM.
        manifest: The manifest.
        parts: Every part that it names.
        opener: A recipient.

    Returns:
        The data keys by their ids.

    Raises:
        DamageError: A document is not as it was written.
    """
    transport = hsm.make_transport_key()
    opened = {data_key.id: open_data_key(hsm, data_key, opener, transport) for data_key in manifest.data_keys}
    # The parts first: their errors can name keys.
    for part in parts:
        if not _authentic(hsm, opened[part.data_key], part) or part.name != manifest.name:
            names = ", ".join(str(key.ref) for key in part.keys)
            raise DamageError(f"a part: its authentication code is wrong. It claims to hold {names}. {_ADVICE}")
    if not _authentic(hsm, opened[manifest.mac_data_key], manifest):
        raise DamageError(f"the manifest: its authentication code is wrong. {_ADVICE}")
    return opened


def prove_backup(hsm: Hsm, stored: Stored, opened: t.Mapping[str, OpenKey]) -> int:
    """Unwrap every key of a backup into a session object, and see that it is the key that its record describes.

    Returns:
        How many keys there are.

    Raises:
        DamageError: One is not. The text names all of those.
    """
    damage = []
    records = stored.records()
    for (digest, _index), record in records.items():
        try:
            prove_record(hsm, opened[stored.parts[digest].data_key].data, record)
        except RefusedError as error:
            damage.append(f"{record.ref}: {error}.")
    if damage:
        raise DamageError(f"{' '.join(damage)} {_ADVICE}")
    return len(records)


def _check_identity(content: bytes, store: Store, fingerprint: str | None) -> None:
    found = digest_of(content)
    if fingerprint and fingerprint.lower() != found:
        raise KeyBackupError(
            f"fingerprint: the manifest in {store.place} is {found}, and {fingerprint} is wanted. Another run has written a "
            "newer one, or somebody put an older or a forged one in its place. Nothing was imported."
        )


def _read_parts(store: Store, manifest: Manifest) -> tuple[dict[str, Part], list[str]]:
    parts, damage = {}, []
    for entry in manifest.parts:
        content = store.get_part(entry.digest)
        if content is None:
            damage.append(f"part {entry.digest[:12]}, which holds {entry.keys} keys, is missing")
            continue
        try:
            parts[entry.digest] = read_part(content, entry)
        except DamageError as error:
            damage.append(str(error))
    return parts, damage


def _authentic(hsm: Hsm, key: OpenKey, document: Manifest | Part) -> bool:
    return hmac.compare_digest(hsm.authenticate(key.mac, document.signed_content()), document.mac)
