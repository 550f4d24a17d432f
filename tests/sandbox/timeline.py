# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What happened, and who held the HSM when, as text."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# Minutes of a column.
_COLUMN = 2


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        minute: When.
        who: Who did it.
        what: What.
    """

    minute: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.minute:5.1f} min  {self.who:<13} {self.what}"


@dataclass(frozen=True)
class Sample:
    """How it stood at a moment.

    Attributes:
        minute: When.
        holders: Who held the environment.
        hsms: The states of its HSMs.
    """

    minute: float
    holders: frozenset[str]
    hsms: tuple[str, ...]


def draw(samples: t.Sequence[Sample]) -> list[str]:
    """Draw who held the HSM when, and when there was one: `#` held or ACTIVE, `~` on its way."""
    columns = int(samples[-1].minute // _COLUMN) + 1
    names = sorted({name for sample in samples for name in sample.holders})
    rows = {name: [" "] * columns for name in [*names, "HSM"]}
    for before, after in zip(samples, [*samples[1:], samples[-1]], strict=True):
        for column in range(
            int(before.minute // _COLUMN), max(int(after.minute // _COLUMN), int(before.minute // _COLUMN) + 1)
        ):
            for name in before.holders:
                rows[name][column] = "#"
            if before.hsms:
                rows["HSM"][column] = "#" if "ACTIVE" in before.hsms else "~"
    width = max(len(name) for name in rows)
    scale = "".join(f"{minute:<10}" for minute in range(0, columns * _COLUMN, 10 * _COLUMN))
    return [
        "",
        f"{'minute':>{width}}  {scale.rstrip()}",
        *(f"{name:>{width}}  {''.join(row)}" for name, row in rows.items()),
    ]
