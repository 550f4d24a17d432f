# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to DynamoDB, one function each. They decide nothing; every failure is an AnsibleCloudHSMError."""

from __future__ import annotations

import typing as t

from .._cloudhsm.common import READ_RETRY, CloudHSMErrorHandler
from .plan import ADDRESS, CLUSTER, ZONE

if t.TYPE_CHECKING:
    from .plan import Row, RowChanges


@CloudHSMErrorHandler.common_error_handler("describe the DynamoDB table {table} (permission dynamodb:DescribeTable)")
@READ_RETRY
def describe_table(client: t.Any, table: str) -> dict[str, t.Any]:
    """DescribeTable."""
    return client.describe_table(TableName=table)["Table"]


@CloudHSMErrorHandler.common_error_handler(
    "read the rows of {cluster_id} in the DynamoDB table {table} (permission dynamodb:Query)"
)
@READ_RETRY
def query(client: t.Any, table: str, cluster_id: str) -> list[Row]:
    """Query, every page, as the rows are now: a read that lags behind would bring back what was just replaced."""
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression=f"{CLUSTER} = :cluster",
        ExpressionAttributeValues={":cluster": {"S": cluster_id}},
        ConsistentRead=True,
    )
    return [row for page in pages for row in page["Items"]]


@CloudHSMErrorHandler.common_error_handler(
    "change the rows of {cluster_id} in the DynamoDB table {table} (permissions dynamodb:PutItem and dynamodb:DeleteItem)"
)
@READ_RETRY
def write(client: t.Any, table: str, cluster_id: str, changes: RowChanges, sort_key: str) -> None:
    """TransactWriteItems: all changes or none.

    A row that is to go must still be there. So of two who replace the same rows at the same time, one is refused.

    Args:
        client: The client.
        table: The name of the table.
        cluster_id: The cluster.
        changes: The changes.
        sort_key: The name of the table's sort key; an empty text where it has none.
    """
    owner = {CLUSTER: {"S": cluster_id}}
    deletes = [
        {
            "Delete": {
                "TableName": table,
                "Key": owner | ({sort_key: {"S": value}} if sort_key else {}),
                "ConditionExpression": f"attribute_exists({CLUSTER})",
            }
        }
        for value in changes.delete
    ]
    puts = [
        {
            "Put": {
                "TableName": table,
                "Item": owner | {ZONE: {"S": place.availability_zone}, ADDRESS: {"S": place.ip_address}},
            }
        }
        for place in changes.put
    ]
    client.transact_write_items(TransactItems=deletes + puts)
