# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Jobs, creators and reapers of one environment, with their claims in Redis and their marks in AWS."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import typing as t

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_hsm, hsm_reap
from harness.modules import run_module

RECORD = "hsm:dev:last_access"
CLAIM = "hsm:dev:claim"
DOOMED = "hsmops:doomed/t1/"
CREATING = "hsmops:creating/t1"


@pytest.fixture
def ensure(connection, cluster_id, redis_url):
    activity = {"env": "dev", "redis_url": redis_url}
    return functools.partial(run_module, cloudhsm_hsm, cluster_id=cluster_id, activity=activity, **connection)


@pytest.fixture
def reap(connection, cluster_id, redis_url):
    environments = [{"env": "dev", "cluster_id": cluster_id}]
    return functools.partial(run_module, hsm_reap, **connection, environments=environments, redis_url=redis_url)


@pytest.fixture
def idle(store, hsm):
    """An HSM that nobody has used for an hour."""
    store.set(RECORD, int(time.time()) - 3600, ex=7200)
    return hsm


def tags(aws, cluster_id: str) -> dict[str, str]:
    listed = aws.client("cloudhsmv2").list_tags(ResourceId=cluster_id)["TagList"]
    return {tag["Key"]: tag["Value"] for tag in listed if tag["Key"].startswith("hsmops:")}


def mark(aws, cluster_id: str, key: str, deadline: float) -> None:
    aws.client("cloudhsmv2").tag_resource(ResourceId=cluster_id, TagList=[{"Key": key, "Value": f"{deadline:.0f}"}])
    aws.clear_calls()


def protect(aws, cluster_id: str, value: str = "true") -> None:
    tag = {"Key": "hsmops:protected", "Value": value}
    aws.client("cloudhsmv2").tag_resource(ResourceId=cluster_id, TagList=[tag])


def claim(store, phase: str, hsm_id: str, **more: object) -> None:
    now = int(time.time())
    fields = {"token": "t1", "fence": 1, "phase": phase, "hsm_ids": hsm_id, "deadline": now + 600}
    fields |= {"record": now - 3600, "server": store.info("server")["run_id"]}
    store.hset(CLAIM, mapping={**fields, "holds": "", **more})
    store.set("hsm:dev:fence", 1)


def operations(aws) -> list[str]:
    return [call["operation"] for call in aws.calls()]


def only(result: dict) -> dict:
    [environment] = result["environments"]
    return environment


# The reaper.


def test_reap_deletes_what_is_idle_and_leaves_no_trace(aws, reap, store, idle, cluster_id):
    predicted = reap(check=True)
    assert (predicted["changed"], only(predicted)["status"]) == (True, "would_delete")
    assert (operations(aws), store.exists(CLAIM)) == (["DescribeClusters"], 0)
    aws.clear_calls()

    reaped = reap()
    report = only(reaped)
    assert (reaped["changed"], report["status"], report["deleted"][0]["hsm_id"]) == (True, "deleted", idle)
    assert report["backups"][0]["backup_state"] == "READY"
    assert report["placements"] == [{"availability_zone": "eu-west-1a", "ip_address": "10.42.0.4"}]
    assert reaped["report"] == [f"dev: deleted: {report['reason']}"]
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)
    order = [name for name in operations(aws) if name in ("TagResource", "DeleteHsm", "UntagResource")]
    assert order == ["TagResource", "DeleteHsm", "UntagResource"]

    again = reap()
    assert (again["changed"], only(again)["status"]) == (False, "no_hsm")


@pytest.mark.parametrize(
    ("record", "status", "reason"),
    [
        (lambda now: now - 60, "kept", "last used"),
        (lambda now: now + 600, "kept", "future"),
        (lambda now: "yesterday", "kept", "not a moment"),
    ],
)
def test_reap_keeps_what_may_be_in_use(aws, reap, store, hsm, record, status, reason):
    store.set(RECORD, record(int(time.time())))
    report = only(reap())
    assert report["status"] == status
    assert reason in report["reason"]
    assert operations(aws) == ["DescribeClusters"]


