# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m sandbox.timer` installs a timer in a folder, has it run in a sandbox, and removes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import yaml
from rich.console import Console

from .demo import RATE
from .host import Host
from .sandbox import ENVIRONMENT, Sandbox, forget_real_account

# How long nobody has used it; the limit is half an hour.
IDLE_SECONDS = 3600


class FailedStepError(Exception):
    """A step ended as it should not have; the message is what it printed."""


def main() -> int:
    """Run the demonstration; 0 when every step succeeded."""
    console = Console(highlight=False, soft_wrap=True)
    forget_real_account()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="hsmops-timer-") as folder,
            Sandbox(Path(folder) / "sandbox", rate=RATE) as sandbox,
        ):
            Demonstration(console, sandbox, Host(Path(folder) / "host")).show()
    except FailedStepError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\n[yellow]Interrupted. The local AWS and the Redis are stopped.[/]")
        return 130
    return 0


class Demonstration:
    """What is shown.

    Args:
        console: Where it is told.
        sandbox: The local AWS and the Redis.
        host: Where the timer is installed.
    """

    def __init__(self, console: Console, sandbox: Sandbox, host: Host) -> None:
        self._console = console
        self._sandbox = sandbox
        self._host = host
        self._steps = 0

    def show(self) -> None:
        """Show it."""
        self._console.print("\n[bold]Idle HSMs are reaped from cron[/]")
        self._tell_dim(
            f"A local AWS ({self._sandbox.aws.url}) and a Redis ({self._sandbox.redis_url}). The host is a folder, "
            f"{self._host.folder}, with a crontab of its own."
        )
        self._step("Install a timer. The Redis is named in the environment file alone.")
        self._play("timer_scheduler=cron", **self._wanted())
        self._step(f"Nobody has used {ENVIRONMENT!r} for an hour, and it has an HSM. cron starts a run.")
        self._make_idle()
        self._tick()
        self._step("Ten minutes later, cron starts another one. There is nothing to do.")
        self._tick()
        self._step("What monitoring reads of it.")
        self._console.print(f"  [green]$[/] grep -v ^# {self._host.status_file}")
        lines = self._host.status_file.read_text(encoding="utf-8").splitlines()
        self._say("\n    ".join(line for line in lines if not line.startswith("#")))
        self._step("Install it again: nothing changes.")
        self._play("timer_scheduler=cron", **self._wanted())
        self._step("Remove it. The logs stay.")
        self._play("timer_state=absent", timer_state="absent")
        left = sorted(str(path.relative_to(self._host.folder)) for path in self._host.logs.iterdir())
        self._say(f"left: {', '.join(left)}; in the crontab: {self._host.crontab.read_text() or 'nothing'}")
        self._tell_dim("\nStopped and cleaned up. Next: docs/timer.md, to install it for real.")

    def _wanted(self) -> dict[str, t.Any]:
        inventory = yaml.safe_load(self._sandbox.inventory.read_text(encoding="utf-8"))
        del inventory["all"]["vars"]["hsm_redis_url"]
        return {
            "timer_scheduler": "cron",
            "timer_inventory_content": yaml.safe_dump(inventory, sort_keys=False),
            "timer_environment": {"REDIS_URL": self._sandbox.redis_url},
            # It takes a minute to make one, and this checkout has one.
            "timer_venv": sys.prefix,
            "timer_manage_venv": False,
        }

    def _make_idle(self) -> None:
        cloudhsm = self._sandbox.aws.client("cloudhsmv2")
        zone = f"{cloudhsm.meta.region_name}a"
        made = cloudhsm.create_hsm(ClusterId=self._sandbox.cluster_id, AvailabilityZone=zone)["Hsm"]["HsmId"]
        self._sandbox.aws.advance(IDLE_SECONDS)
        self._sandbox.put_record_back(IDLE_SECONDS)
        self._say(f"in the cluster: {made}")

    def _play(self, said: str, **variables: t.Any) -> None:
        self._console.print(f"  [green]$[/] ansible-playbook hsmops.cloudhsm.install_timer -e {said} -e @timer.yml")
        done: subprocess.CompletedProcess[str] = self._host.play(**variables)
        if done.returncode:
            raise FailedStepError(done.stdout + done.stderr)
        self._say(done.stdout.rstrip().splitlines()[-1])

    def _tick(self) -> None:
        self._console.print(f"  [green]$[/] {self._host.entry()}")
        before = len(self._host.log) if self._host.logs.exists() else 0
        status, said = self._host.tick()
        if status:
            raise FailedStepError(said)
        reports = [line.strip('" ') for line in self._host.log[before:].splitlines() if f'"{ENVIRONMENT}: ' in line]
        self._say(f"status 0; {' '.join(reports)}")

    def _step(self, story: str) -> None:
        self._steps += 1
        self._console.print(f"\n[bold cyan]{self._steps}[/] [bold]{story}[/]")

    def _say(self, what: str) -> None:
        self._console.print(f"    {what}", style="bold", markup=False)

    def _tell_dim(self, what: str) -> None:
        self._console.print(what, style="dim", markup=False)


if __name__ == "__main__":
    sys.exit(main())
