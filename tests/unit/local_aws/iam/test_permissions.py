# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What callers may do, over HTTP with a plain boto3: every answer is empty, so that only the permission shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ONE, TWO = "cluster-abcdefghij2", "cluster-abcdefghij3"
BACKUP = "backup-abcdefghij2"
SUBNETS = ["subnet-0123456789abcdef0"]
EC2 = [
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateNetworkInterface",
    "ec2:CreateSecurityGroup",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:RevokeSecurityGroupEgress",
]
OPERATOR = ["cloudhsm:CreateHsm", "cloudhsm:DeleteHsm", "cloudhsm:DescribeClusters", "cloudhsm:DescribeBackups", *EC2]


def arn(resource_id: str) -> str:
    return f"arn:aws:cloudhsm:{REGION}:{ACCOUNT}:{resource_id.partition('-')[0]}/{resource_id}"


def allow(*actions: str, effect: str = "Allow", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": list(actions), "Resource": resource, **more}


def deny(*actions: str, **more: Any) -> dict[str, Any]:
    return allow(*actions, effect="Deny", **more)


def refused(code: str, message: str = "") -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\).*{message}")


def create_hsm(hsms: Any, cluster_id: str = ONE) -> None:
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")


def create_cluster(hsms: Any, **more: Any) -> None:
    hsms.create_cluster(HsmType="hsm2m.medium", SubnetIds=SUBNETS, **more)


@pytest.fixture
def linked_role(aws: Any) -> Any:
    """The role that CloudHSM has in an account that ever had a cluster."""
    aws.iam.create_service_linked_role(AWSServiceName="cloudhsm.amazonaws.com")
    yield
    [role] = aws.iam.list_roles(PathPrefix="/aws-service-role/cloudhsm.amazonaws.com/")["Roles"]
    aws.iam.delete_service_linked_role(RoleName=role["RoleName"])


def test_operator_can_do_the_daily_work(aws: Any) -> None:
    hsms = aws.hsms(allow(*OPERATOR))
    create_hsm(hsms)
    hsms.delete_hsm(ClusterId=ONE, HsmId="hsm-abcdefghij2")
    hsms.describe_clusters()
    hsms.describe_backups()


@pytest.mark.parametrize(
    ("call", "parameters"),
    [
        ("delete_backup", {"BackupId": BACKUP}),
        ("delete_cluster", {"ClusterId": ONE}),
        ("initialize_cluster", {"ClusterId": ONE, "SignedCert": "c", "TrustAnchor": "c"}),
        ("modify_cluster", {"ClusterId": ONE, "HsmType": "hsm2m.medium"}),
        ("copy_backup_to_region", {"BackupId": BACKUP, "DestinationRegion": "us-east-1"}),
        ("put_resource_policy", {"ResourceArn": arn(BACKUP), "Policy": "{}"}),
        ("tag_resource", {"ResourceId": ONE, "TagList": [{"Key": "a", "Value": "b"}]}),
    ],
)
def test_operator_can_do_no_more(aws: Any, call: str, parameters: dict[str, Any]) -> None:
    with refused("AccessDeniedException", "because no identity-based policy allows the cloudhsm:") as caught:
        getattr(aws.hsms(allow(*OPERATOR)), call)(**parameters)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_operator_can_make_no_cluster(aws: Any) -> None:
    with refused("AccessDeniedException", "cloudhsm:CreateCluster on resource: \\*"):
        create_cluster(aws.hsms(allow(*OPERATOR)))


def test_one_cluster_and_not_another(aws: Any) -> None:
    name, key, secret = aws.user(allow("cloudhsm:CreateHsm", resource=arn(ONE)), allow(*EC2))
    hsms = aws.client("cloudhsmv2", key, secret)
    create_hsm(hsms)
    with pytest.raises(ClientError) as caught:
        create_hsm(hsms, TWO)
    assert caught.value.response["Error"] == {
        "Code": "AccessDeniedException",
        "Message": (
            f"User: arn:aws:iam::{ACCOUNT}:user/{name} is not authorized to perform: cloudhsm:CreateHsm on resource: "
            f"{arn(TWO)} because no identity-based policy allows the cloudhsm:CreateHsm action"
        ),
    }


def test_removal_of_an_hsm_cannot_be_bound_to_a_cluster(aws: Any) -> None:
    hsms = aws.hsms(allow("cloudhsm:DeleteHsm", resource=arn(ONE)), allow(*EC2))
    with refused("AccessDeniedException", "cloudhsm:DeleteHsm on resource: \\*"):
        hsms.delete_hsm(ClusterId=ONE, HsmId="hsm-abcdefghij2")


