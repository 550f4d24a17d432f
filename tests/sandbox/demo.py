# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m sandbox.demo [STORY]` runs the real playbooks in a sandbox and tells what happened."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .sandbox import CHECKOUT, ENVIRONMENT, Sandbox, forget_real_account

# An HSM takes ten minutes of virtual time, and a demonstration should take less than one of a person's.
RATE = 60.0

PIPELINES = ("CI_PIPELINE_ID", "GITHUB_RUN_ID", "BUILD_TAG")
OFFICE = {"from": "08:00", "to": "18:00", "time_zone": "Europe/Berlin", "warm_up_minutes": 30}


@dataclass(frozen=True)
class Step:
    """One run of a playbook.

    Attributes:
        story: What happens, and why.
        playbook: Its name.
        variables: Further ones of the run.
        idle_seconds: So long ago is the last use, by then.
    """

    story: str
    playbook: str
    variables: dict[str, t.Any] = field(default_factory=dict)
    idle_seconds: int | None = None


def _tick(moment: str, story: str, idle_seconds: int | None = None) -> Step:
    variables = {"hsm_schedule_at": moment, "hsm_working_hours": OFFICE}
    return Step(f"{moment}: {story}", "schedule_hsm", variables, idle_seconds)


STORIES: dict[str, tuple[str, tuple[Step, ...]]] = {
    "use": (
        "An HSM exactly while somebody needs it",
        (
            Step("A pipeline needs the HSM. There is none, so one is created.", "ensure_hsm"),
            Step("Its job is at work, and says so.", "touch_hsm"),
            Step("Is the environment in use?", "check_hsm"),
            Step("A second pipeline needs the HSM. It is there already: nothing changes.", "ensure_hsm"),
            Step("The reaper comes by. The environment is in use, so its HSM stays.", "reap_hsm"),
            Step(
                "Nobody has used it for an hour (the demonstration puts the record back). The reaper deletes the HSM.",
                "reap_hsm",
                idle_seconds=3600,
            ),
        ),
    ),
    "hours": (
        "An HSM in working hours, from 08:00 to 18:00 in Berlin, and none over the week end",
        (
            _tick("2026-11-27T07:20", "on Friday, before the office opens, there is none."),
            _tick("2026-11-27T07:30", "half an hour before it does, one is created."),
            _tick("2026-11-27T12:00", "nobody has used it for an hour; it stays.", 3600),
            _tick("2026-11-27T18:40", "the office has closed, and nobody has used it since: it goes.", 2400),
            _tick("2026-11-29T12:00", "on Sunday, there is none, and nothing to pay for."),
            _tick("2026-11-30T07:30", "on Monday, it comes back, to the same zone and address."),
        ),
    ),
}

_PROGRESS = re.compile(r"^\s+\[[^]]+\] (?P<text>.*)$")
# A message is a text, or a list of one text.
_MESSAGE = re.compile(rf'^\s+("?msg"?: )?"(?P<text>{ENVIRONMENT}: .*?)"$')
_RECAP = re.compile(rf"^{ENVIRONMENT}\s+: ok=\d+\s+changed=(?P<changed>\d+)")


@dataclass
class Told:
    """What one run of a playbook said."""

    messages: list[str] = field(default_factory=list)
    changed: str = "?"
    status: int = 0
    seconds: float = 0.0
    aws_calls: int = 0


def main() -> int:
    """Run a demonstration; 0 when every step succeeded."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description="Run the real playbooks in a sandbox.")
    parser.add_argument("story", nargs="?", choices=STORIES, default="use", help="default: %(default)s")
    title, steps = STORIES[parser.parse_args().story]
    console = Console(highlight=False, soft_wrap=True)
    forget_real_account()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="hsmops-demo-") as folder, Sandbox(Path(folder), rate=RATE) as sandbox:
            return _show(console, sandbox, title, steps)
    except KeyboardInterrupt:
        console.print("\n[yellow]Interrupted. The local AWS and the Redis are stopped.[/]")
        return 130


def _show(console: Console, sandbox: Sandbox, title: str, steps: t.Sequence[Step]) -> int:
    console.print(f"\n[bold]{title}[/]")
    console.print(
        f"[dim]A local AWS ({sandbox.aws.url}, time runs {sandbox.rate:g} times as fast) and a Redis ({sandbox.redis_url}), "
        f"both for this demonstration only. The environment {ENVIRONMENT!r} is cluster {sandbox.cluster_id}: active, "
        "without an HSM, so it costs nothing.[/]"
    )
    tellings = []
    for number, step in enumerate(steps, start=1):
        console.print(f"\n[bold cyan]{number}[/] [bold]{step.story}[/]")
        if step.idle_seconds is not None:
            sandbox.put_record_back(step.idle_seconds)
        told = _run(console, sandbox, step)
        tellings.append((step.playbook, told))
        if told.status:
            return told.status
    console.print()
    console.print(_table(tellings))
    console.print("\n[dim]Stopped and cleaned up. Next: make sandbox, to try it by hand.[/]")
    return 0


def _run(console: Console, sandbox: Sandbox, step: Step) -> Told:
    command = ["ansible-playbook", f"playbooks/{step.playbook}.yml", "-e", f"env={ENVIRONMENT}"]
    if step.variables:
        command += ["-e", json.dumps(step.variables)]
    console.print(f"  [green]$[/] {shlex.join(command)}")
    sandbox.aws.clear_calls()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **sandbox.variables, "PATH": path, "ANSIBLE_NOCOLOR": "1"}
    # Within a pipeline of somebody's, the demonstration is not that pipeline: nothing is held for it.
    for name in PIPELINES:
        environment.pop(name, None)
    begun = time.monotonic()
    told = Told()
    lines: list[str] = []
    with (
        subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        console.status("  starting") as status,
    ):
        for line in t.cast("t.TextIO", process.stdout):
            lines.append(line)
            _read(line, told, console, status.update)
    told.status = process.returncode
    told.seconds = time.monotonic() - begun
    told.aws_calls = len(sandbox.aws.calls())
    if told.status:
        console.print("".join(lines), style="red")
    else:
        for message in told.messages:
            console.print(f"    [bold]{message}[/]")
    return told


def _read(line: str, told: Told, console: Console, show: t.Callable[[str], None]) -> None:
    if match := _PROGRESS.match(line):
        # A terminal shows the newest line in place; a log keeps them all.
        if console.is_terminal:
            show(f"  {match['text']}")
        else:
            console.print(f"    {match['text']}", style="dim")
    elif match := _MESSAGE.match(line):
        told.messages.append(match["text"])
    elif match := _RECAP.match(line):
        told.changed = match["changed"]


def _table(tellings: list[tuple[str, Told]]) -> Table:
    table = Table(title="What happened", title_justify="left")
    for heading in ("playbook", "changed", "calls to AWS", "seconds"):
        table.add_column(heading, justify="left" if heading == "playbook" else "right")
    for playbook, told in tellings:
        table.add_row(playbook, told.changed, str(told.aws_calls), f"{told.seconds:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
