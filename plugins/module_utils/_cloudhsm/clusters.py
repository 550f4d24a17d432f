# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to AWS that make, change and delete a cluster. They decide nothing; every failure is an AnsibleCloudHSMError."""

from __future__ import annotations

import typing as t

from . import api
from .common import CREATE_RETRY, READ_RETRY, AnsibleCloudHSMError, CloudHSMErrorHandler


@CloudHSMErrorHandler.common_error_handler("create cluster {name}")
@CREATE_RETRY
def create(client: t.Any, name: str, request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """CreateCluster. Repeated only where AWS throttled it: it has no idempotency token, and each call makes another cluster.

    Args:
        client: A client whose own retries are off.
        name: The name, for a person who reads of a failure.
        request: The members of the request.

    Returns:
        The cluster as AWS shows it.
    """
    try:
        return client.create_cluster(**request)["Cluster"]
    except (KeyError, api.ResponseParserError) as error:
        raise AnsibleCloudHSMError(message="The answer to CreateCluster cannot be read", exception=error) from error


@CloudHSMErrorHandler.common_error_handler("modify {cluster_id}")
@READ_RETRY
def modify(client: t.Any, cluster_id: str, changes: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """ModifyCluster. Returns the cluster as AWS shows it; by the API's model, the answer may lack it."""
    return client.modify_cluster(ClusterId=cluster_id, **changes).get("Cluster", {})


@CloudHSMErrorHandler.deletion_error_handler("delete {cluster_id}")
@READ_RETRY
def delete(client: t.Any, cluster_id: str) -> bool:
    """DeleteCluster. Returns False when AWS does not know the id (any more)."""
    client.delete_cluster(ClusterId=cluster_id)
    return True
