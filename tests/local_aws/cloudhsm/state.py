# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What CloudHSM keeps for one account in one Region."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..faults import Faults
from ..knobs import Knobs
from .history import History
from .ids import Ids

CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
UNINITIALIZED = "UNINITIALIZED"
INITIALIZED = "INITIALIZED"
ACTIVE = "ACTIVE"
DEGRADED = "DEGRADED"
DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"
DELETED = "DELETED"
READY = "READY"

HSM_CREATED = "HSM created."
HSM_FAILED = "HSM creation failed. Please delete this HSM and try again."
CLUSTER_DELETING = "The cluster is being deleted."


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


@dataclass
class Hsm:
    """One HSM: a network interface that stays, behind which AWS may put other hardware under a new id.

    Attributes:
        ids: HsmId over time.
        status: State over time; None from when the HSM is no longer listed.
        address_released: When the address may be used again; None while the HSM is there.
    """

    cluster_id: str
    az: str
    subnet_id: str
    eni_id: str
    eni_ip: str
    hsm_type: str
    ids: History[str]
    status: History[Status | None]
    address_released: float | None = None

    def listed(self, moment: float) -> bool:
        """True while DescribeClusters shows the HSM."""
        return self.status.at(moment) is not None

    def state(self, moment: float) -> str | None:
        """Name of the state, None when the HSM is not listed."""
        status = self.status.at(moment)
        return status.name if status else None

    def holds_address(self, moment: float) -> bool:
        """True while no other network interface can have the address."""
        return self.address_released is None or moment < self.address_released


@dataclass
class Cluster:
    """One cluster.

    Attributes:
        number: Position in the order of creation.
        subnets: Subnets by Availability Zone.
        claimed: Whether the cluster has its certificate, over time.
    """

    number: int
    cluster_id: str
    created: float
    hsm_type: str
    mode: str
    vpc_id: str
    security_group: str
    retention_days: str
    subnets: dict[str, Subnet]
    status: History[Status]
    tags: History[dict[str, str]]
    claimed: History[bool]
    hsms: list[Hsm] = field(default_factory=list)

    def state(self, moment: float) -> str | None:
        """Name of the state, None before the cluster was made."""
        status = self.status.at(moment)
        return status.name if status else None

    def listed_hsms(self, moment: float) -> list[Hsm]:
        """Return the HSMs that DescribeClusters shows."""
        return [hsm for hsm in self.hsms if hsm.listed(moment)]


@dataclass
class Backup:
    """One backup.

    Attributes:
        number: Position in the order of creation.
        created: CreateTimestamp; before it the backup does not exist.
        hsm: The HSM whose creation brings it about, if that has yet to succeed.
    """

    number: int
    backup_id: str
    cluster: Cluster
    created: float
    status: History[Status]
    tags: History[dict[str, str]]
    hsm: Hsm | None = None


@dataclass
class Store:
    """Everything of one account in one Region."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    backups: dict[str, Backup] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What an operation works with.

    Attributes:
        now: Virtual time of the request, seconds since the epoch.
    """

    account: str
    region: str
    now: float
    knobs: Knobs
    faults: Faults
    ids: Ids
    network: Network
    store: Store
