# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module hsm_placement against a real Redis, and against the DynamoDB of the local AWS."""

from __future__ import annotations

import functools
import json

import botocore.client
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import find_endpoint
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.dynamodb_store import DynamoDbPlacements
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.plan import Owner, PlacementError, make_record
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.redis_store import RedisPlacements
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_placement
from botocore.exceptions import ClientError, ConnectionClosedError
from harness.modules import run_module
from harness.redis_servers import REDIS, Server, wait_until
from sandbox.ports import free_port

CLUSTER = "cluster-abcdefghijk"
OTHER = "cluster-lmnopqrstuv"
TABLE = "CloudHSMMetadata"
KEY = "hsm:dev:placements"

A = {"availability_zone": "eu-west-1a", "ip_address": "192.0.2.10"}
B = {"availability_zone": "eu-west-1b", "ip_address": "192.0.2.20"}
B2 = {"availability_zone": "eu-west-1b", "ip_address": "192.0.2.21"}


@pytest.fixture
def connection(server) -> dict[str, str]:
    return {"region": "eu-west-1", "endpoint_url": server.url, "access_key": "testing", "secret_key": "testing"}


@pytest.fixture
def dynamodb(server):
    client = server.client("dynamodb")
    yield client
    for name in client.list_tables()["TableNames"]:
        client.delete_table(TableName=name)


@pytest.fixture
def in_redis(connection, redis_url):
    return functools.partial(run_module, hsm_placement, env="dev", redis_url=redis_url, **connection)


@pytest.fixture
def in_dynamodb(connection, dynamodb):
    make_table(dynamodb, "IpAddress")
    return functools.partial(run_module, hsm_placement, store="dynamodb", table=TABLE, cluster_id=CLUSTER, **connection)


@pytest.fixture(params=["redis", "dynamodb"])
def run(request):
    return request.getfixturevalue(f"in_{request.param}")


def make_table(dynamodb, sort_key: str, partition: str = "ClusterId", kind: str = "S", name: str = TABLE) -> None:
    names = [partition] + [sort_key] * bool(sort_key)
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name in names],
        KeySchema=[
            {"AttributeName": name, "KeyType": role} for name, role in zip(names, ("HASH", "RANGE"), strict=False)
        ],
    )


def put(dynamodb, cluster_id: str = CLUSTER, **attributes: str) -> None:
    dynamodb.put_item(
        TableName=TABLE,
        Item={"ClusterId": {"S": cluster_id}, **{name: {"S": value} for name, value in attributes.items()}},
    )


def rows(dynamodb, cluster_id: str = CLUSTER) -> list[dict[str, str]]:
    items = dynamodb.scan(TableName=TABLE)["Items"]
    plain = [{name: value["S"] for name, value in item.items()} for item in items]
    return sorted((row for row in plain if row["ClusterId"] == cluster_id), key=lambda row: row["IpAddress"])


def found(run, **arguments) -> list[dict[str, str]]:
    return run(state="queried", **arguments)["placements"]


# Both stores


def test_remember_change_and_forget_each_in_check_mode_first_and_each_again(run):
    before: list = []
    for wish in ([A], [B, A], [A, B2], [A]):
        predicted = run(placements=wish, check=True, diff=True)
        assert (predicted["changed"], found(run)) == (True, before)
        made = run(placements=wish, diff=True)
        assert made == predicted
        after = sorted(wish, key=lambda place: place["availability_zone"])
        assert made["diff"] == {"before": {"placements": before}, "after": {"placements": after}}
        assert made["placements"] == found(run) == after
        for check in (True, False):
            again = run(placements=wish[::-1], check=check)
            assert (again["changed"], again["placements"]) == (False, after)
        before = after

    assert run(state="absent", check=True) == {**run(state="absent", check=True), "changed": True, "placements": []}
    assert found(run) == [A]
    gone = run(state="absent", diff=True)
    assert (gone["changed"], gone["diff"]["after"]) == (True, {"placements": []})
    for check in (True, False):
        assert not run(state="absent", check=check)["changed"]
    assert found(run) == []


def test_addresses_are_compared_by_their_meaning(run):
    long = {"availability_zone": "eu-west-1a", "ip_address": "2001:DB8:0:0::0010"}
    assert run(placements=[long])["placements"] == [{**long, "ip_address": "2001:db8::10"}]
    assert not run(placements=[{**long, "ip_address": "2001:db8::10"}])["changed"]


