# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Records of placements: what is read, written and refused, and which rows of a table change."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import Placement, PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements import plan
from hypothesis import given
from hypothesis import strategies as st

zones = st.sampled_from(["eu-west-1a", "eu-west-1b", "us-gov-west-1a", "ap-southeast-2c"])
addresses = st.ip_addresses().map(str)
records = st.lists(st.tuples(zones, addresses), max_size=8, unique_by=lambda place: place[1]).map(
    lambda places: plan.make_record([{"availability_zone": zone, "ip_address": address} for zone, address in places])
)


def row(zone: str | None, address: str | None, **more: str) -> dict:
    values = {"AvailabilityZone": zone, "IpAddress": address, **more}
    return {name: {"S": value} for name, value in values.items() if value is not None}


def described(partition: str = "ClusterId", sort: str = "", kind: str = "S") -> dict:
    names = [partition] + [sort] * bool(sort)
    return {
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name in names],
        "KeySchema": [{"AttributeName": partition, "KeyType": "HASH"}]
        + [{"AttributeName": sort, "KeyType": "RANGE"}] * bool(sort),
    }


@given(records)
def test_what_is_written_is_read(record):
    assert plan.decode(plan.encode(record)) == record


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        record = plan.decode(text)
    except PlanError:
        return
    assert plan.make_record(plan.plain(record)) == record


@given(st.permutations(["192.0.2.1", "192.0.2.2", "192.0.2.3"]))
def test_order_does_not_matter(order):
    places = [{"availability_zone": "eu-west-1a", "ip_address": address} for address in order]
    assert plan.make_record(places) == plan.make_record(places[::-1])


@given(records, records, st.sampled_from(["IpAddress", "AvailabilityZone", ""]))
def test_rows_become_the_record_whatever_they_were(before, after, sort_key):
    def by_key(record):
        return {plan._sort_value(place, sort_key): place for place in record}

    table = {key: row(place.availability_zone, place.ip_address) for key, place in by_key(before).items()}
    try:
        changes = plan.plan_rows("t", list(table.values()), after, sort_key)
    except plan.PlacementError:
        assert len(by_key(after)) < len(after)
        return
    for key in changes.delete:
        del table[key]
    table |= {
        plan._sort_value(place, sort_key): row(place.availability_zone, place.ip_address) for place in changes.put
    }

    assert plan.read_rows("t", table.values()) == after
    assert not plan.plan_rows("t", list(table.values()), after, sort_key)


def test_rows_that_are_right_are_left_alone():
    [place] = record = (Placement("eu-west-1a", "192.0.2.1"),)
    rows = [row("eu-west-1a", "192.0.2.1", Note="kept"), row("eu-west-1b", "192.0.2.2")]

    assert plan.plan_rows("t", rows, record, "IpAddress") == plan.RowChanges(delete=("192.0.2.2",))
    assert plan.plan_rows("t", rows[1:], record, "IpAddress") == plan.RowChanges((place,), ("192.0.2.2",))


@pytest.mark.parametrize("sort", ["", "IpAddress", "AvailabilityZone"])
def test_tables_that_fit(sort):
    assert plan.find_sort_key("t", described(sort=sort)) == sort


@pytest.mark.parametrize("table", [{"partition": "Id"}, {"sort": "When"}, {"kind": "N"}])
def test_tables_that_do_not_fit(table):
    with pytest.raises(plan.PlacementError, match="^table: the key of the DynamoDB table t is "):
        plan.find_sort_key("t", described(**table))


@pytest.mark.parametrize(
    "rows",
    [
        [row(None, "192.0.2.1")],
        [row("eu-west-1a", None)],
        [row("eu-west-1a", "a.b")],
        [{"AvailabilityZone": {"N": "1"}, "IpAddress": {"S": "192.0.2.1"}}],
        [row("eu-west-1a", "192.0.2.1"), row("eu-west-1b", "192.0.2.1")],
    ],
)
def test_rows_that_cannot_be_read(rows):
    with pytest.raises(plan.PlacementError, match="the rows of the cluster in the DynamoDB table t cannot be read"):
        plan.read_rows("t", rows)
