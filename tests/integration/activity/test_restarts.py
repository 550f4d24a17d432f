# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A server that comes back with a copy of its data, which is older than the last use."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.plan import explain, judge
from harness.redis_servers import REDIS, VALKEY, Server, wait_until
from harness.steps import CHANGE, READ, USE, opened

RECORD = "hsm:dev:last_access"


@pytest.fixture(params=[VALKEY, REDIS], ids=["valkey", "redis"])
def server(request, tmp_path):
    with Server(request.param, tmp_path) as server:
        yield server


@pytest.fixture
def activity(server):
    return opened(f"redis://127.0.0.1:{server.port}")


def age(server: Server) -> None:
    client = server.client()
    client.set(RECORD, client.time()[0] - 3600)


def retire(activity, idle_after=1800):
    return activity.claim_retiring({"dev": ["hsm-1"]}, "reaper", idle_after, 60)[0]


def test_a_use_that_the_copy_lacks_is_not_forgotten(server, activity):
    age(server)
    server.client().save()
    activity.touch(["dev"], 7200)
    server.restart()

    refused = retire(activity)
    assert refused.refusal == "unknown"
    assert "came back" in explain(refused, 1800)
    judged = judge(activity.check(["dev"])[0].snapshot, 1800)
    assert (judged.status, round(judged.idle_seconds, -1)) == ("unknown", 3600)
    # Whoever is still there has said so by then.
    wait_until(lambda: retire(activity, idle_after=1).granted)
    assert judge(activity.check(["dev"])[0].snapshot, 1).status == "retiring"


def test_an_empty_server_knows_all_that_it_has(server, activity):
    server.restart()
    age(server)
    assert retire(activity).granted


def test_a_log_is_a_copy_too(tmp_path):
    with Server(REDIS, tmp_path, "--appendonly", "yes") as server:
        activity = opened(f"redis://127.0.0.1:{server.port}")
        age(server)
        server.restart()
        assert server.client().exists(RECORD)
        assert retire(activity).refusal == "unknown"


def test_a_claim_that_the_copy_has_is_not_committed(server, activity):
    age(server)
    assert retire(activity).granted
    server.client().save()
    activity.hold(["dev"], "job", 600, 7200)
    server.restart()

    refused = activity.commit(["dev"], "reaper", 60)[0]
    assert refused.refusal == "restarted"
    assert "started anew" in explain(refused, 1800)


def test_a_commit_that_the_copy_lacks_is_not_called_off(server, activity):
    age(server)
    assert retire(activity).granted
    server.client().save()
    assert activity.commit(["dev"], "reaper", 60)[0].granted
    server.restart()

    assert activity.cancel(["dev"], "reaper")[0].refusal == "restarted"
    assert activity.finish(["dev"], "reaper")[0].granted


def test_a_server_that_does_not_say_since_when_it_runs_lets_nothing_go(server, activity):
    age(server)
    client = server.client()
    rights = [right for right in [*READ, *USE, *CHANGE] if right != "+info"]
    client.execute_command("ACL", "SETUSER", "ci", "reset", "on", ">s3cret", "~hsm:*", *rights)
    asked = opened(f"redis://ci:s3cret@127.0.0.1:{server.port}")

    assert retire(asked).refusal == "unknown"
    assert "right to INFO" in judge(asked.check(["dev"])[0].snapshot, 1800).reason
    asked.touch(["dev"], 7200)
    assert asked.claim_creating(["dev"], "creator", 60)[0].granted
