# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The ways to an activity store, and what is said of each that is closed."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import redis
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore, UnconfirmedError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError, find_endpoint
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_activity
from harness.modules import run_module
from harness.redis_servers import REDIS, Server, wait_until
from sandbox.ports import free_port

CLAIM = {"action": "claim", "phase": "creating", "env": ["dev"], "token": "one"}
EVERY_STEP = [
    {"action": "touch"},
    {"action": "hold", "holder": "job"},
    {"action": "release", "holder": "job"},
    {"action": "check"},
    {"action": "claim", "phase": "creating", "token": "one"},
    {"action": "finish", "token": "one"},
    {"action": "claim", "phase": "retiring", "token": "two", "hsm_ids": ["hsm-1"]},
    {"action": "cancel", "token": "two"},
    {"action": "claim", "phase": "retiring", "token": "two", "hsm_ids": ["hsm-1"]},
    {"action": "commit", "token": "two"},
]


def opened(url: str, limits: Limits | None = None, **params) -> ActivityStore:
    return ActivityStore(find_endpoint({"redis_url": url, **params}, {}), limits or Limits())


def take_every_step(client: redis.Redis, env: str = "dev", **store) -> None:
    """Take each step of the module, and see that it is granted."""
    for step in EVERY_STEP:
        if step.get("phase") == "retiring":
            client.set(f"hsm:{env}:last_access", client.time()[0] - 3600)
        result = run_module(hsm_activity, env=[env], **step, **store)
        assert not result.get("failed"), result
        entry = result["environments"][0]
        assert entry.get("granted", True), (step, entry)
        assert entry["status"] != "unknown", (step, entry)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Files of an authority, and of a server and a client that it vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    # As strict as Python 3.13 wants them.
    (folder / "names").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-days", "1", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    for name in ("server", "client"):
        openssl("req", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
                "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
    return folder


def tls_options(folder):
    return (
        "--tls-cert-file", folder / "server.pem", "--tls-key-file", folder / "server.key",
        "--tls-ca-cert-file", folder / "ca.pem",
    )  # fmt: skip


def tls_client(folder):
    return {
        "ssl": True,
        "ssl_ca_certs": str(folder / "ca.pem"),
        "ssl_certfile": str(folder / "client.pem"),
        "ssl_keyfile": str(folder / "client.key"),
    }


def tls_params(folder):
    return {
        "redis_ca_certs": str(folder / "ca.pem"),
        "redis_client_cert": str(folder / "client.pem"),
        "redis_client_key": str(folder / "client.key"),
    }


def test_client_certificate(certificates, tmp_path):
    params = tls_params(certificates)
    with Server(REDIS, tmp_path, *tls_options(certificates), tls=tls_client(certificates)) as server:
        take_every_step(server.client(), redis_url=f"rediss://127.0.0.1:{server.port}", **params)
        server.client().flushall()
        take_every_step(server.client(), redis_host="localhost", redis_port=server.port, redis_tls=True, **params)

        url = f"rediss://127.0.0.1:{server.port}"
        without = run_module(
            hsm_activity, action="touch", env=["dev"], redis_url=url, redis_ca_certs=params["redis_ca_certs"]
        )
        # The server may have closed the connection before its reason is read.
        assert without["failed"]
        mixed = run_module(
            hsm_activity,
            action="touch",
            env=["dev"],
            redis_url=url,
            **{**params, "redis_client_key": params["redis_ca_certs"]},
        )
        assert mixed["msg"].startswith("redis_client_cert: Redis at 127.0.0.1:")
        missing = run_module(hsm_activity, action="touch", env=["dev"], redis_url=url, redis_ca_certs="/no/such/file")
        assert missing["msg"] == "redis_ca_certs: there is no file /no/such/file. Name one on the host that runs this."


def test_sentinel_and_cluster_by_tls(certificates, tmp_path):
    client, params = tls_client(certificates), tls_params(certificates)
    options = (*tls_options(certificates), "--tls-replication", "yes", "--tls-cluster", "yes")
    alone = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with (
        Server(REDIS, tmp_path, *options, tls=client) as master,
        Server(REDIS, tmp_path, *options, *alone, tls=client) as node,
    ):
        configuration = tmp_path / "sentinel.conf"
        configuration.write_text(f"sentinel monitor main 127.0.0.1 {master.port} 1\n")
        with Server(REDIS, tmp_path, str(configuration), *options, "--sentinel", tls=client) as sentinel:
            url = f"rediss+sentinel://127.0.0.1:{sentinel.port}/main"
            assert run_module(hsm_activity, action="touch", env=["dev"], redis_url=url, **params)["changed"]
        node.client().execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: node.client().cluster("info")["cluster_state"] == "ok")
        url = f"rediss+cluster://127.0.0.1:{node.port}"
        assert run_module(hsm_activity, action="touch", env=["{dev}"], redis_url=url, **params)["changed"]


# Rights


READ = ["+evalsha", "+script|load", "+time", "+type", "+get", "+pttl", "+zrangebyscore", "+hmget"]
USE = ["+set", "+zadd", "+zrem", "+zremrangebyscore"]
CHANGE = ["+zcount", "+incr", "+hset", "+expireat", "+del"]


CLUSTER = ["+cluster|slots", "+command"]


def as_user(store, redis_port, rights):
    store.execute_command("ACL", "SETUSER", "ci", "reset", "on", ">s3cret", "~hsm:*", *rights)
    return {"redis_url": f"redis://127.0.0.1:{redis_port}", "redis_username": "ci", "redis_password": "s3cret"}