def test_reap_starts_the_clock_of_what_has_no_record(aws, reap, store, hsm):
    assert only(reap(check=True))["status"] == "unknown"
    assert not store.exists(RECORD)
    report = only(reap())
    assert (report["status"], report["reason"]) == ("unknown", "there was no record; its time begins to count now")
    assert only(reap())["status"] == "kept"
    assert "DeleteHsm" not in operations(aws)


def test_reap_starts_a_clock_that_lives_until_it_is_idle(reap, store, hsm, cluster_id):
    reap(environments=[{"env": "dev", "cluster_id": cluster_id, "idle_after": 9000}])
    assert store.ttl(RECORD) == pytest.approx(18_000, abs=2)


def test_reap_keeps_what_is_held_or_protected(aws, reap, store, idle, cluster_id):
    store.zadd("hsm:dev:holds", {"pipeline-7": int(time.time()) + 600})
    assert "pipeline-7" in only(reap())["reason"]
    store.delete("hsm:dev:holds")
    protected = [{"env": "dev", "cluster_id": cluster_id, "protected": True}]
    assert only(reap(environments=protected))["reason"] == "protected"
    for value in ("1", "true", "please", ""):
        protect(aws, cluster_id, value)
        assert only(reap())["reason"] == "protected"
    assert "DeleteHsm" not in operations(aws)


def test_reap_spares_what_is_protected_while_it_claims(aws, reap, store, idle, cluster_id, monkeypatch):
    claim_retiring = ActivityStore.claim_retiring

    def protect_then_claim(*arguments):
        protect(aws, cluster_id)
        return claim_retiring(*arguments)

    monkeypatch.setattr(ActivityStore, "claim_retiring", protect_then_claim)
    report = only(reap())
    assert (report["status"], report["reason"]) == ("kept", "protected")
    assert "DeleteHsm" not in operations(aws)
    assert store.exists(CLAIM) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settle": -1}, "settle: -1.0 is less than 0, or too much. Set it to 0 to 120."),
        ({"settle": "nan"}, "settle: nan is less than 0"),
        ({"settle": 121}, "settle: 121.0 is less than 0, or too much"),
        ({"max_deletions": -1}, "max_deletions: -1 is less than 0."),
        ({"record_ttl": 0}, "record_ttl: 0 is no duration"),
        ({"wait_delay": "nan"}, "wait_delay: nan is no duration"),
        ({"wait_timeout": 10**20}, "wait_timeout: 100000000000000000000 is no duration"),
        ({"redis_timeout": "inf"}, "redis_timeout: inf is no duration"),
        ({"redis_url": "elsewhere"}, "redis_url: not the URL of a Redis"),
    ],
)
def test_bad_input_of_reap(aws, reap, store, idle, arguments, message):
    before = store.keys()
    result = reap(**arguments)
    assert result["failed"]
    assert message in result["msg"]
    assert (operations(aws), store.keys()) == ([], before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"env": ""}, "environments: env: the name of an environment is empty."),
        ({"env": "a\nb"}, "environments: env: 'a\\nb' is no name of an environment"),
        ({"env": "a" * 10_000}, f"environments: env: '{'a' * 40}…' is no name of an environment"),
        ({"cluster_id": "x" * 10_000}, f"environments: cluster_id of dev: '{'x' * 40}…' is not a cluster id"),
        ({"idle_after": 0}, "environments: idle_after of dev: 0 is no duration"),
        ({"idle_after": -1800}, "environments: idle_after of dev: -1800 is no duration"),
        ({"unused_since": "nan"}, "environments: unused_since of dev: nan is no moment."),
        ({"protected": "perhaps"}, "protected"),
        ({"key_stores": "disconnect"}, "key_stores must be one of: refuse, ignore"),
    ],
)
def test_bad_input_of_reap_about_an_environment(aws, reap, store, idle, cluster_id, changed, message):
    before = store.keys()
    result = reap(environments=[{"env": "dev", "cluster_id": cluster_id, **changed}])
    assert result["failed"]
    assert message in result["msg"]
    assert (operations(aws), store.keys()) == ([], before)


