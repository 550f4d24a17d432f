# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What CloudHSM has in EC2: network interfaces and a security group for each cluster."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws

A, B = "eu-west-1a", "eu-west-1b"
IPV6 = "2001:db8:1:1::/64"


@pytest.fixture
def ec2(aws: LocalAws) -> Any:
    """An EC2 client."""
    return aws.client("ec2")


def create(hsms: Any, cluster_id: str, az: str = A, **more: str) -> dict[str, Any]:
    return hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=az, **more)["Hsm"]


def described(hsms: Any, cluster_id: str) -> dict[str, Any]:
    return hsms.describe_clusters(Filters={"clusterIds": [cluster_id]})["Clusters"][0]


def interfaces(ec2: Any, **filters: str) -> list[dict[str, Any]]:
    wanted = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    return ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]


def groups(ec2: Any, group_id: str) -> list[dict[str, Any]]:
    return ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": [group_id]}])["SecurityGroups"]


def test_interface_of_an_hsm_is_in_ec2(hsms: Any, ec2: Any, cluster_id: str) -> None:
    made = create(hsms, cluster_id)
    cluster = described(hsms, cluster_id)
    [interface] = ec2.describe_network_interfaces(NetworkInterfaceIds=[made["EniId"]])["NetworkInterfaces"]
    assert interface["PrivateIpAddress"] == made["EniIp"]
    assert interface["SubnetId"] == made["SubnetId"] == cluster["SubnetMapping"][A]
    assert interface["VpcId"] == cluster["VpcId"]
    assert interface["AvailabilityZone"] == A
    assert [group["GroupId"] for group in interface["Groups"]] == [cluster["SecurityGroup"]]
    assert (interface["Status"], interface["RequesterManaged"]) == ("in-use", True)
    assert cluster_id in interface["Description"]
    assert interface["Ipv6Addresses"] == []


def test_address_of_an_hsm_is_taken_in_its_subnet(hsms: Any, ec2: Any, cluster_id: str) -> None:
    subnet_id = described(hsms, cluster_id)["SubnetMapping"][A]

    def free() -> int:
        return ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]["AvailableIpAddressCount"]

    before = free()
    made = create(hsms, cluster_id, IpAddress="10.42.0.50")
    assert free() == before - 1
    [interface] = interfaces(ec2, private_ip_address="10.42.0.50", subnet_id=subnet_id)
    assert interface["NetworkInterfaceId"] == made["EniId"]


def test_address_of_somebody_else_is_not_for_an_hsm(aws: LocalAws, hsms: Any, ec2: Any) -> None:
    cluster_id = aws.lay_out()
    subnet_id = described(hsms, cluster_id)["SubnetMapping"][A]
    taken = ec2.create_network_interface(SubnetId=subnet_id, PrivateIpAddress="10.42.0.4")["NetworkInterface"]
    with pytest.raises(ClientError, match="10.42.0.4 is not available"):
        create(hsms, cluster_id, IpAddress="10.42.0.4")
    assert create(hsms, cluster_id)["EniIp"] == "10.42.0.5"
    ec2.delete_network_interface(NetworkInterfaceId=taken["NetworkInterfaceId"])
    assert create(hsms, cluster_id, IpAddress="10.42.0.4")["EniIp"] == "10.42.0.4"


def test_refused_hsm_leaves_no_interface(aws: LocalAws, hsms: Any, ec2: Any, cluster_id: str) -> None:
    aws.fault("no_capacity", az=A)
    with pytest.raises(ClientError, match="capacity"):
        create(hsms, cluster_id)
    assert interfaces(ec2, group_id=described(hsms, cluster_id)["SecurityGroup"]) == []


@pytest.mark.parametrize("seconds", [0, 45])
def test_interface_is_released_when_the_hsm_is_gone(
    aws: LocalAws, hsms: Any, ec2: Any, cluster_id: str, seconds: float
) -> None:
    aws.set_knobs(eni_release_seconds=seconds, hsm_delete_seconds=100)
    made = create(hsms, cluster_id)
    hsms.delete_hsm(ClusterId=cluster_id, EniId=made["EniId"])
    aws.advance(100 + seconds - 1)
    assert len(interfaces(ec2, network_interface_id=made["EniId"])) == 1
    aws.advance(1)
    assert interfaces(ec2, network_interface_id=made["EniId"]) == []
    assert described(hsms, cluster_id)["Hsms"] == []


def test_replacement_keeps_the_interface_in_ec2(aws: LocalAws, hsms: Any, ec2: Any, cluster_id: str) -> None:
    made = create(hsms, cluster_id)
    aws.advance(600)
    before = interfaces(ec2, network_interface_id=made["EniId"])
    aws.replace(made["HsmId"])
    assert interfaces(ec2, network_interface_id=made["EniId"]) == before
    assert len(interfaces(ec2, group_id=described(hsms, cluster_id)["SecurityGroup"])) == 1


