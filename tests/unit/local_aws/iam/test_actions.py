# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from local_aws.iam.actions import OPERATIONS, dependent_actions, own_action

ACCOUNT, REGION = "123456789012", "eu-west-1"
CLUSTER = f"arn:aws:cloudhsm:{REGION}:{ACCOUNT}:cluster/cluster-abcdefghij2"
BACKUP = f"arn:aws:cloudhsm:{REGION}:{ACCOUNT}:backup/backup-abcdefghij2"
TAGS = {"TagList": [{"Key": "env", "Value": "dev"}, {"Key": "team", "Value": "hsm"}]}


@pytest.fixture(scope="module")
def model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("cloudhsmv2", "service-2"))


def test_table_has_the_operations_of_the_model(model: ServiceModel) -> None:
    assert sorted(OPERATIONS) == sorted(model.operation_names)
    assert len(OPERATIONS) == 18


def test_members_are_those_of_the_model(model: ServiceModel) -> None:
    for name, operation in OPERATIONS.items():
        members = model.operation_model(name).input_shape.members
        assert operation.resource_member is None or operation.resource_member in members
        assert bool(operation.tagging_actions) == ("TagList" in members and name != "TagResource")


@pytest.mark.parametrize(
    ("operation", "parameters", "resource"),
    [
        ("DescribeClusters", {"Filters": {"clusterIds": ["cluster-abcdefghij2"]}}, "*"),
        ("DescribeBackups", {}, "*"),
        ("DeleteHsm", {"ClusterId": "cluster-abcdefghij2", "HsmId": "hsm-abcdefghij2"}, "*"),
        ("CreateHsm", {"ClusterId": "cluster-abcdefghij2"}, CLUSTER),
        ("InitializeCluster", {"ClusterId": "cluster-abcdefghij2"}, CLUSTER),
        ("ModifyCluster", {"ClusterId": "cluster-abcdefghij2"}, CLUSTER),
        ("DeleteCluster", {"ClusterId": "cluster-abcdefghij2"}, CLUSTER),
        ("CreateCluster", {}, "*"),
        ("CreateCluster", {"SourceBackupId": "backup-abcdefghij2"}, BACKUP),
        (
            "CreateCluster",
            {"SourceBackupId": BACKUP.replace(ACCOUNT, "111122223333")},
            BACKUP.replace(ACCOUNT, "111122223333"),
        ),
        ("CopyBackupToRegion", {"BackupId": "backup-abcdefghij2", "DestinationRegion": "us-east-1"}, BACKUP),
        ("DeleteBackup", {"BackupId": "backup-abcdefghij2"}, BACKUP),
        ("RestoreBackup", {"BackupId": "backup-abcdefghij2"}, BACKUP),
        ("ModifyBackupAttributes", {"BackupId": "backup-abcdefghij2"}, BACKUP),
        ("PutResourcePolicy", {"ResourceArn": BACKUP}, BACKUP),
        ("GetResourcePolicy", {"ResourceArn": BACKUP}, BACKUP),
        ("DeleteResourcePolicy", {"ResourceArn": BACKUP}, BACKUP),
        ("ListTags", {"ResourceId": "cluster-abcdefghij2"}, CLUSTER),
        ("TagResource", {"ResourceId": "backup-abcdefghij2"}, BACKUP),
        ("UntagResource", {"ResourceId": "backup-abcdefghij2"}, BACKUP),
        ("CreateHsm", {"ClusterId": 7}, "*"),
        ("CreateHsm", None, "*"),
        ("GetResourcePolicy", {"ResourceArn": "arn:"}, f"arn:aws:cloudhsm:{REGION}:{ACCOUNT}:arn:/arn:"),
    ],
)
def test_resource(operation: str, parameters: Any, resource: str) -> None:
    question = own_action(operation, parameters, ACCOUNT, REGION)
    assert (question.action, question.resource) == (f"cloudhsm:{operation}", resource)
    assert question.context == {}


@pytest.mark.parametrize("operation", ["CreateCluster", "CopyBackupToRegion", "TagResource"])
def test_tags_of_the_request(operation: str) -> None:
    assert own_action(operation, TAGS, ACCOUNT, REGION).context == {
        "aws:RequestTag/env": ("dev",),
        "aws:RequestTag/team": ("hsm",),
        "aws:TagKeys": ("env", "team"),
    }


def test_untagging_has_keys_only() -> None:
    question = own_action("UntagResource", {"TagKeyList": ["env"]}, ACCOUNT, REGION)
    assert question.context == {"aws:TagKeys": ("env",)}


@pytest.mark.parametrize("tags", ["env", ["env"], [{"Key": 1}], [{}]])
def test_tags_that_make_no_sense_are_none(tags: Any) -> None:
    assert own_action("TagResource", {"TagList": tags}, ACCOUNT, REGION).context == {}


def test_what_else_is_needed() -> None:
    def needed(operation: str, **parameters: Any) -> list[str]:
        return [question.action for question in dependent_actions(operation, parameters, ACCOUNT, REGION)]

    assert len(needed("CreateHsm")) == 9
    assert "ec2:CreateNetworkInterface" in needed("CreateHsm")
    assert needed("DeleteHsm") == ["ec2:DeleteNetworkInterface"]
    assert needed("DescribeClusters") == []
    assert needed("CopyBackupToRegion") == []
    assert needed("CopyBackupToRegion", **TAGS) == ["cloudhsm:TagResource", "cloudhsm:UntagResource"]
    assert "cloudhsm:TagResource" not in needed("CreateCluster")
    assert needed("CreateCluster", **TAGS)[-2:] == ["iam:CreateServiceLinkedRole", "cloudhsm:TagResource"]


def test_tagging_is_about_what_is_made() -> None:
    *_others, tagging = dependent_actions("CreateCluster", TAGS, ACCOUNT, REGION)
    assert tagging.resource == f"arn:aws:cloudhsm:{REGION}:{ACCOUNT}:cluster/*"
    assert tagging.context["aws:TagKeys"] == ("env", "team")
    assert dependent_actions("CopyBackupToRegion", TAGS, ACCOUNT, REGION)[0].resource.endswith(":backup/*")
