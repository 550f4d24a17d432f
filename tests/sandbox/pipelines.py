# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m sandbox.pipelines` plays two pipelines of GitLab in a sandbox, with the reaper coming by.

The jobs are those of pipelines/gitlab/cloudhsm.yml, run by a shell as a runner does it, and their playbooks are the real
ones. The clock of the play is that of the local AWS. It stands still, and is put forward where time is to pass; the Redis,
whose clock cannot be put forward, has its records put back by as much.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import redis
from harness.gitlab import Job, find_job, read_template

from .redis_cli import provide_redis_cli
from .sandbox import CHECKOUT, ENVIRONMENT, Sandbox, forget_real_account
from .timeline import Event, Sample, draw

IDLE_AFTER, HOLD_FOR, PIPELINE_HOLD_FOR = 1800, 900, 3600
BOUNDS = "-e hsm_wait_delay=0.3 -e hsm_settle=0.2"

# Whatever time has passed, in whole seconds, in one step, so that nobody sees half of it.
_PUT_BACK = """
local by = tonumber(ARGV[1])
local last = redis.call('GET', KEYS[1])
if last then
  redis.call('SET', KEYS[1], last - by, 'KEEPTTL')
  redis.call('EXPIRE', KEYS[1], redis.call('TTL', KEYS[1]) - by)
end
for _, holder in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZINCRBY', KEYS[2], -by, holder) end
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('HINCRBY', KEYS[3], 'deadline', -by) end
"""

WORK = 'while [ ! -e "$CI_PROJECT_DIR/end" ]; do sleep 0.1; done; exit "$(cat "$CI_PROJECT_DIR/end")"'


@dataclass(frozen=True)
class Schedule:
    """When what happens, in minutes.

    Attributes:
        tick_every: How often the reaper comes by.
        sign_for: How long the job takes that outlasts the limit of idleness.
        test_at, test_for: The job beside it, which fails.
        load_at, load_for: The job of the other pipeline, whose machine is lost.
        beat: How often jobs beat, in seconds.
    """

    tick_every: float = 10
    sign_for: float = 45
    test_at: float = 6
    test_for: float = 8
    load_at: float = 4
    load_for: float = 20
    beat: int = 240


LEAN = Schedule(tick_every=40, sign_for=50, beat=480)


