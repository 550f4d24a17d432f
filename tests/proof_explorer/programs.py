# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Real code as a function: from everything that a program has observed to what it does next.

A program runs until it does something outside itself: a step in Redis, a request, a pause. There it is suspended, by an
exception that nothing catches, and what it was about to do is its operation. To go on with it, it is run again from its
beginning, and given what it had observed, and what came now. It is deterministic, so the same observations always bring it to
the same place: each place is found out once, and remembered.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


class Suspended(BaseException):
    """The program stands still, perhaps for ever. Nothing that is done on the way of this has an effect outside."""


class Operation(t.NamedTuple):
    """What a program is about to do."""

    kind: str
    text: str
    arguments: t.Any = None


class Observation(t.NamedTuple):
    """What came of it, and the moment."""

    value: t.Any
    now: float


@dataclass(eq=False)
class Place:
    """A place in a program, given by what was observed before."""

    operation: Operation
    parent: Place | None = None
    observed: Observation | None = None
    after: dict[Observation, Place] = field(default_factory=dict)

    def history(self) -> list[tuple[Operation, Observation]]:
        """What was done and observed before."""
        place, found = self, []
        while place.parent is not None:
            found.append((place.parent.operation, t.cast("Observation", place.observed)))
            place = place.parent
        return found[::-1]


class Program:
    """One actor's program, and all places in it that are known.

    Args:
        name: Name of the actor; its tokens begin so.
        body: What it runs.
        number: A number that no other actor has.
    """

    def __init__(self, name: str, body: t.Callable[[Program], Operation], number: int) -> None:
        self.name = name
        self.number = number
        self.now = 0.0
        self.runs = 0
        self.start = Place(Operation("begin", "begins"))
        self._body = body
        self._given: list[tuple[Operation, Observation]] = []
        self._place = 0
        self._tokens = 0
        self._pending: Operation | None = None

    def follow(self, place: Place, observed: Observation) -> Place:
        """Return the place to which an observation leads."""
        if observed not in place.after:
            operation = self._run([*place.history(), (place.operation, observed)])
            place.after[observed] = Place(operation, place, observed)
        return place.after[observed]

    def do(self, operation: Operation) -> t.Any:
        """Do something outside. Returns what came of it."""
        if self._pending is not None:
            raise Suspended
        if self._place == len(self._given):
            self._pending = operation
            raise Suspended
        recorded, observed = self._given[self._place]
        if recorded != operation:
            raise AssertionError(f"not deterministic: {recorded} before, {operation} now")
        self._place += 1
        self.now = observed.now
        return observed.value

    def token(self) -> str:
        """Make a token that has not been there."""
        self._tokens += 1
        return f"{self.name}-{self._tokens}"

    def capture(self, function: t.Callable[[], None]) -> Operation:
        """Return the only thing that a function does outside, without doing it."""
        given, place = self._given, self._place
        self._given, self._place = [], 0
        try:
            function()
        except Suspended:
            return t.cast("Operation", self._pending)
        finally:
            self._given, self._place, self._pending = given, place, None
        raise AssertionError("it does nothing")

    def _run(self, given: list[tuple[Operation, Observation]]) -> Operation:
        global running
        self.runs += 1
        self._given, self._place, self._tokens, self._pending = given, 0, 0, None
        running = self
        try:
            self.do(self.start.operation)
            return self._body(self)
        except Suspended:
            return t.cast("Operation", self._pending)
        finally:
            running = None


running: Program | None = None


def current() -> Program:
    """Return the program that runs."""
    assert running is not None
    return running
