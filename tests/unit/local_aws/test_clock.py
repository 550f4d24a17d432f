# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import threading

import pytest
from local_aws.agenda import Agenda
from local_aws.clock import ClockClosedError, VirtualClock


class Real:
    """Real time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


def test_runs_at_its_rate() -> None:
    real = Real()
    clock = VirtualClock(rate=60, start=1000, real=real)
    real.seconds += 2
    assert clock.now() == 1120


def test_frozen_clock_moves_by_advance_only() -> None:
    real = Real()
    clock = VirtualClock(rate=0, start=1000, real=real)
    real.seconds += 5
    assert clock.now() == 1000
    assert clock.advance(30) == 1030
    assert clock.now() == 1030


def test_change_of_rate_does_not_jump() -> None:
    real = Real()
    clock = VirtualClock(rate=10, start=0, real=real)
    real.seconds += 1
    clock.set_rate(2)
    assert clock.now() == 10
    real.seconds += 1
    assert clock.now() == 12


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), True, "1", None])
def test_never_goes_back(bad: object) -> None:
    clock = VirtualClock(rate=0, start=7)
    # Some of these are of the wrong type, on purpose: they may come from JSON.
    with pytest.raises(ValueError, match="advance must be"):
        clock.advance(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate must be"):
        clock.set_rate(bad)  # type: ignore[arg-type]
    assert clock.now() == 7


def waiting(clock: VirtualClock, moment: float) -> tuple[threading.Thread, list[str]]:
    outcome: list[str] = []

    def wait() -> None:
        try:
            clock.wait_until(moment)
            outcome.append("on time")
        except ClockClosedError:
            outcome.append("closed")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, outcome


def test_wait_ends_when_the_clock_is_put_forward() -> None:
    clock = VirtualClock(rate=0, start=0)
    thread, outcome = waiting(clock, 10)
    clock.advance(9)
    assert outcome == []
    clock.advance(1)
    thread.join(10)
    assert outcome == ["on time"]


def test_wait_follows_a_change_of_rate() -> None:
    clock = VirtualClock(rate=1e-300, start=0)
    thread, outcome = waiting(clock, 10)
    clock.set_rate(1e6)
    thread.join(10)
    assert outcome == ["on time"]


def test_wait_for_the_past_is_none() -> None:
    VirtualClock(rate=0, start=10).wait_until(10)


def test_closed_clock_lets_go_of_those_who_wait_and_who_come() -> None:
    clock = VirtualClock(rate=0, start=0)
    thread, outcome = waiting(clock, 10)
    clock.close()
    thread.join(10)
    assert outcome == ["closed"]
    with pytest.raises(ClockClosedError):
        clock.wait_until(10)


def test_agenda_keeps_the_order_of_time_and_then_of_arrival() -> None:
    agenda = Agenda()
    for at, kind in ((2, "late"), (1, "first"), (1, "second"), (3, "to come")):
        agenda.add(at, kind, "account", "region", "a", "b")
    kinds = []
    while event := agenda.pop_due(2):
        kinds.append((event.at, event.kind, event.subjects))
    assert kinds == [(1, "first", ("a", "b")), (1, "second", ("a", "b")), (2, "late", ("a", "b"))]
    agenda.clear()
    assert agenda.pop_due(10) is None
