# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def make(aws: LocalAws, subnets: list[str]) -> Make:
    """Make a cluster in one subnet; a member that is None is left out."""

    def made(**more: Any) -> dict[str, Any]:
        request = {"HsmType": "hsm2m.medium", "Mode": "FIPS", "SubnetIds": subnets[:1]} | more
        given = {member: value for member, value in request.items() if value is not None}
        return aws.client("cloudhsmv2").create_cluster(**given)["Cluster"]

    return made


def test_new_cluster_has_the_recorded_shape(make: Make, aws: LocalAws, hsms: Any) -> None:
    made = make(TagList=[{"Key": "Name", "Value": "x"}])
    assert made["State"] == "CREATE_IN_PROGRESS"
    aws.advance(180)
    [cluster] = hsms.describe_clusters()["Clusters"]
    assert cluster["State"] == "UNINITIALIZED"
    assert "StateMessage" not in cluster
    assert cluster["Certificates"] == {}
    assert cluster["Hsms"] == []
    assert cluster["BackupRetentionPolicy"] == {"Type": "DAYS", "Value": "90"}
    assert cluster["SubnetMapping"] == made["SubnetMapping"]
    assert list(cluster["SubnetMapping"]) == ["eu-west-1a"]
    assert cluster["TagList"] == [{"Key": "Name", "Value": "x"}]
    assert cluster["CreateTimestamp"].timestamp() == pytest.approx(aws.now() - 180, abs=0.01)
    [group] = aws.client("ec2").describe_security_groups(GroupIds=[cluster["SecurityGroup"]])["SecurityGroups"]
    assert group["GroupName"] == f"cloudhsm-{cluster['ClusterId']}-sg"
    assert group["VpcId"] == cluster["VpcId"]
    [rule] = group["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"]) == (2223, 2225)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"HsmType": "hsm1.medium"}, r"Provided HsmType is not supported\.$"),
        ({"Mode": None}, "Mode is required"),
        ({"SubnetIds": ["subnet-0123456789abcdef0"]}, "does not exist"),
        ({"NetworkType": "DUALSTACK"}, "has no IPv6 CIDR"),
        ({"NetworkType": "IPV6"}, "NetworkType must be one of IPV4, DUALSTACK"),
        ({"BackupRetentionPolicy": {"Type": "DAYS", "Value": "6"}}, "7 to 379"),
        ({"BackupRetentionPolicy": {"Type": "DAYS", "Value": "380"}}, "7 to 379"),
    ],
)
def test_create_refuses(make: Make, aws: LocalAws, more: dict[str, Any], text: str) -> None:
    with pytest.raises(ClientError, match=rf"CloudHsmInvalidRequestException.*{text}"):
        make(**more)


