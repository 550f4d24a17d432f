# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The explored world at one moment, and what can happen to it next."""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass

from . import store
from .client import TIMEOUT
from .cloud import PRESENT, Cloud, FakeHsm, Refused, Request, Violation
from .programs import Observation
from .roles import make_program
from .seams import NO_ANSWER

if t.TYPE_CHECKING:
    from .programs import Place, Program
    from .scenario import Part, Scenario

BEGIN = 4_000_000_000
ASLEEP, READY, USING, DONE = "asleep", "ready", "using", "done"

REPEATED, DEAF, DOWN = "its answer is lost, and it is asked again", "it is done, and no answer comes", "no answer"
LOST, HELD, THROTTLED = "its answer is lost", "it is held up, and the client gives it up", "throttled from now on"


class Move(t.NamedTuple):
    """One thing that can happen next. `way` says how, where there is more than one way."""

    cost: int
    kind: str
    subject: t.Any = None
    way: t.Any = ""


@dataclass
class Actor:
    """Where one actor stands.

    Attributes:
        status: READY, ASLEEP, USING an HSM and beating, or DONE in some way.
        wake: When it wakes up; of one that uses an HSM, when it beats.
        touched: When it said last that it needs the HSM.
        late: It was held up since for longer than anybody may be who needs an HSM.
        enis: The network interfaces of the HSMs that it was told to use, and relies on.
        again: It takes its step once more, because the answer was lost.
    """

    number: int
    program: Program
    place: Place
    status: str = READY
    wake: float = 0.0
    touched: float | None = None
    late: bool = False
    enis: frozenset[str] = frozenset()
    again: bool = False

    @property
    def begun(self) -> bool:
        return self.place.parent is not None

    def key(self) -> tuple[t.Any, ...]:
        """Everything that its future depends on."""
        return (id(self.place), self.status, self.wake, self.late, self.touched, self.enis, self.again)


