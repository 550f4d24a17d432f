# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What CloudHSM keeps for one account in one Region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..agenda import Agenda
from ..faults import Faults
from ..knobs import Knobs
from .history import History
from .ids import Ids

CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
UNINITIALIZED = "UNINITIALIZED"
INITIALIZE_IN_PROGRESS = "INITIALIZE_IN_PROGRESS"
INITIALIZED = "INITIALIZED"
ACTIVE = "ACTIVE"
UPDATE_IN_PROGRESS = "UPDATE_IN_PROGRESS"
MODIFY_IN_PROGRESS = "MODIFY_IN_PROGRESS"
ROLLBACK_IN_PROGRESS = "ROLLBACK_IN_PROGRESS"
DEGRADED = "DEGRADED"
DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"
PENDING_DELETION = "PENDING_DELETION"
DELETED = "DELETED"
READY = "READY"

HSM_CREATED = "HSM created."
HSM_FAILED = "HSM creation failed. Please delete this HSM and try again."
CLUSTER_DELETING = "The cluster is being deleted."
CLUSTER_INITIALIZING = "Cluster is initializing. State will change to INITIALIZED upon completion."

DAY = 86400.0


@dataclass(frozen=True)
class Status:
    """A state and the StateMessage that goes with it."""

    name: str
    message: str | None = None


@dataclass(frozen=True)
class Subnet:
    """A subnet as CloudHSM needs to know it."""

    subnet_id: str
    vpc_id: str
    az: str
    cidr: str
    ipv6_cidr: str | None = None


class Network(Protocol):
    """The EC2 of the same account and Region."""

    def subnet(self, subnet_id: str) -> Subnet | None:
        """Return a subnet, None when there is none of that id."""

    def addresses_in_use(self, subnet_id: str) -> set[str]:
        """Return the private IPv4 addresses of the subnet's network interfaces."""

    def create_security_group(self, name: str, vpc_id: str) -> str:
        """Create a cluster's security group and return its id."""

    def delete_security_group(self, group_id: str) -> None:
        """Delete a cluster's security group if it is still there."""

    def create_interface(self, subnet: Subnet, address: str, group_id: str, description: str) -> tuple[str, str | None]:
        """Create an HSM's network interface; return its id, and its IPv6 address where the subnet has such."""

    def delete_interface(self, eni_id: str) -> None:
        """Delete an HSM's network interface if it is still there."""


class Contents(Protocol):
    """What is inside the HSMs of every cluster, and in the backups."""

    def alive(self, cluster_id: str) -> bool:
        """True while an HSM of the cluster holds users and keys."""

    def is_activated(self, cluster_id: str) -> bool:
        """True when its admin has a password."""

    def start_fresh(self, cluster_id: str) -> None:
        """Begin as the first HSM of a new cluster does."""

    def activate(self, cluster_id: str, password: str) -> None:
        """Give the admin a password."""

    def erase(self, cluster_id: str) -> None:
        """Forget it: no HSM is left."""

    def snapshot(self, cluster_id: str, backup_id: str) -> None:
        """Keep it as a backup."""

    def has_snapshot(self, backup_id: str) -> bool:
        """True when the backup has contents."""

    def restore(self, backup_id: str, cluster_id: str) -> None:
        """Fill an HSM from a backup."""

    def copy_snapshot(self, backup_id: str, new_backup_id: str) -> None:
        """Keep a backup's contents under another id too."""

    def forget_snapshot(self, backup_id: str) -> None:
        """Forget a backup's contents."""

    def reset(self) -> None:
        """Forget everything."""


@dataclass(frozen=True)
class Claim:
    """What the owner of a cluster gave at InitializeCluster, in PEM; no operation returns the trust anchor."""

    certificate: str
    trust_anchor: str


