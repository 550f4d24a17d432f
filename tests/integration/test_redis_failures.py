# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What cloudhsm_hsm and hsm_reap do when Redis fails them, at the beginning and in the middle of a run: never harm."""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from pathlib import Path

import pytest
import redis
from ansible.module_utils.common import warnings
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_hsm, hsm_reap
from harness.modules import run_module
from harness.redis_servers import VALKEY, Server, wait_until

RECORD, HOLDS, CLAIM, FENCE = (f"hsm:dev:{key}" for key in ("last_access", "holds", "claim", "fence"))
CHANGES = {"CreateHsm", "DeleteHsm", "TagResource"}


@pytest.fixture(autouse=True)
def _no_old_warnings() -> None:
    """In one process, a module would repeat the warnings of those before it."""
    warnings._global_warnings.clear()


@pytest.fixture
def keeper(tmp_path: Path) -> t.Iterator[Server]:
    """A Redis of this test alone, to be ill-treated."""
    with Server(VALKEY, tmp_path) as server:
        yield server


@pytest.fixture
def patience() -> dict[str, t.Any]:
    """The parameters that bound how long Redis is waited for."""
    return {"redis_timeout": 0.3, "redis_retry_for": 0}


@pytest.fixture
def ensure(connection, cluster_id, keeper, patience):
    def run(url: str | None = None, limits: dict[str, t.Any] | None = None, **arguments: t.Any) -> dict[str, t.Any]:
        store = {"env": "dev", "redis_url": url or url_of(keeper), **patience, **(limits or {})}
        return run_module(cloudhsm_hsm, cluster_id=cluster_id, activity=store, **connection, **arguments)

    return run


@pytest.fixture
def reap(connection, cluster_id, keeper, patience):
    environments = [{"env": "dev", "cluster_id": cluster_id}]

    def run(url: str | None = None, limits: dict[str, t.Any] | None = None, **arguments: t.Any) -> dict[str, t.Any]:
        store = {"redis_url": url or url_of(keeper), **patience, **(limits or {})}
        return run_module(hsm_reap, environments=environments, **store, **connection, **arguments)

    return run


@pytest.fixture
def idle(keeper, hsm):
    """An HSM that nobody has used for an hour."""
    make_idle(keeper)
    return hsm


def url_of(server: Server, password: str = "") -> str:
    return f"redis://{password}127.0.0.1:{server.port}/0"


def make_idle(server: Server) -> None:
    with server.client() as client:
        client.set(RECORD, int(time.time()) - 3600, ex=7200)


def hsms(aws, cluster_id: str) -> list[str]:
    [cluster] = aws.client("cloudhsmv2").describe_clusters(Filters={"clusterIds": [cluster_id]})["Clusters"]
    return [found["HsmId"] for found in cluster["Hsms"] if found["State"] != "DELETE_IN_PROGRESS"]


def tags(aws, cluster_id: str) -> list[str]:
    listed = aws.client("cloudhsmv2").list_tags(ResourceId=cluster_id)["TagList"]
    return [tag["Key"] for tag in listed if tag["Key"].startswith("hsmops:")]


def operations(aws) -> list[str]:
    return [call["operation"] for call in aws.calls()]


def on_pause(monkeypatch, aws, number: int, action: t.Callable[[], None]) -> None:
    """Do something when the module pauses for that time; 1 is while its mark settles."""
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == number:
            action()
        aws.clock.advance(seconds)

    monkeypatch.setattr("ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters.time.sleep", sleep)


# How Redis fails, and what is said of it.


def gone(server: Server) -> None:
    server.kill()


def silent(server: Server) -> None:
    server.pause()


def read_only(server: Server) -> None:
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "yes")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")


def full(server: Server) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
        with contextlib.suppress(redis.ResponseError):
            for number in range(100):
                client.set(f"filler:{number}", "x" * 100_000)


def locked(server: Server) -> None:
    with server.client() as client:
        client.config_set("requirepass", "another")


def empty(server: Server) -> None:
    with server.client() as client:
        client.flushall()
        client.script_flush()


def _taken(server: Server, key: str) -> None:
    with server.client() as client:
        client.delete(key)
        client.execute_command("SADD", key, "ours")