def test_bad_input(run):
    for arguments, message in (
        ({"placements": []}, "placements: is empty. Name where the HSMs were"),
        ({"placements": [A], "state": "absent"}, "placements: is for state=present only"),
        ({"placements": [A], "state": "queried"}, "placements: is for state=present only"),
        (
            {"placements": [{**A, "availability_zone": "eu-west-1"}]},
            "placements: 'eu-west-1' is not an Availability Zone",
        ),
        ({"placements": [{**A, "ip_address": "192.0.2.256"}]}, "placements: '192.0.2.256' is no IPv4 or IPv6 address"),
        ({"placements": [{**A, "ip_address": ""}]}, "placements: '' is no IPv4 or IPv6 address"),
        ({"placements": [A, {**B, "ip_address": "192.0.2.10"}]}, "placements: 192.0.2.10 stands twice"),
        ({}, "state is present but all of the following are missing: placements"),
    ):
        result = run(**arguments)
        assert result["failed"], arguments
        assert message in result["msg"]
    assert found(run) == []


# Redis


def test_record_in_redis_is_plain_and_stays(store, in_redis):
    in_redis(placements=[B, A])

    assert json.loads(store.get(KEY)) == [A, B]
    assert store.ttl(KEY) == -1
    assert store.keys() == [KEY]


def test_environments_in_redis_are_apart(in_redis):
    in_redis(placements=[A])
    in_redis(placements=[B], env="test")
    in_redis(state="absent", env="test")

    assert found(in_redis) == [A]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("eu-west-1a", "it is no JSON"),
        ("", "it is no JSON"),
        ("{}", "it is no list of placements"),
        ('["eu-west-1a"]', "it is no list of placements"),
        ('[{"availability_zone": "eu-west-1a"}]', "None is no address"),
        ('[{"availability_zone": "eu-west-1a", "ip_address": 3221225994}]', "3221225994 is no address"),
        ('[{"availability_zone": ["x"], "ip_address": "192.0.2.10"}]', "is not an Availability Zone"),
        (json.dumps([A, A]), "192.0.2.10 stands twice"),
        (None, "it is a list, not a string"),
    ],
)
def test_record_in_redis_that_cannot_be_read_stays(store, in_redis, text, why):
    if text is None:
        store.lpush(KEY, "x")
    else:
        store.set(KEY, text)
    before = store.dump(KEY)
    for arguments in ({"state": "queried"}, {"placements": [A]}, {"state": "absent"}):
        result = in_redis(**arguments)
        assert result["failed"]
        assert f"env: the record of placements {KEY} in Redis at 127.0.0.1" in result["msg"]
        assert why in result["msg"]
        assert f"DEL {KEY}" in result["msg"]
    assert store.dump(KEY) == before


def test_key_of_another_type_is_not_replaced_by_a_writer_who_did_not_look(store, redis_port):
    places = RedisPlacements(find_endpoint({"redis_url": f"redis://127.0.0.1:{redis_port}"}, {}), Limits())
    store.lpush(KEY, "x")
    for record in ((), make_record([A])):
        with pytest.raises(PlacementError, match="it is a list, not a string"):
            places.replace(Owner("dev"), record)
    assert store.type(KEY) == "list"


def test_redis_that_does_not_answer_and_a_bad_name(in_redis):
    lost = in_redis(state="queried", redis_url=f"redis://127.0.0.1:{free_port()}")
    assert "does not answer" in lost["msg"]
    assert "env: 'a b' is no name of an environment" in in_redis(state="queried", env="a b")["msg"]
    assert "redis_timeout: 0.0 is no duration" in in_redis(state="queried", redis_timeout=0)["msg"]
    assert "env" in in_redis(state="queried", env=None)["msg"]


def test_replicas_must_confirm(store, in_redis):
    result = in_redis(placements=[A], redis_min_replicas=1, redis_replica_timeout=0.01)

    assert "redis_min_replicas: 0 of 1 replicas" in result["msg"]