def test_members_of_the_security_group_reach_each_other(hsms: Any, ec2: Any, cluster_id: str) -> None:
    [group] = groups(ec2, described(hsms, cluster_id)["SecurityGroup"])
    assert group["GroupName"] == f"cloudhsm-{cluster_id}-sg"
    [rule] = group["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 2223, 2225)
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [group["GroupId"]]
    assert rule["IpRanges"] == rule["Ipv6Ranges"] == []
    assert 2223 in [permission.get("FromPort") for permission in group["IpPermissionsEgress"]]


def test_nothing_is_left_in_ec2_of_a_deleted_cluster(aws: LocalAws, hsms: Any, ec2: Any, cluster_id: str) -> None:
    aws.set_knobs(eni_release_seconds=1_000_000)
    group_id = described(hsms, cluster_id)["SecurityGroup"]
    for az in (A, B):
        made = create(hsms, cluster_id, az)
        hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    aws.advance(120)
    hsms.delete_cluster(ClusterId=cluster_id)
    aws.advance(119)
    assert len(groups(ec2, group_id)) == 1
    assert len(interfaces(ec2, group_id=group_id)) == 2
    aws.advance(1)
    assert groups(ec2, group_id) == []
    assert interfaces(ec2, group_id=group_id) == []
    aws.advance(1_000_000)
    assert interfaces(ec2, group_id=group_id) == []


def test_nothing_is_left_in_ec2_after_a_reset_of_cloudhsm(aws: LocalAws, hsms: Any, ec2: Any, cluster_id: str) -> None:
    group_id, vpc_id = described(hsms, cluster_id)["SecurityGroup"], described(hsms, cluster_id)["VpcId"]
    create(hsms, cluster_id)
    leaving = create(hsms, cluster_id)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=leaving["HsmId"])
    aws.reset(cloudhsm_only=True)
    assert groups(ec2, group_id) == []
    assert interfaces(ec2, vpc_id=vpc_id) == []
    aws.advance(10_000)
    assert hsms.describe_clusters()["Clusters"] == hsms.describe_backups()["Backups"] == []


@pytest.fixture
def dual(ec2: Any, subnets: list[str]) -> str:
    """A subnet that has IPv6 too."""
    [vpc] = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"]
    found = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["dual"]}])["Subnets"]
    if not found:
        tags = [{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": "dual"}]}]
        request = {"VpcId": vpc["VpcId"], "CidrBlock": "10.42.9.0/24", "AvailabilityZone": A}
        found = [ec2.create_subnet(Ipv6CidrBlock=IPV6, TagSpecifications=tags, **request)["Subnet"]]
    return found[0]["SubnetId"]


@pytest.mark.parametrize("network_type", ["DUALSTACK", "IPV4", None])
def test_hsm_has_an_ipv6_address_in_a_dualstack_cluster_only(
    aws: LocalAws, hsms: Any, ec2: Any, dual: str, network_type: str | None
) -> None:
    more = {"NetworkType": network_type} if network_type else {}
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=[dual], **more)["Cluster"]
    aws.activate(made["ClusterId"])
    assert made["NetworkType"] == (network_type or "IPV4")
    hsm = create(hsms, made["ClusterId"])
    aws.advance(600)
    assert described(hsms, made["ClusterId"])["Hsms"][0].get("EniIpV6") == hsm.get("EniIpV6")
    [interface] = interfaces(ec2, network_interface_id=hsm["EniId"])
    addresses = [address["Ipv6Address"] for address in interface["Ipv6Addresses"]]
    assert addresses == ([hsm["EniIpV6"]] if network_type == "DUALSTACK" else [])
    assert all(ipaddress.IPv6Address(address) in ipaddress.IPv6Network(IPV6) for address in addresses)
    assert hsm["EniIp"] == "10.42.9.4"


def test_small_subnet_runs_out_of_addresses(aws: LocalAws, hsms: Any, ec2: Any, subnets: list[str]) -> None:
    [shared] = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"]
    small = {"VpcId": shared["VpcId"], "CidrBlock": "10.42.8.0/28", "AvailabilityZone": A}
    subnet_id = ec2.create_subnet(**small)["Subnet"]["SubnetId"]
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=[subnet_id])["Cluster"]
    aws.activate(made["ClusterId"])
    aws.set_knobs(quota_hsms=100)
    got = [create(hsms, made["ClusterId"])["EniIp"] for _turn in range(11)]
    assert got == [f"10.42.8.{last}" for last in range(4, 15)]
    with pytest.raises(ClientError, match="has no free IP address"):
        create(hsms, made["ClusterId"])
    ec2.delete_subnet(SubnetId=subnet_id)
