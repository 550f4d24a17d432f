# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module hsm_activity against real servers: Valkey, and where it is installed Debian's Redis."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import redis
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_activity
from harness.modules import run_module
from sandbox.ports import free_port

REDIS_SERVER = Path("/usr/bin/redis-server")


@pytest.fixture
def run(redis_url):
    return functools.partial(run_module, hsm_activity, redis_url=redis_url)


def statuses(result: dict) -> list[str]:
    return [environment["status"] for environment in result["environments"]]


def now(store: redis.Redis) -> int:
    return store.time()[0]


def test_touch_and_check(store, run):
    touched = run(action="touch", env=["dev"])
    assert touched["changed"]
    assert touched["environments"][0]["last_access"] == pytest.approx(now(store), abs=2)
    assert 7198 <= store.ttl("hsm:dev:last_access") <= 7200

    checked = run(action="check", env=["dev"])
    environment = checked["environments"][0]
    assert (checked["changed"], environment["env"], environment["status"]) == (False, "dev", "active")
    assert 0 <= environment["idle_seconds"] <= 2
    assert 7196 <= environment["expires_in"] <= 7200


def test_touch_in_check_mode_writes_nothing(store, run):
    assert run(action="touch", env=["dev"], check=True)["changed"]
    assert store.keys() == []


def test_record_of_a_shell_is_a_touch(store, run):
    store.execute_command("SET", "hsm:dev:last_access", str(now(store) - 100), "EX", "7200")

    assert statuses(run(action="check", env=["dev"], idle_after=120)) == ["active"]
    assert statuses(run(action="check", env=["dev"], idle_after=60)) == ["idle"]


def test_unknown_is_never_idle(store, run):
    store.set("hsm:future:last_access", now(store) + 3600)
    store.set("hsm:words:last_access", "yesterday")
    store.set("hsm:flag:last_access", "1")
    store.set("hsm:date:last_access", "20260118")
    store.set("hsm:bytes:last_access", b"\xff\xfe")
    store.lpush("hsm:list:last_access", now(store))
    store.set("hsm:old:last_access", now(store) - 3600)
    names = ["missing", "future", "words", "flag", "date", "bytes", "list", "old"]

    assert statuses(run(action="check", env=names)) == ["unknown"] * 7 + ["idle"]
    for name in names[:-1]:
        refused = run(action="claim", phase="retiring", env=[name], hsm_ids=["hsm-1"])
        assert only(refused)["refusal"] == "unknown"


def test_many_environments_take_one_round_trip(store, run):
    names = [f"env-{number}" for number in range(100)]
    run(action="touch", env=names)
    store.config_resetstat()
    result = run(action="touch", env=names)

    assert [environment["env"] for environment in result["environments"]] == names
    assert store.info("commandstats")["cmdstat_evalsha"]["calls"] == 100
    # A pipeline of this size is read in two parts, besides the greetings of a connection.
    assert store.info("stats")["total_reads_processed"] < 20
    assert "cmdstat_script|load" not in store.info("commandstats")
    assert statuses(run(action="check", env=names)) == ["active"] * 100


