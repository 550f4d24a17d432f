# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Jobs and reapers as real processes, killed at random moments.

Each round has an environment of its own, two runs of ensure_hsm and two of reap_hsm that begin at random moments, and kills
some of them with SIGKILL, each with everything that it has started. Whoever was told that the HSM is usable keeps touching
the record, as a job does from a shell. Afterwards, one run of each has to bring the environment to what is wanted.

A seed decides who begins when, who is killed at which call to AWS, and how the environment is at first. What the machine
makes of it differs from run to run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis
from rich.console import Console
from sandbox.sandbox import CHECKOUT, ENVIRONMENT, Sandbox, forget_real_account

# Real seconds. The clock of the local AWS runs as fast as real time, so that deadlines of signatures mean what they mean in
# AWS; or so much faster that the marks of those who were killed become void while others still wait for it.
CREATE, DELETE, BACK_UP = 4.0, 2.0, 1.0
RATES = (1.0, 60.0)
SETTLE = 1.0
LIMITS = {1.0: 25.0, 60.0: 60.0}
MENDING = 120.0
BEAT = 1.0
JOB = 5.0
# Nothing that was signed in time is valid any more so many seconds after the deadline of a mark.
SIGNATURE_LIFE = 900

RECORD, CLAIM = (f"hsm:{ENVIRONMENT}:{key}" for key in ("last_access", "claim"))
OURS = "hsmops:"
_BADGE = "HSMOPS_KILL_ROUND"
_USABLE = re.compile(rf"{ENVIRONMENT}: 1 HSM: (hsm-\w+) ACTIVE")
_SPARED = re.compile(r"was used after it was claimed|this token has no live claim")
_FAILURE = re.compile(r"\[ERROR\]: (.*)|fatal: .*?=> (.*)")


@dataclass(frozen=True)
class Role:
    """What the seed has in store for one process.

    Attributes:
        playbook: "ensure" or "reap".
        begin: Seconds after the beginning of the round.
        kill_at: It is killed when so many calls to AWS have come since it began; None: never.
        kill_after: Seconds from then on.
    """

    playbook: str
    begin: float
    kill_at: int | None
    kill_after: float


@dataclass(frozen=True)
class Script:
    """What the seed has in store for one round.

    Attributes:
        rate: Virtual seconds of the local AWS per real second.
        lag: Real seconds by which DescribeClusters lags; less than the settling time.
        with_hsm: There is an HSM at first.
        record: "old", "fresh" or "none".
        lapse: So many seconds after somebody was killed, the claim that there is then lapses, whoever has it: where AWS's time
            runs faster, nobody waits for minutes of Redis's. None: it lapses by itself.
        old_again: The record is made old once more before the environment is mended, so that its HSM goes first.
    """

    rate: float
    lag: float
    with_hsm: bool
    record: str
    roles: tuple[Role, ...]
    lapse: float | None
    old_again: bool