def claim_of_others(server: Server) -> None:
    _taken(server, CLAIM)


def fence_of_others(server: Server) -> None:
    _taken(server, FENCE)


def holds_of_others(server: Server) -> None:
    _taken(server, HOLDS)


def record_of_others(server: Server) -> None:
    _taken(server, RECORD)


# Each with what the message or the reason says. The first five keep a step from being taken, the others do not.
REFUSING = {
    gone: "redis_url: Redis at .* does not answer",
    silent: "redis_url: Redis at .* does not answer",
    read_only: "redis_url: Redis at .* is a replica, which nobody can write to",
    full: "redis_url: Redis at .* has no memory left",
    locked: "redis_password: Redis at .* refused the user or password",
}
DISTURBING = {
    empty: "this token has no live claim",
    claim_of_others: "the keys of its claim hold what no step wrote",
    fence_of_others: "the keys of its claim hold what no step wrote",
    holds_of_others: "used after it was claimed",
    record_of_others: "used after it was claimed",
}


def named(failures: t.Iterable[t.Callable[[Server], None]]) -> list[t.Any]:
    return [pytest.param(failure, id=failure.__name__) for failure in failures]


# The side of those who need an HSM.


@pytest.mark.parametrize("there", ["hsm", "none"])
@pytest.mark.parametrize("fail", named(REFUSING))
def test_ensure_does_nothing_in_aws_without_redis(aws, ensure, keeper, cluster_id, request, there, fail):
    known = [request.getfixturevalue("hsm")] if there == "hsm" else []
    fail(keeper)
    result = ensure()

    assert result["failed"]
    assert re.match(REFUSING[fail], result["msg"])
    assert operations(aws) == [], "nobody can be told, so nothing is relied on"
    assert hsms(aws, cluster_id) == known


@pytest.mark.parametrize("fail", named(DISTURBING))
def test_ensure_that_finds_its_hsm_needs_no_more_than_a_touch(aws, ensure, keeper, hsm, fail):
    fail(keeper)
    result = ensure()

    assert [found["hsm_id"] for found in result["hsms"]] == [hsm]
    assert operations(aws) == ["DescribeClusters"]
    with keeper.client() as client:
        assert int(client.get(RECORD)) == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("fail", named([claim_of_others, fence_of_others]))
def test_ensure_creates_nothing_past_a_claim_that_it_does_not_understand(aws, ensure, keeper, cluster_id, fail):
    fail(keeper)
    result = ensure(wait_timeout=600, wait_delay=200)

    assert result["failed"]
    assert DISTURBING[fail] in result["msg"]
    assert not CHANGES & set(operations(aws))


@pytest.mark.parametrize("moment", [1, 2], ids=["while its mark settles", "while it waits for the HSM"])
@pytest.mark.parametrize("fail", named([gone, silent, read_only, full]))
def test_ensure_that_loses_redis_makes_one_hsm_and_says_that_nobody_knows(
    aws, ensure, keeper, cluster_id, monkeypatch, moment, fail
):
    on_pause(monkeypatch, aws, moment, lambda: fail(keeper))
    result = ensure(wait_delay=200)

    assert result["failed"]
    assert re.match(REFUSING[fail], result["msg"])
    assert any("could not be kept in use" in warning for warning in result["warnings"])
    assert [found["hsm_id"] for found in result["created"]] == hsms(aws, cluster_id)
    assert len(aws.calls("CreateHsm")) == 1
    assert tags(aws, cluster_id) == []


@pytest.mark.parametrize("moment", [1, 2], ids=["while its mark settles", "while it waits for the HSM"])
@pytest.mark.parametrize("fail", named([locked, *DISTURBING]))
def test_ensure_makes_one_hsm_whatever_becomes_of_its_claim(aws, ensure, keeper, cluster_id, monkeypatch, moment, fail):
    # A password that is changed does not close the connections that are open.
    on_pause(monkeypatch, aws, moment, lambda: fail(keeper))
    result = ensure(wait_delay=200)

    assert not result.get("failed"), result
    assert [found["hsm_id"] for found in result["hsms"]] == hsms(aws, cluster_id)
    assert len(aws.calls("CreateHsm")) == 1
    assert tags(aws, cluster_id) == []


