# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the steps of the activity protocol must never do. Each rule has a script that breaks it, and is seen to notice."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest
import redis
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity import scripts
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError, find_endpoint

IDLE_AFTER = 1800
RECORD, HOLDS, CLAIM = "hsm:dev:last_access", "hsm:dev:holds", "hsm:dev:claim"


@dataclass
class World:
    """One environment, dev, seen from its jobs, its reapers and the server's console."""

    activity: ActivityStore
    redis: redis.Redis

    @property
    def now(self) -> int:
        return self.redis.time()[0]

    def age(self, seconds: int = 2 * IDLE_AFTER) -> None:
        """Have it been used last some seconds ago."""
        self.redis.set(RECORD, self.now - seconds, ex=7200)

    def expire(self) -> None:
        """Have the deadline of the claim pass."""
        self.redis.hset(CLAIM, "deadline", self.now - 1)

    def retire(self, token: str = "reaper") -> str | None:
        return self.activity.claim_retiring({"dev": ["hsm-1"]}, token, IDLE_AFTER, 60)[0].refusal

    def create(self, token: str = "creator") -> str | None:
        return self.activity.claim_creating(["dev"], token, 60)[0].refusal

    def renew(self, token: str = "reaper") -> str | None:
        return self.activity.renew(["dev"], token, 60)[0].refusal

    def commit(self, token: str = "reaper") -> str | None:
        return self.activity.commit(["dev"], token, 60)[0].refusal

    def cancel(self, token: str = "reaper") -> str | None:
        return self.activity.cancel(["dev"], token)[0].refusal

    def finish(self, token: str = "reaper") -> str | None:
        return self.activity.finish(["dev"], token)[0].refusal

    def touch(self) -> str | None:
        """Touch, and say which phase the live claim is in."""
        claim = self.activity.touch(["dev"], 7200)[0].snapshot.claim
        return claim.phase if claim else None

    def hold(self, holder: str = "job") -> None:
        self.activity.hold(["dev"], holder, 600, 7200)


@pytest.fixture
def world(activity, store):
    return World(activity, store)


def what_is_held_is_not_claimed(world):
    world.hold()
    world.age()
    assert world.retire() == "held"


def what_a_shell_holds_is_not_claimed(world):
    world.age()
    world.redis.zadd(HOLDS, {"job": world.now + 1})
    assert world.retire() == "held"


def what_is_in_use_is_not_claimed(world):
    world.age(IDLE_AFTER - 1)
    assert world.retire() == "active"


def what_is_unknown_is_not_claimed(world):
    for value in ("", "yesterday", "-1", "1e9", "0x5", "nan", "12 ", "12.", str(world.now + 60), "1" * 16):
        world.redis.set(RECORD, value)
        assert world.retire() == "unknown", value
    world.redis.delete(RECORD)
    assert world.retire() == "unknown"
    world.redis.lpush(RECORD, world.now - 9999)
    assert world.retire() == "unknown"


def holds_of_another_type_are_unknown(world):
    world.age()
    world.redis.set(HOLDS, "x")
    assert world.retire() == "unknown"


def what_another_has_claimed_is_not_claimed(world):
    world.age()
    assert world.retire("one") is None
    assert world.retire("two") == "claimed"
    assert world.create("two") == "claimed"


def what_another_creates_is_not_claimed(world):
    world.age()
    assert world.create("one") is None
    assert world.create("two") == "claimed"
    assert world.retire("two") == "claimed"


def touch_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    assert world.touch() == "retiring"
    assert world.commit() == "changed"


def touch_of_a_shell_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.redis.set(RECORD, world.now - IDLE_AFTER, ex=7200)
    assert world.commit() == "changed"


def hold_of_a_shell_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.redis.zadd(HOLDS, {"job": world.now + 60})
    assert world.commit() == "changed"


def past_hold_of_a_shell_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.redis.zadd(HOLDS, {"job": world.now - 60})
    assert world.commit() == "changed"


def lost_record_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.redis.delete(RECORD)
    assert world.commit() == "changed"


def test_record_that_was_never_remembered_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.redis.delete(RECORD)
    world.redis.hdel(CLAIM, "record")
    assert world.commit() == "unknown"


def lost_claim_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.redis.flushall()
    world.age()
    assert world.commit() == "gone"


def deadline_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    world.expire()
    assert world.commit() == "gone"
    assert world.renew() == "gone"


