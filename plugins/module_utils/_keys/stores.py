# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Where a backup is kept: what every store can do."""

from __future__ import annotations

import typing as t


class Store(t.Protocol):
    """The documents of one backup. Absence is an answer; whatever hinders the store is a KeyBackupError."""

    place: str
    """Where it is, for texts."""

    def get_manifest(self) -> bytes | None:
        """Return the manifest, or None."""

    def replace_manifest(self, content: bytes, expected: bytes | None) -> None:
        """Put a manifest in the place of another, at once and for all readers.

        Args:
            content: The new one.
            expected: The one that is there now; None for none.

        Raises:
            StoreConflictError: Another one is there.
        """

    def list_parts(self) -> set[str]:
        """Return the digests of all parts that there are, whoever names them."""

    def get_part(self, digest: str) -> bytes | None:
        """Return a part, or None."""

    def put_part(self, digest: str, content: bytes) -> None:
        """Put a part where it belongs, also in the place of a damaged one. The same part may be there."""

    def delete_part(self, digest: str) -> None:
        """Delete a part; it need not be there."""

    def delete_all(self) -> None:
        """Delete the manifest, and then every part."""
