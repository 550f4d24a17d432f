# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Data keys: made on the HSM for a run and wrapped for recipients, or opened by one of them and put back into an HSM."""

from __future__ import annotations

import secrets
import typing as t
from dataclasses import dataclass, field

from .._cloudhsm.common import AnsibleCloudHSMError
from . import aws
from .checks import check_of_secret
from .documents import DataKey, WrappedDataKey
from .errors import DamageError, KeyBackupError
from .hsm import Hsm, OaepRefusedError, RefusedError
from .public_keys import OAEP_SHA_1, OAEP_SHA_256, CustodianKey, check_rsa, encrypt, fingerprint_of

# SHA-256 first; SoftHSM knows SHA-1 only, which is not known to weaken OAEP.
_ALGORITHMS = (OAEP_SHA_256, OAEP_SHA_1)


@dataclass(frozen=True)
class Recipient:
    """Somebody who can open a data key.

    Attributes:
        kind: "kms" or "custodian".
        key: ARN of the KMS key; empty for a custodian.
        public: SubjectPublicKeyInfo of an RSA key.
    """

    kind: str
    key: str
    public: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the public key."""
        return fingerprint_of(self.public)


@dataclass(frozen=True)
class OpenKey:
    """A data key and its key of codes, as session objects of the HSM.

    Attributes:
        description: What the manifest says of it.
        data: The data key.
        mac: The key of codes.
    """

    description: DataKey
    data: t.Any
    mac: t.Any


class Opener(t.Protocol):
    """A recipient who opens data keys."""

    def open(self, data_key: DataKey) -> bytes:
        """Return the data key in the clear.

        Raises:
            KeyBackupError: It is not wrapped for this recipient, or was altered.
        """


class KmsOpener:
    """Opens data keys with a KMS key.

    Args:
        client: The client.
        key_id: Id, ARN or alias of the key.
    """

    def __init__(self, client: t.Any, key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    def open(self, data_key: DataKey) -> bytes:
        forms = [form for form in data_key.wrapped if form.kind == "kms"]
        for form in forms:
            try:
                return aws.decrypt(self._client, self._key_id, form.algorithm, form.blob)
            except AnsibleCloudHSMError as error:
                if not aws.has_code(error, "InvalidCiphertextException", "IncorrectKeyException"):
                    raise
        keys = ", ".join(form.key for form in forms) or "no KMS key"
        raise KeyBackupError(
            f"kms_key_id: {self._key_id} does not open data key {data_key.id}. It is wrapped for {keys}: name that key, or "
            "use custodian_key_file. If it is that key, the backup was altered."
        )


class CustodianOpener:
    """Opens data keys with a custodian's private key.

    Args:
        key: The private key.
    """

    def __init__(self, key: CustodianKey) -> None:
        self._key = key

    def open(self, data_key: DataKey) -> bytes:
        for form in data_key.wrapped:
            if form.fingerprint == self._key.fingerprint:
                return self._key.decrypt(form.algorithm, form.blob)
        raise KeyBackupError(
            f"custodian_key_file: the key in {self._key.path} (SHA-256 of its public half {self._key.fingerprint[:16]}...) is "
            f"none that data key {data_key.id} is wrapped for. Name the file of another custodian, or use kms_key_id."
        )


def kms_recipient(client: t.Any, key_id: str) -> Recipient:
    """Return a KMS key as a recipient.

    Raises:
        KeyBackupError: It is no RSA key for encryption.
    """
    answer = aws.get_public_key(client, key_id)
    if answer["KeyUsage"] != "ENCRYPT_DECRYPT" or OAEP_SHA_256 not in answer.get("EncryptionAlgorithms", ()):
        raise KeyBackupError(
            f"kms_key_id: {key_id} is no RSA key for encryption. Create one with KeySpec RSA_4096 and KeyUsage ENCRYPT_DECRYPT."
        )
    return Recipient("kms", answer["KeyId"], check_rsa(answer["PublicKey"], "kms_key_id"))


def make_data_key(hsm: Hsm, recipients: t.Sequence[Recipient]) -> OpenKey:
    """Make the data key of a run. It leaves the HSM only under the recipients' public keys."""
    data, mac = hsm.make_data_key(), hsm.make_mac_key()
    description = DataKey(
        id=secrets.token_hex(8),
        check=check_of_secret(hsm, data, "aes"),
        mac_key=hsm.wrap(data, mac),
        wrapped=tuple(_wrap_for(hsm, recipient, data) for recipient in recipients),
    )
    return OpenKey(description, data, mac)


def open_data_key(hsm: Hsm, data_key: DataKey, opener: Opener, transport: tuple[bytes, t.Any]) -> OpenKey:
    """Open a data key and put it into the HSM. It is in this process's memory in the clear for that moment.

    Args:
        hsm: The HSM.
        data_key: The data key.
        opener: A recipient.
        transport: From `Hsm.make_transport_key`.

    Raises:
        DamageError: It is not the data key that the manifest describes.
    """
    public, private = transport
    clear = bytearray(opener.open(data_key))
    try:
        data = _hand_over(hsm, public, private, clear)
    finally:
        # The libraries' own copies are out of reach.
        clear[:] = bytes(len(clear))
    if check_of_secret(hsm, data, "aes") != data_key.check:
        raise DamageError(
            f"data key {data_key.id}: what was opened is not the key that it was. The backup was altered."
        )
    try:
        mac = hsm.unwrap_copy(data, "secret", "generic", data_key.mac_key)
    except RefusedError as error:
        raise DamageError(f"data key {data_key.id}: its key of codes was altered: {error}.") from error
    return OpenKey(data_key, data, mac)


def _wrap_for(hsm: Hsm, recipient: Recipient, data: t.Any) -> WrappedDataKey:
    for algorithm in _ALGORITHMS:
        try:
            blob = hsm.wrap_for(recipient.public, algorithm, data)
        except OaepRefusedError:
            continue
        return WrappedDataKey(recipient.kind, recipient.key, recipient.fingerprint, algorithm, blob)
    raise KeyBackupError(f"library: the token knows none of {', '.join(_ALGORITHMS)}, so no data key can leave it.")


def _hand_over(hsm: Hsm, public: bytes, private: t.Any, clear: bytearray) -> t.Any:
    for algorithm in _ALGORITHMS:
        try:
            return hsm.unwrap_data_key(private, algorithm, encrypt(public, algorithm, clear))
        except OaepRefusedError:
            continue
    raise KeyBackupError(f"library: the token knows none of {', '.join(_ALGORITHMS)}, so no data key can reach it.")