def claim_of_another_is_not_committed(world):
    world.age()
    assert world.retire("one") is None
    assert world.commit("two") == "claimed"
    assert world.redis.hget(CLAIM, "phase") == "retiring"


def creation_is_not_committed(world):
    world.age()
    assert world.create("one") is None
    assert world.commit("one") == "creating"


def cancel_stops_the_commit(world):
    world.age()
    assert world.retire() is None
    assert world.cancel() is None
    assert world.commit() == "gone"


def committed_claim_is_not_cancelled(world):
    world.age()
    assert world.retire() is None
    assert world.commit() is None
    assert world.cancel() == "committed"
    assert world.touch() == "committed"


def claim_that_is_gone_is_not_cancelled(world):
    """It may have been committed before it was lost."""
    world.age()
    assert world.retire() is None
    assert world.commit() is None
    world.redis.flushall()
    assert world.cancel() == "gone"


def claim_of_another_is_not_cancelled(world):
    world.age()
    assert world.retire("one") is None
    assert world.cancel("two") == "claimed"
    assert world.commit("one") is None


def claim_of_another_is_not_renewed(world):
    world.age()
    assert world.retire("one") is None
    world.redis.hset(CLAIM, "deadline", world.now + 5)
    assert world.renew("two") == "claimed"
    assert int(world.redis.hget(CLAIM, "deadline")) < world.now + 10


def committed_claim_is_not_renewed(world):
    world.age()
    assert world.retire() is None
    assert world.commit() is None
    assert world.renew() == "committed"


def claim_of_another_is_not_finished(world):
    world.age()
    assert world.retire("one") is None
    assert world.finish("two") == "claimed"
    assert world.touch() == "retiring"


def repeated_claim_remembers_the_first_record(world):
    world.age()
    assert world.retire() is None
    world.touch()
    assert world.retire() is None
    assert world.commit() == "changed"


def repeated_commit_lives_no_longer(world):
    world.age()
    assert world.retire() is None
    assert world.commit() is None
    deadline = world.redis.hget(CLAIM, "deadline")
    assert world.commit() is None
    assert world.redis.hget(CLAIM, "deadline") == deadline


def what_has_a_record_keeps_it(world):
    for kind in ("string", "list"):
        world.redis.delete(RECORD)
        world.redis.set(RECORD, "x") if kind == "string" else world.redis.lpush(RECORD, "x")
        assert world.activity.start_clock(["dev"], 7200)[0].refusal == "recorded"
        assert world.redis.type(RECORD) == kind


def dry_step_changes_nothing(world):
    world.age()
    world.activity._mode = "dry"
    before = world.redis.keys(), world.redis.get(RECORD)
    world.touch()
    world.hold()
    assert (world.retire(), world.create()) == (None, None)
    assert (world.redis.keys(), world.redis.get(RECORD)) == before


