# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Records of placements in a DynamoDB table, such as that of AWS's sample code for the scheduled deletion of HSMs."""

from __future__ import annotations

import typing as t

from .._cloudhsm.common import AnsibleCloudHSMError, error_code, may_have_had_effect
from . import dynamodb_api
from .plan import Owner, PlacementError, Record, find_sort_key, plan_rows, read_rows

_MOST_TRIES = 3
# Somebody else has changed, or is changing, the same rows.
_CONFLICTS = ("TransactionCanceledException", "TransactionConflictException", "TransactionInProgressException")


class DynamoDbPlacements:
    """A PlacementStore in a DynamoDB table, with a row for each HSM.

    Args:
        client: The client of DynamoDB.
        table: The name of the table.
    """

    def __init__(self, client: t.Any, table: str) -> None:
        self._client = client
        self._table = table
        self._known_sort_key: str | None = None

    def load(self, owner: Owner) -> Record:
        """Return the record; empty where there is none."""
        self._sort_key()
        return read_rows(self._table, dynamodb_api.query(self._client, self._table, owner.cluster_id))

    def replace(self, owner: Owner, record: Record) -> None:
        """Put a record in place of every row of the cluster, and see that it is so: an answer may be lost.

        Raises:
            PlacementError: Rows cannot be read, or have no room for the record, or somebody else goes on changing them.
            AnsibleCloudHSMError: A call failed.
        """
        refused: AnsibleCloudHSMError | None = None
        for last in [False] * _MOST_TRIES + [True]:
            rows = dynamodb_api.query(self._client, self._table, owner.cluster_id)
            # Rows that something else wrote are not for us to delete.
            read_rows(self._table, rows)
            changes = plan_rows(self._table, rows, record, self._sort_key())
            if not changes:
                return
            if last:
                raise PlacementError(
                    f"table: the rows of {owner.cluster_id} in the DynamoDB table {self._table} are not what was written in "
                    f"{_MOST_TRIES} tries: somebody else changes them. Find out who, and run again."
                ) from refused
            try:
                dynamodb_api.write(self._client, self._table, owner.cluster_id, changes, self._sort_key())
            except AnsibleCloudHSMError as error:
                if error_code(error.exception) not in _CONFLICTS and not may_have_had_effect(error.exception):
                    raise
                refused = error

    def forget(self, owner: Owner) -> None:
        """Have no row of the cluster."""
        self.replace(owner, ())

    def _sort_key(self) -> str:
        if self._known_sort_key is None:
            self._known_sort_key = find_sort_key(self._table, self._describe())
        return self._known_sort_key

    def _describe(self) -> dict[str, t.Any]:
        try:
            return dynamodb_api.describe_table(self._client, self._table)
        except AnsibleCloudHSMError as error:
            if error_code(error.exception) != "ResourceNotFoundException":
                raise
            raise PlacementError(
                f"table: there is no DynamoDB table {self._table} in this account and region. Check the name, region and "
                "profile, or make one with the partition key ClusterId and the sort key IpAddress, both strings."
            ) from error