@dataclass
class Round:
    """What became of one round.

    Attributes:
        created: How many HSMs AWS made, deleted: how many it deleted, after those that the round began with.
        spared: Deletions that were claimed, and given up because somebody needed the HSM after all.
        in_use: HSMs that were deleted although a job was told that they are usable, and touched all the time.
        doubled: More than one HSM that was not leaving, at one time.
        late: A deletion that came when its mark was void already. The clock that runs faster allows it where the machine is
            held up, so that the round proves nothing.
        mended: In the end there was one HSM, no live claim and no mark.
        lapsed_claims: Claims that nobody took off, whose deadline has passed.
        marks_left: Marks of those who were killed.
        notes: What a person should know.
    """

    seed: int
    script: Script
    created: int = 0
    deleted: int = 0
    killed: int = 0
    jobs: int = 0
    beats: int = 0
    spared: int = 0
    in_use: int = 0
    doubled: int = 0
    late: int = 0
    mended: bool = False
    lapsed_claims: int = 0
    marks_left: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing happened that must never happen."""
        return self.mended and not (self.in_use or self.doubled)


def make_script(seed: int, close: bool = False) -> Script:
    """Draw a round.

    Args:
        seed: Of this round.
        close: Each ensure begins at about the moment of a reap, so that they meet more often.
    """
    draw = random.Random(seed)
    rate = RATES[0 if seed % 3 == 0 else 1]
    roles = []
    for playbook, risk in (("ensure", 0.3), ("ensure", 0.3), ("reap", 0.5), ("reap", 0.5)):
        kill_at = draw.randint(0, 8) if draw.random() < risk else None
        # Before its first call there is its start, which takes a few seconds.
        kill_after = draw.uniform(0, 4) if kill_at == 0 else draw.uniform(0, 1.2 * SETTLE)
        # A reaper that comes when a job is there already has nothing to do.
        begin = draw.uniform(0, 6 if playbook == "ensure" else 4)
        roles.append(Role(playbook, begin, kill_at, kill_after))
    if close:
        nearby = random.Random(f"{seed} close")
        roles = [
            replace(role, begin=max(0.0, reaper.begin + nearby.uniform(-1, 1.5)))
            for role, reaper in zip(roles[:2], roles[2:], strict=True)
        ] + roles[2:]
    return Script(
        rate=rate,
        lag=draw.choice([0.0, 0.0, 0.4 * SETTLE, 0.8 * SETTLE]),
        with_hsm=draw.random() < 0.75,
        record=draw.choice(["old", "old", "old", "old", "fresh", "none"]),
        roles=tuple(roles),
        lapse=draw.uniform(1, 8) if rate > 1 else None,
        old_again=draw.random() < 0.5,
    )


def run_round(seed: int, close: bool = False) -> Round:
    """Run one round in an environment of its own."""
    script = make_script(seed, close)
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="hsmops-kills-") as folder,
        Sandbox(Path(folder), rate=script.rate) as sandbox,
        redis.Redis.from_url(sandbox.redis_url, decode_responses=True) as store,
    ):
        finished = Round(seed, script)
        _Stage(sandbox, store, finished).play()
    finished.seconds = time.monotonic() - begun
    return finished


class _Actor:
    """One process, and the job that it turns into when it is told that the HSM is usable."""

    def __init__(self, role: Role, number: int, badge: str) -> None:
        self.role = role
        self.badge = f"{badge}-{number}"
        self.process: subprocess.Popen[bytes] | None = None
        self.calls_before = 0
        self.kill_due: float | None = None
        self.killed = False
        self.hsm_id = ""
        self.job_ends = 0.0
        self.next_beat = 0.0

    def start(self, sandbox: Sandbox, calls: int) -> None:
        self.calls_before = calls
        self.output = sandbox.folder / f"{self.badge}.log"
        self.process = _start(sandbox, self.role.playbook, self.badge, self.output)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill it with all that it has started: an Ansible worker has a session of its own, so that no group has them all."""
        if self.process:
            self.killed = True
            _kill_all(self.badge)
            self.process.wait()

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")


