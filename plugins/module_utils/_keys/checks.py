# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Check values: what shows that two keys are the same, without showing anything of the key.

CKA_CHECK_VALUE will not do: SoftHSM leaves it empty for a key that was unwrapped. A block of zeros under an AES key is what
GCM and CMAC derive their secrets from, and an HMAC may be somebody's token; so only a hash of the answer leaves this file. For
an asymmetric key it is the digest of its public half, and a signature proves that the private half belongs to it.
"""

from __future__ import annotations

import hashlib
import secrets
import typing as t
from dataclasses import replace

from .errors import KeyBackupError
from .hsm import Hsm, HsmKey, RefusedError
from .plan import LiveKey, Selection
from .public_keys import fingerprint_of, proves
from .records import KeyRecord, KeyRef

_DOMAIN = b"hsmops.cloudhsm key check 1\n"
_CHECK_BYTES = 16
_METHODS = {"aes": "aes-ecb", "des3": "des3-ecb", "generic": "hmac-sha256"}
# The flag without which a secret key does not answer.
_ANSWERING = {"aes": "encrypt", "des3": "encrypt", "generic": "sign"}


class Examiner:
    """Finds check values of the keys on an HSM.

    A key that may not answer itself is copied: wrapped under a key that this run makes for that, and unwrapped into a session
    object that may.

    Args:
        hsm: The HSM.
    """

    def __init__(self, hsm: Hsm) -> None:
        self._hsm = hsm
        self._copying: t.Any = None

    def examine(self, keys: t.Iterable[HsmKey], selection: Selection) -> list[LiveKey]:
        """Return the keys, those that are selected with their check values, or with what hinders that."""
        return [self._examined(key) if selection.matches(key.live.ref) else key.live for key in keys]

    def _examined(self, key: HsmKey) -> LiveKey:
        try:
            live = self._with_half(key)
            return replace(live, check=self._check(replace(key, live=live)))
        except RefusedError as error:
            if not key.live.obstacle:
                insist_on_the_key(key.live.ref, error)
            return replace(key.live, obstacle=key.live.obstacle or str(error))

    def _check(self, key: HsmKey) -> str:
        live = key.live
        if live.key_type in _METHODS:
            if _ANSWERING[live.key_type] in live.flags:
                return check_of_secret(self._hsm, key.handle, live.key_type)
            return self._of_copy(key, lambda copy: check_of_secret(self._hsm, copy, live.key_type))
        if not live.public:
            raise RefusedError("the HSM has no public half of it")
        return check_of_public(live.public)

    def _with_half(self, key: HsmKey) -> LiveKey:
        """Give the private half of an EC key the public one that it belongs to. An RSA key has its modulus itself."""
        live, publics = key.live, [half.public for half in key.halves]
        if not publics:
            return live
        if "sign" in live.flags:
            number = prove(self._hsm, key.handle, live.key_type, publics)
        else:
            number = self._of_copy(key, lambda copy: prove(self._hsm, copy, live.key_type, publics))
        half = key.halves[number]
        return replace(live, public=half.public, size=half.size, curve=half.curve)

    def _of_copy(self, key: HsmKey, ask: t.Callable[[t.Any], t.Any]) -> t.Any:
        live = key.live
        if live.obstacle:
            raise RefusedError(live.obstacle)
        self._copying = self._copying or self._hsm.make_data_key()
        blob = self._hsm.wrap(self._copying, key.handle)
        copy = self._hsm.unwrap_copy(self._copying, live.ref.key_class, live.key_type, blob)
        try:
            return ask(copy)
        finally:
            self._hsm.destroy(copy)


def insist_on_the_key(ref: KeyRef, error: RefusedError) -> None:
    """Let nothing that may be the HSM's fault pass for that of a key, which would be left out of the backup.

    Raises:
        KeyBackupError: It may be the HSM's.
    """
    if error.unclear:
        raise KeyBackupError(
            f"{ref}: {error}. That may be the HSM and not the key: see that it is reachable and active and, where it is the only "
            "one of its cluster, that the key availability check of the library is off (configure-pkcs11 "
            "--disable-key-availability-check). If it is the key, select the others by labels or ids."
        ) from error


def check_of_secret(hsm: Hsm, key: t.Any, key_type: str) -> str:
    """Return the check value of a secret key.

    Args:
        hsm: The HSM.
        key: A handle.
        key_type: "aes", "des3" or "generic".

    Raises:
        RefusedError: It does not answer.
    """
    answer = hsm.answer(key, key_type, b"")
    return f"{_METHODS[key_type]}:{hashlib.sha256(_DOMAIN + answer).hexdigest()[: 2 * _CHECK_BYTES]}"


def check_of_public(public: bytes) -> str:
    """Return the check value of an asymmetric key.

    Args:
        public: SubjectPublicKeyInfo.
    """
    return f"spki-sha256:{fingerprint_of(public)}"


def prove(hsm: Hsm, key: t.Any, key_type: str, publics: t.Sequence[bytes]) -> int:
    """Say which of some public keys a private one is the other half of, by a signature.

    Raises:
        RefusedError: It is that of none, or does not sign.
    """
    challenge = secrets.token_bytes(32)
    signature = hsm.answer(key, key_type, challenge)
    for number, public in enumerate(publics):
        if proves(public, challenge, signature):
            return number
    raise RefusedError("its private and its public half do not belong together")


def prove_record(hsm: Hsm, data_key: t.Any, record: KeyRecord) -> None:
    """See that what a record holds is the key that it describes, on a copy that is destroyed at once.

    Args:
        hsm: The HSM.
        data_key: Handle of the record's data key.
        record: The record.

    Raises:
        RefusedError: It is not.
    """
    if record.public and check_of_public(record.public) != record.check:
        raise RefusedError("its check value is not that of its public half")
    if record.ref.key_class == "public":
        return
    copy = hsm.unwrap_copy(data_key, record.ref.key_class, record.key_type, record.blob)
    try:
        if record.ref.key_class == "private":
            prove(hsm, copy, record.key_type, [record.public])
        elif check_of_secret(hsm, copy, record.key_type) != record.check:
            raise RefusedError("what the backup holds is another key: its check value is another")
    finally:
        hsm.destroy(copy)
