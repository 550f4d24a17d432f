# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Several servers: replicas, Sentinels, a Cluster."""

from __future__ import annotations

import contextlib
import time

import pytest
import redis
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import UnconfirmedError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_activity
from harness.modules import run_module
from harness.redis_servers import REDIS, Server, wait_until
from harness.steps import CLUSTER, READ, USE, opened, take_every_step
from sandbox.ports import free_port

# Replicas


@pytest.fixture(scope="module")
def primary_and_replica(redis_port, tmp_path_factory):
    """A server of its own, because replicas change what WAIT answers."""
    folder = tmp_path_factory.mktemp("replicas")
    with (
        Server(REDIS, folder) as primary,
        Server(REDIS, folder, "--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        wait_until(lambda: primary.client().info("replication").get("slave0", {}).get("state") == "online")
        yield primary, replica


@pytest.fixture
def confirmed(primary_and_replica):
    primary, replica = primary_and_replica
    with primary.client() as client:
        client.flushall()
        assert client.wait(1, 30000) == 1
    yield opened(f"redis://127.0.0.1:{primary.port}", Limits(min_replicas=1, replica_timeout=10))
    replica.resume()


def impatient(primary):
    return opened(f"redis://127.0.0.1:{primary.port}", Limits(min_replicas=1, replica_timeout=0.2))


def test_replica_has_what_it_has_confirmed(confirmed, primary_and_replica):
    replica = primary_and_replica[1].client()
    confirmed.hold(["dev"], "job", 60, 7200)
    assert replica.zscore("hsm:dev:holds", "job")
    assert confirmed.claim_creating(["dev"], "one", 60)[0].granted
    assert replica.hget("hsm:dev:claim", "token") == "one"
    assert confirmed.claim_creating(["dev"], "one", 60)[0].granted


def test_replica_that_is_silent_confirms_nothing(confirmed, primary_and_replica):
    primary, replica = primary_and_replica
    client = primary.client()
    client.set("hsm:old:last_access", client.time()[0] - 3600)
    assert confirmed.claim_retiring({"old": ["hsm-1"]}, "one", 60, 60)[0].granted
    replica.pause()
    confirmed = impatient(primary)

    message = r"redis_min_replicas: 0 of 1 replicas of Redis at .* have confirmed the step after 0.2 s"
    for step in (
        lambda: confirmed.hold(["dev"], "job", 60, 7200),
        lambda: confirmed.claim_creating(["dev"], "one", 60),
        lambda: confirmed.commit(["old"], "one", 60),
    ):
        with pytest.raises(UnconfirmedError, match=message):
            step()
    # The hold stays, which is the safe side; the claim is taken back; the commit has its actor to finish it.
    assert client.zscore("hsm:dev:holds", "job")
    assert not client.exists("hsm:dev:claim")
    assert client.hget("hsm:old:claim", "phase") == "committed"
    # What is refused need not be confirmed, and what need not be confirmed is not waited for.
    assert confirmed.claim_retiring({"dev": ["hsm-1"]}, "two", 60, 60)[0].refusal == "held"
    confirmed.touch(["dev"], 7200)


def test_repeated_step_is_confirmed_itself(confirmed, primary_and_replica):
    """A step whose answer was lost is confirmed by its repetition only if that writes too."""
    primary, replica = primary_and_replica
    client = primary.client()
    client.set("hsm:dev:last_access", client.time()[0] - 3600)
    confirmed.claim_retiring({"dev": ["hsm-1"]}, "one", 60, 60)
    confirmed.commit(["dev"], "one", 60)
    replica.pause()
    with pytest.raises(UnconfirmedError):
        impatient(primary).commit(["dev"], "one", 60)


# Sentinel


@pytest.fixture
def sentinels(tmp_path):
    """Two servers under three Sentinels with a password of their own. Yields the servers and the Sentinels' ports."""
    with contextlib.ExitStack() as stack:
        auth = ("--masterauth", "s3cret")
        first = stack.enter_context(Server(REDIS, tmp_path, *auth, password="s3cret"))
        second = stack.enter_context(
            Server(REDIS, tmp_path, *auth, "--replicaof", "127.0.0.1", str(first.port), password="s3cret")
        )
        # They are told of each other, which takes them half a minute to find out.
        ids = {free_port(): str(number) * 40 for number in range(3)}
        for port, own_id in ids.items():
            others = [f"sentinel known-sentinel main 127.0.0.1 {other} {ids[other]}" for other in ids if other != port]
            configuration = tmp_path / f"{port}.conf"
            configuration.write_text(
                "\n".join(
                    [
                        f"sentinel myid {own_id}",
                        f"sentinel monitor main 127.0.0.1 {first.port} 2",
                        "sentinel auth-pass main s3cret",
                        "sentinel down-after-milliseconds main 300",
                        "sentinel failover-timeout main 2000",
                        f"sentinel known-replica main 127.0.0.1 {second.port}",
                        *others,
                        "sentinel sentinel-pass watcher",
                    ]
                )
            )
            stack.enter_context(
                Server(REDIS, tmp_path, str(configuration), "--sentinel", port=port, password="watcher")
            )
        wait_until(lambda: first.client().info("replication").get("slave0", {}).get("state") == "online")
        yield first, second, list(ids)


def test_sentinels_name_the_master_also_after_it_was_lost(sentinels):
    first, second, ports = sentinels
    nodes = ",".join(f"127.0.0.1:{port}" for port in (free_port(), *ports))
    user = {"redis_password": "s3cret", "redis_sentinel_password": "watcher"}
    store = {"redis_url": f"redis+sentinel://{nodes}/main/0", **user}
    take_every_step(first.client(), **store)
    activity = opened(store["redis_url"], Limits(min_replicas=1, replica_timeout=5), **user)
    assert activity.claim_creating(["{other}"], "one", 600)[0].granted

    first.kill()
    begun = time.monotonic()
    alone = opened(store["redis_url"], **user)
    assert alone.claim_creating(["{other}"], "two", 600)[0].refusal == "claimed"
    assert alone.claim_creating(["{other}"], "one", 600)[0].granted
    print(f"failover took {time.monotonic() - begun:.1f} s")
    assert second.client().role()[0] == "master"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"master": "other"}, "redis_url: Redis at sentinel .* names no primary"),
        ({"redis_password": "wrong"}, "redis_password: Redis at sentinel .* refused the user or password"),
        ({"redis_sentinel_password": "wrong"}, "redis_password: Redis at sentinel .* refused the user or password"),
        ({"redis_sentinel_password": ""}, "redis_password: Redis at sentinel .* refused the user or password"),
    ],
)
def test_sentinels_that_cannot_be_used(sentinels, changed, message):
    params = {"redis_password": "s3cret", "redis_sentinel_password": "watcher", "master": "main", **changed}
    url = f"redis+sentinel://127.0.0.1:{sentinels[2][0]}/{params.pop('master')}"
    with pytest.raises(ActivityError, match=message) as caught:
        opened(url, Limits(retry_for=0), **params).touch(["dev"], 7200)
    assert not any(secret in str(caught.value) for secret in ("s3cret", "watcher", "wrong"))


# Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Cluster of three nodes."""
    with contextlib.ExitStack() as stack:
        nodes, buses = [], []
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        for number in range(3):
            folder = tmp_path_factory.mktemp(f"node{number}")
            buses.append(free_port())
            nodes.append(
                stack.enter_context(
                    Server(REDIS, folder, *options, "--cluster-port", str(buses[-1]), password="s3cret")
                )
            )
        clients = [node.client() for node in nodes]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * 5462, min(16383, number * 5462 + 5461))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in zip(nodes, buses, strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        wait_until(lambda: all(client.cluster("info")["cluster_state"] == "ok" for client in clients))
        wait_until(lambda: all(client.cluster("info")["cluster_known_nodes"] == "3" for client in clients))
        yield nodes


def test_cluster(cluster):
    url = f"redis+cluster://:s3cret@127.0.0.1:{free_port()},127.0.0.1:{cluster[0].port}"
    client = redis.RedisCluster(host="127.0.0.1", port=cluster[0].port, password="s3cret", decode_responses=True)
    take_every_step(client, env="{dev}", redis_url=url)

    names = [f"{{env-{number}}}" for number in range(100)]
    result = run_module(hsm_activity, action="touch", env=names, redis_url=url)
    assert [entry["env"] for entry in result["environments"]] == names
    assert all(client.exists(f"hsm:{name}:last_access") for name in names)
    refused = run_module(hsm_activity, action="touch", env=["{dev}", "dev"], redis_url=url)
    assert "env: a Redis Cluster keeps all keys of an environment together only" in refused["msg"]
    assert "write {dev} instead of dev" in refused["msg"]


def test_node_without_a_replica_confirms_nothing(cluster):
    url = f"redis+cluster://:s3cret@127.0.0.1:{cluster[0].port}"
    activity = opened(url, Limits(min_replicas=1, replica_timeout=0.1))
    for name in ("{a}", "{b}", "{c}"):
        with pytest.raises(UnconfirmedError):
            activity.claim_creating([name], "one", 60)
    assert opened(url).claim_creating(["{a}", "{b}", "{c}"], "two", 60)[0].granted


def test_least_rights_in_a_cluster(cluster):
    def touch(*rights):
        for node in cluster:
            node.client().execute_command("ACL", "SETUSER", "ci", "reset", "on", ">own", "~hsm:*", *rights)
        url = f"redis+cluster://ci:own@127.0.0.1:{cluster[0].port}"
        opened(url, Limits(retry_for=0)).touch(["{dev}"], 7200)

    # Older versions of the client also ask for INFO.
    touch(*READ, *USE, *CLUSTER, "+info")
    for right in CLUSTER:
        with pytest.raises(ActivityError, match="denies this user"):
            touch(*READ, *USE, *(other for other in [*CLUSTER, "+info"] if other != right))


def test_single_server_is_no_cluster(redis_port):
    with pytest.raises(ActivityError, match="redis_url: Redis at cluster .* is no Cluster.*redis://"):
        opened(f"redis+cluster://127.0.0.1:{redis_port}").touch(["{dev}"], 7200)


def test_slot_that_has_moved_is_followed(cluster):
    activity = opened(f"redis+cluster://:s3cret@127.0.0.1:{cluster[0].port}", Limits(retry_for=5))
    activity.touch(["{moved}"], 7200)
    clients = [node.client() for node in cluster]
    slot = clients[0].cluster("keyslot", "hsm:{moved}:last_access")
    owner = next(number for number, client in enumerate(clients) if client.keys("hsm:{moved}:*"))
    new = (owner + 1) % 3
    clients[owner].flushall()
    new_id = clients[new].execute_command("CLUSTER", "MYID")
    for client in clients:
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)

    activity.touch(["{moved}"], 7200)
    assert clients[new].keys("hsm:{moved}:*")


def test_node_of_a_cluster_is_no_single_server(cluster):
    nodes = [opened(f"redis://:s3cret@127.0.0.1:{node.port}", Limits(retry_for=0)) for node in cluster]
    for node in nodes:
        with pytest.raises(ActivityError, match="env: Redis at .* several places.*braces"):
            node.touch(["dev"], 7200)
    refused = []
    for node in nodes:
        try:
            node.touch(["{dev}"], 7200)
        except ActivityError as error:
            refused.append(str(error))
    assert len(refused) == 2
    assert "is part of a Cluster, and another part has these keys" in refused[0]
    assert "redis+cluster://" in refused[0]