class _Stage:
    """One round, while it is played."""

    def __init__(self, sandbox: Sandbox, store: redis.Redis, found: Round) -> None:
        self._sandbox = sandbox
        self._store = store
        self._found = found
        self._script = found.script
        self._badge = f"{os.getpid()}-{found.seed}-{time.monotonic_ns()}"
        self._actors = [_Actor(role, number, self._badge) for number, role in enumerate(self._script.roles)]
        self._hsms = sandbox.aws.client("cloudhsmv2")
        self._lapses: list[float] = []

    def play(self) -> None:
        """Play it."""
        self._furnish()
        try:
            self._act()
        finally:
            _kill_all(self._badge)
        self._judge()
        self._mend()

    def _furnish(self) -> None:
        script, aws = self._script, self._sandbox.aws
        aws.set_knobs(
            hsm_create_seconds=CREATE * script.rate,
            hsm_delete_seconds=DELETE * script.rate,
            backup_seconds=BACK_UP * script.rate,
        )
        if script.with_hsm:
            self._hsms.create_hsm(ClusterId=self._sandbox.cluster_id, AvailabilityZone="eu-west-1a")
            aws.advance(600)
        # What happened before is not to be shown as the present.
        aws.set_knobs(describe_lag_seconds=script.lag * script.rate)
        aws.advance(60)
        aws.clear_calls()
        if script.record != "none":
            self._store.set(RECORD, self._now() - (3600 if script.record == "old" else 0), ex=7200)

    def _act(self) -> None:
        begun = time.monotonic()
        while not self._over(passed := time.monotonic() - begun):
            calls = len(self._sandbox.aws.calls())
            for actor in self._actors:
                if actor.process is None and passed >= actor.role.begin:
                    actor.start(self._sandbox, calls)
                self._kill_if_due(actor, calls)
                self._work(actor)
            if self._lapses and time.monotonic() >= self._lapses[0]:
                self._lapses.pop(0)
                self._lapse()
            time.sleep(0.05)
        for actor in self._actors:
            if actor.running:
                # As a CI system does with a job that takes too long.
                self._found.notes.append(f"{actor.role.playbook} was still waiting, and was killed at the end")
                actor.kill()

    def _over(self, passed: float) -> bool:
        if passed > LIMITS[self._script.rate]:
            return True
        begun = all(actor.process for actor in self._actors)
        return begun and not any(actor.running or actor.hsm_id and actor.job_ends for actor in self._actors)

    def _kill_if_due(self, actor: _Actor, calls: int) -> None:
        role = actor.role
        if not actor.running or role.kill_at is None:
            return
        if actor.kill_due is None and calls - actor.calls_before >= role.kill_at:
            actor.kill_due = time.monotonic() + role.kill_after
        if actor.kill_due is not None and time.monotonic() >= actor.kill_due:
            actor.kill()
            self._found.killed += 1
            if self._script.lapse:
                self._lapses.append(time.monotonic() + self._script.lapse)

    def _work(self, actor: _Actor) -> None:
        """Be the job that an ensure was run for."""
        if actor.process is None or actor.running or actor.killed:
            return
        now = time.monotonic()
        if not actor.hsm_id:
            self._take_up(actor, now)
        elif actor.job_ends and now >= actor.job_ends:
            actor.job_ends = 0.0
            self._check_use(actor)
        elif actor.job_ends and now >= actor.next_beat:
            self._store.set(RECORD, self._now(), ex=7200)
            self._found.beats += 1
            actor.next_beat = now + BEAT

    def _take_up(self, actor: _Actor, now: float) -> None:
        process = t.cast("subprocess.Popen[bytes]", actor.process)
        told = _USABLE.search(actor.text())
        if process.returncode == 0 and actor.role.playbook == "ensure" and told:
            actor.hsm_id, actor.job_ends = told[1], now + JOB
            self._found.jobs += 1
            return
        actor.hsm_id = "none"
        self._found.spared += bool(_SPARED.search(actor.text()))
        if process.returncode:
            self._found.notes.append(f"{actor.role.playbook} failed: {_failure(actor.text())}")
        elif actor.role.playbook == "ensure":
            self._found.notes.append(f"ensure told of no HSM: {actor.text()[-400:]}")

    def _check_use(self, actor: _Actor) -> None:
        """An id never comes back: if the HSM of this job was ever deleted, it was while the job relied on it."""
        deleted = [call for call in self._effective("DeleteHsm") if call["parameters"].get("HsmId") == actor.hsm_id]
        if deleted:
            self._found.in_use += 1
            self._found.notes.append(f"{actor.hsm_id} was deleted while a job used it")

    def _judge(self) -> None:
        for actor in self._actors:
            if actor.hsm_id and actor.job_ends:
                self._check_use(actor)
        self._count()

    def _count(self) -> None:
        found = self._found
        created, deleted = self._effective("CreateHsm"), self._effective("DeleteHsm")
        found.created, found.deleted = len(created), len(deleted)
        present = 1 if self._script.with_hsm else 0
        deadlines: dict[str, float] = {}
        found.doubled = found.late = 0
        for call in self._sandbox.aws.calls():
            name, parameters = call["operation"], call["parameters"]
            if name == "TagResource":
                deadlines |= {tag["Key"].rpartition("/")[2]: float(tag["Value"]) for tag in parameters["TagList"]}
            if call["outcome"] in ("ok", "dropped") and name in ("CreateHsm", "DeleteHsm"):
                present += 1 if name == "CreateHsm" else -1
                found.doubled += name == "CreateHsm" and present > 1
                mark = deadlines.get(parameters.get("HsmId", ""), float("inf"))
                found.late += name == "DeleteHsm" and call["time"] > mark + SIGNATURE_LIFE

    def _effective(self, operation: str) -> list[dict[str, t.Any]]:
        return [call for call in self._sandbox.aws.calls(operation) if call["outcome"] in ("ok", "dropped")]

    def _mend(self) -> None:
        """Let every mark become void and every claim lapse; then one tick of the reaper, and one ensure."""
        aws, found = self._sandbox.aws, self._found
        marks = self._tags()
        found.marks_left = len(marks)
        if marks:
            last = max(float(deadline) for deadline in marks.values())
            aws.advance(max(0.0, last + SIGNATURE_LIFE + 1 - aws.now()))
        aws.set_knobs(describe_lag_seconds=0)
        self._lapse()
        if self._script.old_again:
            self._store.set(RECORD, self._now() - 3600, ex=7200)
        for playbook in ("reap", "ensure"):
            self._run(playbook)
        found.lapsed_claims = self._store.exists(CLAIM)
        live = found.lapsed_claims and float(self._store.hget(CLAIM, "deadline") or 0) >= self._now()
        [cluster] = self._hsms.describe_clusters(Filters={"clusterIds": [self._sandbox.cluster_id]})["Clusters"]
        states = [hsm["State"] for hsm in cluster["Hsms"] if hsm["State"] != "DELETE_IN_PROGRESS"]
        left = self._tags()
        self._count()
        found.mended = states == ["ACTIVE"] and not left and not live
        if not found.mended:
            found.notes.append(f"not mended: HSMs {states}, tags {left}, claim {self._store.hgetall(CLAIM)}")

    def _lapse(self) -> None:
        """Have a claim be over, as it is after minutes of real time. Nothing but its deadline says when that is."""
        if self._store.exists(CLAIM):
            self._store.hset(CLAIM, "deadline", str(self._now() - 1))

    def _run(self, playbook: str) -> None:
        output = self._sandbox.folder / f"mend-{playbook}.log"
        process = _start(self._sandbox, playbook, f"{self._badge}-mend", output)
        try:
            status: int | None = process.wait(MENDING)
        except subprocess.TimeoutExpired:
            status = None
            _kill_all(f"{self._badge}-mend")
            process.wait()
        if status != 0:
            text = output.read_text(encoding="utf-8", errors="replace")
            self._found.notes.append(f"the {playbook} that mends ended with {status}: {_failure(text)}")

    def _tags(self) -> dict[str, str]:
        tags = self._hsms.list_tags(ResourceId=self._sandbox.cluster_id)["TagList"]
        return {tag["Key"]: tag["Value"] for tag in tags if tag["Key"].startswith(OURS)}

    def _now(self) -> int:
        return int(t.cast("tuple[int, int]", self._store.time())[0])