def test_script_that_the_server_forgot_is_loaded_again(store, run):
    run(action="touch", env=["dev"])
    store.script_flush()

    assert run(action="touch", env=["dev"])["changed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env": []}, "env: no environment is named. Name one or more."),
        ({"env": [""]}, "env: the name of an environment is empty."),
        ({"env": ["dev", "a b"]}, "env: 'a b' is no name of an environment"),
        ({"env": ["a" * 300]}, "env: 'aaaa"),
        ({"env": ["a\nb"]}, "env: 'a\\nb' is no name"),
        ({"env": ["dev", "a\x00b"]}, "env: 'a\\x00b' is no name"),
        ({"env": ["dev"], "record_ttl": 0}, "record_ttl: 0 is no duration"),
        ({"env": ["dev"], "record_ttl": 10**9}, "record_ttl: 1000000000 is no duration"),
        ({"env": ["dev"], "idle_after": -1}, "idle_after: -1 is no duration"),
        ({"env": ["dev"], "hold_for": 0}, "hold_for: 0 is no duration"),
        ({"env": ["dev"], "hold_for": 86401}, "hold_for: 86401 is more than a day (86400 seconds)"),
        ({"env": ["dev"], "hold_for": 10**9, "allow_long_hold": True}, "hold_for: 1000000000 is no duration"),
        (
            {"env": ["dev"], "claim_for": 86401},
            "claim_for: 86401 is no duration. Set it to more than 0 and at most 86400",
        ),
        ({"env": ["dev"], "commit_for": 10**18}, "commit_for: 1000000000000000000 is no duration"),
        ({"env": ["dev"], "redis_timeout": 0}, "redis_timeout: 0.0 is no duration"),
        ({"env": ["dev"], "redis_timeout": "nan"}, "redis_timeout: nan is no duration"),
        ({"env": ["dev"], "redis_min_replicas": -1}, "redis_min_replicas: -1 is less than 0"),
        ({"env": ["dev"], "redis_retry_for": -1}, "redis_retry_for: -1.0 is less than 0"),
        (
            {"env": ["dev"], "redis_retry_for": "inf"},
            "redis_retry_for: inf is less than 0, or too much. Set it to 0 to 86400",
        ),
        ({"env": ["dev"], "redis_replica_timeout": 0}, "redis_replica_timeout: 0.0 is no duration"),
        ({"env": ["dev"], "holder": "a b"}, "holder: 'a b' is no id of a holder"),
        ({"env": ["dev"], "token": ""}, "token: '' is no token"),
        ({"env": ["dev"], "hsm_ids": ["hsm"]}, "hsm_ids: 'hsm' is no id of an HSM"),
    ],
)
@pytest.mark.parametrize("action", ["touch", "check"])
def test_bad_input(store, run, arguments, message, action):
    result = run(action=action, **arguments)

    assert result["failed"]
    assert message in result["msg"]
    assert store.keys() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "hold"}, "action is hold but all of the following are missing: holder"),
        ({"action": "release"}, "action is release but all of the following are missing: holder"),
        ({"action": "claim"}, "action is claim but all of the following are missing: phase"),
        ({"action": "claim", "phase": "retiring"}, "phase is retiring but all of the following are missing: hsm_ids"),
        ({"action": "commit"}, "action is commit but all of the following are missing: token"),
        ({"action": "finish", "token": "a", "env": ["dev", "test"]}, "env: finish is for one environment at a time"),
        ({"action": "hold", "holder": None}, "holder: action=hold needs one, and none is given."),
        ({"action": "commit", "token": None}, "token: action=commit needs one, and none is given."),
        ({"action": "claim", "phase": "retiring", "hsm_ids": None}, "hsm_ids: phase=retiring needs one, and none"),
        ({"action": "claim", "phase": "retiring", "hsm_ids": []}, "hsm_ids: phase=retiring needs one, and none"),
    ],
)
def test_incomplete_input(store, run, arguments, message):
    result = run(**{"env": ["dev"], **arguments})

    assert result["failed"]
    assert message in result["msg"]
    assert store.keys() == []


def only(result: dict) -> dict:
    (environment,) = result["environments"]
    return environment


def test_hold_and_release(store, run):
    held = run(action="hold", env=["dev", "test"], holder="job", hold_for=60)
    assert (held["changed"], statuses(held)) == (True, ["held", "held"])
    store.set("hsm:dev:last_access", now(store) - 9999)
    assert only(run(action="check", env=["dev"]))["holders"] == [
        {"holder": "job", "expires_in": pytest.approx(60, abs=2)}
    ]

    released = only(run(action="release", env=["dev"], holder="job"))
    assert (released["status"], released["holders"], released["idle_seconds"]) == ("active", [], 0)

    longest = run(action="hold", env=["dev"], holder="job", hold_for=7 * 86400, allow_long_hold=True)
    assert only(longest)["holders"][0]["expires_in"] == 7 * 86400


