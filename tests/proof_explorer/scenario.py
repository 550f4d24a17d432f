# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is explored: who takes part, how the world begins, and what may happen to it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .cloud import Times

Part = tuple[str, str, t.Any]
ALL_RULES = frozenset("abcd")


def job(name: str = "j1", holder: str | None = None) -> Part:
    """A job that needs an HSM; with a holder, it holds the environment instead of touching it."""
    return ("job", name, holder)


def reaper(name: str = "r1") -> Part:
    """One tick of a reaper."""
    return ("reaper", name, None)


def writer(name: str = "w1", skew: int = 0) -> Part:
    """A script that writes the record, by a clock that is so many seconds ahead."""
    return ("writer", name, skew)


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Attributes:
        parts: The actors.
        rules: Letters of the rules that are checked.
        count: How many HSMs a job needs.
        hsm: They are there and ACTIVE at the beginning.
        record_age: How old the record is at the beginning; None: there is none.
        marks: Tags at the beginning.
        starts: When an actor begins, in seconds; at the beginning if it is not named.
        jumps: For how many seconds everybody may be held up at once.
        holds: For how many seconds an actor may be held up anywhere, by its name.
        hold_at: The operations at which it may be held up; empty: anywhere.
        kills: Names of the actors that may stop for ever.
        flush: Redis may lose everything.
        rollback: Redis may come back with what it held before.
        failover: Redis has a replica, which must confirm what counts only then, and may take over without the rest.
        replace: AWS may replace the HSM.
        stale: AWS may show what it had before, up to the settling time.
        wire: What may happen to requests on their way: "lost", "held", "throttled", each of all operations or followed by one.
        redis_faults: Redis may not answer, or its answer may be lost.
        ends: A job may end.
        idle_after: As the reaper is told.
        patience: For how long a run waits at most.
        delay: Seconds between two looks.
        beat: Seconds between two beats of a job that works.
        attempts: How many times boto3 sends a request whose answer is lost.
        skew: By how much an actor's clock is ahead when it signs.
        aftermath: How long everybody is gone before the last tick and the last ensure.
    """

    name: str
    parts: tuple[Part, ...]
    rules: frozenset[str] = ALL_RULES
    count: int = 1
    hsm: bool = True
    record_age: int | None = 4000
    marks: tuple[tuple[str, str], ...] = ()
    starts: t.Mapping[str, int] = field(default_factory=dict)
    jumps: tuple[int, ...] = ()
    holds: t.Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    hold_at: frozenset[str] = frozenset()
    kills: tuple[str, ...] = ()
    flush: bool = False
    rollback: bool = False
    failover: bool = False
    replace: bool = False
    stale: bool = False
    wire: frozenset[str] = frozenset()
    redis_faults: bool = False
    ends: bool = False
    idle_after: int = 1800
    record_ttl: int = 7200
    patience: int = 3600
    delay: int = 120
    beat: int = 900
    attempts: int = 2
    skew: t.Mapping[str, int] = field(default_factory=dict)
    times: Times = field(default_factory=Times)
    aftermath: int = 1200
