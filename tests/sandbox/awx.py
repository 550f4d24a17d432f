# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m sandbox.awx` configures what stands in for AWX, and runs what AWX would then run."""

from __future__ import annotations

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
from pathlib import Path

import yaml
from harness import awx_jobs
from harness.awx import Awx
from local_aws.client import ACCESS_KEY, SECRET_KEY
from rich.console import Console

from .sandbox import CHECKOUT, ENVIRONMENT, Sandbox, forget_real_account

# An HSM takes ten minutes of virtual time.
RATE = 60.0
LATER_SECONDS = 3600

_MESSAGE = re.compile(rf'"(?:msg": ")?(?P<text>{ENVIRONMENT}: [^"]*)"')
_RECAP = re.compile(r"^localhost\s+: ok=\d+\s+changed=(?P<changed>\d+)", re.MULTILINE)


class Failure(Exception):  # noqa: N818 - it is the end of the demonstration, not an error in it
    """A step did not succeed."""


class Show:
    """Tells what happens.

    Args:
        console: Where it is told.
        awx: The API.
        sandbox: The local AWS and the Redis.
        folder: Where the files go.
    """

    def __init__(self, console: Console, awx: Awx, sandbox: Sandbox, folder: Path) -> None:
        self._console, self._awx, self._sandbox, self._folder = console, awx, sandbox, folder

    def configure(self, story: str, variables: t.Mapping[str, t.Any], *arguments: str) -> None:
        """Run the playbook that configures AWX."""
        self._console.print(f"\n[bold]{story}[/]")
        command = ["ansible-playbook", "playbooks/configure_awx.yml", "-e", "@awx.yml", *arguments]
        self._console.print(f"  [green]$[/] {shlex.join(command)}")
        given = self._folder / "awx.yml"
        given.write_text(yaml.safe_dump(dict(variables)), encoding="utf-8")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "CONTROLLER_HOST": self._awx.url,
            "CONTROLLER_OAUTH_TOKEN": self._awx.token,
        }
        begun, before = time.monotonic(), self._awx.names()
        with self._console.status("  at work"):
            command[3] = f"@{given}"
            done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
        recap = _RECAP.search(done.stdout)
        if done.returncode or not recap:
            raise Failure(done.stdout + done.stderr)
        seconds = time.monotonic() - begun
        self._console.print(f"    [bold]changed={recap['changed']}[/] [dim]({seconds:.0f} s)[/]")
        for sign, names in (("+", self._awx.names() - before), ("-", before - self._awx.names())):
            kinds = sorted({name.partition("/")[0] for name in names})
            for kind in kinds:
                of = sorted(name.partition("/")[2] for name in names if name.startswith(f"{kind}/"))
                self._console.print(
                    f"    {sign} {kind.replace('_', ' ')}: {', '.join(filter(None, of)) or len(of)}", style="dim"
                )

    def launch(self, story: str, template: str, **answers: t.Any) -> None:
        """Launch a job template, and have ansible-runner run it."""
        self._console.print(f"\n[bold]{story}[/]")
        said = "".join(f", {name}={value}" for name, value in answers.items())
        self._console.print(f"  [green]launch[/] {template!r}: env={ENVIRONMENT}{said}")
        number = self._awx.get("job_templates", template)["id"]
        job = self._awx.launch(number, {"extra_vars": {"env": ENVIRONMENT, **answers}})["id"]
        begun = time.monotonic()
        with self._console.status("  ansible-runner is at work"):
            ended = awx_jobs.run(awx_jobs.lay_out(self._awx, job, self._folder / f"job{job}"))
        if ended.rc:
            raise Failure(ended.stdout)
        for message in _MESSAGE.finditer(ended.stdout):
            self._console.print(f"    [bold]{message['text']}[/]")
        self._console.print(f"    [dim]{ended.status}, exit code {ended.rc} ({time.monotonic() - begun:.0f} s)[/]")


def variables(sandbox: Sandbox) -> dict[str, t.Any]:
    """What a user would write in awx.yml."""
    inventory = yaml.safe_load(sandbox.inventory.read_text(encoding="utf-8"))["all"]
    shared = inventory["vars"]
    return {
        "awx_organization": "Platform",
        "awx_image": "registry.example.com/hsm:1",
        "awx_environments": inventory["hosts"],
        "awx_inventory_variables": {
            "hsm_region": shared["hsm_region"],
            "hsm_wait_delay": shared["hsm_wait_delay"],
            "hsm_aws": {"endpoint_url": shared["hsm_aws"]["endpoint_url"]},
        },
        "awx_redis": {"url": sandbox.redis_url},
        "awx_aws": {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
    }


def main() -> int:
    """Run the demonstration; 0 when every step succeeded."""
    console = Console(highlight=False, soft_wrap=True)
    forget_real_account()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="hsmops-awx-") as folder,
            Sandbox(Path(folder) / "sandbox", rate=RATE) as sandbox,
            Awx() as awx,
        ):
            _show(console, awx, sandbox, Path(folder))
    except KeyboardInterrupt:
        console.print("\n[yellow]Interrupted. All servers are stopped.[/]")
        return 130
    except Failure as failure:
        console.print(str(failure), style="red")
        return 1
    return 0


def _show(console: Console, awx: Awx, sandbox: Sandbox, folder: Path) -> None:
    console.print("\n[bold]AWX as code[/]")
    console.print(
        f"[dim]No AWX is here: {awx.url} answers as its API does, and ansible-runner runs the jobs, as in AWX. The local AWS "
        f"({sandbox.aws.url}, time runs {sandbox.rate:g} times as fast) and the Redis ({sandbox.redis_url}) are for this "
        "demonstration only.[/]"
    )
    show, asked = Show(console, awx, sandbox, folder), variables(sandbox)
    hidden = {"awx_redis": {"url": "…"}, "awx_aws": {"access_key": "…", "secret_key": "…"}}
    written = {name: hidden.get(name, value) for name, value in asked.items()}
    console.print(f"\n[bold]awx.yml[/]\n[dim]{yaml.safe_dump(written, sort_keys=False, allow_unicode=True).strip()}[/]")
    show.configure("AWX has nothing of it.", asked)
    show.configure("Once more: nothing changes.", asked)
    show.launch("Somebody needs the HSM, and says for how long.", "HSM ensure", hsm_hold_for=1800)
    show.launch("The reaper comes by, as it does every 10 minutes.", "HSM reap")
    show.launch("It is needed no longer.", "HSM release")
    sandbox.put_record_back(LATER_SECONDS)
    show.launch("An hour later (the demonstration puts the record back), the reaper comes by again.", "HSM reap")
    show.configure("All of it is removed.", asked, "-e", "awx_state=absent")
    console.print(f"\n[dim]In AWX there is now: {json.dumps(sorted(awx.names()))}. Stopped and cleaned up.[/]")


if __name__ == "__main__":
    sys.exit(main())