NO_CLAIM = ("if claim then return not_own", "if false then return not_own")
# Each rule, with the changes to a script that break it.
RULES: dict[t.Callable[[World], None], list[tuple[str, str, str]]] = {
    what_is_held_is_not_claimed: [("CLAIM_RETIRING", "return 'held'", "return nil")],
    what_a_shell_holds_is_not_claimed: [("CLAIM_RETIRING", "HOLDS, now, '+inf') > 0", "HOLDS, now + 2, '+inf') > 0")],
    what_is_in_use_is_not_claimed: [("CLAIM_RETIRING", "now - last_access <=", "now - last_access + 2 <=")],
    what_is_unknown_is_not_claimed: [
        ("CLAIM_RETIRING", "seconds(text(RECORD))", "tonumber(text(RECORD) or '')"),
        ("CLAIM_RETIRING", "not last_access or last_access - now > tonumber(ARGV[6])", "not last_access"),
        ("CLAIM_RETIRING", "local last_access = seconds(text(RECORD))", "local last_access = seconds(text(RECORD)) or 1"),
    ],
    holds_of_another_type_are_unknown: [
        (
            "CLAIM_RETIRING",
            "if holds_unreadable() then return 'unknown' end",
            "if holds_unreadable() then redis.call('DEL', HOLDS) end",
        )
    ],
    what_another_has_claimed_is_not_claimed: [("CLAIM_RETIRING", *NO_CLAIM), ("CLAIM_CREATING", *NO_CLAIM)],
    what_another_creates_is_not_claimed: [("CLAIM_RETIRING", *NO_CLAIM), ("CLAIM_CREATING", *NO_CLAIM)],
    touch_stops_the_commit: [("COMMIT", "text(RECORD) ~= claim.record or", "")],
    touch_of_a_shell_stops_the_commit: [("COMMIT", "text(RECORD) ~= claim.record or", "")],
    hold_of_a_shell_stops_the_commit: [("COMMIT", "or kind(HOLDS) ~= 'none'", "")],
    past_hold_of_a_shell_stops_the_commit: [
        ("COMMIT", "or kind(HOLDS) ~= 'none'", "or redis.call('ZCOUNT', HOLDS, now, '+inf') > 0")
    ],
    lost_record_stops_the_commit: [("COMMIT", "text(RECORD) ~= claim.record", "(text(RECORD) or claim.record) ~= claim.record")],
    lost_claim_stops_the_commit: [
        ("COMMIT", "local claim = live_claim()", "local claim = live_claim() or {phase = 'committed', token = ARGV[2]}")
    ],
    deadline_stops_the_commit: [
        ("COMMIT", "if tonumber(found.deadline) >= now then", "if true then"),
        ("RENEW", "if tonumber(found.deadline) >= now then", "if true then"),
    ],
    claim_of_another_is_not_committed: [("COMMIT", "if claim.token ~= token then return 'claimed' end", "")],
    creation_is_not_committed: [("COMMIT", "{retiring = true,", "{retiring = true, creating = true,")],
    cancel_stops_the_commit: [("CANCEL", "redis.call('DEL', CLAIM)", "")],
    committed_claim_is_not_cancelled: [("CANCEL", "{retiring = true}", "{retiring = true, committed = true}")],
    claim_that_is_gone_is_not_cancelled: [
        (
            "CANCEL",
            "local claim = live_claim()",
            "local claim = live_claim() or {phase = 'retiring', token = ARGV[2], server = run_id()}",
        )
    ],
    claim_of_another_is_not_cancelled: [("CANCEL", "if claim.token ~= token then return 'claimed' end", "")],
    claim_of_another_is_not_renewed: [("RENEW", "if claim.token ~= token then return 'claimed' end", "")],
    committed_claim_is_not_renewed: [("RENEW", "retiring = true}", "retiring = true, committed = true}")],
    claim_of_another_is_not_finished: [("FINISH", "if claim.token ~= token then return 'claimed' end", "")],
    repeated_claim_remembers_the_first_record: [("CLAIM_RETIRING", "  if not claim then\n", "  if true then\n")],
    repeated_commit_lives_no_longer: [("COMMIT", "if claim.phase ~= 'committed' then live_until", "if true then live_until")],
    what_has_a_record_keeps_it: [("START_CLOCK", "return 'recorded'", "return nil")],
    dry_step_changes_nothing: [("HOLD", "and ARGV[1] ~= 'dry'", ""), ("CLAIM_RETIRING", "and ARGV[1] ~= 'dry'", "")],
}  # fmt: skip
MUTANTS = [(rule, *mutant) for rule, mutants in RULES.items() for mutant in mutants]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(world, rule):
    rule(world)