class World:
    """The world of a scenario.

    Args:
        scenario: The scenario.
        server: The Redis server.

    Attributes:
        orphans: Requests on their way that nobody waits for.
    """

    def __init__(self, scenario: Scenario, server: store.Server) -> None:
        self.scenario = scenario
        self.server = server
        self.cloud = Cloud(BEGIN, scenario.times, scenario.rules, scenario.marks, begun=BEGIN - 86_400)
        self.cloud.wanted = scenario.count
        if scenario.hsm:
            self.cloud.made = scenario.count
            self.cloud.hsms = tuple(FakeHsm(f"hsm-{i}", f"{i}", "ACTIVE") for i in range(1, scenario.count + 1))
        self.redis: store.State = ()
        self.redis_run = store.FIRST_RUN
        self.redis_before: tuple[store.State, ...] = ()
        self.unconfirmed: tuple[store.State, ...] = ()
        if scenario.record_age is not None:
            written = BEGIN - scenario.record_age
            self.redis = store.put((), store.RECORD, str(written), written + scenario.record_ttl)
        self.actors: tuple[Actor, ...] = ()
        for part in scenario.parts:
            self.join(part)
        self.current: int | None = None
        self.orphans: tuple[Request, ...] = ()

    @property
    def now(self) -> float:
        return self.cloud.now

    def join(self, part: Part, program: Program | None = None) -> Actor:
        """Have an actor take part."""
        number = len(self.actors)
        program = program or make_program(self.scenario, part, number)
        actor = Actor(number, program, program.start)
        if start := self.scenario.starts.get(program.name):
            actor.status, actor.wake = ASLEEP, BEGIN + start
        self.actors += (actor,)
        return actor

    def copy(self) -> World:
        """Return a world that is the same, and goes its own way."""
        other = copy.copy(self)
        other.cloud = self.cloud.copy()
        other.actors = tuple(map(copy.copy, self.actors))
        return other

    def key(self) -> int:
        """Hash everything that the future depends on."""
        scenario = self.scenario
        actors = tuple(actor.key() for actor in self.actors)
        before = (self.redis_before if scenario.rollback else (), self.unconfirmed if scenario.failover else ())
        return hash(
            (self.cloud.key(scenario.stale), self.redis, self.redis_run, before, actors, self.current, self.orphans)
        )

    def moves(self) -> list[Move]:
        """Everything that can happen next; first what happens if nothing special does. Empty at the end."""
        for actor in self.actors:
            if actor.status == ASLEEP and actor.wake <= self.now:
                actor.status = READY
        ready = [actor for actor in self.actors if actor.status == READY]
        asleep = [actor for actor in self.actors if actor.status == ASLEEP]
        if not (ready or asleep or self.orphans):
            return []
        going_on = self.current is not None and self.actors[self.current].status == READY
        found: list[Move] = []
        for actor in ready:
            cost = int(going_on and actor.number != self.current)
            steps = [Move(cost + extra, "step", actor.number, way) for way, extra in self._ways(actor)]
            found = steps + found if going_on and not cost else found + steps
        if asleep:
            # Whoever has not begun need not begin now, unless its time is given.
            waiting = any(actor.begun or actor.program.name in self.scenario.starts for actor in ready)
            found.append(Move(int(waiting), "time", min(actor.wake for actor in asleep) - self.now))
        found += [Move(0, "arrives", request) for request in self.orphans]
        if self.orphans:
            found.append(Move(0, "lost"))
        return found + self._disturbances(ready + asleep)

    def describe(self, move: Move) -> str:
        """Say a move in words."""
        if move.kind == "step":
            actor = self.actors[move.subject]
            operation = actor.place.operation
            text = operation.text
            if operation.kind == "redis":
                text = f"Redis: {self.server.names.get(operation.arguments[0], 'a plain SET')}"
            way = f" ({move.way} changes old)" if operation.kind == "read" and move.way else f" ({move.way})"
            return f"{actor.program.name}: {text}{way if move.way else ''}"
        texts = {
            "time": lambda: f"{move.subject:.0f} s pass",
            "arrives": lambda: f"{move.subject.operation} of {move.subject.actor}, which nobody waits for, arrives",
            "lost": lambda: "what is on its way is lost",
            "kill": lambda: f"{self.actors[move.subject].program.name} is stopped for ever",
            "hold": lambda: f"{self.actors[move.subject].program.name} is held up for {move.way} s",
            "end": lambda: f"{self.actors[move.subject].program.name} ends",
            "flush": lambda: "Redis loses everything",
            "rollback": lambda: f"Redis comes back as it was {move.way} changes before",
            "failover": lambda: f"the replica takes over, without the last {move.way} changes",
            "replace": lambda: "AWS replaces the HSM",
        }
        return texts[move.kind]()

    def apply(self, move: Move) -> None:
        """Have it happen.

        Raises:
            Violation: That must never happen.
        """
        if move.kind == "step":
            self.current = move.subject
            self._step(self.actors[move.subject], move.way)
        elif move.kind == "time":
            self.let_pass(self.now + move.subject)
        elif move.kind == "arrives":
            self.orphans = tuple(request for request in self.orphans if request is not move.subject)
            self.cloud.carry_out(move.subject, self._users)
        elif move.kind == "lost":
            self.orphans = ()
        elif move.kind in ("kill", "end"):
            self._kill(self.actors[move.subject])
        elif move.kind == "hold":
            held = self.actors[move.subject]
            held.status, held.wake = ASLEEP, max(held.wake, self.now + move.way)
        elif move.kind == "replace":
            self.cloud.replace()
        else:
            self._lose(move)

    def let_pass(self, until: float) -> None:
        """Let time pass. Whoever uses an HSM beats in time."""
        while beating := [actor for actor in self.actors if actor.status == USING and actor.wake <= until]:
            actor = min(beating, key=lambda found: found.wake)
            self.cloud.let_pass(actor.wake)
            self._redis_step(actor, *actor.place.operation.arguments[1])
            actor.wake += self.scenario.beat
        self.cloud.let_pass(max(until, self.now))
        self.redis = store.expire(self.redis, self.now)
        for actor in self.actors:
            running = actor.status in (READY, ASLEEP)
            if running and actor.touched is not None and self.now - actor.touched > self.scenario.idle_after:
                actor.late = True

    def stop(self) -> None:
        """Stop everybody, and lose what is on its way."""
        for actor in self.actors:
            actor.status = DONE
        self.orphans = ()

    def _ways(self, actor: Actor) -> list[tuple[t.Any, int]]:
        """The ways in which its next step can go, each with its cost; the ordinary one first."""
        operation, scenario = actor.place.operation, self.scenario
        ways: list[tuple[t.Any, int]] = [("", 0)]
        if operation.kind == "read" and scenario.stale:
            ways += [(age, 1) for age in range(1, len(self.cloud.visible()) + 1)]
        elif operation.kind == "redis" and scenario.redis_faults and not actor.again:
            ways += [(REPEATED, 1), (DEAF, 1), (DOWN, 1)]
        elif operation.kind == "wire":
            name = operation.arguments.operation
            known = {"lost": LOST, "held": HELD, "throttled": THROTTLED}
            ways += [(way, 1) for fault, way in known.items() if scenario.wire & {fault, f"{fault} {name}"}]
        return ways

    def _disturbances(self, living: t.Iterable[Actor]) -> list[Move]:
        scenario = self.scenario
        found = [Move(1, "time", jump) for jump in scenario.jumps]
        victims = [actor for actor in living if actor.begun and actor.program.name in scenario.kills]
        found += [Move(1, "kill", actor.number) for actor in victims]
        for actor in living:
            if actor.begun and (not scenario.hold_at or actor.place.operation.text in scenario.hold_at):
                found += [Move(1, "hold", actor.number, held) for held in scenario.holds.get(actor.program.name, ())]
        if scenario.ends:
            found += [Move(1, "end", actor.number) for actor in self.actors if actor.status == USING]
        if scenario.flush and self.redis:
            found.append(Move(1, "flush"))
        if scenario.rollback:
            found += [Move(1, "rollback", way=back + 1) for back in range(len(self.redis_before))]
        if scenario.failover:
            found += [Move(1, "failover", way=lost) for lost in range(len(self.unconfirmed) + 1)]
        if scenario.replace and any(hsm.state == "ACTIVE" for hsm in self.cloud.hsms):
            found.append(Move(1, "replace"))
        return found

    def _lose(self, move: Move) -> None:
        """Have Redis lose what it knows, or some of it."""
        number, _began = self.redis_run
        if move.kind == "flush":
            self.redis, self.redis_before, self.unconfirmed = (), (), ()
        elif move.kind == "rollback":
            self.redis = store.expire(self.redis_before[-move.way], self.now)
            self.redis_before = self.redis_before[: -move.way]
            self.redis_run = (number + 1, self.now)
        else:
            if move.way:
                self.redis = store.expire(self.unconfirmed[-move.way], self.now)
            # The replica has run for as long as the one that it follows.
            self.redis_run, self.unconfirmed = (number + 1, 0.0), ()

    def _step(self, actor: Actor, way: t.Any) -> None:
        operation = actor.place.operation
        value: t.Any = ""
        if operation.kind == "redis":
            answer = NO_ANSWER if way == DOWN else self._redis_step(actor, *operation.arguments)
            actor.again = way == REPEATED
            if actor.again:
                return
            value = NO_ANSWER if way == DEAF else answer
        elif operation.kind == "read":
            value = self.cloud.describe(way or 0)
        elif operation.kind == "backups":
            value = self.cloud.backups
        elif operation.kind == "wire":
            value = self._send(operation.arguments, way)
        actor.place = actor.program.follow(actor.place, Observation(value, self.now))
        self._arrive(actor)

    def _send(self, request: Request, way: str) -> t.Any:
        if way == THROTTLED:
            return Refused("ThrottlingException")
        if way == HELD:
            self.orphans += (request,)
            return TIMEOUT
        answer = self.cloud.carry_out(request, self._users)
        return TIMEOUT if way == LOST else answer

    def _redis_step(self, actor: Actor, script: str, call: t.Any, confirm: bool) -> t.Any:
        answer, after = self.server.run(self.redis, script, call, self.now, self.redis_run)
        if after != self.redis:
            self.redis_before = (*self.redis_before[-2:], self.redis)
            self.unconfirmed += (self.redis,)
            self.redis = after
        if confirm:
            self.unconfirmed = ()
        if self.server.names.get(script) in ("touch", "hold"):
            actor.touched, actor.late = self.now, False
        return answer

    def _arrive(self, actor: Actor) -> None:
        """See what an actor is about to do now."""
        operation = actor.place.operation
        if operation.kind == "sleep":
            actor.status, actor.wake = ASLEEP, self.now + operation.arguments
        elif operation.kind == "use":
            self._use(actor, operation.arguments[0])
        elif operation.kind == "done":
            actor.status = DONE
        elif operation.kind == "crash":
            raise Violation("x", f"{actor.program.name} crashes: {operation.text}")

    def _use(self, actor: Actor, used: tuple[tuple[str, str], ...]) -> None:
        actor.status, actor.wake = USING, self.now + self.scenario.beat
        if actor.late or "a" not in self.scenario.rules:
            return
        actor.enis = frozenset(eni for _hsm_id, eni in used)
        present = {hsm.eni for hsm in self.cloud.hsms if hsm.state in PRESENT}
        if not actor.enis or actor.enis - present:
            raise Violation("a", f"{actor.program.name} {actor.place.operation.text}, and it has been deleted")

    def _kill(self, actor: Actor) -> None:
        operation = actor.place.operation
        if operation.kind == "wire":
            self.orphans += (operation.arguments,)
        actor.status, actor.enis = DONE, frozenset()

    def _users(self, eni: str) -> list[str]:
        return [actor.program.name for actor in self.actors if actor.status == USING and eni in actor.enis]
