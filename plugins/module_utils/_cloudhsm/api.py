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

from .common import CREATE_RETRY, READ_RETRY, AnsibleCloudHSMError, CloudHSMErrorHandler

if t.TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def client(module: AnsibleAWSModule) -> t.Any:
    """Return the client for every call but CreateHsm.

    Raises:
        AnsibleCloudHSMError: No region is configured.
    """
    if not module.region:
        raise AnsibleCloudHSMError(
            message="region: none is configured. Set region, AWS_REGION, or a region in the AWS profile"
        )
    return module.client("cloudhsmv2")


def creating_client(module: AnsibleAWSModule) -> t.Any:
    """Return the client for CreateHsm, which botocore must not repeat by itself: the call has no idempotency token."""
    config = Config(**(module.params.get("aws_config") or {}))
    return module.client("cloudhsmv2", aws_config=config.merge(Config(retries={"total_max_attempts": 1})))


@CloudHSMErrorHandler.common_error_handler("describe CloudHSM clusters")
@READ_RETRY
def describe_clusters(client: t.Any, filters: dict[str, list[str]] | None = None) -> list[dict[str, t.Any]]:
    """DescribeClusters, every page. An unknown cluster id in the filter gives an empty list, not an error."""
    pages = client.get_paginator("describe_clusters").paginate(Filters=filters or {})
    return [cluster for page in pages for cluster in page["Clusters"]]


@CloudHSMErrorHandler.common_error_handler("describe cluster {cluster_id}")
@READ_RETRY
def describe_cluster(client: t.Any, cluster_id: str) -> tuple[dict[str, t.Any] | None, datetime.datetime]:
    """DescribeClusters for one id: the cluster, or None, and the moment of the answer on AWS's own clock."""
    answer = client.describe_clusters(Filters={"clusterIds": [cluster_id]})
    found = next((cluster for cluster in answer["Clusters"] if cluster["ClusterId"] == cluster_id), None)
    return found, email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


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