class Play:
    """Two pipelines, the reaper, and what is seen of them.

    Args:
        sandbox: Where it is played.
        schedule: When what happens.
        tell: Prints a line.
    """

    def __init__(self, sandbox: Sandbox, schedule: Schedule, tell: t.Callable[[str], None] = print) -> None:
        self._sandbox, self._schedule, self._tell = sandbox, schedule, tell
        self._store = redis.Redis.from_url(sandbox.redis_url, decode_responses=True)
        self._aws = sandbox.aws
        self._began = self._synced = self._aws.now()
        self._real = time.monotonic()
        self._next_tick = schedule.tick_every
        # Who renews its hold, and for how many seconds.
        self._beating: dict[str, int] = {}
        self._at_work: dict[str, Job] = {}
        self.events: list[Event] = []
        self.samples: list[Sample] = []
        self.seen: list[str] = []
        self._jobs = read_template()
        # As in an image that has the collection.
        self._jobs[".cloudhsm_ansible"]["before_script"] = []

    @property
    def minute(self) -> float:
        """Minutes since the beginning."""
        return (self._aws.now() - self._began) / 60

    def hsms(self) -> list[str]:
        """The states of the HSMs."""
        [cluster] = self._aws.client("cloudhsmv2").describe_clusters()["Clusters"]
        return [hsm["State"] for hsm in cluster["Hsms"]]

    def holders(self) -> dict[str, float]:
        """Who holds the environment, and for how many seconds yet."""
        now = self._store.time()[0]
        found = self._store.zrange(f"hsm:{ENVIRONMENT}:holds", 0, -1, withscores=True)
        return {name: score - now for name, score in found if score >= now}

    def calls(self, operation: str) -> list[float]:
        """The minutes at which AWS did what it was asked."""
        return [(call["time"] - self._began) / 60 for call in self._aws.calls(operation) if call["outcome"] == "ok"]

    def note(self, who: str, what: str) -> None:
        """Put an event into the timeline."""
        self._sync()
        event = Event(self.minute, who, what)
        self.events.append(event)
        self._tell(str(event))
        self._sample()

    def job(self, pipeline: int, number: int, name: str, **own: t.Any) -> Job:
        """Make a job of a pipeline."""
        folder = self._sandbox.folder / f"{pipeline}-{number}"
        variables = {
            **self._sandbox.variables, "PATH": os.environ["PATH"], "CI_PIPELINE_ID": str(pipeline), "CI_JOB_ID": str(number),
            "HSM_BEAT": "1", "ANSIBLE_NOCOLOR": "1",
            "HSM_ENV": ENVIRONMENT, "HSM_INVENTORY": str(self._sandbox.inventory), "HSM_ARGUMENTS": BOUNDS,
        }  # fmt: skip
        del variables["ANSIBLE_INVENTORY"]
        return Job(find_job(self._jobs, name, **own), folder, variables)

    def ask_status(self, *pipelines: int) -> list[int]:
        """Run cloudhsm_status in pipelines side by side; the exit statuses."""
        jobs = [self.job(pipeline, pipeline * 10, "cloudhsm_status") for pipeline in pipelines]
        for job in jobs:
            job.start()
        steps = [job.finish() for job in jobs]
        for pipeline, step in zip(pipelines, steps, strict=True):
            self.note(f"pipeline {pipeline}", f"cloudhsm_status ends with {step.status}: {_said(step.output)}")
        return [step.status for step in steps]

    def ensure(self, *pipelines: int) -> list[int]:
        """Run cloudhsm_ensure in pipelines side by side, the reaper coming by meanwhile; the exit statuses."""
        jobs = [self.job(pipeline, pipeline * 10 + 1, "cloudhsm_ensure") for pipeline in pipelines]
        for job in jobs:
            job.start()
        wait_until(lambda: self.calls("CreateHsm"))
        self.note("AWS", f"creates an HSM, with cloudhsm_ensure of {len(jobs)} pipelines running")
        self.tick()
        self._beating = {f"gitlab-{pipeline}": PIPELINE_HOLD_FOR for pipeline in pipelines}
        while "CREATE_IN_PROGRESS" in self.hsms():
            self._pass(self._schedule.beat)
        self._beating = {}
        steps = [job.finish() for job in jobs]
        for pipeline, step in zip(pipelines, steps, strict=True):
            self.note(f"pipeline {pipeline}", f"cloudhsm_ensure ends with {step.status}: {_said(step.output)}")
        return [step.status for step in steps]

    def begin(self, pipeline: int, number: int, name: str) -> Job:
        """Start a job that needs the HSM."""
        job = self.job(pipeline, number, ".cloudhsm_keepalive", script=[WORK])
        job.start()
        holder = f"gitlab-{pipeline}-{number}"
        wait_until(lambda: holder in self.holders())
        self._beating[holder], self._at_work[holder] = HOLD_FOR, job
        self.note(f"job {name}", f"holds as {holder}")
        return job

    def end(self, pipeline: int, number: int, name: str, status: int) -> int:
        """Have a job come to its end; its exit status."""
        holder = f"gitlab-{pipeline}-{number}"
        job = self._at_work.pop(holder)
        del self._beating[holder]
        (job.folder / "end").write_text(f"{status}\n", encoding="utf-8")
        step = job.finish()
        self.note(f"job {name}", f"ends with {step.status}, and lets go: {_said(step.output)}")
        return step.status

    def lose(self, pipeline: int, number: int, name: str) -> None:
        """Have the machine of a job be lost: nothing of it runs on, and no after_script."""
        holder = f"gitlab-{pipeline}-{number}"
        del self._beating[holder]
        self._at_work.pop(holder).kill()
        self.note(f"job {name}", "its machine is lost, and nothing lets go; its pipeline is cancelled")

    def release(self, pipeline: int) -> int:
        """Run cloudhsm_release in a pipeline; its exit status."""
        step = self.job(pipeline, pipeline * 10 + 9, "cloudhsm_release").run()
        self.note(f"pipeline {pipeline}", f"cloudhsm_release ends with {step.status}: {_said(step.output)}")
        return step.status

    def tick(self) -> None:
        """Have the reaper come by."""
        self._sync()
        before = len(self.calls("DeleteHsm"))
        command = ["ansible-playbook", "playbooks/reap_hsm.yml", "-e", f"env={ENVIRONMENT}", *BOUNDS.split()]
        environment = {**os.environ, **self._sandbox.variables, "ANSIBLE_NOCOLOR": "1"}
        with subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            # It waits for AWS only where it deletes.
            while process.poll() is None:
                if len(self.calls("DeleteHsm")) > before and not self._backed_up():
                    self._aws.advance(20)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            output = t.cast("t.TextIO", process.stdout).read()
        if process.returncode:
            raise RuntimeError(output)
        line = _said(output)
        self.seen.append(line)
        self.note("reaper", line)

    def _backed_up(self) -> bool:
        """Whether the deletion has come to its end."""
        backups = self._aws.client("cloudhsmv2").describe_backups()["Backups"]
        return not self.hsms() and all(backup["BackupState"] == "READY" for backup in backups)

    def until(self, minute: float) -> None:
        """Let time pass, with the reaper coming by when it is time."""
        while self.minute < minute:
            while self.minute >= self._next_tick:
                self._next_tick += self._schedule.tick_every
            goal = min(minute, self._next_tick)
            self._pass(min(self._schedule.beat, (goal - self.minute) * 60 + 0.001))
            if self.minute >= self._next_tick:
                self.tick()

    def _pass(self, seconds: float) -> None:
        self._aws.advance(seconds)
        self._sync()
        # A beat comes every second of a real clock: as long as its job lives, a hold is renewed after each such step.
        wait_until(lambda: all(self.holders().get(holder, 0) > life - 3 for holder, life in self._beating.items()))
        self._sample()

    def _sync(self) -> None:
        """Have as much time pass in the Redis as has passed in AWS."""
        now, real = self._aws.now(), time.monotonic()
        behind = int(now - self._synced - (real - self._real))
        if behind > 0:
            keys = [f"hsm:{ENVIRONMENT}:{name}" for name in ("last_access", "holds", "claim")]
            self._store.eval(_PUT_BACK, len(keys), *keys, str(behind))
            self._synced += behind + (real - self._real)
            self._real = real

    def _sample(self) -> None:
        self.samples.append(Sample(self.minute, frozenset(self.holders()), tuple(self.hsms())))