@dataclass
class Hsm:
    """One HSM: a network interface that stays, behind which AWS may put other hardware under a new id.

    Attributes:
        ids: HsmId over time.
        status: State over time; None from when the HSM is no longer listed.
        restored_from: The backup that was chosen for it, if that was at CreateHsm.
    """

    cluster_id: str
    az: str
    subnet_id: str
    eni_id: str
    eni_ip: str
    eni_ip_v6: str | None
    hsm_type: str
    ids: History[str]
    status: History[Status | None]
    restored_from: str | None = None

    def listed(self, moment: float) -> bool:
        """True while DescribeClusters shows the HSM."""
        return self.status.at(moment) is not None

    def present(self, moment: float) -> bool:
        """True while it is there, be it on its way out."""
        return self.state(moment) not in (None, DELETED)

    def state(self, moment: float) -> str | None:
        """Name of the state, None when the HSM is not listed."""
        status = self.status.at(moment)
        return status.name if status else None


@dataclass
class Cluster:
    """One cluster.

    Attributes:
        number: Position in the order of creation.
        subnets: Subnets by Availability Zone.
        certificates: The `Certificates` structure over time.
        claim: Whose it is, from InitializeCluster on.
        source_backup: The backup that it was made from.
        activated: Whether it was ever ACTIVE, so that a new HSM has to be restored from a backup.
        previous_hsm_type: What ModifyCluster may go back to, until `rollback_until`.
    """

    number: int
    cluster_id: str
    created: float
    hsm_type: str
    mode: str
    vpc_id: str
    network_type: str
    security_group: str
    retention_days: str
    subnets: dict[str, Subnet]
    status: History[Status]
    tags: History[dict[str, str]]
    certificates: History[dict[str, str]]
    claim: Claim | None = None
    source_backup: str | None = None
    activated: bool = False
    previous_hsm_type: str | None = None
    rollback_until: float | None = None
    hsms: list[Hsm] = field(default_factory=list)

    def state(self, moment: float) -> str | None:
        """Name of the state, None before the cluster was made."""
        status = self.status.at(moment)
        return status.name if status else None

    def listed_hsms(self, moment: float) -> list[Hsm]:
        """Return the HSMs that DescribeClusters shows."""
        return [hsm for hsm in self.hsms if hsm.listed(moment)]

    def present_hsms(self, moment: float) -> list[Hsm]:
        """Return the HSMs that are there, also those that are leaving."""
        return [hsm for hsm in self.hsms if hsm.present(moment)]

    def active_hsms(self, moment: float) -> list[Hsm]:
        """Return the HSMs that serve."""
        return [hsm for hsm in self.hsms if hsm.state(moment) == ACTIVE]


@dataclass(frozen=True)
class Origin:
    """Where a copied backup comes from."""

    region: str
    backup_id: str
    cluster_id: str
    copied: float


@dataclass
class Backup:
    """One backup.

    Attributes:
        number: Position in the order of creation.
        cluster_id: The cluster that was backed up.
        claim: Whose that cluster was.
        created: CreateTimestamp; before it the backup does not exist.
        shown_from: Before it the backup is not listed: its creation, or that of the copy.
        delete_at: When PENDING_DELETION ends.
        policy: The resource policy, a JSON text.
    """

    number: int
    backup_id: str
    cluster_id: str
    hsm_type: str
    mode: str
    claim: Claim | None
    created: float
    shown_from: float
    status: History[Status]
    tags: History[dict[str, str]]
    never_expires: bool = False
    delete_at: float | None = None
    policy: str | None = None
    origin: Origin | None = None

    def state(self, moment: float) -> str | None:
        """Name of the state, None before the backup began."""
        status = self.status.at(moment)
        return status.name if status else None


@dataclass
class Store:
    """Everything of one account in one Region."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    backups: dict[str, Backup] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What an operation works with.

    Attributes:
        now: Virtual time of the request or event, seconds since the epoch.
        elsewhere: Gives the context of another account and Region at the same moment.
        owners: Gives the contexts of all accounts in a Region.
    """

    account: str
    region: str
    now: float
    knobs: Knobs
    faults: Faults
    ids: Ids
    network: Network
    contents: Contents
    store: Store
    agenda: Agenda
    elsewhere: Callable[[str, str], Context]
    owners: Callable[[str], list[Context]]

    def later(self, at: float, kind: str, *subjects: str) -> None:
        """Put an event of this account and Region down."""
        self.agenda.add(at, kind, self.account, self.region, *subjects)

    def struck(self, kind: str, cluster_id: str | None, az: str | None = None) -> bool:
        """Use up one strike of a condition; True when there was one."""
        return self.faults.take_condition(kind, self.region, cluster_id, az)
