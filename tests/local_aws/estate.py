# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A first environment: what somebody who parks HSMs has before the first one is created."""

from __future__ import annotations

from typing import Any, Protocol

VPC_CIDR = "10.42.0.0/16"
SUBNET_CIDRS = {"a": "10.42.0.0/24", "b": "10.42.1.0/24", "c": "10.42.2.0/24"}


class Aws(Protocol):
    """What makes clients and reaches the side door."""

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client."""

    def activate(self, cluster_id: str) -> None:
        """Make a cluster ACTIVE."""


def lay_out(aws: Aws, name: str, region: str, tags: dict[str, str]) -> str:
    """Make a VPC, three private subnets in three Availability Zones and an ACTIVE cluster without HSM.

    Every call makes another VPC of 10.42.0.0/16, so environments never share addresses.

    Args:
        aws: The local AWS.
        name: Tag `Name` of everything.
        region: AWS Region.
        tags: More tags of the cluster.

    Returns:
        The cluster's id.
    """
    ec2 = aws.client("ec2", region)
    cloudhsm = aws.client("cloudhsmv2", region)
    cluster_tags = [{"Key": key, "Value": value} for key, value in ({"Name": name} | tags).items()]

    def named(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]

    vpc_id = ec2.create_vpc(CidrBlock=VPC_CIDR, TagSpecifications=named("vpc"))["Vpc"]["VpcId"]
    subnet_ids = [
        ec2.create_subnet(
            VpcId=vpc_id, CidrBlock=cidr, AvailabilityZone=region + letter, TagSpecifications=named("subnet")
        )["Subnet"]["SubnetId"]
        for letter, cidr in SUBNET_CIDRS.items()
    ]
    cluster = cloudhsm.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnet_ids, TagList=cluster_tags)[
        "Cluster"
    ]
    aws.activate(cluster["ClusterId"])
    return cluster["ClusterId"]