def play(sandbox: Sandbox, schedule: Schedule, tell: t.Callable[[str], None] = print) -> list[str]:
    """Play it, and return what was not as it has to be."""
    this = Play(sandbox, schedule, tell)
    wrong = Wrong()
    wrong.unless(this.ask_status(101, 202) == [1, 1], "there is no HSM, and cloudhsm_status has to end with 1")
    wrong.unless(this.ensure(101, 202) == [0, 0], "cloudhsm_ensure failed")
    wrong.unless(len(this.calls("CreateHsm")) == 1, "two pipelines at once have to have one HSM made")
    ready = this.minute

    this.begin(101, 1012, "sign")
    this.until(ready + schedule.load_at)
    this.begin(202, 2022, "load")
    this.until(ready + schedule.test_at)
    this.begin(101, 1013, "test")
    this.until(ready + schedule.test_at + schedule.test_for)
    wrong.unless(this.end(101, 1013, "test", 1) == 1, "a job that fails has to end as it did")
    wrong.unless("gitlab-101-1013" not in this.holders(), "a job that fails has to let go")
    wrong.unless({"gitlab-101-1012", "gitlab-202-2022"} <= set(this.holders()), "it let go what others hold")
    this.until(ready + schedule.load_at + schedule.load_for)
    this.lose(202, 2022, "load")
    lost = this.minute
    this.until(ready + schedule.sign_for)
    this.end(101, 1012, "sign", 0)
    this.release(101)
    last_use = this.minute
    held = {name: this.minute + left / 60 for name, left in this.holders().items()}
    wrong.unless(set(held) <= {"gitlab-202", "gitlab-202-2022"}, f"who has let go still holds: {sorted(held)}")
    late = max((sample.minute for sample in this.samples if "gitlab-202-2022" in sample.holders), default=lost)
    wrong.unless(late <= lost + HOLD_FOR / 60, "a job whose machine was lost held longer than a job's hold lives")

    due = max(last_use + IDLE_AFTER / 60, *held.values(), 0)
    tell(
        f"{'':>9}  Nobody holds it after minute {max([last_use, *held.values()]):.0f}; it is idle after minute {due:.0f}."
    )
    this.until(due)
    while not this.calls("DeleteHsm") and this.minute < due + schedule.tick_every + 1:
        this.until(this.minute + 1)
    wrong.unless(this.ask_status(303) == [1], "there is no HSM again, and cloudhsm_status has to end with 1")
    _judge(this, wrong, ready, due)
    for line in draw(this.samples):
        tell(line)
    return wrong.lines