def _start(sandbox: Sandbox, playbook: str, badge: str, output: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **sandbox.variables, _BADGE: badge, "ANSIBLE_NOCOLOR": "1"}
    bounds = ["hsm_wait_delay=1", f"hsm_settle={SETTLE:g}", "hsm_wait_timeout=600"]
    with output.open("wb") as told:
        return subprocess.Popen(
            [
                Path(sys.executable).parent / "ansible-playbook",
                CHECKOUT / "playbooks" / f"{playbook}_hsm.yml",
                *("-e", f"env={ENVIRONMENT}", *(word for bound in bounds for word in ("-e", bound))),
            ],
            cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True,
        )  # fmt: skip


def _kill_all(badge: str) -> None:
    """Kill every process that bears a badge, or one that begins with it, until there is none."""
    wanted = re.compile(rf"(^|\0){_BADGE}={re.escape(badge)}(-|\0)".encode())
    while True:
        bearers = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _bears(pid, wanted)]
        if not bearers:
            return
        for pid in bearers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _bears(pid: int, wanted: re.Pattern[bytes]) -> bool:
    try:
        # What has ended already has no environment any more.
        return bool(wanted.search(Path(f"/proc/{pid}/environ").read_bytes() + b"\0"))
    except OSError:
        return False


def _failure(text: str) -> str:
    found = [first or second for first, second in _FAILURE.findall(text)]
    return (found[0] if found else text[-300:])[:400]