@pytest.mark.parametrize(
    ("fail", "message"), [(gone, "does not answer"), (empty, "creation announced by first")], ids=["gone", "empty"]
)
def test_ensure_that_meets_another_creator_creates_nothing_although_redis_forgets_their_claims(
    aws, ensure, keeper, cluster_id, monkeypatch, fail, message
):
    mark = {"Key": "hsmops:creating/first", "Value": f"{aws.now() + 65:.0f}"}
    aws.client("cloudhsmv2").tag_resource(ResourceId=cluster_id, TagList=[mark])
    on_pause(monkeypatch, aws, 1, lambda: fail(keeper))
    result = ensure(wait_timeout=600, wait_delay=200)

    assert result["failed"]
    assert message in result["msg"]
    assert not aws.calls("CreateHsm")
    assert tags(aws, cluster_id) == [mark["Key"]]


# The side of the reaper.


def only(result: dict[str, t.Any]) -> dict[str, t.Any]:
    [environment] = result["environments"]
    return environment


@pytest.mark.parametrize("fail", named([gone, silent, locked]))
def test_reap_asks_aws_nothing_without_redis(aws, reap, keeper, cluster_id, idle, fail):
    fail(keeper)
    result = reap()

    assert result["failed"]
    assert re.match(REFUSING[fail], result["msg"])
    assert operations(aws) == []
    assert hsms(aws, cluster_id) == [idle]


@pytest.mark.parametrize("fail", named([read_only, full]))
def test_reap_deletes_nothing_that_it_cannot_claim(aws, reap, keeper, cluster_id, idle, fail):
    fail(keeper)
    result = reap()

    assert result["failed"]
    assert result["msg"] == "1 of 1 environments failed: dev. The report says why."
    assert re.match(REFUSING[fail], only(result)["reason"])
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([idle], [])
    assert not aws.calls("DeleteHsm")


@pytest.mark.parametrize(
    ("fail", "status", "reason"),
    [
        (empty, "unknown", "there was no record; its time begins to count now"),
        (claim_of_others, "kept", "the keys of its claim hold what no step wrote"),
        (fence_of_others, "kept", "the keys of its claim hold what no step wrote"),
        (holds_of_others, "kept", "the key of its holds is of another type than a sorted set"),
        (record_of_others, "kept", "the record is not a moment in unix seconds"),
    ],
)
def test_reap_keeps_what_it_does_not_understand(aws, reap, keeper, cluster_id, idle, fail, status, reason):
    fail(keeper)
    result = reap()

    assert not result.get("failed")
    assert (only(result)["status"], only(result)["reason"]) == (status, reason)
    assert operations(aws) == ["DescribeClusters"]
    assert hsms(aws, cluster_id) == [idle]


@pytest.mark.parametrize("fail", named([gone, silent, read_only, full]))
def test_reap_deletes_nothing_that_it_cannot_commit(aws, reap, keeper, cluster_id, idle, monkeypatch, fail):
    on_pause(monkeypatch, aws, 1, lambda: fail(keeper))
    result = reap()

    assert (result["failed"], only(result)["status"]) == (True, "failed")
    assert re.match(REFUSING[fail], only(result)["reason"])
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([idle], [])
    assert not aws.calls("DeleteHsm")
    # Nothing keeps others out: the claim of a reaper lapses, and its mark is off.
    assert fail is full or any("claim stays until it expires" in warning for warning in only(result)["warnings"])


@pytest.mark.parametrize("fail", named(DISTURBING))
def test_reap_spares_what_changes_while_its_mark_settles(aws, reap, keeper, cluster_id, idle, monkeypatch, fail):
    on_pause(monkeypatch, aws, 1, lambda: fail(keeper))
    result = reap()

    assert (result.get("failed"), only(result)["status"]) == (None, "kept")
    assert DISTURBING[fail] in only(result)["reason"]
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([idle], [])
    assert not aws.calls("DeleteHsm")


