# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Where the HSMs of an environment were, so that they come back to the same addresses. Pure.

A record is a tuple of placements in the order of zone and address. It is replaced as a whole, never added to: a place that is
left over from another day would bring an HSM that nobody asked for.
"""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t
from dataclasses import dataclass

from .._cloudhsm.plan import Placement, PlanError

# The pattern of the service's own API model.
_ZONE = re.compile(r"[a-z]{2}(-gov)?-(east|west|north|south|central){1,2}-[0-9][a-z]")

# The attributes of a row, as in the sample code of AWS's blog for the scheduled deletion of HSMs.
CLUSTER = "ClusterId"
ZONE = "AvailabilityZone"
ADDRESS = "IpAddress"

# So many rows can change in one transaction of DynamoDB.
MOST_CHANGES = 100

Record = tuple[Placement, ...]
Row = t.Mapping[str, t.Mapping[str, t.Any]]


class PlacementError(Exception):
    """A record cannot be read, or not be kept where it should. The message says where, what was found and what to do."""


@dataclass(frozen=True)
class Owner:
    """Whose HSMs a record is about. Each store takes the name that it knows.

    Attributes:
        environment: The name of the environment, for Redis.
        cluster_id: The cluster, for DynamoDB.
    """

    environment: str = ""
    cluster_id: str = ""


class PlacementStore(t.Protocol):
    """What keeps records.

    Every method raises PlacementError, or what the outside system raises, where there is no answer.
    """

    def load(self, owner: Owner) -> Record:
        """Return the record; empty where there is none."""

    def replace(self, owner: Owner, record: Record) -> None:
        """Put a record in place of whatever there is, all of it or nothing."""

    def forget(self, owner: Owner) -> None:
        """Have no record."""


@dataclass(frozen=True)
class RowChanges:
    """What makes the rows of a cluster as a record says.

    Attributes:
        put: The places that get a row, in place of the one that has their key.
        delete: What the sort key has in the rows that go; an empty text in a table without a sort key.
    """

    put: Record = ()
    delete: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.delete)


def make_record(placements: t.Iterable[t.Mapping[str, t.Any]]) -> Record:
    """Make a record of what has availability_zone and ip_address.

    Raises:
        PlanError: A zone or an address is none, or an address stands twice.
    """
    record = [_make_placement(placement) for placement in placements]
    addresses = [placement.ip_address for placement in record]
    twice = next((address for address in addresses if addresses.count(address) > 1), None)
    if twice:
        raise PlanError("placements", f"{twice} stands twice. Each HSM has an address of its own.")
    return tuple(sorted(record, key=lambda placement: (placement.availability_zone, placement.ip_address or "")))


def _make_placement(placement: t.Mapping[str, t.Any]) -> Placement:
    zone, address = placement.get("availability_zone"), placement.get("ip_address")
    if not isinstance(zone, str) or not _ZONE.fullmatch(zone):
        raise PlanError("placements", f"{zone!r} is not an Availability Zone, such as eu-west-1a.")
    # The library would take a whole number for an address too.
    if not isinstance(address, str):
        raise PlanError("placements", f"{address!r} is no address, such as 192.0.2.10.")
    try:
        return Placement(zone, str(ipaddress.ip_address(address)))
    except ValueError as error:
        raise PlanError("placements", f"{address!r} is no IPv4 or IPv6 address, such as 192.0.2.10.") from error


def plain(record: Record) -> list[dict[str, str | None]]:
    """Make of a record what modules return and take."""
    return [{"availability_zone": place.availability_zone, "ip_address": place.ip_address} for place in record]


def encode(record: Record) -> str:
    """Write a record as the text that Redis keeps."""
    return json.dumps(plain(record))


def decode(text: str) -> Record:
    """Read what encode wrote.

    Raises:
        PlanError: It is something else.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PlanError("placements", "it is no JSON.") from error
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise PlanError("placements", "it is no list of placements.")
    return make_record(value)


def find_sort_key(table: str, description: t.Mapping[str, t.Any]) -> str:
    """Return the name of a table's sort key, or an empty text where it has none.

    Args:
        table: The name of the table.
        description: The table as DescribeTable shows it.

    Raises:
        PlacementError: Its keys are not those of a table for placements.
    """
    types = {item["AttributeName"]: item["AttributeType"] for item in description["AttributeDefinitions"]}
    keys = {item["KeyType"]: item["AttributeName"] for item in description["KeySchema"]}
    partition, sort = keys["HASH"], keys.get("RANGE", "")
    if partition != CLUSTER or sort not in ("", ZONE, ADDRESS) or any(types[name] != "S" for name in keys.values()):
        found = ", ".join(f"{name} ({types[name]})" for name in keys.values())
        raise PlacementError(
            f"table: the key of the DynamoDB table {table} is {found}. It must be {CLUSTER} (S), with {ADDRESS} (S) as sort key, "
            f"or {ZONE} (S), or none. Name another table."
        )
    return sort


def read_rows(table: str, rows: t.Iterable[Row]) -> Record:
    """Make a record of the rows of one cluster.

    Raises:
        PlacementError: One is not what the sample code or this collection writes.
    """
    try:
        return make_record({"availability_zone": _text(row, ZONE), "ip_address": _text(row, ADDRESS)} for row in rows)
    except PlanError as error:
        raise PlacementError(
            f"table: the rows of the cluster in the DynamoDB table {table} cannot be read: {error}. See what wrote them, and "
            "delete what nobody needs."
        ) from error


def _text(row: Row, name: str) -> t.Any:
    return row.get(name, {}).get("S")


def plan_rows(table: str, rows: t.Sequence[Row], record: Record, sort_key: str) -> RowChanges:
    """Decide which rows change so that they are the record.

    Args:
        table: The name of the table.
        rows: The rows of the cluster.
        record: What they are to be.
        sort_key: The name of the table's sort key; an empty text where it has none.

    Raises:
        PlacementError: The table has no room for the record, or holds more than one transaction changes.
    """
    there = {_text(row, sort_key) if sort_key else "": row for row in rows}
    wanted = {_sort_value(placement, sort_key): placement for placement in record}
    if len(wanted) < len(record):
        key = (
            f"the sort key {sort_key}, so one row for each zone of a cluster"
            if sort_key
            else "one row for each cluster"
        )
        raise PlacementError(
            f"table: the DynamoDB table {table} has {key}, and cannot hold {len(record)} placements. Make a table with the "
            f"partition key {CLUSTER} and the sort key {ADDRESS}."
        )
    changes = RowChanges(
        put=tuple(
            placement for key, placement in wanted.items() if key not in there or not _same(there[key], placement)
        ),
        delete=tuple(sorted(key for key in there if key not in wanted)),
    )
    count = len(changes.put) + len(changes.delete)
    if count > MOST_CHANGES:
        raise PlacementError(
            f"table: {count} rows of the cluster in the DynamoDB table {table} would have to change, and one transaction changes "
            f"{MOST_CHANGES}. Delete the stale ones."
        )
    return changes


def _sort_value(placement: Placement, sort_key: str) -> str:
    values = {ZONE: placement.availability_zone, ADDRESS: placement.ip_address or "", "": ""}
    return values[sort_key]


def _same(row: Row, placement: Placement) -> bool:
    return (_text(row, ZONE), _text(row, ADDRESS)) == (placement.availability_zone, placement.ip_address)
