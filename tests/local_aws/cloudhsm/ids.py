# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Ids as CloudHSM makes them."""

from __future__ import annotations

import random

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class Ids:
    """Makes ids that never repeat.

    Real ids are 11 letters of lower-case base32 after the prefix (recorded).

    Args:
        seed: With the same seed the same ids come in the same order. Default: others at every start.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._made: set[str] = set()
        self._number = 0

    def number(self) -> int:
        """Return the next number of the order of creation."""
        self._number += 1
        return self._number

    def cluster(self) -> str:
        """Return a new cluster id."""
        return self._new("cluster-", BASE32, 11)

    def hsm(self) -> str:
        """Return a new HSM id."""
        return self._new("hsm-", BASE32, 11)

    def backup(self) -> str:
        """Return a new backup id."""
        return self._new("backup-", BASE32, 11)

    def _new(self, prefix: str, alphabet: str, length: int) -> str:
        while True:
            made = prefix + "".join(self._random.choices(alphabet, k=length))
            if made not in self._made:
                self._made.add(made)
                return made
