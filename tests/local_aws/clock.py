# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Virtual time: what the states of the local AWS move with."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class VirtualClock:
    """A clock that can be frozen, run at a factor and put forward, never back.

    Args:
        rate: Virtual seconds that pass in one real second; 0 freezes the clock.
        start: First reading, in seconds since the epoch. Default: the real time, cut to a whole second so that the
            sums of a frozen clock are exact.
        real: Source of real seconds; only differences between its readings are used.
    """

    def __init__(
        self, rate: float = 1.0, start: float | None = None, real: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._real = real
        self._rate = _not_negative("rate", rate)
        self._virtual_base = float(int(time.time())) if start is None else start
        self._real_base = real()

    @property
    def rate(self) -> float:
        """Virtual seconds per real second."""
        with self._lock:
            return self._rate

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""
        with self._lock:
            return self._read()

    def advance(self, seconds: float) -> float:
        """Put the clock forward at once.

        Args:
            seconds: Virtual seconds, 0 or more.

        Returns:
            The new virtual time, in seconds since the epoch.
        """
        step = _not_negative("advance", seconds)
        with self._lock:
            self._rebase()
            self._virtual_base += step
            return self._virtual_base

    def set_rate(self, rate: float) -> None:
        """Change the speed from now on; the reading does not jump."""
        checked = _not_negative("rate", rate)
        with self._lock:
            self._rebase()
            self._rate = checked

    def _read(self) -> float:
        return self._virtual_base + (self._real() - self._real_base) * self._rate

    def _rebase(self) -> None:
        real = self._real()
        self._virtual_base += (real - self._real_base) * self._rate
        self._real_base = real


def _not_negative(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}")
    return float(value)
