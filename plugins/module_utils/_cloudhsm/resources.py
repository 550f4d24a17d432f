# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What the plans decide on: a cluster and its HSMs as plain values, and what their states mean.

The states are those of the CloudHSM v2 API. AWS may add to them; a state that is not known here is neither usable, nor
being created, nor leaving, so that nothing is concluded from it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

# A cluster passes through these by itself and accepts no change of its HSMs meanwhile.
CLUSTER_BUSY_STATES = frozenset(
    (
        "CREATE_IN_PROGRESS",
        "INITIALIZE_IN_PROGRESS",
        "UPDATE_IN_PROGRESS",
        "MODIFY_IN_PROGRESS",
        "PENDING_ROLLBACK",
        "ROLLBACK_IN_PROGRESS",
    )
)
# Only a cluster that was activated can be in one of these. DEGRADED and UPDATE_IN_PROGRESS say nothing about it.
CLUSTER_ACTIVATED_STATES = frozenset(("ACTIVE", "MODIFY_IN_PROGRESS", "PENDING_ROLLBACK", "ROLLBACK_IN_PROGRESS"))
CLUSTER_DELETED_STATES = frozenset(("DELETE_IN_PROGRESS", "DELETED"))

HSM_LEAVING_STATES = frozenset(("DELETE_IN_PROGRESS", "DELETED"))


@dataclass(frozen=True)
class Hsm:
    """One HSM, as DescribeClusters shows it. AWS may omit everything but the id while it creates one."""

    hsm_id: str
    availability_zone: str = ""
    state: str = ""
    eni_id: str = ""
    eni_ip: str = ""
    subnet_id: str = ""
    state_message: str = ""

    @property
    def usable(self) -> bool:
        return self.state == "ACTIVE"

    @property
    def coming(self) -> bool:
        return self.state == "CREATE_IN_PROGRESS"

    @property
    def degraded(self) -> bool:
        return self.state == "DEGRADED"

    @property
    def leaving(self) -> bool:
        return self.state in HSM_LEAVING_STATES

    def replaces(self, other: Hsm) -> bool:
        """Whether AWS put this HSM in the place of the other one: same network interface, new id.

        An empty network interface or address never matches: it would match any HSM that is being created.
        """
        if self.hsm_id == other.hsm_id:
            return False
        if self.eni_id and other.eni_id:
            return self.eni_id == other.eni_id
        return bool(self.eni_ip) and (self.availability_zone, self.eni_ip) == (other.availability_zone, other.eni_ip)

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.availability_zone, self.eni_ip) if part)
        return f"{self.hsm_id} ({where})" if where else self.hsm_id


@dataclass(frozen=True)
class Cluster:
    """One cluster. subnet_mapping is Availability Zone to subnet id: HSMs can be created only in these zones."""

    cluster_id: str
    state: str
    subnet_mapping: t.Mapping[str, str] = field(default_factory=dict)
    hsms: tuple[Hsm, ...] = ()

    @property
    def activated(self) -> bool:
        return self.state in CLUSTER_ACTIVATED_STATES

    @property
    def busy(self) -> bool:
        return self.state in CLUSTER_BUSY_STATES

    @property
    def deleted(self) -> bool:
        return self.state in CLUSTER_DELETED_STATES

    def find(self, hsm: Hsm) -> Hsm | None:
        """Return the HSM as it is now: by its id, else the one with which AWS replaced it."""
        by_id = next((candidate for candidate in self.hsms if candidate.hsm_id == hsm.hsm_id), None)
        return by_id or next((candidate for candidate in self.hsms if candidate.replaces(hsm)), None)