def test_clusters_by_their_tag(aws: Any) -> None:
    tagged_dev = {"StringEquals": {"aws:ResourceTag/env": "dev"}}
    hsms = aws.hsms(allow("cloudhsm:CreateHsm", Condition=tagged_dev), allow(*EC2))
    aws.door.tags = {arn(ONE): {"env": "dev"}, arn(TWO): {"env": "prod"}}
    create_hsm(hsms)
    for other in (TWO, "cluster-abcdefghij4"):
        with refused("AccessDeniedException"):
            create_hsm(hsms, other)


def test_tags_that_a_new_cluster_must_have(aws: Any, linked_role: Any) -> None:
    wanted = {
        "StringEquals": {"aws:RequestTag/env": "dev"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["env", "owner"]},
    }
    hsms = aws.hsms(allow("cloudhsm:CreateCluster", "cloudhsm:TagResource", Condition=wanted), allow(*EC2))
    dev, owner, other = ({"Key": key, "Value": "dev"} for key in ("env", "owner", "other"))
    create_cluster(hsms, TagList=[dev, owner])
    for tags in ([owner], [dev, other], [{**dev, "Value": "prod"}]):
        with refused("AccessDeniedException"):
            create_cluster(hsms, TagList=tags)
    with refused("AccessDeniedException"):
        create_cluster(hsms)


def test_only_in_some_regions(aws: Any) -> None:
    here = allow("cloudhsm:*", Condition={"StringEquals": {"aws:RequestedRegion": REGION}})
    aws.hsms(here).describe_clusters()
    with refused("AccessDeniedException"):
        aws.hsms(here, region="us-east-1").describe_clusters()


def test_only_some_principals(aws: Any) -> None:
    def by(operator: str, key: str, value: str) -> dict[str, Any]:
        return allow("cloudhsm:*", Condition={operator: {key: value}})

    aws.hsms(by("ArnLike", "aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:user/*")).describe_clusters()
    aws.hsms(by("StringEquals", "aws:PrincipalAccount", ACCOUNT)).describe_clusters()
    # The principal of a session is its role.
    role = aws.role(by("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:role/*"))
    aws.session(aws.assume(role)).describe_clusters()
    with refused("AccessDeniedException"):
        aws.hsms(by("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:role/*")).describe_clusters()


def test_explicit_denial(aws: Any) -> None:
    hsms = aws.hsms(allow("*"), deny("cloudhsm:DeleteBackup", "cloudhsm:DeleteCluster"))
    create_hsm(hsms)
    with refused("AccessDeniedException", f"{arn(BACKUP)} with an explicit deny in an identity-based policy"):
        hsms.delete_backup(BackupId=BACKUP)


def test_code_of_a_denial_is_a_setting(aws: Any) -> None:
    aws.door.knobs = replace(aws.door.knobs, iam_denied_code="CloudHsmAccessDeniedException")
    hsms = aws.hsms(allow("s3:*"))
    with pytest.raises(hsms.exceptions.CloudHsmAccessDeniedException):
        hsms.describe_clusters()


def test_policies_come_from_everywhere(aws: Any) -> None:
    name, key, secret = aws.user(allow("s3:*"))
    hsms = aws.client("cloudhsmv2", key, secret)
    group = f"group-of-{name}"
    aws.iam.create_group(GroupName=group)
    aws.iam.add_user_to_group(GroupName=group, UserName=name)
    managed = [aws.managed_policy(allow(f"cloudhsm:{action}")) for action in ("DescribeBackups", "ListTags")]
    calls = {
        "describe_clusters": lambda: aws.iam.put_group_policy(
            GroupName=group, PolicyName="p", PolicyDocument=aws.document(allow("cloudhsm:DescribeClusters"))
        ),
        "describe_backups": lambda: aws.iam.attach_group_policy(GroupName=group, PolicyArn=managed[0]),
        "list_tags": lambda: aws.iam.attach_user_policy(UserName=name, PolicyArn=managed[1]),
    }
    for call, give in calls.items():
        parameters = {"ResourceId": ONE} if call == "list_tags" else {}
        with refused("AccessDeniedException"):
            getattr(hsms, call)(**parameters)
        give()
        getattr(hsms, call)(**parameters)


def test_default_version_of_a_managed_policy_counts(aws: Any) -> None:
    name, key, secret = aws.user(allow("s3:*"))
    managed = aws.managed_policy(allow("cloudhsm:*"))
    aws.iam.attach_user_policy(UserName=name, PolicyArn=managed)
    hsms = aws.client("cloudhsmv2", key, secret)
    hsms.describe_clusters()
    aws.iam.create_policy_version(PolicyArn=managed, PolicyDocument=aws.document(deny("*")), SetAsDefault=True)
    with refused("AccessDeniedException", "explicit deny"):
        hsms.describe_clusters()


