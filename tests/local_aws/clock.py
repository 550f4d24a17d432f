# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Virtual time: what the states of the local AWS move with."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

REMEMBERED_CHANGES = 10_000


class ClockClosedError(Exception):
    """The clock will not go on: the local AWS is being stopped."""


class _Change(NamedTuple):
    """From a real moment on, the virtual time and its speed."""

    wall: float
    virtual: float
    rate: float


class VirtualClock:
    """A clock that can be frozen, run at a factor and put forward, never back.

    Args:
        rate: Virtual seconds that pass in one real second; 0 freezes the clock.
        start: First reading, in seconds since the epoch. Default: the real time, cut to a whole second so that the
            sums of a frozen clock are exact.
        real: Source of real seconds since the epoch.
    """

    def __init__(self, rate: float = 1.0, start: float | None = None, real: Callable[[], float] = time.time) -> None:
        self._real = real
        wall = real()
        first = _Change(wall, float(int(wall)) if start is None else start, _not_negative("rate", rate))
        self._changes: deque[_Change] = deque([first], maxlen=REMEMBERED_CHANGES)
        self._changed = threading.Condition()
        self._closed = False

    @property
    def rate(self) -> float:
        """Virtual seconds per real second."""
        with self._changed:
            return self._changes[-1].rate

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""
        with self._changed:
            return self._read()

    def advance(self, seconds: float) -> float:
        """Put the clock forward at once.

        Args:
            seconds: Virtual seconds, 0 or more.

        Returns:
            The new virtual time, in seconds since the epoch.
        """
        step = _not_negative("advance", seconds)
        with self._changed:
            self._change(self._read() + step, self._changes[-1].rate)
            return self._changes[-1].virtual

    def set_rate(self, rate: float) -> None:
        """Change the speed from now on; the reading does not jump."""
        checked = _not_negative("rate", rate)
        with self._changed:
            self._change(self._read(), checked)

    def wait_until(self, moment: float) -> None:
        """Block until the clock shows a moment.

        Raises:
            ClockClosedError: The clock was closed meanwhile.
        """
        with self._changed:
            while not self._closed and (left := moment - self._read()) > 0:
                rate = self._changes[-1].rate
                self._changed.wait(min(left / rate, threading.TIMEOUT_MAX) if rate else None)
            if self._closed:
                raise ClockClosedError

    def close(self) -> None:
        """Let go of everybody who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def at_real(self, wall: float) -> tuple[float, float]:
        """Return the earliest and the latest virtual time that the clock showed within one real second.

        Args:
            wall: Where that second begins, in seconds since the epoch.
        """
        with self._changed:
            changes = list(self._changes)
        ends = [following.wall for following in changes[1:]] + [math.inf]
        readings = []
        for change, end in zip(changes, ends, strict=True):
            begin, last = max(wall, change.wall), min(wall + 1, end)
            if begin <= last:
                readings += [change.virtual + (moment - change.wall) * change.rate for moment in (begin, last)]
        # Before the clock's first reading it ran as real time does, as far as anybody can tell.
        readings = readings or [changes[0].virtual + wall - changes[0].wall]
        return min(readings), max(readings)

    def _read(self) -> float:
        # The system's clock may be put back; the virtual one never goes back.
        change = self._changes[-1]
        return change.virtual + max(0.0, self._real() - change.wall) * change.rate

    def _change(self, virtual: float, rate: float) -> None:
        self._changes.append(_Change(max(self._real(), self._changes[-1].wall), virtual, rate))
        self._changed.notify_all()


def _not_negative(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}")
    return float(value)
