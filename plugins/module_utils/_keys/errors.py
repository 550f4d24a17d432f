# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The errors of a backup of keys. Every text says what was found and what to do, and holds no secret."""

from __future__ import annotations


class KeyBackupError(Exception):
    """Something that main() reports to whoever runs the task."""


class DamageError(KeyBackupError):
    """What a store holds is not what was put there."""


class StoreConflictError(KeyBackupError):
    """Somebody else replaced the manifest meanwhile."""
