# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whatever jobs, reapers, shells and other tenants do, in whatever order, the scripts answer as a small model does.

Time moves by having everything that is stored grow older.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.plan import judge
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis import Redis

IDLE_AFTER = 1800
RECORD, HOLDS, CLAIM, FENCE = (f"hsm:dev:{key}" for key in ("last_access", "holds", "claim", "fence"))


@dataclass
class ModelClaim:
    token: str
    phase: str
    deadline: int
    record: str = ""


@dataclass
class Model:
    """What design says of one environment. A list in place of a value stands for a key of another type."""

    record: str | list | None = None
    holds: dict[str, float] | list = field(default_factory=dict)
    claim: ModelClaim | list | None = None
    fence: int = 0

    def live(self, now: int) -> ModelClaim | list | None:
        if isinstance(self.claim, ModelClaim) and self.claim.deadline < now:
            return None
        return self.claim

    def own(self, now: int, token: str, *phases: str) -> str | None:
        claim = self.live(now)
        if claim is None:
            return "gone"
        if isinstance(claim, list):
            return "unknown"
        if claim.token != token:
            return "claimed"
        return None if claim.phase in phases else claim.phase

    def live_holders(self, now: int) -> set[str]:
        return {holder for holder, end in self.holds.items() if end >= now}

    def idle(self, now: int) -> str | None:
        if isinstance(self.holds, list):
            return "unknown"
        if self.live_holders(now):
            return "held"
        if not isinstance(self.record, str) or not re.fullmatch(r"\d{1,15}", self.record):
            return "unknown"
        age = now - int(self.record)
        return "unknown" if age < -5 else "active" if age <= IDLE_AFTER else None


# Most of the time one actor goes on, so that claims get as far as a commit.
TOKENS = st.sampled_from(["one", "one", "one", "two"])
HOLDERS = st.sampled_from(["a", "b", "c"])
SECONDS = st.sampled_from([1, 100, 5000])