def _judge(this: Play, wrong: Wrong, ready: float, due: float) -> None:
    deletions = this.calls("DeleteHsm")
    wrong.unless(len(deletions) == 1, f"there has to be one deletion, and there were {len(deletions)}")
    gone = min(deletions, default=this.minute)
    wrong.unless(gone >= due, f"the HSM was deleted at minute {gone:.1f}, and it was idle only after {due:.1f}")
    for sample in this.samples:
        there = "ACTIVE" in sample.hsms
        if sample.minute < gone:
            wrong.unless(there or sample.minute <= ready, f"there was no HSM at minute {sample.minute:.1f}")
        else:
            wrong.unless(not sample.holders, f"it was deleted while {sorted(sample.holders)} held it")
    kept = [line for line in this.seen if ": kept: " in line]
    wrong.unless(kept == this.seen[: len(kept)] and len(this.seen) == len(kept) + 1, f"the reaper saw {this.seen}")
    wrong.unless(bool(this.seen) and ": deleted: " in this.seen[-1], "the reaper has to delete it in the end")


@dataclass
class Wrong:
    """What is not as it has to be."""

    lines: list[str] = field(default_factory=list)

    def unless(self, right: bool, line: str) -> None:
        """Remember what is wrong."""
        if not right and line not in self.lines:
            self.lines.append(line)


def wait_until(condition: t.Callable[[], t.Any], seconds: float = 60.0) -> None:
    """Look until a condition holds that a process outside brings about, whose time is the real one."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.05)


def _said(output: str) -> str:
    """The last line that tells of the environment, from a playbook or from hsm.sh; the play has minutes of its own."""
    output = re.sub(r" until \S+ \S+ UTC", "", output)
    lines = [line.strip().strip('"').removeprefix('msg": "').removeprefix("hsm: ") for line in output.splitlines()]
    return next((line for line in reversed(lines) if line.startswith(f"{ENVIRONMENT}: ")), output[-2000:])


def main() -> int:
    """Play it; 0 when all was right."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.pipelines", description="Play two pipelines of GitLab.")
    parser.add_argument("--lean", action="store_true", help="shorter jobs, and a reaper that comes by less often")
    options = parser.parse_args()
    forget_real_account()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="hsmops-pipelines-") as folder,
            provide_redis_cli(Path(folder)),
            Sandbox(Path(folder) / "sandbox", rate=0) as sandbox,
        ):
            print(
                "Two pipelines that share an HSM, and a reaper that comes by. Minutes of the play, and what happens:\n"
            )
            wrong = play(sandbox, LEAN if options.lean else Schedule())
    except KeyboardInterrupt:
        print("\nInterrupted. The local AWS and the Redis are stopped.")
        return 130
    print("\n".join(["", *(f"WRONG: {line}" for line in wrong)] if wrong else ["\nAll was as it has to be."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
