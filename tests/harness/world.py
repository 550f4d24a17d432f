# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The CloudHSM service of the local AWS without HTTP and without moto, for tests that take thousands of steps."""

from __future__ import annotations

import io
import ipaddress
import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from local_aws.clock import VirtualClock
from local_aws.cloudhsm.service import CloudHsm, Request
from local_aws.cloudhsm.state import Subnet
from local_aws.contents.vault import Vault
from local_aws.control import Control
from local_aws.knobs import Knobs

# A whole number, so that sums of times are exact.
START = 1_800_000_000.0
ZONES = {"a": "10.9.0.0/28", "b": "10.9.0.16/28", "c": "10.9.0.32/28"}
# Stands in for `cryptography`'s module, whose keys of the documented size take a tenth of a second each.
QUICK_RSA = SimpleNamespace(
    RSAPublicKey=rsa.RSAPublicKey, generate_private_key=lambda **_size: ec.generate_private_key(ec.SECP256R1())
)


class Place(NamedTuple):
    """An account in a Region."""

    account: str
    region: str


class Network:
    """The EC2 of a place: two VPCs of the same addresses, each with a subnet in three Availability Zones.

    Attributes:
        subnets: By id.
        interfaces: Subnet and address of each network interface, by id.
        groups: Ids of the security groups.
    """

    made = 0

    def __init__(self, place: Place) -> None:
        self.interfaces: dict[str, tuple[str, str]] = {}
        self.groups: set[str] = set()
        self.vpcs = [self._id("vpc"), self._id("vpc")]
        subnets = [
            Subnet(self._id("subnet"), vpc_id, place.region + letter, cidr)
            for vpc_id in self.vpcs
            for letter, cidr in ZONES.items()
        ]
        self.subnets = {subnet.subnet_id: subnet for subnet in subnets}

    def subnet(self, subnet_id: str) -> Subnet | None:
        """Return a subnet, None when there is none of that id."""
        return self.subnets.get(subnet_id)

    def addresses_in_use(self, subnet_id: str) -> set[str]:
        """Return the addresses of the subnet's network interfaces."""
        return {address for subnet, address in self.interfaces.values() if subnet == subnet_id}

    def create_security_group(self, name: str, vpc_id: str) -> str:
        """Create a group and return its id."""
        assert vpc_id in self.vpcs, f"{name} in an unknown VPC"
        self.groups.add(group_id := self._id("sg"))
        return group_id

    def delete_security_group(self, group_id: str) -> None:
        """Delete a group if it is still there."""
        self.groups.discard(group_id)

    def create_interface(self, subnet: Subnet, address: str, group_id: str, description: str) -> tuple[str, None]:
        """Create a network interface at a free address of its subnet."""
        assert address not in self.addresses_in_use(subnet.subnet_id), f"{description}: {address} is taken"
        assert ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)
        assert group_id in self.groups
        return self.occupy(subnet.subnet_id, address), None

    def occupy(self, subnet_id: str, address: str) -> str:
        """Put down a network interface, whoever's it is."""
        eni_id = self._id("eni")
        self.interfaces[eni_id] = (subnet_id, address)
        return eni_id

    def delete_interface(self, eni_id: str) -> None:
        """Delete a network interface if it is still there."""
        self.interfaces.pop(eni_id, None)

    @classmethod
    def _id(cls, kind: str) -> str:
        cls.made += 1
        return f"{kind}-{cls.made:017x}"


@dataclass(frozen=True)
class Seen:
    """Everything that DescribeClusters and DescribeBackups show at a moment, by place and id, in their order."""

    now: float
    clusters: dict[Place, dict[str, dict[str, Any]]]
    backups: dict[Place, dict[str, dict[str, Any]]]

    @cached_property
    def all_clusters(self) -> list[tuple[Place, dict[str, Any]]]:
        """The clusters of all places."""
        return [(place, view) for place, views in self.clusters.items() for view in views.values()]

    @cached_property
    def all_backups(self) -> list[tuple[Place, dict[str, Any]]]:
        """The backups of all places."""
        return [(place, view) for place, views in self.backups.items() for view in views.values()]

    def cluster(self, cluster_id: str) -> dict[str, Any] | None:
        """The cluster of an id, None when there is none."""
        return next((view for _place, view in self.all_clusters if view["ClusterId"] == cluster_id), None)

    def own_backups(self, cluster_id: str) -> list[dict[str, Any]]:
        """The backups that belong to a cluster; copies belong to none."""
        return [b for _place, b in self.all_backups if "SourceBackup" not in b and b["ClusterId"] == cluster_id]


class World:
    """A service with its own frozen clock, and its control API.

    Args:
        places: Accounts and Regions to look at.
        knobs: Settings.
    """

    def __init__(self, places: tuple[Place, ...], knobs: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="local-aws-")
        self.networks = {place: Network(place) for place in places}
        self.clock = VirtualClock(rate=0, start=START, real=lambda: 0.0)
        self.vault = Vault(Path(self._folder.name), module=None)
        self.service = CloudHsm(
            self.clock, Knobs().changed(knobs), 0, lambda *place: self.networks[Place(*place)], self.vault
        )
        self._control = Control(self.service, self.vault, lambda: None)

    def close(self) -> None:
        """Remove every file."""
        self._folder.cleanup()

    def call(self, place: Place, operation: str, **parameters: Any) -> dict[str, Any]:
        """Carry out a request of that place, as decoded from JSON and encoded to JSON."""
        request = Request(operation, json.loads(json.dumps(parameters)), place.account, place.region, None)
        return json.loads(json.dumps(self.service.call(request, lambda _ctx: None)))

    def control(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        """Send a request to the control API and return its status and answer."""
        content = json.dumps(body).encode()
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": f"/_local/{path}",
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": io.BytesIO(content),
        }
        statuses: list[str] = []
        answer = b"".join(self._control(environ, lambda status, _headers: statuses.append(status)))
        return int(statuses[0].split()[0]), json.loads(answer)