def summary(rounds: t.Sequence[Round], seconds: float) -> str:
    """Make a table in Markdown of what became of rounds."""
    proving = [found for found in rounds if not found.late]
    rows = (
        ("rounds", len(rounds)),
        ("of them at the speed of real time", sum(found.script.rate == 1 for found in rounds)),
        ("of them with an answer of DescribeClusters that lags", sum(found.script.lag > 0 for found in rounds)),
        ("processes killed while they worked", sum(found.killed for found in rounds)),
        ("jobs told that the HSM is usable", sum(found.jobs for found in rounds)),
        ("touches of these jobs", sum(found.beats for found in rounds)),
        ("deletions given up after the claim", sum(found.spared for found in rounds)),
        ("HSMs created", sum(found.created for found in rounds)),
        ("HSMs deleted", sum(found.deleted for found in rounds)),
        ("marks left by the dead", sum(found.marks_left for found in rounds)),
        ("rounds that prove nothing, because the machine was held up", len(rounds) - len(proving)),
        ("**HSMs deleted in use**", sum(found.in_use for found in proving)),
        ("**HSMs doubled**", sum(found.doubled for found in proving)),
        ("**rounds that did not mend**", sum(not found.mended for found in rounds)),
        ("lapsed claims left in Redis, which expire there", sum(found.lapsed_claims for found in rounds)),
        ("seconds", round(seconds)),
    )
    return "\n".join(["| what | count |", "|---|---|", *(f"| {what} | {count} |" for what, count in rows)])


def main() -> int:
    """Run rounds and print what became of them; 0 when nothing happened that must never happen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round (default: %(default)s)")
    parser.add_argument("--close", action="store_true", help="each ensure begins at about the moment of a reap")
    options = parser.parse_args()
    forget_real_account()
    console = Console(highlight=False, soft_wrap=True)
    begun = time.monotonic()
    rounds = []
    for seed in range(options.seed, options.seed + options.rounds):
        found = run_round(seed, options.close)
        rounds.append(found)
        counts = f"{found.killed} killed, {found.jobs} jobs, {found.created} created, {found.deleted} deleted"
        verdict = "good" if found.good else "NOT GOOD" if not found.late else "proves nothing"
        console.print(f"seed {seed}: {verdict}: {counts}, {found.seconds:.0f} s", markup=False)
        for note in found.notes:
            console.print(f"    {note}", markup=False, style="dim")
    console.print(f"\n{summary(rounds, time.monotonic() - begun)}", markup=False)
    return 0 if all(found.good or found.late for found in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
