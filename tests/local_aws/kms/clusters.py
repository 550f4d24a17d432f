# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What KMS needs to know of CloudHSM clusters, and what it does in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Login = Literal["ok", "no user", "wrong password", "locked", "no hsm"]


@dataclass(frozen=True)
class ClusterFacts:
    """A cluster as it is now.

    Attributes:
        active_azs: Availability Zone of each ACTIVE HSM; two in one zone come twice.
        cluster_certificate: PEM; clusters that share a backup history have the same.
        trust_anchor: PEM that the cluster was initialized with, None when nobody knows it.
    """

    cluster_id: str
    state: str
    active_azs: list[str]
    cluster_certificate: str | None
    trust_anchor: str | None


class Clusters(Protocol):
    """The CloudHSM clusters of every account and Region, and the users in their HSMs."""

    def facts(self, account: str, region: str, cluster_id: str) -> ClusterFacts | None:
        """Return a cluster, None when there is none of that id."""

    def login(self, account: str, region: str, cluster_id: str, user: str, password: str) -> Login:
        """Try to log a crypto user in; a wrong password counts towards its lockout."""

    def set_password(self, account: str, region: str, cluster_id: str, user: str, password: str) -> None:
        """Change a crypto user's password on every HSM."""