def test_reap_of_no_environments(aws, reap):
    result = reap(environments=[])
    assert (result["changed"], result["report"], operations(aws)) == (False, [], [])


def test_reap_keeps_what_it_does_not_understand(aws, reap, store, idle, cluster_id):
    aws.set_cluster_state(cluster_id, "DEGRADED")
    assert "not known to have been activated" in only(reap())["reason"]
    aws.set_cluster_state(cluster_id, "ACTIVE")
    mark(aws, cluster_id, CREATING, aws.now() + 60)
    assert "creation announced by t1" in only(reap())["reason"]
    mark(aws, cluster_id, CREATING, 0)
    assert only(reap())["status"] == "deleted", "a void mark stands against nothing"
    assert tags(aws, cluster_id) == {}


def test_reap_fails_for_one_and_goes_on_with_the_others(aws, reap, store, idle, cluster_id):
    environments = [
        {"env": "gone", "cluster_id": "cluster-aaaaaaaaaaa"},
        {"env": "dev", "cluster_id": cluster_id},
        {"env": "far", "cluster_id": "cluster-bbbbbbbbbbb", "region": "eu-central-1"},
    ]
    result = reap(environments=environments)
    assert result["failed"]
    assert result["msg"] == "2 of 3 environments failed: gone, far. The report says why."
    assert [found["status"] for found in result["environments"]] == ["failed", "deleted", "failed"]


def test_reap_deletes_no_more_than_allowed_and_the_longest_idle_first(aws, reap, store, idle, cluster_id):
    other = aws.lay_out("other")
    aws.client("cloudhsmv2").create_hsm(ClusterId=other, AvailabilityZone="eu-west-1a")
    aws.advance(600)
    store.set("hsm:other:last_access", int(time.time()) - 7000)
    environments = [{"env": "dev", "cluster_id": cluster_id}, {"env": "other", "cluster_id": other}]
    result = reap(environments=environments, max_deletions=1)
    assert [found["status"] for found in result["environments"]] == ["kept", "deleted"]
    assert "no more than 1 may go in one run" in result["environments"][0]["reason"]


def test_reap_deletes_nothing_when_redis_does_not_answer(aws, reap, idle):
    result = reap(redis_url="redis://127.0.0.1:1/0", redis_retry_for=0)
    assert result["failed"]
    assert "does not answer" in result["msg"]
    assert operations(aws) == []


def test_reap_refuses_two_of_one_name(reap, cluster_id):
    result = reap(environments=[{"env": name, "cluster_id": cluster_id} for name in ("a", "b")])
    assert result["msg"].startswith(f"environments: {cluster_id} stands twice")


def test_reap_spares_an_hsm_that_is_touched_while_it_settles(aws, reap, store, idle, cluster_id, monkeypatch):
    def touched(seconds: float) -> None:
        aws.clock.advance(seconds)
        store.set(RECORD, int(time.time()))

    monkeypatch.setattr(
        "ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters.time.sleep", touched
    )
    report = only(reap())
    assert (report["status"], report["deleted"]) == ("kept", [])
    assert "used after it was claimed" in report["reason"]
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)
    assert "DeleteHsm" not in operations(aws)


def test_reap_sends_nothing_that_is_signed_too_late(aws, reap, store, idle, cluster_id, monkeypatch):
    def held_up(seconds: float) -> None:
        aws.clock.advance(seconds + 120)

    monkeypatch.setattr(
        "ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters.time.sleep", held_up
    )
    report = only(reap())
    assert report["status"] == "failed"
    assert "DeleteHsm was not sent" in report["reason"]
    assert "DeleteHsm" not in operations(aws)
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)