@pytest.mark.parametrize("fail", named([*REFUSING, *DISTURBING]))
def test_reap_ends_what_it_has_committed(aws, reap, keeper, cluster_id, idle, monkeypatch, fail):
    on_pause(monkeypatch, aws, 2, lambda: fail(keeper))
    result = reap()

    assert (result.get("failed"), only(result)["status"]) == (None, "deleted")
    assert only(result)["backups"][0]["backup_state"] == "READY"
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([], [])
    assert len(aws.calls("DeleteHsm")) == 1
    assert bool(only(result)["warnings"]) == (fail in (gone, silent, read_only))


# While another server takes over.


@pytest.fixture
def failing_over(tmp_path: Path) -> t.Iterator[tuple[Server, Server, str]]:
    """A primary, its replica, and the URL of a Sentinel that watches them."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Server(VALKEY, tmp_path))
        second = stack.enter_context(Server(VALKEY, tmp_path, "--replicaof", "127.0.0.1", str(first.port)))
        lines = (
            f"sentinel monitor main 127.0.0.1 {first.port} 1",
            "sentinel down-after-milliseconds main 200",
            "sentinel failover-timeout main 1000",
            f"sentinel known-replica main 127.0.0.1 {second.port}",
        )
        configuration = tmp_path / "sentinel.conf"
        configuration.write_text("\n".join(lines), encoding="utf-8")
        sentinel = stack.enter_context(Server(VALKEY, tmp_path, str(configuration), "--sentinel"))
        wait_until(lambda: first.client().info("replication").get("slave0", {}).get("state") == "online")
        wait_until(lambda: sentinel.client().execute_command("SENTINEL", "CKQUORUM", "main"))
        yield first, second, f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"


PATIENT = {"redis_retry_for": 20, "redis_timeout": 1}


def replicated(second: Server, key: str) -> None:
    wait_until(lambda: second.client().exists(key))


@pytest.mark.parametrize("moment", [1, 2], ids=["while its mark settles", "while it waits for the HSM"])
def test_ensure_outlives_a_failover(aws, ensure, failing_over, cluster_id, monkeypatch, moment):
    first, second, url = failing_over
    on_pause(monkeypatch, aws, moment, first.kill)
    result = ensure(url, PATIENT, wait_delay=200)

    assert not result.get("failed"), result
    assert [found["hsm_id"] for found in result["hsms"]] == hsms(aws, cluster_id)
    assert len(aws.calls("CreateHsm")) == 1
    assert second.client().exists(RECORD)
    assert tags(aws, cluster_id) == []


def test_a_failover_that_loses_nothing_stops_a_deletion_that_is_not_committed(
    aws, reap, failing_over, cluster_id, hsm, monkeypatch
):
    first, second, url = failing_over
    make_idle(first)

    def fail() -> None:
        replicated(second, CLAIM)
        first.kill()

    on_pause(monkeypatch, aws, 1, fail)
    result = reap(url, PATIENT)

    # The server that takes over cannot know whether it has the last use.
    assert only(result)["status"] == "kept", result
    assert "another server has taken over" in only(result)["reason"]
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([hsm], [])
    assert not second.client().exists(CLAIM)


def test_reap_spares_what_was_claimed_when_the_failover_lost_the_claim(
    aws, reap, failing_over, cluster_id, hsm, monkeypatch
):
    first, second, url = failing_over
    make_idle(first)

    def fail() -> None:
        replicated(second, CLAIM)
        second.client().execute_command("REPLICAOF", "NO", "ONE")
        second.client().delete(CLAIM)
        first.kill()

    on_pause(monkeypatch, aws, 1, fail)
    result = reap(url, PATIENT)

    assert only(result)["status"] == "kept", result
    assert "no live claim" in only(result)["reason"]
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([hsm], [])


def test_reap_commits_nothing_that_no_replica_confirms(aws, reap, failing_over, cluster_id, hsm, monkeypatch):
    first, second, url = failing_over
    make_idle(first)
    on_pause(monkeypatch, aws, 1, second.kill)
    result = reap(url, {**PATIENT, "redis_min_replicas": 1, "redis_replica_timeout": 1})

    assert (only(result)["status"], aws.calls("DeleteHsm")) == ("failed", [])
    assert only(result)["reason"].startswith("redis_min_replicas: 0 of 1 replicas")
    assert (hsms(aws, cluster_id), tags(aws, cluster_id)) == ([hsm], [])
    assert not first.client().exists(CLAIM)