@pytest.mark.parametrize(
    ("boundary", "reason"),
    [
        (allow("cloudhsm:Describe*"), "because no permissions boundary allows the cloudhsm:ListTags action"),
        (deny("cloudhsm:ListTags"), "with an explicit deny in a permissions boundary"),
    ],
)
def test_permissions_boundary_of_a_role(aws: Any, boundary: dict[str, Any], reason: str) -> None:
    role = aws.role(allow("*"), PermissionsBoundary=aws.managed_policy(boundary, allow("cloudhsm:DescribeClusters")))
    session = aws.session(aws.assume(role))
    session.describe_clusters()
    with refused("AccessDeniedException", reason):
        session.list_tags(ResourceId=ONE)


def test_permissions_boundary_gives_nothing(aws: Any) -> None:
    role = aws.role(allow("s3:*"), PermissionsBoundary=aws.managed_policy(allow("*")))
    with refused("AccessDeniedException", "because no identity-based policy"):
        aws.session(aws.assume(role)).describe_clusters()


def test_permissions_boundary_that_is_gone_allows_nothing(aws: Any) -> None:
    boundary = aws.managed_policy(allow("*"))
    session = aws.session(aws.assume(aws.role(allow("*"), PermissionsBoundary=boundary)))
    session.describe_clusters()
    aws.iam.delete_policy(PolicyArn=boundary)
    with refused("AccessDeniedException", "no permissions boundary allows"):
        session.describe_clusters()


def test_session_policy_narrows_a_role(aws: Any) -> None:
    role = aws.role(allow("cloudhsm:Describe*"))
    narrow = aws.document(allow("cloudhsm:DescribeClusters", "cloudhsm:ListTags"))
    session = aws.session(aws.assume(role, Policy=narrow))
    session.describe_clusters()
    with refused("AccessDeniedException", "because no session policy allows"):
        session.describe_backups()
    with refused("AccessDeniedException", "because no identity-based policy allows"):
        session.list_tags(ResourceId=ONE)


@pytest.mark.parametrize("missing", EC2)
def test_every_dependent_action_is_needed(aws: Any, missing: str) -> None:
    hsms = aws.hsms(allow("*"), deny(missing))
    with refused("CloudHsmAccessDeniedException", f"not authorized to perform: {missing} on resource"):
        create_hsm(hsms)
    aws.door.knobs = replace(aws.door.knobs, iam_dependent_denied_code="AccessDeniedException")
    with refused("AccessDeniedException", missing):
        create_hsm(hsms)
    aws.door.knobs = replace(aws.door.knobs, iam_dependent_actions=False)
    create_hsm(hsms)


def test_own_action_comes_first(aws: Any) -> None:
    with refused("AccessDeniedException", "cloudhsm:CreateHsm"):
        create_hsm(aws.hsms(allow("s3:*")))


def test_first_cluster_of_an_account_needs_a_role(aws: Any) -> None:
    hsms = aws.hsms(allow("cloudhsm:*", *EC2))
    with refused("CloudHsmAccessDeniedException", "This operation requires that the caller have permission to call "):
        create_cluster(hsms)


def test_right_to_make_the_role_may_be_bound_to_the_service(aws: Any) -> None:
    right = allow("iam:CreateServiceLinkedRole", Condition={"StringLike": {"iam:AWSServiceName": "cloudhsm.*"}})
    create_cluster(aws.hsms(allow("cloudhsm:*", *EC2), right))


def test_later_clusters_need_no_right_to_make_the_role(aws: Any, linked_role: Any) -> None:
    hsms = aws.hsms(allow("cloudhsm:CreateCluster", *EC2))
    create_cluster(hsms)
    with refused("CloudHsmAccessDeniedException", "cloudhsm:TagResource on resource: .*:cluster/\\*"):
        create_cluster(hsms, TagList=[{"Key": "env", "Value": "dev"}])


def test_restore_is_bound_to_the_backup(aws: Any, linked_role: Any) -> None:
    theirs = arn(BACKUP).replace(ACCOUNT, "210987654321")
    hsms = aws.hsms(allow("cloudhsm:CreateCluster", resource=[arn(BACKUP), theirs]), allow(*EC2))
    for source in (BACKUP, arn(BACKUP), theirs):
        create_cluster(hsms, SourceBackupId=source)
    with refused("AccessDeniedException", "backup/backup-abcdefghij3"):
        create_cluster(hsms, SourceBackupId="backup-abcdefghij3")