def test_create_refuses_subnets_that_do_not_go_together(make: Make, aws: LocalAws) -> None:
    ec2 = aws.client("ec2")
    vpcs = [ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"] for _turn in range(2)]

    def subnet(vpc: int, cidr: str, az: str) -> str:
        made = ec2.create_subnet(VpcId=vpcs[vpc], CidrBlock=cidr, AvailabilityZone=f"eu-west-1{az}")
        return made["Subnet"]["SubnetId"]

    first, same_az, other_vpc = (
        subnet(0, "10.9.0.0/24", "a"),
        subnet(0, "10.9.1.0/24", "a"),
        subnet(1, "10.9.2.0/24", "b"),
    )
    with pytest.raises(ClientError, match="more than one subnet in Availability Zone eu-west-1a"):
        make(SubnetIds=[first, same_az])
    with pytest.raises(ClientError, match="not all in one VPC"):
        make(SubnetIds=[first, other_vpc])


def test_quota_of_clusters(make: Make, aws: LocalAws, hsms: Any) -> None:
    ids = [make()["ClusterId"] for _turn in range(4)]
    with pytest.raises(ClientError, match="limit of 4 clusters"):
        make()
    aws.advance(180)
    hsms.delete_cluster(ClusterId=ids[0])
    with pytest.raises(ClientError, match="limit of 4 clusters"):
        make()
    aws.advance(120)
    make()


def test_delete_goes_through_its_states_and_stays_listed(make: Make, aws: LocalAws, hsms: Any) -> None:
    made = make(TagList=[{"Key": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="cannot be deleted in state CREATE_IN_PROGRESS"):
        hsms.delete_cluster(ClusterId=made["ClusterId"])
    aws.advance(180)
    deleted = hsms.delete_cluster(ClusterId=made["ClusterId"])["Cluster"]
    assert (deleted["State"], deleted["StateMessage"]) == ("DELETE_IN_PROGRESS", "The cluster is being deleted.")
    assert "TagList" not in deleted
    group = {"GroupIds": [made["SecurityGroup"]]}
    aws.advance(119)
    assert aws.client("ec2").describe_security_groups(**group)["SecurityGroups"]
    aws.advance(1)
    with pytest.raises(ClientError, match="InvalidGroup.NotFound"):
        aws.client("ec2").describe_security_groups(**group)
    [listed] = hsms.describe_clusters()["Clusters"]
    assert listed["State"] == "DELETED"
    assert listed["TagList"] == []
    assert "StateMessage" not in listed
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        hsms.delete_cluster(ClusterId=made["ClusterId"])
    aws.advance(86401)
    assert hsms.describe_clusters()["Clusters"] == []


def test_durations_are_knobs(make: Make, aws: LocalAws, hsms: Any) -> None:
    aws.set_knobs(cluster_create_seconds=10, cluster_delete_seconds=20, deleted_cluster_listed_seconds=30)
    cluster_id = make()["ClusterId"]

    def state_after(seconds: float) -> str | None:
        aws.advance(seconds)
        return next((cluster["State"] for cluster in hsms.describe_clusters()["Clusters"]), None)

    assert [state_after(9), state_after(1)] == ["CREATE_IN_PROGRESS", "UNINITIALIZED"]
    hsms.delete_cluster(ClusterId=cluster_id)
    assert [state_after(19), state_after(1), state_after(30), state_after(1)] == [
        "DELETE_IN_PROGRESS",
        "DELETED",
        "DELETED",
        None,
    ]


def test_quota_error_is_a_knob(make: Make, aws: LocalAws) -> None:
    aws.set_knobs(quota_clusters=0, quota_error_code="CloudHsmServiceException", quota_error_message="{what}>{limit}")
    with pytest.raises(ClientError, match=r"CloudHsmServiceException.*: clusters>0$"):
        make()


def test_leaving_cluster_counts_by_knob_only(make: Make, aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(quota_clusters=1, quota_counts_leaving=False)
    hsms.delete_cluster(ClusterId=cluster_id)
    make()
    aws.set_knobs(quota_clusters=2, quota_counts_leaving=True)
    with pytest.raises(ClientError, match="limit of 2 clusters"):
        make()


def test_unknown_filter_is_ignored_by_knob_only(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(unknown_filter_accepted=True)
    assert len(hsms.describe_clusters(Filters={"color": ["red"]})["Clusters"]) == 1
    assert len(hsms.describe_backups(Filters={"color": ["red"]})["Backups"]) == 1


def test_page_token_expires_by_knob_only(make: Make, aws: LocalAws, hsms: Any) -> None:
    made = [make()["ClusterId"] for _turn in range(2)]
    token = hsms.describe_clusters(MaxResults=1)["NextToken"]
    aws.advance(10_000_000)
    assert hsms.describe_clusters(NextToken=token)["Clusters"][0]["ClusterId"] == made[1]
    aws.set_knobs(page_token_seconds=60)
    token = hsms.describe_clusters(MaxResults=1)["NextToken"]
    aws.advance(60)
    hsms.describe_clusters(NextToken=token)
    aws.advance(1)
    with pytest.raises(ClientError, match="NextToken has expired"):
        hsms.describe_clusters(NextToken=token)


def test_side_door_gives_and_takes_the_certificate(make: Make, aws: LocalAws, hsms: Any) -> None:
    cluster_id = make()["ClusterId"]
    for wanted, claimed in (("INITIALIZED", True), ("UNINITIALIZED", False), ("ACTIVE", True), ("DEGRADED", True)):
        aws.set_cluster_state(cluster_id, wanted)
        [cluster] = hsms.describe_clusters()["Clusters"]
        assert cluster["State"] == wanted
        assert ("ClusterCertificate" in cluster["Certificates"]) is claimed


def test_filters(make: Make, aws: LocalAws, hsms: Any) -> None:
    first = make()
    second = hsms.describe_clusters(Filters={"clusterIds": [aws.lay_out("other")]})["Clusters"][0]

    def found(**filters: list[str]) -> list[str]:
        return [cluster["ClusterId"] for cluster in hsms.describe_clusters(Filters=filters)["Clusters"]]

    assert found() == [first["ClusterId"], second["ClusterId"]]
    assert found(clusterIds=[second["ClusterId"]]) == [second["ClusterId"]]
    assert found(vpcIds=[first["VpcId"]]) == [first["ClusterId"]]
    assert found(states=["ACTIVE", "DELETED"]) == [second["ClusterId"]]
    assert found(states=["ACTIVE"], vpcIds=[first["VpcId"]]) == []
    assert found(clusterIds=["cluster-aaaaaaaaaaa"]) == []
    with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*'color' is not a supported filter"):
        found(color=["red"])


def test_pages_show_every_cluster_once(make: Make, aws: LocalAws, hsms: Any) -> None:
    aws.set_knobs(quota_clusters=30)
    made = [make()["ClusterId"] for _turn in range(7)]
    pages = list(hsms.get_paginator("describe_clusters").paginate(PaginationConfig={"PageSize": 3}))
    assert [[cluster["ClusterId"] for cluster in page["Clusters"]] for page in pages] == [made[:3], made[3:6], made[6:]]
    token = pages[0]["NextToken"]
    for wrong in ({"NextToken": "garbage"}, {"NextToken": token, "Filters": {"states": ["ACTIVE"]}}):
        with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*NextToken"):
            hsms.describe_clusters(**wrong)


def test_accounts_and_regions_do_not_see_each_other(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    assert len(hsms.describe_clusters()["Clusters"]) == 1
    assert aws.client("cloudhsmv2", "us-east-1").describe_clusters()["Clusters"] == []
    assert aws.client("cloudhsmv2", account="210987654321").describe_clusters()["Clusters"] == []
    identity = aws.client("sts", account="210987654321").get_caller_identity()
    assert identity["Account"] == "210987654321"


def test_lag_shows_hsms_states_and_tags_of_a_moment_ago(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.advance(100)
    aws.set_knobs(describe_lag_seconds=5)
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")
    hsms.tag_resource(ResourceId=cluster_id, TagList=[{"Key": "mark", "Value": "1"}])
    [stale] = hsms.describe_clusters()["Clusters"]
    assert (stale["Hsms"], len(stale["TagList"])) == ([], 1)
    assert len(hsms.list_tags(ResourceId=cluster_id)["TagList"]) == 2
    aws.advance(5)
    [fresh] = hsms.describe_clusters()["Clusters"]
    assert (len(fresh["Hsms"]), len(fresh["TagList"])) == (1, 2)
    aws.advance(599)
    assert hsms.describe_clusters()["Clusters"][0]["Hsms"][0]["State"] == "CREATE_IN_PROGRESS"
    aws.advance(1)
    assert hsms.describe_clusters()["Clusters"][0]["Hsms"][0]["State"] == "ACTIVE"


def test_lag_shows_clusters_of_a_moment_ago(make: Make, aws: LocalAws, hsms: Any) -> None:
    aws.set_knobs(describe_lag_seconds=30)
    cluster_id = make()["ClusterId"]

    def states() -> list[str]:
        return [cluster["State"] for cluster in hsms.describe_clusters()["Clusters"]]

    def found(state: str) -> int:
        return len(hsms.describe_clusters(Filters={"states": [state]})["Clusters"])

    assert states() == []
    aws.advance(30)
    assert states() == ["CREATE_IN_PROGRESS"]
    aws.advance(160)
    assert states() == ["CREATE_IN_PROGRESS"]
    hsms.delete_cluster(ClusterId=cluster_id)
    aws.advance(29)
    assert (found("CREATE_IN_PROGRESS"), found("DELETE_IN_PROGRESS")) == (0, 0)
    assert states() == ["UNINITIALIZED"]
    aws.advance(1)
    assert states() == ["DELETE_IN_PROGRESS"]
    aws.advance(120)
    assert states() == ["DELETED"]


def test_lag_shows_a_leaving_hsm_as_active(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    made = hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")["Hsm"]
    aws.advance(700)
    aws.set_knobs(describe_lag_seconds=10)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    assert hsms.describe_clusters()["Clusters"][0]["Hsms"][0]["State"] == "ACTIVE"
    with pytest.raises(ClientError, match="already being deleted"):
        hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    aws.advance(10)
    assert hsms.describe_clusters()["Clusters"][0]["Hsms"][0]["State"] == "DELETE_IN_PROGRESS"
