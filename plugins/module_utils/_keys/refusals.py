# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Remember that a token has refused a login, so that a schedule does not lock a user by trying on.

CloudHSM locks a crypto user after five wrong passwords in a row, whoever gives them. What is kept is a note that names the
token: nothing of the PIN, and not the user, whose name is part of it.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

from .errors import KeyBackupError


class Refusals:
    """The notes of one host.

    Args:
        folder: Where they are.
        retry: Try in spite of one.
        now: The moment, with its time zone.
    """

    def __init__(self, folder: Path, retry: bool, now: datetime.datetime) -> None:
        self._folder = folder
        self._retry = retry
        self._now = now

    def check(self, token: str) -> None:
        """Refuse to log in where that was refused before.

        Args:
            token: What tells the token from others.

        Raises:
            KeyBackupError: It was.
        """
        note = self._note(token)
        if note.exists() and not self._retry:
            raise KeyBackupError(
                f"pin: {token} refused a login of an earlier run ({note.read_text(encoding='utf-8').strip()}), and none is tried "
                "again by itself, because five wrong ones in a row lock a crypto user. Correct the PIN, then run once with "
                f"pin_retry=true, or delete {note}."
            )

    def remember(self, token: str) -> str:
        """Leave a note. Returns what a person should know, where that fails."""
        note = self._note(token)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            note.write_text(f"{self._now:%Y-%m-%d %H:%M:%S} UTC, {token}\n", encoding="utf-8")
        except OSError as error:
            return f" That could not be noted in {note} ({type(error).__name__}): see that no schedule tries it again."
        return ""

    def forget(self, token: str) -> None:
        """Take the note away: the token has taken a login.

        Raises:
            KeyBackupError: It cannot be taken away, so that no later run would log in.
        """
        note = self._note(token)
        try:
            if note.exists():
                note.unlink()
        except OSError as error:
            raise KeyBackupError(
                f"pin_refusals: {note} cannot be deleted ({type(error).__name__}). Delete it."
            ) from error

    def _note(self, token: str) -> Path:
        return self._folder / hashlib.sha256(token.encode()).hexdigest()[:32]
