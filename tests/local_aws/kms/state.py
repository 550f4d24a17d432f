# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What KMS keeps for one account in one Region, beside the keys that moto has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..cloudhsm.history import History
from ..knobs import Knobs
from .clusters import Clusters

CONNECTED = "CONNECTED"
CONNECTING = "CONNECTING"
DISCONNECTED = "DISCONNECTED"
DISCONNECTING = "DISCONNECTING"
FAILED = "FAILED"

ENABLED = "Enabled"
DISABLED = "Disabled"
PENDING_DELETION = "PendingDeletion"
PENDING_IMPORT = "PendingImport"
UNAVAILABLE = "Unavailable"

AWS_CLOUDHSM = "AWS_CLOUDHSM"
EXTERNAL = "EXTERNAL"
SYMMETRIC = "SYMMETRIC_DEFAULT"
KMSUSER = "kmsuser"


@dataclass(frozen=True)
class MotoKey:
    """A key as moto knows it; of states it has Enabled, Disabled and PendingDeletion."""

    key_id: str
    arn: str
    spec: str
    state: str


class Keys(Protocol):
    """The keys of one account and Region in moto."""

    def find(self, name: str) -> MotoKey | None:
        """Return the key of an id, ARN or alias, None when there is none."""

    def of_ciphertext(self, ciphertext: bytes) -> MotoKey | None:
        """Return the key that a ciphertext was made with, None when it is none of moto's."""

    def set_material(self, key_id: str, material: bytes) -> None:
        """Let the key work with this material: bytes of a secret key, or PKCS #8 DER of a private one."""

    def wipe(self, key_id: str) -> None:
        """Overwrite the key's secret material."""

    def enable(self, key_id: str) -> None:
        """Make the key Enabled."""

    def delete(self, key_id: str) -> None:
        """Forget the key, its aliases and its tags."""


@dataclass(frozen=True)
class Connection:
    """ConnectionState and, with FAILED, ConnectionErrorCode."""

    state: str
    error: str | None = None


@dataclass
class KeyStore:
    """A custom key store.

    Attributes:
        number: Position in the order of creation.
        cluster_certificate: That of the first cluster; every later one must have the same.
        password: What KMS believes kmsuser's password to be.
        connection: Connection over virtual time.
    """

    number: int
    store_id: str
    name: str
    cluster_id: str
    cluster_certificate: str | None
    trust_anchor: str
    password: str = field(repr=False)
    created: float
    connection: History[Connection]

    def connection_at(self, moment: float) -> Connection:
        """Return the connection at a moment."""
        return self.connection.at(moment) or Connection(DISCONNECTED)


@dataclass
class ImportParameters:
    """What one GetParametersForImport gave out.

    Attributes:
        wrapping_key: Private half of the wrapping key, PKCS #8 DER.
        used: Whether material has been imported with it.
    """

    algorithm: str
    wrapping_key: bytes = field(repr=False)
    valid_to: float
    used: bool = False


@dataclass
class Key:
    """What moto does not know of a key that is in a custom key store or has imported material.

    Attributes:
        store_id: Its custom key store, None for one with imported material.
        parameters: Outstanding import parameters by import token.
        material_id: Identifies the only material that it may ever have; None before the first import.
        has_material: False before the first import and after deletion or expiry.
        valid_to: When its material expires, None for never.
        deletion_date: When the key itself is deleted, None unless that is scheduled.
    """

    key_id: str
    created: float
    store_id: str | None
    parameters: dict[bytes, ImportParameters] = field(default_factory=dict)
    material_id: str | None = None
    has_material: bool = False
    valid_to: float | None = None
    deletion_date: float | None = None


@dataclass
class Store:
    """Everything of one account in one Region; it can be pickled.

    Attributes:
        rsa_keys: Private keys, PKCS #8 DER, of KMS's own RSA keys for encryption, by key id.
    """

    key_stores: dict[str, KeyStore] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    rsa_keys: dict[str, bytes] = field(default_factory=dict)
    created: int = 0


# By account and Region.
State = dict[tuple[str, str], Store]


@dataclass(frozen=True)
class Context:
    """What an operation works with.

    Attributes:
        now: Virtual time of the request, seconds since the epoch.
        clusters: CloudHSM, in every account and Region.
        keys: moto's keys of this account and Region.
        store: Our own data of this account and Region.
    """

    account: str
    region: str
    now: float
    knobs: Knobs
    clusters: Clusters
    keys: Keys
    store: Store