def test_least_rights(store, redis_port):
    user = as_user(store, redis_port, READ + USE + CHANGE)
    store.script_flush()
    take_every_step(store, **user)


@pytest.mark.parametrize("right", READ + USE + CHANGE)
def test_one_right_less_is_too_few(store, redis_port, right):
    user = as_user(store, redis_port, [other for other in READ + USE + CHANGE if other != right])
    store.script_flush()
    store.zadd("hsm:dev:holds", {"past": 1})
    with pytest.raises(AssertionError, match="redis_username: Redis at .* denies this user the right|'unknown'"):
        take_every_step(store, **user)


def test_least_rights_are_the_documented_ones():
    text = (Path(__file__).parents[3] / "docs" / "redis.md").read_text(encoding="utf-8")
    (block,) = (block for block in text.split("```") if "ACL SETUSER" in block)

    assert [word for word in block.split() if word.startswith("+")] == READ + USE + CHANGE


def test_least_rights_of_those_who_only_use_or_ask(store, redis_port):
    user = as_user(store, redis_port, READ)
    assert run_module(hsm_activity, action="check", env=["dev"], **user)["environments"][0]["reason"].startswith(
        "there is no record"
    )
    user = as_user(store, redis_port, READ + USE)
    for step in EVERY_STEP[:4]:
        assert not run_module(hsm_activity, env=["dev"], **step, **user).get("failed")
    assert "denies this user the right" in run_module(hsm_activity, **CLAIM, **user)["msg"]


def test_keys_of_others_are_not_touched(store, redis_port):
    user = as_user(store, redis_port, READ + USE + CHANGE)
    store.execute_command("ACL", "SETUSER", "ci", "resetkeys", "~hsm:dev:*")
    assert run_module(hsm_activity, action="touch", env=["dev"], **user)["changed"]
    assert "denies this user the right" in run_module(hsm_activity, action="touch", env=["prod"], **user)["msg"]


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


# Failures


@pytest.fixture
def lone(tmp_path):
    with Server(REDIS, tmp_path) as server:
        yield server


def full(client, folder):
    client.config_set("maxmemory", 1)
    return "redis_url: Redis at .* has no memory left"


def replica(client, folder):
    client.replicaof("127.0.0.1", free_port())
    return "redis_url: Redis at .* is a replica, which nobody can write to"


def stale_replica(client, folder):
    client.config_set("replica-serve-stale-data", "no")
    client.replicaof("127.0.0.1", free_port())
    return "redis_url: Redis at .* is a replica that has lost its primary"


def few_replicas(client, folder):
    client.config_set("min-replicas-to-write", 1)
    return "redis_url: Redis at .* has lost the replicas"


def broken_disk(client, folder):
    client.config_set("save", "3600 1")
    (folder / "dump.rdb").mkdir()
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    return "redis_url: Redis at .* does not write, because it cannot save"


@pytest.mark.parametrize("failure", [full, replica, stale_replica, few_replicas, broken_disk])
def test_server_that_does_not_write(lone, tmp_path, failure):
    client = lone.client()
    activity = opened(f"redis://127.0.0.1:{lone.port}", Limits(retry_for=0))
    message = failure(client, tmp_path)
    for step in (activity.touch, functools.partial(activity.hold, ["dev"], "job", 60)):
        with pytest.raises(ActivityError, match=message):
            step(["dev"], 7200) if step == activity.touch else step(7200)
    with pytest.raises(ActivityError, match=message):
        activity.claim_creating(["dev"], "one", 60)
    client.config_set("replica-serve-stale-data", "yes")
    assert client.keys() == []


@pytest.mark.parametrize("code", ["LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY", "MISCONF"])
def test_failures_that_pass_are_waited_for(code):
    """A server that is in trouble twice, and then well."""
    answer = b"*7\r\n$0\r\n\r\n:1800000000\r\n$6\r\nstring\r\n$10\r\n1800000000\r\n:-1\r\n*0\r\n*0\r\n"
    asked = []

    def serve():
        troubles = 2
        while True:
            with contextlib.suppress(OSError):
                connection, _address = listener.accept()
                with connection:
                    while request := connection.recv(65536):
                        if b"EVALSHA" not in request:
                            connection.sendall(b"+OK\r\n" * request.count(b"*"))
                            continue
                        asked.append(request)
                        troubles -= 1
                        connection.sendall(f"-{code} in trouble\r\n".encode() if troubles >= 0 else answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        passing = code != "MISCONF"
        with contextlib.nullcontext() if passing else pytest.raises(ActivityError, match="cannot save to its disk"):
            opened(url, Limits(retry_for=10)).check(["dev"])
        assert len(asked) == (3 if passing else 1)


def test_server_that_becomes_the_primary_meanwhile(lone):
    client = lone.client()
    client.replicaof("127.0.0.1", free_port())
    threading.Timer(0.3, client.replicaof, ["NO", "ONE"]).start()

    opened(f"redis://127.0.0.1:{lone.port}", Limits(retry_for=10)).touch(["dev"], 7200)


def test_server_that_hangs_is_given_up_in_time(lone):
    activity = opened(f"redis://127.0.0.1:{lone.port}", Limits(timeout=0.2, retry_for=0))
    activity.touch(["dev"], 7200)
    lone.pause()
    with pytest.raises(ActivityError, match="does not answer"):
        activity.touch(["dev"], 7200)
    lone.resume()
    activity.touch(["dev"], 7200)