def test_reap_leaves_its_mark_when_it_cannot_know_what_became_of_the_deletion(aws, reap, store, idle, cluster_id):
    aws.fault("error_before", "DeleteHsm", times=None)
    report = only(reap(wait_timeout=300))
    assert report["status"] == "failed"
    assert tags(aws, cluster_id)
    assert store.exists(CLAIM) == 0
    assert any("It is not known what came of DeleteHsm" in warning for warning in report["warnings"])


def test_reap_takes_its_mark_off_when_aws_has_refused(aws, reap, store, idle, cluster_id):
    aws.fault("deny", "DeleteHsm", times=None)
    assert "Access denied" in only(reap())["reason"]
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)


def test_reap_never_deletes_what_replaced_an_hsm(aws, reap, store, idle, cluster_id, monkeypatch):
    def replaced(seconds: float) -> None:
        if not replacements:
            replacements.append(aws.replace(idle))
        aws.clock.advance(seconds)

    replacements: list[str] = []
    monkeypatch.setattr(
        "ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters.time.sleep", replaced
    )
    report = only(reap())
    assert report["status"] == "failed"
    assert "AWS has replaced it" in report["reason"]
    [cluster] = aws.client("cloudhsmv2").describe_clusters()["Clusters"]
    assert [found["State"] for found in cluster["Hsms"]] == ["ACTIVE"]
    assert tags(aws, cluster_id) == {}


# Those who need an HSM.


def test_ensure_calls_off_a_deletion_that_is_not_committed(aws, ensure, store, idle, cluster_id):
    mark(aws, cluster_id, DOOMED + idle, aws.now() + 60)
    claim(store, "retiring", idle)
    result = ensure()
    assert [found["hsm_id"] for found in result["hsms"]] == [idle]
    assert result["actions"] == [f"call off the deletion of {idle} announced by t1"]
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)


def test_ensure_waits_for_a_committed_deletion_and_creates_anew(aws, ensure, store, idle, cluster_id):
    mark(aws, cluster_id, DOOMED + idle, aws.now() + 60)
    claim(store, "committed", idle, deadline=int(time.time()) + 1)
    aws.client("cloudhsmv2").delete_hsm(ClusterId=cluster_id, HsmId=idle)
    store.delete(CLAIM)
    result = ensure()
    assert (len(result["created"]), result["hsms"][0]["state"]) == (1, "ACTIVE")
    assert result["hsms"][0]["hsm_id"] != idle


def test_ensure_waits_until_a_dead_reapers_mark_is_void(aws, ensure, store, idle, cluster_id):
    deadline = aws.now() + 60
    mark(aws, cluster_id, DOOMED + idle, deadline)
    result = ensure()
    assert [found["hsm_id"] for found in result["hsms"]] == [idle]
    assert aws.now() > deadline + 900
    assert tags(aws, cluster_id) == {}


def test_ensure_leaves_a_mark_that_it_cannot_read(aws, ensure, store, idle, cluster_id):
    aws.client("cloudhsmv2").tag_resource(ResourceId=cluster_id, TagList=[{"Key": DOOMED + idle, "Value": "soon"}])
    result = ensure(wait_timeout=1800)
    assert result["failed"]
    assert f"deletion of {idle} announced by t1" in result["msg"]
    assert DOOMED + idle in tags(aws, cluster_id)


def test_ensure_waits_for_another_creator_and_adopts_its_hsm(aws, ensure, store, cluster_id):
    mark(aws, cluster_id, CREATING, aws.now() + 60)
    aws.client("cloudhsmv2").create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1b")
    result = ensure()
    assert (result["created"], result["hsms"][0]["availability_zone"]) == ([], "eu-west-1b")


