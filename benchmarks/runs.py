# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a steady-state ensure, a touch, a hold and a release cost, against an empty play, a play with one ping, and redis-cli.

The runs take turns, so that a machine whose speed drifts slows all of them. Figures are medians of whole processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import redis
from rich.console import Console
from rich.table import Table
from sandbox.sandbox import CHECKOUT, Sandbox

EMPTY = "- {hosts: dev, connection: local, gather_facts: false}\n"
PING = """\
- hosts: dev
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks: [{ansible.builtin.ping: {}}]
"""
# The playbook of a run and what its command line has besides; None for redis-cli.
RUNS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "redis-cli SET": (None, ("SET", "hsm:dev:last_access", "1800000000", "EX", "7200")),
    "empty play": ("empty.yml", ()),
    "play with one ping": ("ping.yml", ()),
    "touch_hsm": ("playbooks/touch_hsm.yml", ()),
    "touch_hsm, with a holder": ("playbooks/touch_hsm.yml", ("-e", "hsm_holder=job")),
    "release_hsm": ("playbooks/release_hsm.yml", ("-e", "hsm_holder=job")),
    "check_hsm": ("playbooks/check_hsm.yml", ()),
    "ensure_hsm, the HSM is there": ("playbooks/ensure_hsm.yml", ()),
}
BASE = "play with one ping"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="counted rounds, after one that is not (default: %(default)s)"
    )
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder), rate=3600) as sandbox:
        (sandbox.folder / "empty.yml").write_text(EMPTY, encoding="utf-8")
        (sandbox.folder / "ping.yml").write_text(PING, encoding="utf-8")
        seconds: dict[str, list[float]] = {name: [] for name in RUNS}
        calls: dict[str, tuple[int, int]] = {}
        for _round in range(rounds + 1):
            for name, (playbook, words) in RUNS.items():
                elapsed, calls[name] = _run(sandbox, playbook, words)
                seconds[name].append(elapsed)
    _print({name: statistics.median(timings[1:]) for name, timings in seconds.items()}, calls, rounds)


def _run(sandbox: Sandbox, playbook: str | None, words: tuple[str, ...]) -> tuple[float, tuple[int, int]]:
    store = redis.Redis.from_url(sandbox.redis_url, decode_responses=True)
    store.config_resetstat()
    sandbox.aws.clear_calls()
    command: list[str | Path] = ["redis-cli", "-u", sandbox.redis_url]
    if playbook:
        path = sandbox.folder / playbook if "/" not in playbook else CHECKOUT / playbook
        command = [Path(sys.executable).parent / "ansible-playbook", path, "-e", "env=dev"]
    environment = {**os.environ, **sandbox.variables}
    begun = time.perf_counter()
    subprocess.run([*command, *words], check=True, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL)
    elapsed = time.perf_counter() - begun
    steps = t.cast("dict[str, t.Any]", store.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0)
    return elapsed, (len(sandbox.aws.calls()), steps)


def _print(medians: dict[str, float], calls: dict[str, tuple[int, int]], rounds: int) -> None:
    table = Table(title=f"Medians of {rounds} rounds, Python {sys.version.split()[0]}", title_justify="left")
    for heading in ("run", "seconds", "to one ping", "calls to AWS", "steps in Redis"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name, median in medians.items():
        aws_calls, steps = calls[name]
        table.add_row(name, f"{median:.2f}", f"{median / medians[BASE]:.2f}", str(aws_calls), str(steps))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