@pytest.mark.parametrize(("rule", "name", "old", "new"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_notices_a_broken_script(world, monkeypatch, rule, name, old, new):
    script = getattr(scripts, name)
    assert script.count(old) == 1
    monkeypatch.setattr(scripts, name, script.replace(old, new))

    with pytest.raises(AssertionError):
        rule(world)


def test_whole_life_of_a_deletion(world):
    world.age()
    assert world.retire() is None
    assert world.renew() is None
    assert world.commit() is None
    assert world.commit() is None
    assert world.touch() == "committed"
    assert world.finish() is None
    assert world.finish() == "gone"
    assert world.touch() is None
    assert world.redis.keys("*claim") == []


def test_whole_life_of_a_creation(world):
    assert (world.create(), world.create(), world.renew("creator")) == (None, None, None)
    assert (world.cancel("creator"), world.touch()) == ("creating", "creating")
    assert world.finish("creator") is None
    assert world.redis.get("hsm:dev:fence") == "1"
    assert world.create("next") is None
    assert world.redis.get("hsm:dev:fence") == "2"


def test_claim_whose_deadline_has_passed_is_taken_over(world):
    world.age()
    assert world.retire("one") is None
    world.expire()
    assert world.retire("two") is None
    assert (world.commit("one"), world.renew("one"), world.cancel("one"), world.finish("one")) == ("claimed",) * 4
    assert world.commit("two") is None


def test_claim_goes_by_itself(world):
    world.create()
    assert 3600 < world.redis.ttl(CLAIM) <= 3661


def test_claim_that_no_step_wrote_lets_no_step_succeed(world):
    good = {
        "phase": "retiring",
        "token": "reaper",
        "fence": 1,
        "deadline": world.now + 60,
        "hsm_ids": "",
        "record": "1",
        "server": "x",
    }
    bad = [{**good, **wrong} for wrong in (
        {"phase": "x"}, {"token": ""}, {"fence": "x"}, {"fence": "1.5"}, {"deadline": "soon"}, {"deadline": "inf"},
        {"deadline": "-1"}, {"record": ""}, {"record": "x"},
    )]  # fmt: skip
    bad += [{key: value for key, value in good.items() if key != name} for name in good]
    for claim in bad:
        world.redis.delete(CLAIM)
        world.redis.hset(CLAIM, mapping=claim)
        world.age()
        assert world.touch() == "unknown", claim
        world.age()
        steps = (world.retire, world.create, world.renew, world.commit, world.cancel, world.finish)
        assert {step() for step in steps} == {"unknown"}, claim
    world.redis.delete(CLAIM)
    world.redis.set(CLAIM, "x")
    assert {step() for step in steps} == {"unknown"}


def test_fence_that_no_step_wrote_lets_nobody_claim(world):
    world.age()
    for fence in ("x", "-1", "1.5", "", "9" * 30, "007"):
        world.redis.set("hsm:dev:fence", fence)
        assert (world.retire(), world.create()) == ("unknown", "unknown"), fence


def test_holds_of_another_type_cannot_be_kept(world):
    world.redis.set(HOLDS, "x")
    for step in (world.hold, lambda: world.activity.release(["dev"], "job", 7200)):
        with pytest.raises(ActivityError, match="env: hsm:dev:holds in Redis at .* is not the sorted set of holds"):
            step()
    assert world.redis.keys() == [HOLDS]


def test_touch_replaces_a_record_of_another_type(world):
    world.redis.lpush(RECORD, "x")
    world.touch()
    assert int(world.redis.get(RECORD)) <= world.now


def test_holders_that_are_past_are_dropped(world):
    world.redis.zadd(HOLDS, {"past": world.now - 1, "for ever": "inf"})
    world.hold("job")
    assert set(world.redis.zrange(HOLDS, 0, -1)) == {"for ever", "job"}
    world.activity.release(["dev"], "for ever", 7200)
    assert world.redis.zrange(HOLDS, 0, -1) == ["job"]
    assert world.redis.ttl(HOLDS) == -1


@pytest.mark.parametrize("steps", [("retire", "retire"), ("create", "create"), ("commit", "cancel")])
def test_of_two_at_once_one_wins(world, redis_url, steps):
    others = [
        World(ActivityStore(find_endpoint({"redis_url": redis_url}, {}), Limits()), world.redis) for _name in "ab"
    ]
    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            world.redis.flushall()
            world.age()
            tokens = ("one", "two") if steps[0] == steps[1] else ("reaper", "reaper")
            if steps[0] == "commit":
                world.retire()
            # Which of them is sent first takes turns.
            pairs = list(zip(others, steps, tokens, strict=True))[:: 1 if number % 2 else -1]
            barrier = Barrier(2)
            # The pool is asked within the same round of the loop: the barrier is this round's.
            refusals = list(pool.map(lambda pair: (barrier.wait(), getattr(pair[0], pair[1])(pair[2]))[1], pairs))  # noqa: B023
            assert refusals.count(None) == 1, refusals


def test_of_commit_and_touch_at_once_one_learns_of_the_other(world, redis_url):
    job = World(ActivityStore(find_endpoint({"redis_url": redis_url}, {}), Limits()), world.redis)
    with ThreadPoolExecutor(2) as pool:
        for _number in range(100):
            world.redis.flushall()
            world.age()
            world.retire()
            touched, committed = pool.submit(job.touch), pool.submit(world.commit)
            assert (touched.result(), committed.result()) in {("retiring", "changed"), ("committed", None)}