def test_ensure_creates_when_the_mark_of_a_dead_creator_is_void(aws, ensure, store, cluster_id):
    deadline = aws.now() + 60
    mark(aws, cluster_id, CREATING, deadline)
    result = ensure()
    assert len(result["created"]) == 1
    assert aws.now() > deadline + 900
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)


def test_ensure_waits_for_the_claim_of_another_creator(aws, ensure, store, cluster_id):
    claim(store, "creating", "", token="t9")
    result = ensure(wait_timeout=100, wait_delay=50)
    assert result["failed"]
    assert "CreateHsm" not in operations(aws)
    assert "claim" in result["msg"]


def test_ensure_says_so_when_the_cluster_has_no_room_for_its_mark(aws, ensure, store, cluster_id):
    more = [{"Key": f"k{number}", "Value": ""} for number in range(49)]
    hsms = aws.client("cloudhsmv2")
    present = len(hsms.list_tags(ResourceId=cluster_id)["TagList"])
    hsms.tag_resource(ResourceId=cluster_id, TagList=more[: 50 - present])
    result = ensure()
    assert result["failed"]
    assert "there is no room" in result["msg"]
    assert store.exists(CLAIM) == 0


def test_ensure_leaves_its_mark_after_an_unclear_answer(aws, ensure, store, cluster_id):
    aws.fault("error_before", "CreateHsm")
    result = ensure(wait_timeout=900)
    assert result["failed"]
    assert "AWS may or may not have made the HSM" in result["msg"]
    [left] = tags(aws, cluster_id)
    assert left.startswith("hsmops:creating/")
    assert store.exists(CLAIM) == 0
    assert any("keeps others from creating" in warning for warning in result["warnings"])


def test_ensure_for_a_holder_holds(aws, ensure, store, hsm, redis_url):
    ensure(activity={"env": "dev", "redis_url": redis_url, "holder": "pipeline-7", "hold_for": 1200})
    [(holder, until)] = store.zrange("hsm:dev:holds", 0, -1, withscores=True)
    assert holder == "pipeline-7"
    assert until == pytest.approx(time.time() + 1200, abs=5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"env": ""}, "activity.env: the name of an environment is empty."),
        ({"env": "a\tb"}, "activity.env: 'a\\tb' is no name of an environment"),
        ({"holder": "a b"}, "activity.holder: 'a b' is no id of a holder"),
        ({"hold_for": -1}, "activity.hold_for: -1 is no duration"),
        ({"hold_for": 90000}, "activity.hold_for: 90000 is more than a day (86400 seconds)"),
        ({"record_ttl": 0}, "activity.record_ttl: 0 is no duration"),
        ({"settle": "nan"}, "activity.settle: nan is less than 0, or too much"),
        ({"redis_timeout": 0}, "redis_timeout: 0.0 is no duration"),
    ],
)
def test_bad_input_of_activity(aws, ensure, store, redis_url, changed, message):
    result = ensure(activity={"env": "dev", "redis_url": redis_url, **changed})
    assert result["failed"]
    assert message in result["msg"]
    assert (operations(aws), store.keys()) == ([], [])


def test_ensure_looks_often_enough_to_keep_the_environment_in_use(aws, ensure, store):
    result = ensure(wait_delay=601)
    assert result["msg"].startswith("wait_delay: 601 is too long.")
    assert (operations(aws), store.keys()) == ([], [])


def test_steady_ensure_costs_one_step_and_one_call(aws, ensure, store, hsm):
    store.config_resetstat()
    ensure()
    assert operations(aws) == ["DescribeClusters"]
    assert store.info("commandstats")["cmdstat_evalsha"]["calls"] <= 2


