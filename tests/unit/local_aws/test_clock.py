# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import pytest
from local_aws.clock import VirtualClock


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
