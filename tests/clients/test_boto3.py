# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""boto3, as anybody would use it: the life of a cluster, paginators, exceptions by name."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from harness.claims import sign
from local_aws.client import ACCESS_KEY, REGION, SECRET_KEY
from local_aws.driver import LocalAws


def make_client(aws: LocalAws, service: str, **more: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws.url,
        region_name=more.pop("region_name", REGION),
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(proxies={}, **more),
    )


@pytest.fixture
def hsms(aws: LocalAws) -> Any:
    return make_client(aws, "cloudhsmv2")


@pytest.fixture
def subnet_ids(aws: LocalAws) -> list[str]:
    ec2 = make_client(aws, "ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.44.0.0/16")["Vpc"]["VpcId"]
    return [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.44.{number}.0/24", AvailabilityZone=REGION + letter)["Subnet"][
            "SubnetId"
        ]
        for number, letter in enumerate("ab")
    ]


def the_cluster(hsms: Any) -> dict[str, Any]:
    [cluster] = hsms.describe_clusters()["Clusters"]
    return cluster


def backups(hsms: Any, **parameters: Any) -> list[dict[str, Any]]:
    return [b for page in hsms.get_paginator("describe_backups").paginate(**parameters) for b in page["Backups"]]


def test_life_of_a_cluster(aws: LocalAws, hsms: Any, subnet_ids: list[str]) -> None:
    tags = [{"Key": "Name", "Value": "signing"}]
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnet_ids, TagList=tags)["Cluster"]
    cluster_id = made["ClusterId"]
    assert made["State"] == "CREATE_IN_PROGRESS"
    assert abs(made["CreateTimestamp"] - datetime.fromtimestamp(aws.now(), timezone.utc)) < timedelta(seconds=1)
    aws.advance(600)
    hsm = hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=f"{REGION}a", IpAddress="10.44.0.20")["Hsm"]
    aws.advance(1200)
    assert the_cluster(hsms)["Hsms"][0]["State"] == "ACTIVE"

    certificate, anchor = sign(the_cluster(hsms)["Certificates"]["ClusterCsr"])
    answer = hsms.initialize_cluster(ClusterId=cluster_id, SignedCert=certificate, TrustAnchor=anchor)
    assert answer["State"] == "INITIALIZE_IN_PROGRESS"
    aws.advance(600)
    assert (the_cluster(hsms)["State"], the_cluster(hsms)["Certificates"]) == (
        "INITIALIZED",
        {"ClusterCertificate": certificate},
    )
    aws.activate(cluster_id)
    aws.advance(600)

    # What is done once a month: the HSM goes, its backup stays, another one comes at the same address.
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm["HsmId"])
    aws.advance(600)
    assert (the_cluster(hsms)["State"], the_cluster(hsms)["Hsms"]) == ("ACTIVE", [])
    latest = backups(hsms, Filters={"clusterIds": [cluster_id]})[0]
    assert latest["BackupState"] == "READY"
    again = hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=f"{REGION}a", IpAddress="10.44.0.20")["Hsm"]
    assert again["HsmId"] != hsm["HsmId"]
    aws.advance(1200)
    hsms.delete_hsm(ClusterId=cluster_id, EniId=again["EniId"])
    aws.advance(600)
    assert hsms.delete_cluster(ClusterId=cluster_id)["Cluster"]["StateMessage"] == "The cluster is being deleted."
    aws.advance(600)
    assert the_cluster(hsms)["State"] == "DELETED"


def test_backups_live_and_move(aws: LocalAws, hsms: Any) -> None:
    cluster_id = aws.lay_out()
    aws.advance(60)
    [backup] = backups(hsms)
    backup_id = backup["BackupId"]
    kept = hsms.modify_backup_attributes(BackupId=backup_id, NeverExpires=True)["Backup"]
    assert kept["NeverExpires"] is True
    pending = hsms.delete_backup(BackupId=backup_id)["Backup"]
    assert pending["DeleteTimestamp"] - backup["CreateTimestamp"] > timedelta(days=7)
    assert hsms.restore_backup(BackupId=backup_id)["Backup"]["BackupState"] == "READY"
    copied = hsms.copy_backup_to_region(BackupId=backup_id, DestinationRegion="us-east-1")["DestinationBackup"]
    assert copied["SourceCluster"] == cluster_id
    aws.advance(3600)
    abroad = make_client(aws, "cloudhsmv2", region_name="us-east-1")
    [copy] = backups(abroad, Filters={"sourceBackupIds": [backup_id]})
    assert (copy["BackupState"], copy["SourceRegion"]) == ("READY", REGION)
    arn = backup["BackupArn"]
    assert hsms.get_resource_policy(ResourceArn=arn)["Policy"] == "{}"
    policy = '{"Version": "2012-10-17", "Statement": []}'
    assert hsms.put_resource_policy(ResourceArn=arn, Policy=policy)["Policy"] == policy
    assert hsms.delete_resource_policy(ResourceArn=arn)["Policy"] == policy
    changed = hsms.modify_cluster(ClusterId=cluster_id, BackupRetentionPolicy={"Type": "DAYS", "Value": "30"})[
        "Cluster"
    ]
    assert changed["BackupRetentionPolicy"] == {"Type": "DAYS", "Value": "30"}


def test_paginators(aws: LocalAws, hsms: Any) -> None:
    ids = [aws.lay_out(name) for name in ("one", "two", "three")]
    hsms.tag_resource(ResourceId=ids[0], TagList=[{"Key": f"k{n}", "Value": ""} for n in range(4)])
    hsms.untag_resource(ResourceId=ids[0], TagKeyList=["k0"])
    aws.advance(60)
    for operation, member, found, more in (
        ("describe_clusters", "Clusters", 3, {}),
        ("describe_backups", "Backups", 3, {}),
        ("list_tags", "TagList", 4, {"ResourceId": ids[0]}),
    ):
        pages = list(hsms.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **more))
        assert [len(page[member]) for page in pages] == [2, found - 2]
        assert "NextToken" not in pages[-1]
    assert [
        c["ClusterId"] for page in hsms.get_paginator("describe_clusters").paginate() for c in page["Clusters"]
    ] == ids


def test_exceptions_by_name(aws: LocalAws, hsms: Any) -> None:
    cluster_id = aws.lay_out()
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException) as unknown:
        hsms.delete_cluster(ClusterId="cluster-aaaaaaaaaaa")
    assert unknown.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert unknown.value.response["ResponseMetadata"]["RequestId"]
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=f"{REGION}a")
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match="still contains HSMs"):
        hsms.delete_cluster(ClusterId=cluster_id)
    with pytest.raises(hsms.exceptions.CloudHsmTagException):
        hsms.tag_resource(ResourceId=cluster_id, TagList=[{"Key": "aws:x", "Value": ""}])
    aws.fault("deny", "DescribeClusters")
    with pytest.raises(hsms.exceptions.CloudHsmAccessDeniedException):
        hsms.describe_clusters()
    aws.fault("throttle", "DescribeBackups", times=10)
    once = make_client(aws, "cloudhsmv2", retries={"total_max_attempts": 1})
    with pytest.raises(ClientError) as throttled:
        once.describe_backups()
    assert throttled.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_retries_of_every_mode(aws: LocalAws, mode: str) -> None:
    hsms = make_client(aws, "cloudhsmv2", retries={"mode": mode, "max_attempts": 3})
    aws.clear_calls()
    aws.fault("throttle", "DescribeClusters")
    assert hsms.describe_clusters()["Clusters"] == []
    assert [call["outcome"] for call in aws.calls()] == ["ThrottlingException", "ok"]