class Environment(RuleBasedStateMachine):
    """One environment, dev, and all who write to it."""

    activity: ActivityStore
    redis: Redis

    @initialize(phase=st.sampled_from(["", "creating", "retiring", "committed"]))
    def begin(self, phase):
        self.redis.flushall()
        self.model = Model()
        self.is_touched(4000)
        if phase == "creating":
            self.claim_creating("one", 100)
        elif phase:
            self.claim_retiring("one", 100)
        if phase == "committed":
            self.commit("one")

    @property
    def now(self):
        return self.redis.time()[0]

    def expect(self, answer, refusal):
        assert answer.refusal == refusal
        return int(answer.snapshot.now)

    # What jobs do.

    @rule()
    def touch(self):
        (answer,) = self.activity.touch(["dev"], 7200)
        self.model.record = str(self.expect(answer, None))

    @rule(holder=HOLDERS, hold_for=SECONDS)
    def hold(self, holder, hold_for):
        if isinstance(self.model.holds, dict):
            (answer,) = self.activity.hold(["dev"], holder, hold_for, 7200)
            now = self.expect(answer, None)
            self.model.record = str(now)
            self.model.holds = {name: self.model.holds[name] for name in self.model.live_holders(now)}
            self.model.holds[holder] = now + hold_for

    @rule(holder=HOLDERS)
    def release(self, holder):
        if isinstance(self.model.holds, dict):
            (answer,) = self.activity.release(["dev"], holder, 7200)
            now = self.expect(answer, None)
            self.model.record = str(now)
            staying = self.model.live_holders(now) - {holder}
            self.model.holds = {name: self.model.holds[name] for name in staying}

    @rule(token=TOKENS)
    def cancel(self, token):
        (answer,) = self.activity.cancel(["dev"], token)
        self.expect(answer, refusal := self.model.own(answer.snapshot.now, token, "retiring"))
        self.model.claim = self.model.claim if refusal else None

    # What creators and reapers do.

    @rule()
    def start_clock(self):
        (answer,) = self.activity.start_clock(["dev"], 7200)
        now = self.expect(answer, "recorded" if self.model.record is not None else None)
        if self.model.record is None:
            self.model.record = str(now)

    @rule(token=TOKENS, claim_for=SECONDS)
    def claim_creating(self, token, claim_for):
        (answer,) = self.activity.claim_creating(["dev"], token, claim_for)
        now = answer.snapshot.now
        live = self.model.live(now)
        self.expect(answer, refusal := self.model.own(now, token, "creating") if live is not None else None)
        if not refusal:
            self.take(live, token, "creating", int(now) + claim_for, "")

    @rule(token=TOKENS, claim_for=SECONDS)
    def claim_retiring(self, token, claim_for):
        (answer,) = self.activity.claim_retiring({"dev": ["hsm-1"]}, token, IDLE_AFTER, claim_for)
        now = answer.snapshot.now
        live = self.model.live(now)
        refusal = self.model.own(now, token, "retiring") if live is not None else self.model.idle(now)
        self.expect(answer, refusal)
        if not refusal:
            self.model.holds = self.model.holds if live is not None else {}
            self.take(live, token, "retiring", int(now) + claim_for, self.model.record)

    def take(self, live, token, phase, deadline, record):
        if live is None:
            self.model.fence += 1
            self.model.claim = ModelClaim(token, phase, deadline, record)
        self.model.claim.deadline = deadline

    @rule(token=TOKENS, claim_for=SECONDS)
    def renew(self, token, claim_for):
        (answer,) = self.activity.renew(["dev"], token, claim_for)
        now = self.expect(answer, refusal := self.model.own(answer.snapshot.now, token, "creating", "retiring"))
        if not refusal:
            self.model.claim.deadline = now + claim_for

    @rule(token=TOKENS)
    def commit(self, token):
        (answer,) = self.activity.commit(["dev"], token, 100)
        refusal = self.model.own(answer.snapshot.now, token, "retiring", "committed")
        claim = self.model.claim
        if not refusal and claim.phase == "retiring":
            same = self.model.record == claim.record and self.model.holds == {}
            refusal = None if same else "changed"
            if same:
                claim.phase, claim.deadline = "committed", claim.deadline + 100
        self.expect(answer, refusal)

    @rule(token=TOKENS)
    def finish(self, token):
        (answer,) = self.activity.finish(["dev"], token)
        refusal = self.model.own(answer.snapshot.now, token, "creating", "retiring", "committed")
        self.expect(answer, refusal)
        self.model.claim = self.model.claim if refusal else None

    # What happens to them.

    @rule(seconds=st.sampled_from([1, 60, 4000]))
    def time_passes(self, seconds):
        model = self.model
        if isinstance(model.record, str) and model.record.isdecimal():
            model.record = str(int(model.record) - seconds)
            self.redis.set(RECORD, model.record)
        if isinstance(model.holds, dict) and model.holds:
            model.holds = {holder: end - seconds for holder, end in model.holds.items()}
            self.redis.zadd(HOLDS, model.holds)
        if isinstance(model.claim, ModelClaim):
            model.claim.deadline -= seconds
            model.claim.record = str(int(model.claim.record) - seconds) if model.claim.record else ""
            self.redis.hset(CLAIM, mapping={"deadline": model.claim.deadline, "record": model.claim.record})

    @rule(
        who=st.sampled_from(["shell_touches", "shell_holds", "something_is_lost", "something_is_overwritten"]),
        data=st.data(),
    )
    def others(self, who, data):
        getattr(self, who)(data.draw)

    def shell_touches(self, draw):
        self.is_touched(draw(st.sampled_from([-3600, 0, IDLE_AFTER - 1, 4000])))

    def is_touched(self, ago):
        self.model.record = str(self.now - ago)
        self.redis.set(RECORD, self.model.record)

    def shell_holds(self, draw):
        if isinstance(self.model.holds, dict):
            holder = draw(HOLDERS)
            self.model.holds[holder] = self.now + draw(st.sampled_from([-100, 100]))
            self.redis.zadd(HOLDS, {holder: self.model.holds[holder]})

    def something_is_lost(self, draw):
        what = draw(st.sampled_from(["record", "holds", "claim", "everything"]))
        if what == "everything":
            self.redis.flushall()
            self.model = Model()
        else:
            self.loses(what)

    def loses(self, what):
        self.redis.delete({"record": RECORD, "holds": HOLDS, "claim": CLAIM}[what])
        setattr(self.model, what, {} if what == "holds" else None)

    def something_is_overwritten(self, draw):
        what = draw(st.sampled_from(["record", "holds", "claim"]))
        value = draw(st.sampled_from(["", "x", "1e9", "-1", "1" * 16]))
        self.loses(what)
        if what == "record":
            self.redis.set(RECORD, value) if value else self.redis.rpush(RECORD, "x")
            self.model.record = value or [0]
        elif what == "holds":
            self.redis.set(HOLDS, value)
            self.model.holds = [0]
        else:
            self.redis.hset(CLAIM, "phase", "retiring") if value else self.redis.set(CLAIM, value)
            self.model.claim = [0]

    # What holds always.

    @invariant()
    def check_tells_what_a_claim_would_meet(self):
        (answer,) = self.activity.check(["dev"])
        snapshot = answer.snapshot
        live, status = self.model.live(snapshot.now), judge(snapshot, IDLE_AFTER).status
        if live is None:
            assert status == (self.model.idle(snapshot.now) or "idle")
        else:
            assert status == ("unknown" if isinstance(live, list) else live.phase)
            assert snapshot.claim.token == ("" if isinstance(live, list) else live.token)
        if isinstance(self.model.holds, dict):
            assert {holder.holder for holder in snapshot.holders} == self.model.live_holders(snapshot.now)
        assert int(self.redis.get(FENCE) or 0) == self.model.fence


def test_scripts_answer_as_the_model_does(activity, store):
    run_state_machine_as_test(
        type("Environment", (Environment,), {"activity": activity, "redis": store}),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