def test_claim_commit_and_finish(store, run):
    store.set("hsm:dev:last_access", now(store) - 9999)
    claimed = run(action="claim", phase="retiring", env=["dev"], hsm_ids=["hsm-1", "hsm-2"], claim_for=60)
    claim = only(claimed)["claim"]
    assert (claimed["changed"], only(claimed)["granted"], only(claimed)["refusal"]) == (True, True, None)
    assert (claim["phase"], claim["fence"], claim["hsm_ids"]) == ("retiring", 1, ["hsm-1", "hsm-2"])
    assert 58 <= claim["expires_in"] <= 60
    assert only(run(action="touch", env=["other"]))["claim"] is None

    other = run(action="commit", env=["dev"], token="other")
    assert (other["changed"], only(other)["granted"], only(other)["refusal"]) == (False, False, "claimed")
    assert only(other)["reason"] == "another token has the live claim"
    committed = only(run(action="commit", env=["dev"], token=claim["token"], commit_for=100))
    assert (committed["granted"], committed["status"]) == (True, "committed")
    assert 157 <= committed["claim"]["expires_in"] <= 160
    assert only(run(action="touch", env=["dev"]))["claim"]["token"] == claim["token"]
    assert only(run(action="finish", env=["dev"], token=claim["token"]))["status"] == "active"
    twice = run(action="finish", env=["dev"], token=claim["token"])
    assert (twice["changed"], twice.get("failed"), only(twice)["refusal"]) == (False, None, "gone")


@pytest.mark.parametrize("action", ["commit", "cancel", "finish"])
def test_without_a_claim_nothing_is_taken_and_nothing_is_written(store, run, action):
    refused = run(action=action, env=["nobody-knows"], token="one")
    assert (refused["changed"], only(refused)["granted"], only(refused)["refusal"]) == (False, False, "gone")
    assert only(refused)["reason"].startswith("this token has no live claim")
    assert store.keys() == []


def test_unknown_environments_in_a_list_are_unknown_and_stay_so(store, run):
    run(action="touch", env=["dev"])
    assert statuses(run(action="check", env=["nobody-knows", "dev", "nor-this"])) == ["unknown", "active", "unknown"]
    assert store.keys() == ["hsm:dev:last_access"]


def test_claim_that_is_refused_is_no_failure(store, run):
    run(action="hold", env=["dev"], holder="job")
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(store.zscore("hsm:dev:holds", "job")))
    refused = run(action="claim", phase="retiring", env=["dev"], hsm_ids=["hsm-1"])
    assert (refused["changed"], refused.get("failed")) == (False, None)
    assert (only(refused)["refusal"], only(refused)["reason"]) == ("held", f"held by job until {until} UTC")


def test_cancel(store, run):
    store.set("hsm:dev:last_access", now(store) - 9999)
    run(action="claim", phase="retiring", env=["dev"], hsm_ids=["hsm-1"], token="reaper")
    assert only(run(action="cancel", env=["dev"], token="reaper"))["granted"]
    assert only(run(action="commit", env=["dev"], token="reaper"))["refusal"] == "gone"


def test_check_mode_asks_and_writes_nothing(store, run):
    store.set("hsm:dev:last_access", now(store) - 9999)
    before = store.get("hsm:dev:last_access")
    retire = {"action": "claim", "phase": "retiring", "env": ["dev"], "hsm_ids": ["hsm-1"], "token": "reaper"}
    dry = [run(check=True, **retire), run(check=True, action="hold", env=["dev"], holder="job")]
    assert [result["changed"] for result in dry] == [True, True]
    assert (store.keys(), store.get("hsm:dev:last_access")) == (["hsm:dev:last_access"], before)

    run(**retire)
    assert not run(check=True, action="commit", env=["dev"], token="other")["changed"]
    assert run(check=True, action="commit", env=["dev"], token="reaper")["changed"]
    assert run(check=True, action="cancel", env=["dev"], token="reaper")["changed"]
    assert run(check=True, action="finish", env=["dev"], token="reaper")["changed"]
    assert store.hget("hsm:dev:claim", "phase") == "retiring"


def test_environment_named_twice_is_one(store, run):
    assert len(run(action="touch", env=["dev", "dev"])["environments"]) == 1


def test_url_and_host_exclude_each_other(run):
    assert "redis_url: both redis_url and redis_host are set" in run(action="touch", env=["dev"], redis_host="h")["msg"]


def test_parameters_go_before_the_url(store, redis_port):
    store.execute_command("ACL", "SETUSER", "ci", "on", ">s3cret", "~*", "+@all")
    url = f"redis://ci:wrong@127.0.0.1:{redis_port}/0"
    run_module(hsm_activity, action="touch", env=["dev"], redis_url=url, redis_password="s3cret", redis_db=7)

    with redis.Redis(port=redis_port, db=7) as seventh:
        assert seventh.exists("hsm:dev:last_access")
    assert store.keys() == []


