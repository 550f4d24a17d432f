# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Search all schedules of a scenario up to a cost: those first that cost least, so that the first counterexample is a smallest.

What any machine may do at any time costs nothing; going on with another actor although the last one could go on, or
anything that goes wrong, costs one. A state that was seen before was seen at no higher cost, so it is not gone into again.
"""

from __future__ import annotations

import heapq
import time
import typing as t
from dataclasses import dataclass, field

from .cloud import PRESENT, Violation
from .roles import make_program
from .store import live_claim
from .world import ASLEEP, BEGIN, DONE, READY, USING, World

if t.TYPE_CHECKING:
    import random

    from .programs import Program
    from .scenario import Scenario
    from .store import Server

LONGEST = 600
LAST_TICK, LAST_ENSURE = ("reaper", "tick", None), ("job", "ensure", None)


@dataclass
class Counterexample:
    """A schedule on which something happened that must never happen."""

    scenario: Scenario
    choices: tuple[int, ...]
    violation: Violation
    cost: int
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f"{self.scenario.name}: {self.violation}\nchoices of cost {self.cost}: {list(self.choices)}"
        return "\n".join([head, *self.lines])


@dataclass
class Figures:
    """What a search covered.

    Attributes:
        states: Distinct states.
        moves: Moves that were made between them.
        traces: Schedules that were followed to their end, or to a state that had been followed before.
        ends: Distinct ends, after each of which one more tick and one more ensure were run.
        cost: The cost of the schedules that were followed last.
        complete: All schedules were followed that cost no more than was allowed.
    """

    states: int = 0
    moves: int = 0
    traces: int = 0
    ends: int = 0
    seconds: float = 0.0
    cost: int = 0
    complete: bool = False

    def __str__(self) -> str:
        extent = f"all of cost {self.cost}" if self.complete else f"part of cost {self.cost}"
        return (
            f"{self.states} states, {self.moves} moves, {self.traces} traces, {self.ends} ends, {self.seconds:.1f} s "
            f"({extent})"
        )


class Explorer:
    """Explores one scenario.

    Args:
        scenario: The scenario.
        server: The Redis server.
    """

    def __init__(self, scenario: Scenario, server: Server) -> None:
        self.scenario = scenario
        self.figures = Figures()
        self._begin = World(scenario, server)
        self._last: list[Program] = [make_program(scenario, part, 0) for part in (LAST_TICK, LAST_ENSURE)]

    def search(self, most: int, seconds: float = 1e9) -> Counterexample | None:
        """Follow all schedules that cost no more than that. Returns the first counterexample."""
        begun = time.monotonic()
        figures = self.figures = Figures()
        seen: set[int] = set()
        ended: set[int] = set()
        queue: list[tuple[int, int, t.Any]] = [(0, 0, (self._begin, None, None))]
        pushed = 0
        found = None
        while queue and found is None and time.monotonic() < begun + seconds:
            figures.cost, _order, (world, move, path) = heapq.heappop(queue)
            try:
                world = self._after(world, move)
                key = world.key()
                if key in seen:
                    figures.traces += 1
                    continue
                seen.add(key)
                moves = world.moves()
                for index in reversed(range(len(moves))):
                    cost = figures.cost + moves[index].cost
                    if cost <= most:
                        pushed += 1
                        heapq.heappush(queue, (cost, -pushed, (world, moves[index], (path, index))))
                if not moves:
                    figures.traces += 1
                    ended.add(key)
                    self._aftermath(world)
            except Violation as violation:
                found = self._counterexample(path, violation)
        figures.states, figures.ends, figures.complete = len(seen), len(ended), not queue
        figures.seconds = time.monotonic() - begun
        return found

    def replay(self, choices: t.Iterable[int]) -> tuple[Violation | None, list[str]]:
        """Take a schedule again. Returns what it violates, and its steps in words."""
        world, lines = self._begin.copy(), []
        violation = None
        try:
            for choice in choices:
                moves = world.moves()
                lines.append(f"{world.now - BEGIN:6.0f} s  {world.describe(moves[choice])}")
                before = world.copy()
                world.apply(moves[choice])
                lines += _changes(before, world)
            while moves := world.moves():
                lines.append(f"{world.now - BEGIN:6.0f} s  {world.describe(moves[0])}")
                before = world.copy()
                world.apply(moves[0])
                lines += _changes(before, world)
            self._aftermath(world)
        except Violation as error:
            violation = error
        lines.append(f"{world.now - BEGIN:6.0f} s  {violation or 'Nothing is violated.'}")
        return violation, lines

    def direct(self, wanted: t.Sequence[str]) -> tuple[Violation | None, list[str]]:
        """Take the schedule that makes each of these moves, given by words of it, as soon as it can be made.

        Raises:
            LookupError: One of them never could be made.
        """
        world, choices, left = self._begin.copy(), [], list(wanted)
        while left and (moves := world.moves()):
            fitting = [index for index, move in enumerate(moves) if left[0] in world.describe(move)]
            choices.append(fitting[0] if fitting else 0)
            if fitting:
                left.pop(0)
            try:
                world.apply(moves[choices[-1]])
            except Violation:
                break
        violation, lines = self.replay(choices)
        if left:
            raise LookupError("\n".join([f"never possible: {left[0]}", *lines]))
        return violation, lines

    def walk(self, chance: random.Random, most: int) -> Counterexample | None:
        """Follow one schedule by chance. Returns a counterexample."""
        world, path, left = self._begin.copy(), None, most
        try:
            for _step in range(LONGEST):
                moves = world.moves()
                if not moves:
                    break
                index = _choose([move.cost for move in moves], chance, left)
                left -= moves[index].cost
                path = (path, index)
                world.apply(moves[index])
                self.figures.moves += 1
            self.figures.traces += 1
            self._aftermath(world)
        except Violation as violation:
            return self._counterexample(path, violation)
        return None

    def _after(self, world: World, move: t.Any) -> World:
        world = world.copy()
        if move is not None:
            self.figures.moves += 1
            world.apply(move)
        return world

    def _counterexample(self, path: t.Any, violation: Violation) -> Counterexample:
        choices: list[int] = []
        while path is not None:
            path, index = path
            choices.append(index)
        choices.reverse()
        world, cost = self._begin.copy(), 0
        for choice in choices[:-1]:
            move = world.moves()[choice]
            cost += move.cost
            world.apply(move)
        cost += world.moves()[choices[-1]].cost
        return Counterexample(self.scenario, tuple(choices), violation, cost, self.replay(choices)[1])

    def _aftermath(self, world: World) -> None:
        """After everybody has stopped, have one tick and one ensure bring the environment to the wanted state."""
        if "c" not in self.scenario.rules:
            return
        world = world.copy()
        world.stop()
        world.let_pass(world.now + self.scenario.aftermath)
        for part, program in zip((LAST_TICK, LAST_ENSURE), self._last, strict=True):
            actor = world.join(part, program)
            for _step in range(LONGEST):
                moves = world.moves()
                if actor.status in (DONE, USING) or not moves:
                    break
                world.apply(moves[0])
        _check_end(world)


def _check_end(world: World) -> None:
    present = [hsm.state for hsm in world.cloud.hsms if hsm.state in PRESENT]
    result = world.actors[-1].place.operation
    left = [key for key, _value in world.cloud.tags if key.startswith("hsmops:")]
    if present != ["ACTIVE"] * world.scenario.count or result.kind != "use":
        raise Violation("c", f"at the end the HSMs are {present}, and the last ensure {result.text}")
    if left:
        raise Violation("c", f"at the end there is {', '.join(left)}")
    if live_claim(world.redis, world.now):
        raise Violation("c", "at the end there is a claim")


def _changes(before: World, after: World) -> list[str]:
    lines = []
    for actor, then in zip(after.actors, before.actors, strict=True):
        if actor.status != then.status and actor.status in (DONE, USING):
            lines.append(f"{'':10}{actor.program.name} {actor.place.operation.text}")
    if after.cloud.tags != before.cloud.tags:
        lines.append(f"{'':10}tags: {', '.join(f'{key}={value}' for key, value in after.cloud.tags) or 'none'}")
    if after.cloud.hsms != before.cloud.hsms:
        lines.append(f"{'':10}HSMs: {', '.join(f'{hsm.hsm_id} {hsm.state}' for hsm in after.cloud.hsms) or 'none'}")
    return lines


def _choose(costs: list[int], chance: random.Random, left: int) -> int:
    free = [index for index, cost in enumerate(costs) if cost == 0]
    costly = [index for index, cost in enumerate(costs) if 0 < cost <= left]
    if costly and chance.random() < 0.15:
        return chance.choice(costly)
    return chance.choice(free) if chance.random() < 0.5 else free[0]


__all__ = ["ASLEEP", "READY", "Counterexample", "Explorer", "Figures"]
