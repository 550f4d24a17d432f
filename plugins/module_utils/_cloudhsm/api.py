# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to AWS, one function each. They decide nothing; every failure is an AnsibleCloudHSMError."""

from __future__ import annotations

import datetime
import email.utils
import typing as t

try:
    from botocore.config import Config
    from botocore.parsers import ResponseParserError
except ImportError:
    pass  # Handled by AnsibleAWSModule.

from ansible_collections.amazon.aws.plugins.module_utils.botocore import boto3_conn, get_aws_connection_info

from .common import CREATE_RETRY, READ_RETRY, AnsibleCloudHSMError, CloudHSMErrorHandler
from .deadline import SigningDeadline

if t.TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def client(module: AnsibleAWSModule, **connection: t.Any) -> t.Any:
    """Return the client for every call of CloudHSM but CreateHsm.

    Args:
        module: The module.
        connection: What it is made with in place of what the module's own parameters say.

    Raises:
        AnsibleCloudHSMError: No region is configured, or the client cannot be made.
    """
    return make_client(module, "cloudhsmv2", **connection)


def make_client(module: AnsibleAWSModule, service: str, **connection: t.Any) -> t.Any:
    """Return the client of a service, likewise."""
    if not (connection.get("region") or module.region):
        raise AnsibleCloudHSMError(
            message="region: none is configured. Set region, AWS_REGION, or a region in the AWS profile"
        )
    region, endpoint, own = get_aws_connection_info(module)
    wanted = {"region": region, "endpoint": endpoint, **own, **connection}
    # amazon.aws calls two methods of the module that it is given, and no other.
    return boto3_conn(t.cast("AnsibleAWSModule", _Raising()), conn_type="client", resource=service, **wanted)


class _Raising:
    """Stands where amazon.aws takes a module, which would end the run of a whole fleet for a profile that one lacks."""

    def fail_json_aws(self, exception: Exception, msg: str) -> t.NoReturn:
        """Raise what the module would be ended for."""
        raise AnsibleCloudHSMError(message=msg, exception=exception) from exception

    def fail_json(self, msg: str) -> t.NoReturn:
        """Raise what the module would be ended for."""
        raise AnsibleCloudHSMError(message=msg)


def creating_client(module: AnsibleAWSModule, deadline: t.Callable[[], float]) -> t.Any:
    """Return the client for CreateHsm, which botocore must not repeat by itself: the call has no idempotency token.

    Args:
        module: The module.
        deadline: Gives the moment on AWS's clock until which a request may be signed, in unix seconds.
    """
    config = Config(**(module.params.get("aws_config") or {}))
    client = module.client("cloudhsmv2", aws_config=config.merge(Config(retries={"total_max_attempts": 1})))
    SigningDeadline(client, "CreateHsm", deadline)
    return client


@CloudHSMErrorHandler.common_error_handler("describe CloudHSM clusters")
@READ_RETRY
def describe_clusters(
    client: t.Any, filters: dict[str, list[str]] | None = None
) -> tuple[list[dict[str, t.Any]], datetime.datetime]:
    """DescribeClusters, every page: the clusters, and the moment of the first answer on AWS's own clock.

    An unknown cluster id in the filter gives an empty list, not an error.
    """
    answers = list(client.get_paginator("describe_clusters").paginate(Filters=filters or {}))
    return [cluster for answer in answers for cluster in answer["Clusters"]], _moment(answers[0])


@CloudHSMErrorHandler.common_error_handler("describe cluster {cluster_id}")
@READ_RETRY
def describe_cluster(client: t.Any, cluster_id: str) -> tuple[dict[str, t.Any] | None, datetime.datetime]:
    """DescribeClusters for one id: the cluster, or None, and the moment of the answer on AWS's own clock."""
    answer = client.describe_clusters(Filters={"clusterIds": [cluster_id]})
    found = next((cluster for cluster in answer["Clusters"] if cluster["ClusterId"] == cluster_id), None)
    return found, _moment(answer)


@CloudHSMErrorHandler.common_error_handler("create an HSM in {availability_zone} of {cluster_id}")
@CREATE_RETRY
def create_hsm(
    client: t.Any, cluster_id: str, availability_zone: str, ip_address: str | None = None
) -> dict[str, t.Any]:
    """CreateHsm, with creating_client. Repeated only where AWS throttled it."""
    address = {"IpAddress": ip_address} if ip_address else {}
    try:
        return client.create_hsm(ClusterId=cluster_id, AvailabilityZone=availability_zone, **address)["Hsm"]
    except (KeyError, ResponseParserError) as error:
        raise AnsibleCloudHSMError(message="The answer to CreateHsm cannot be read", exception=error) from error


@CloudHSMErrorHandler.deletion_error_handler("delete {hsm_id} of {cluster_id}")
@READ_RETRY
def delete_hsm(client: t.Any, cluster_id: str, hsm_id: str) -> bool:
    """DeleteHsm by id, which never comes back; an address does. Returns False when AWS does not know the id (any more)."""
    client.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    return True


@CloudHSMErrorHandler.common_error_handler("tag {resource_id}")
@READ_RETRY
def tag_resource(client: t.Any, resource_id: str, tags: t.Mapping[str, str]) -> None:
    """TagResource: add or overwrite."""
    client.tag_resource(ResourceId=resource_id, TagList=[{"Key": key, "Value": value} for key, value in tags.items()])


@CloudHSMErrorHandler.common_error_handler("untag {resource_id}")
@READ_RETRY
def untag_resource(client: t.Any, resource_id: str, keys: t.Sequence[str]) -> None:
    """UntagResource; keys that are not there do not matter."""
    client.untag_resource(ResourceId=resource_id, TagKeyList=list(keys))


@CloudHSMErrorHandler.common_error_handler("describe the backups of {cluster_id}")
@READ_RETRY
def describe_backups(client: t.Any, cluster_id: str) -> list[dict[str, t.Any]]:
    """DescribeBackups of one cluster, every page, newest first."""
    pages = client.get_paginator("describe_backups").paginate(Filters={"clusterIds": [cluster_id]})
    backups = [backup for page in pages for backup in page["Backups"]]
    return sorted(backups, key=lambda backup: backup["CreateTimestamp"], reverse=True)


def ec2_client(module: AnsibleAWSModule) -> t.Any:
    """Return the EC2 client. It takes a fifth of a second to make: only where subnets have to be read."""
    return module.client("ec2")


@CloudHSMErrorHandler.common_error_handler("describe the subnets of the cluster")
@READ_RETRY
def describe_subnets(client: t.Any, subnet_ids: list[str]) -> list[dict[str, t.Any]]:
    """EC2 DescribeSubnets."""
    return client.describe_subnets(SubnetIds=subnet_ids)["Subnets"]


def _moment(answer: dict[str, t.Any]) -> datetime.datetime:
    """The moment of an answer on AWS's own clock."""
    return email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def unrepeated_client(module: AnsibleAWSModule) -> t.Any:
    """Return the client for CreateCluster and CopyBackupToRegion, which botocore must not repeat: each call makes another one."""
    config = Config(**(module.params.get("aws_config") or {}))
    return module.client("cloudhsmv2", aws_config=config.merge(Config(retries={"total_max_attempts": 1})))
