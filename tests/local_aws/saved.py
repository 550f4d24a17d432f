# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Everything that a local AWS knows, in a file, so that it outlives a restart.

The file is a pickle: loading one runs what its writer put into it. It also holds every key and password, so it is
readable by its owner only. Load no file but your own.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

FORMAT = 1


class SavedStateError(Exception):
    """The file is not a state that can be loaded."""


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace the file at once, or leave the old one as it is."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        pickle.dump({"format": FORMAT, **state}, stream)
    beside.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Return what was written.

    Raises:
        SavedStateError: It was written by another version, or is no such file, or not this user's.
    """
    if path.stat().st_uid != os.getuid():
        raise SavedStateError(f"{path} belongs to somebody else; it is not loaded.")
    try:
        state = pickle.loads(path.read_bytes())
    except Exception as error:
        raise SavedStateError(f"{path} is not a saved state of this local AWS: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise SavedStateError(f"{path} was written by another version of this local AWS. Delete it to start anew.")
    return state