@pytest.mark.parametrize(
    "where",
    [
        {"redis_host": "a..b"},
        {"redis_url": "redis://127.0.0.1:1?no_such_option=1"},
        {"redis_url": "redis://127.0.0.1:1?ssl_ca_certs=x"},
        {"redis_url": "unix:///nowhere.sock"},
    ],
)
def test_configuration_that_the_client_cannot_use_is_unknown(where):
    result = run_module(hsm_activity, action="check", env=["dev"], **where)

    assert statuses(result) == ["unknown"]
    assert result["environments"][0]["reason"].startswith("redis_url: ")


def test_secret_that_a_server_repeats_is_not_shown():
    """Some servers answer a command that they do not know with what they were sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def repeat() -> None:
            # Until the client comes no more, and the server is closed.
            with contextlib.suppress(OSError):
                while True:
                    client, _address = server.accept()
                    with client:
                        sent = client.recv(4096).decode().replace("\r\n", " ")
                        client.sendall(f"-ERR unknown command, with args: {sent}\r\n".encode() * 9)

        threading.Thread(target=repeat, daemon=True).start()
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"
        result = run_module(hsm_activity, action="check", env=["dev"], redis_url=url, redis_password="s3cret-echoed")

    assert statuses(result) == ["unknown"]
    assert "s3cret" not in str(result)


def unreachable(redis_port):
    return {"redis_url": f"redis://:s3cret@127.0.0.1:{free_port()}"}, "does not answer"


def wrong_password(redis_port):
    url = f"redis://127.0.0.1:{redis_port}"
    return {"redis_url": url, "redis_username": "ci", "redis_password": "wrong-s3cret"}, "refused the user or password"


def not_configured(redis_port):
    return {"redis_url": ""}, "redis_url: no Redis is named"


@pytest.mark.parametrize("case", [unreachable, wrong_password, not_configured])
def test_redis_that_cannot_be_used(redis_port, case):
    arguments, message = case(redis_port)
    touched = run_module(hsm_activity, action="touch", env=["dev"], **arguments)
    assert touched["failed"]
    assert message in touched["msg"]

    checked = run_module(hsm_activity, action="check", env=["dev", "test"], **arguments)
    assert (statuses(checked), checked.get("failed")) == (["unknown", "unknown"], None)
    assert message in checked["environments"][0]["reason"]
    assert any(message in warning for warning in checked["warnings"])
    assert "s3cret" not in f"{touched}{checked}"


def test_redis_that_accepts_and_is_silent_is_given_up_within_the_timeout():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        result = run_module(hsm_activity, action="check", env=["dev"], redis_url=url, redis_timeout=0.1)

    assert statuses(result) == ["unknown"]


def test_environment_variables_are_used(monkeypatch, store, redis_port):
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(redis_port))

    assert run_module(hsm_activity, action="touch", env=["dev"])["changed"]


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory):
    """Debian's Redis with TLS and a password. Yields its port and the certificate of its authority."""
    if not REDIS_SERVER.exists():
        if os.environ.get("CI"):
            pytest.fail("no /usr/bin/redis-server")
        pytest.skip("no /usr/bin/redis-server (apt-get install redis-server)")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    server = subprocess.Popen(
        [REDIS_SERVER, "--port", "0", "--tls-port", str(port), "--tls-cert-file", folder / "cert.pem",
         "--tls-key-file", folder / "key.pem", "--tls-ca-cert-file", folder / "cert.pem", "--tls-auth-clients", "no",
         "--requirepass", "s3cret", "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
    yield port, folder / "cert.pem"
    server.terminate()
    server.wait()


def test_tls(tls_server):
    port, certificate = tls_server
    url = {"redis_url": f"rediss://:s3cret@127.0.0.1:{port}/0"}
    host = {"redis_host": "127.0.0.1", "redis_port": port, "redis_password": "s3cret", "redis_tls": True}

    for way in (url, host):
        assert run_module(hsm_activity, action="touch", env=["dev"], redis_ca_certs=str(certificate), **way)["changed"]
        untrusted = run_module(hsm_activity, action="touch", env=["dev"], **way)
        assert "certificate verify failed" in untrusted["msg"]
        assert statuses(run_module(hsm_activity, action="check", env=["dev"], **way)) == ["unknown"]