def test_ensure_that_may_not_wait_refuses_what_it_would_wait_for(aws, ensure, store, idle, cluster_id):
    mark(aws, cluster_id, DOOMED + idle, aws.now() + 60)
    result = ensure(wait=False)
    assert result["failed"]
    assert result["msg"].startswith(f"wait: deletion of {idle} announced by t1")
    mark(aws, cluster_id, CREATING, aws.now() + 60)
    aws.client("cloudhsmv2").untag_resource(ResourceId=cluster_id, TagKeyList=[DOOMED + idle])
    aws.client("cloudhsmv2").delete_hsm(ClusterId=cluster_id, HsmId=idle)
    aws.advance(120)
    aws.clear_calls()
    result = ensure(wait=False)
    assert result["failed"]
    assert "creation announced by t1" in result["msg"]
    assert "CreateHsm" not in operations(aws)


def test_an_environment_that_cannot_be_reached_does_not_stop_the_others(aws, reap, idle, cluster_id):
    lost = {
        "env": "lost",
        "cluster_id": "cluster-aaaaaaaaaaa",
        "aws": {"profile": "nowhere", "access_key": "", "secret_key": ""},
    }
    result = reap(environments=[lost, {"env": "dev", "cluster_id": cluster_id}])

    assert result["msg"].startswith("1 of 2 environments failed: lost")
    assert [found["status"] for found in result["environments"]] == ["failed", "deleted"]
    assert "nowhere" in result["environments"][0]["reason"]


def test_what_has_to_be_prepared_is_due_until_it_is(aws, reap, store, idle, cluster_id):
    environment = {"env": "dev", "cluster_id": cluster_id}
    due = only(reap(environments=[{**environment, "prepared": False}]))
    assert (due["status"], due["deleted"]) == ("due", [])
    assert not aws.calls("TagResource")

    touched = due["checked_at"] + 1
    store.set(RECORD, int(touched) - 3600)
    gone = only(reap(environments=[{**environment, "unused_since": touched - 3601}]))
    assert (gone["status"], "used after the look" in gone["reason"]) == ("kept", True)
    assert only(reap(environments=[{**environment, "unused_since": due["checked_at"]}]))["status"] == "deleted"


# Requests on their way.


@pytest.fixture
def arrives_after(aws):
    """Hold a request up on the wire, until so many seconds have passed for AWS."""

    @contextlib.contextmanager
    def hold(operation: str, seconds: float) -> t.Iterator[None]:
        def let_pass() -> None:
            until = time.monotonic() + 20
            while not aws.held() and time.monotonic() < until:
                # The request of another thread is waited for, whose time is the real one.
                time.sleep(0.005)
            aws.advance(seconds)

        aws.fault("hold", operation, seconds=seconds)
        passing = threading.Thread(target=let_pass)
        passing.start()
        yield
        passing.join()

    return hold


def states(aws, cluster_id: str) -> list[str]:
    [cluster] = aws.client("cloudhsmv2").describe_clusters(Filters={"clusterIds": [cluster_id]})["Clusters"]
    return [found["State"] for found in cluster["Hsms"]]


@pytest.mark.parametrize(("seconds", "status", "left"), [(299, "deleted", []), (302, "failed", ["ACTIVE"])])
def test_a_deletion_that_arrives_too_late_is_none(
    aws, reap, store, idle, cluster_id, arrives_after, seconds, status, left
):
    with arrives_after("DeleteHsm", seconds):
        report = only(reap())
    assert report["status"] == status
    assert ("Signature expired" in report["reason"]) == bool(left)
    assert states(aws, cluster_id) == left
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)


@pytest.mark.parametrize(("seconds", "made"), [(299, 1), (302, 0)])
def test_a_creation_that_arrives_too_late_is_none(aws, ensure, store, cluster_id, arrives_after, seconds, made):
    with arrives_after("CreateHsm", seconds):
        result = ensure()
    assert len(result["created"]) == made
    assert ("Signature expired" in result.get("msg", "")) == (not made)
    assert states(aws, cluster_id) == ["ACTIVE"] * made
    assert (tags(aws, cluster_id), store.exists(CLAIM)) == ({}, 0)
