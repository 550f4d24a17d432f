# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Tell a person how far a wait has come, by a file that somebody reads along."""

from __future__ import annotations

import contextlib
import typing as t

if t.TYPE_CHECKING:
    from .waiters import Progress


class ProgressFile:
    """Appends a line for each look of a wait.

    Args:
        path: The file, which exists; None: nobody reads.
        about: What the lines are about, where several write to one file.
    """

    def __init__(self, path: str | None, about: str = "") -> None:
        self._path = path
        self._prefix = f"{about}: " if about else ""

    def write(self, progress: Progress) -> None:
        """Append a line. Nothing that happens here may disturb the wait itself."""
        if self._path is None:
            return
        with contextlib.suppress(OSError), open(self._path, "a", encoding="utf-8") as lines:
            lines.write(f"{self._prefix}{describe_progress(progress)}\n")


def describe_progress(progress: Progress) -> str:
    """Say in one line what is waited for, for how long so far, and for how long at most."""
    return f"{progress.text}; {duration(progress.elapsed)} of at most {duration(progress.timeout)}"


def duration(seconds: float) -> str:
    """Write a duration for a person: 0.4 s, 42 s, 3 min 05 s, 1 h 00 min."""
    whole = round(seconds)
    if 0 < seconds < 9.5:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
