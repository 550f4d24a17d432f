# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Values that change at known times: what they were, are and will become."""

from __future__ import annotations

from bisect import bisect_right
from typing import Generic, TypeVar

T = TypeVar("T")


class History(Generic[T]):
    """A value over virtual time.

    Future steps are kept too, so that no thread has to wait for a state to change and a reader may ask for the state
    of a moment ago.
    """

    def __init__(self, at: float, value: T) -> None:
        self._steps: list[tuple[float, T]] = [(at, value)]

    def change(self, at: float, value: T) -> None:
        """Set the value from a moment on; what was planned for later does not happen."""
        del self._steps[bisect_right(self._steps, at, key=lambda step: step[0]) :]
        self._steps.append((at, value))

    def plan(self, at: float, value: T) -> None:
        """Add a step after the last one."""
        self._steps.append((max(at, self._steps[-1][0]), value))

    def at(self, moment: float) -> T | None:
        """Return the value at a moment, None before the first step."""
        index = bisect_right(self._steps, moment, key=lambda step: step[0])
        return self._steps[index - 1][1] if index else None

    def entered(self, moment: float) -> float:
        """Return when the value that holds at a moment was set."""
        index = bisect_right(self._steps, moment, key=lambda step: step[0])
        return self._steps[max(index - 1, 0)][0]
