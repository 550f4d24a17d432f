# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m sandbox.demo` runs the real playbooks in a sandbox and tells what happened."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .sandbox import CHECKOUT, ENVIRONMENT, Sandbox, forget_real_account

# An HSM takes ten minutes of virtual time, and a demonstration should take less than one of a person's.
RATE = 60.0

PIPELINES = ("CI_PIPELINE_ID", "GITHUB_RUN_ID", "BUILD_TAG")
LATER = "Nobody has used it for an hour (the demonstration puts the record back). The reaper deletes the HSM."
LATER_SECONDS = 3600

STEPS = (
    ("A pipeline needs the HSM. There is none, so one is created.", "ensure_hsm"),
    ("Its job is at work, and says so.", "touch_hsm"),
    ("Is the environment in use?", "check_hsm"),
    ("A second pipeline needs the HSM. It is there already: nothing changes.", "ensure_hsm"),
    ("The reaper comes by. The environment is in use, so its HSM stays.", "reap_hsm"),
    (LATER, "reap_hsm"),
)

_PROGRESS = re.compile(r"^\s+\[[^]]+\] (?P<text>.*)$")
# A message is a text, or a list of one text.
_MESSAGE = re.compile(rf'^\s+("?msg"?: )?"(?P<text>{ENVIRONMENT}: .*?)"$')
_RECAP = re.compile(rf"^{ENVIRONMENT}\s+: ok=\d+\s+changed=(?P<changed>\d+)")


@dataclass
class Told:
    """What one run of a playbook said."""

    message: str = ""
    changed: str = "?"
    status: int = 0
    seconds: float = 0.0
    aws_calls: int = 0


def main() -> int:
    """Run the demonstration; 0 when every step succeeded."""
    console = Console(highlight=False, soft_wrap=True)
    forget_real_account()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="hsmops-demo-") as folder, Sandbox(Path(folder), rate=RATE) as sandbox:
            return _show(console, sandbox)
    except KeyboardInterrupt:
        console.print("\n[yellow]Interrupted. The local AWS and the Redis are stopped.[/]")
        return 130


def _show(console: Console, sandbox: Sandbox) -> int:
    console.print("\n[bold]An HSM exactly while somebody needs it[/]")
    console.print(
        f"[dim]A local AWS ({sandbox.aws.url}, time runs {sandbox.rate:g} times as fast) and a Redis ({sandbox.redis_url}), "
        f"both for this demonstration only. The environment {ENVIRONMENT!r} is cluster {sandbox.cluster_id}: active, "
        "without an HSM, so it costs nothing.[/]"
    )
    tellings = []
    for number, (story, playbook) in enumerate(STEPS, start=1):
        console.print(f"\n[bold cyan]{number}[/] [bold]{story}[/]")
        if story == LATER:
            sandbox.put_record_back(LATER_SECONDS)
        told = _run(console, sandbox, playbook)
        tellings.append((playbook, told))
        if told.status:
            return told.status
    console.print()
    console.print(_table(tellings))
    console.print("\n[dim]Stopped and cleaned up. Next: make sandbox, to try it by hand.[/]")
    return 0


def _run(console: Console, sandbox: Sandbox, playbook: str) -> Told:
    command = ["ansible-playbook", f"playbooks/{playbook}.yml", "-e", f"env={ENVIRONMENT}"]
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
        console.print(f"    [bold]{told.message}[/]")
    return told


def _read(line: str, told: Told, console: Console, show: t.Callable[[str], None]) -> None:
    if match := _PROGRESS.match(line):
        # A terminal shows the newest line in place; a log keeps them all.
        if console.is_terminal:
            show(f"  {match['text']}")
        else:
            console.print(f"    {match['text']}", style="dim")
    elif match := _MESSAGE.match(line):
        told.message = match["text"]
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
