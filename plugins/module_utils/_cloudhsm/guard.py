# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What stands between a run and others who change the same cluster."""

from __future__ import annotations

import math
import typing as t


class Guard(t.Protocol):
    """Keeps others from undoing or doubling what a run does.

    Attributes:
        announces: Others are told, and go by what AWS shows them.
    """

    announces: bool

    @property
    def obstacle(self) -> str:
        """Why `open` refused, in words."""

    def declare(self) -> None:
        """Say that the HSMs are needed, before AWS is asked what there is."""

    def clear(self) -> None:
        """Have no deletion stand against an HSM that is there. Called after each look on which something is decided."""

    def open(self) -> bool:
        """Ask for the right to create. Where it is granted, the cluster has been looked at since."""

    def extend(self) -> None:
        """See to it that there is time for one more request to create."""

    def deadline(self) -> float:
        """Return until when a request to create may be signed, in unix seconds of AWS's clock."""

    def close(self, clear: bool = True) -> None:
        """Give the right to create back.

        Args:
            clear: Nothing will come of it any more but the HSMs that are shown. Otherwise it may still make one.
        """


class NoGuard:
    """For a run that nobody was told of: everything is allowed, and nothing is kept from others."""

    announces = False
    obstacle = ""

    def declare(self) -> None:
        """Tell nobody."""

    def clear(self) -> None:
        """Leave the marks of others alone."""

    def open(self) -> bool:
        """Allow it."""
        return True

    def extend(self) -> None:
        """There is no limit."""

    def deadline(self) -> float:
        """There is none."""
        return math.inf

    def close(self, clear: bool = True) -> None:
        """Nothing was taken."""