def test_replica_has_what_it_has_confirmed(tmp_path, in_redis):
    with (
        Server(REDIS, tmp_path) as primary,
        Server(REDIS, tmp_path, "--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        wait_until(lambda: primary.client().info("replication").get("slave0", {}).get("state") == "online")
        url = f"redis://127.0.0.1:{primary.port}"
        patient = {"redis_url": url, "redis_min_replicas": 1, "redis_replica_timeout": 10}
        assert in_redis(placements=[A], **patient)["changed"]
        assert replica.client().get(KEY)
        assert in_redis(state="absent", **patient)["changed"]
        assert replica.client().get(KEY) is None


def test_name_without_braces_in_a_redis_cluster(in_redis):
    nowhere = f"redis+cluster://127.0.0.1:{free_port()}"
    assert "write {dev} instead of dev" in in_redis(state="queried", redis_url=nowhere)["msg"]


def test_rights_in_redis_that_the_documentation_lists_are_enough(store, redis_port, in_redis):
    rights = "resetkeys ~hsm:* resetchannels nocommands +evalsha +script|load +type +get +set +del"
    store.execute_command("ACL", "SETUSER", "placer", "on", ">secret", *rights.split())
    url = f"redis://placer:secret@127.0.0.1:{redis_port}/0"
    try:
        assert in_redis(placements=[A], redis_url=url)["changed"]
        assert found(in_redis, redis_url=url) == [A]
        assert in_redis(state="absent", redis_url=url)["changed"]
        store.execute_command("ACL", "SETUSER", "placer", "-set")
        assert "denies this user the right" in in_redis(placements=[A], redis_url=url)["msg"]
    finally:
        store.execute_command("ACL", "DELUSER", "placer")


# DynamoDB


def test_rows_are_those_of_the_sample_code(dynamodb, in_dynamodb):
    put(dynamodb, OTHER, AvailabilityZone="eu-west-1a", IpAddress="192.0.2.99")
    in_dynamodb(placements=[A, B])

    assert rows(dynamodb) == [
        {"ClusterId": CLUSTER, "AvailabilityZone": "eu-west-1a", "IpAddress": "192.0.2.10"},
        {"ClusterId": CLUSTER, "AvailabilityZone": "eu-west-1b", "IpAddress": "192.0.2.20"},
    ]
    in_dynamodb(state="absent")
    assert len(rows(dynamodb, OTHER)) == 1


def test_stale_rows_go_and_rows_that_stay_are_not_touched(dynamodb, in_dynamodb):
    put(dynamodb, AvailabilityZone="eu-west-1a", IpAddress="192.0.2.10", Note="kept")
    put(dynamodb, AvailabilityZone="eu-west-1c", IpAddress="192.0.2.30")
    assert [place["ip_address"] for place in found(in_dynamodb)] == ["192.0.2.10", "192.0.2.30"]
    in_dynamodb(placements=[A, B])

    assert [row["IpAddress"] for row in rows(dynamodb)] == ["192.0.2.10", "192.0.2.20"]
    assert rows(dynamodb)[0]["Note"] == "kept"


def test_every_page_of_rows_is_read(dynamodb, in_dynamodb, monkeypatch):
    for number in range(5):
        put(dynamodb, AvailabilityZone="eu-west-1a", IpAddress=f"192.0.2.{number}")
    ask = botocore.client.BaseClient._make_api_call

    def by_two(client, operation, parameters):
        return ask(client, operation, {**parameters, "Limit": 2} if operation == "Query" else parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", by_two)
    assert len(found(in_dynamodb)) == 5


@pytest.mark.parametrize(("sort_key", "room"), [("", [A]), ("AvailabilityZone", [A, B])])
def test_tables_with_other_keys(dynamodb, in_dynamodb, sort_key, room):
    dynamodb.delete_table(TableName=TABLE)
    make_table(dynamodb, sort_key)
    assert in_dynamodb(placements=room)["changed"]
    assert found(in_dynamodb) == room
    assert not in_dynamodb(placements=room)["changed"]

    refused = in_dynamodb(placements=[A, B, B2])
    assert (
        "cannot hold 3 placements. Make a table with the partition key ClusterId and the sort key IpAddress"
        in refused["msg"]
    )
    assert found(in_dynamodb) == room

    moved = [{**place, "ip_address": place["ip_address"].replace("192.0.2.", "192.0.2.1")} for place in room]
    assert in_dynamodb(placements=moved)["changed"]
    assert found(in_dynamodb) == moved
    assert in_dynamodb(state="absent")["changed"]
    assert rows(dynamodb) == []


def test_tables_for_something_else(dynamodb, in_dynamodb):
    for name, keys in (
        ("other", {"sort_key": "", "partition": "Cluster"}),
        ("sorted", {"sort_key": "When"}),
        ("numbers", {"sort_key": "", "kind": "N"}),
    ):
        make_table(dynamodb, name=name, **keys)
        assert f"table: the key of the DynamoDB table {name} is" in in_dynamodb(state="queried", table=name)["msg"]
    assert "table: there is no DynamoDB table none in this account" in in_dynamodb(state="queried", table="none")["msg"]
    assert "region: none is configured" in in_dynamodb(state="queried", region="")["msg"]
    assert "cluster_id: 'dev' is not a cluster id" in in_dynamodb(state="queried", cluster_id="dev")["msg"]
    assert "table: is missing" in in_dynamodb(state="queried", table=None)["msg"]


def test_rows_that_cannot_be_read_stay(dynamodb, in_dynamodb):
    put(dynamodb, IpAddress="192.0.2.10", Owner="somebody")
    for arguments in ({"state": "queried"}, {"placements": [A]}, {"state": "absent"}):
        result = in_dynamodb(**arguments)
        assert result["failed"]
        assert f"table: the rows of the cluster in the DynamoDB table {TABLE} cannot be read" in result["msg"]
        assert "None is not an Availability Zone" in result["msg"]
    assert len(rows(dynamodb)) == 1


def test_rows_that_cannot_be_read_are_not_replaced_by_a_writer_who_did_not_look(dynamodb, in_dynamodb):
    put(dynamodb, IpAddress="192.0.2.10", Owner="somebody")
    places = DynamoDbPlacements(dynamodb, TABLE)
    for record in ((), make_record([B])):
        with pytest.raises(PlacementError, match="cannot be read"):
            places.replace(Owner(cluster_id=CLUSTER), record)
    assert len(rows(dynamodb)) == 1


def test_more_rows_than_a_transaction_changes(dynamodb, in_dynamodb):
    for number in range(101):
        put(dynamodb, AvailabilityZone="eu-west-1c", IpAddress=f"192.0.2.{100 + number}")

    assert "102 rows of the cluster" in in_dynamodb(placements=[A])["msg"]
    assert len(rows(dynamodb)) == 101


class Asked:
    """Puts something in front of a call to AWS, or in place of its answer, a number of times."""

    def __init__(self, monkeypatch, operation, times=1, before=None, after=None):
        self.count = 0
        ask = botocore.client.BaseClient._make_api_call

        def asked(client, called, parameters):
            if called != operation:
                return ask(client, called, parameters)
            self.count += 1
            if self.count > times:
                return ask(client, called, parameters)
            if before:
                before()
            answer = ask(client, called, parameters)
            if after:
                after()
            return answer

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", asked)


def raising(error: Exception):
    def stop():
        raise error

    return stop


def refused(code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Asked"
    )


def test_lost_answer_to_a_write(dynamodb, in_dynamodb, monkeypatch):
    put(dynamodb, AvailabilityZone="eu-west-1c", IpAddress="192.0.2.30")
    lost = Asked(monkeypatch, "TransactWriteItems", after=raising(ConnectionClosedError(endpoint_url="https://x")))

    assert in_dynamodb(placements=[A])["changed"]
    assert ([row["IpAddress"] for row in rows(dynamodb)], lost.count) == (["192.0.2.10"], 1)


def test_two_who_replace_the_same_rows(dynamodb, in_dynamodb, monkeypatch):
    put(dynamodb, AvailabilityZone="eu-west-1c", IpAddress="192.0.2.30")

    def meanwhile():
        dynamodb.delete_item(TableName=TABLE, Key={"ClusterId": {"S": CLUSTER}, "IpAddress": {"S": "192.0.2.30"}})
        put(dynamodb, AvailabilityZone="eu-west-1b", IpAddress="192.0.2.20")

    both = Asked(monkeypatch, "TransactWriteItems", before=meanwhile)
    seen: list = []
    Asked(monkeypatch, "Query", times=9, before=lambda: seen.append([row["IpAddress"] for row in rows(dynamodb)]))

    assert in_dynamodb(placements=[A])["changed"]
    assert ([row["IpAddress"] for row in rows(dynamodb)], both.count) == (["192.0.2.10"], 2)
    # Never both of what the two have written.
    assert [len(addresses) for addresses in seen] == [1] * len(seen)


def test_somebody_who_goes_on_writing(dynamodb, in_dynamodb, monkeypatch):
    numbers = iter(range(100, 200))

    def meanwhile():
        put(dynamodb, AvailabilityZone="eu-west-1c", IpAddress=f"192.0.2.{next(numbers)}")

    Asked(monkeypatch, "TransactWriteItems", times=9, after=meanwhile)
    assert "are not what was written in 3 tries: somebody else changes them" in in_dynamodb(placements=[A])["msg"]


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("DescribeTable", "dynamodb:DescribeTable"),
        ("Query", "dynamodb:Query"),
        ("TransactWriteItems", "dynamodb:PutItem and dynamodb:DeleteItem"),
    ],
)
def test_denied_names_the_permission(dynamodb, in_dynamodb, monkeypatch, operation, permission):
    denied = Asked(monkeypatch, operation, times=9, before=raising(refused("AccessDeniedException")))
    result = in_dynamodb(placements=[A])

    assert permission in result["msg"]
    assert "Access denied" in result["msg"]
    assert (denied.count, rows(dynamodb)) == (1, [])
