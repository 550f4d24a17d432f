# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The ways to an activity store, and what is said of each that is closed."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_activity
from harness.modules import run_module
from harness.redis_servers import REDIS, Server, wait_until
from harness.steps import CHANGE, EVERY_STEP, READ, USE, opened, take_every_step
from sandbox.ports import free_port

CLAIM = {"action": "claim", "phase": "creating", "env": ["dev"], "token": "one"}


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
    answer = b"*8\r\n$0\r\n\r\n:1800000000\r\n$6\r\nstring\r\n$10\r\n1800000000\r\n:-1\r\n*0\r\n*0\r\n:0\r\n"
    asked = []

    def serve():
        troubles = 2
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return  # The test is over, and the listener is closed.
            with contextlib.suppress(OSError), connection:
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
        # A close alone does not end an accept that waits.
        listener.shutdown(socket.SHUT_RDWR)


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
