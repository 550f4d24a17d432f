# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Which permissions each CloudHSM operation needs, from AWS's Service Authorization Reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .policies import ARN_COLONS, Question

CREATE_ROLE = "iam:CreateServiceLinkedRole"
SERVICE = "cloudhsm.amazonaws.com"
ANY = "*"

SECURITY_GROUP = (
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateSecurityGroup",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:RevokeSecurityGroupEgress",
)
NETWORK_INTERFACE = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
)


@dataclass(frozen=True)
class Operation:
    """What one operation needs beside the action of its own name.

    Attributes:
        resource_member: Member of the request that says which resource it is about; None when the action has no type
            of resource, so that a policy can only allow it on `*`.
        dependent_actions: Other actions that the caller needs.
        tagging_actions: Those that it needs as well when the request has tags.
        tags_kind: Kind of what is made with these tags.
    """

    resource_member: str | None = None
    dependent_actions: tuple[str, ...] = ()
    tagging_actions: tuple[str, ...] = ()
    tags_kind: str = "cluster"


OPERATIONS = {
    "CopyBackupToRegion": Operation(
        "BackupId", tagging_actions=("cloudhsm:TagResource", "cloudhsm:UntagResource"), tags_kind="backup"
    ),
    "CreateCluster": Operation("SourceBackupId", (*SECURITY_GROUP, CREATE_ROLE), ("cloudhsm:TagResource",)),
    "CreateHsm": Operation("ClusterId", (*SECURITY_GROUP, *NETWORK_INTERFACE)),
    "DeleteBackup": Operation("BackupId"),
    "DeleteCluster": Operation("ClusterId", ("ec2:DeleteNetworkInterface", "ec2:DeleteSecurityGroup")),
    "DeleteHsm": Operation(dependent_actions=("ec2:DeleteNetworkInterface",)),
    "DeleteResourcePolicy": Operation("ResourceArn"),
    "DescribeBackups": Operation(),
    "DescribeClusters": Operation(),
    "GetResourcePolicy": Operation("ResourceArn"),
    "InitializeCluster": Operation("ClusterId"),
    "ListTags": Operation("ResourceId"),
    "ModifyBackupAttributes": Operation("BackupId"),
    "ModifyCluster": Operation("ClusterId", ("ec2:DescribeSubnets",)),
    "PutResourcePolicy": Operation("ResourceArn"),
    "RestoreBackup": Operation("BackupId"),
    "TagResource": Operation("ResourceId"),
    "UntagResource": Operation("ResourceId"),
}


def own_action(operation: str, parameters: Any, account: str, region: str) -> Question:
    """Return what an operation asks under its own name.

    The request need not have been validated: what makes no sense in it is left out.
    """
    given = parameters if isinstance(parameters, dict) else {}
    resource = given.get(OPERATIONS[operation].resource_member or "")
    arn = _arn(resource, account, region) if isinstance(resource, str) else ANY
    return Question(f"cloudhsm:{operation}", arn, _tag_context(given))


def dependent_actions(operation: str, parameters: Any, account: str, region: str) -> list[Question]:
    """Return what else an operation asks.

    Which resources AWS asks about is not documented (inferred): a tagging action is asked about any cluster or backup,
    the creation of the role about that role, and every other about `*`.
    """
    given = parameters if isinstance(parameters, dict) else {}
    needs = OPERATIONS[operation]
    tags = _tag_context(given)
    made = f"arn:aws:cloudhsm:{region}:{account}:{needs.tags_kind}/*"
    questions = [_dependent(action, account) for action in needs.dependent_actions]
    return questions + [Question(action, made, tags) for action in needs.tagging_actions if tags]


def _dependent(action: str, account: str) -> Question:
    if action != CREATE_ROLE:
        return Question(action, ANY)
    role = f"arn:aws:iam::{account}:role/aws-service-role/{SERVICE}/AWSServiceRoleForCloudHSM"
    return Question(action, role, {"iam:AWSServiceName": (SERVICE,)})


def _arn(resource: str, account: str, region: str) -> str:
    if resource.startswith("arn:") and resource.count(":") >= ARN_COLONS:
        return resource
    kind = resource.partition("-")[0]
    return f"arn:aws:cloudhsm:{region}:{account}:{kind}/{resource}"


def _tag_context(given: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    tags = {tag.get("Key"): tag.get("Value") for tag in _list(given, "TagList") if isinstance(tag, dict)}
    keys = [key for key in (*tags, *_list(given, "TagKeyList")) if isinstance(key, str)]
    context = {f"aws:RequestTag/{key}": (value,) for key, value in tags.items() if isinstance(value, str)}
    return {"aws:TagKeys": tuple(keys), **context} if keys else {}


def _list(given: dict[str, Any], member: str) -> list[Any]:
    value = given.get(member)
    return value if isinstance(value, list) else []
