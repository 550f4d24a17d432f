# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A search for secrets in what a run leaves."""

from __future__ import annotations

import base64
import json
import os
import threading
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from types import TracebackType


def forms(secret: bytes) -> list[bytes]:
    """The ways in which a secret can be written down."""
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        json.dumps(secret.decode("latin-1"))[1:-1].encode(),
    ]


def leaks(secrets: t.Mapping[str, bytes], places: t.Mapping[str, bytes]) -> list[str]:
    """Return which secret is in which place."""
    return [
        f"{name} in {place}"
        for place, content in places.items()
        for name, secret in secrets.items()
        if any(form in content for form in forms(secret))
    ]


def files(folder: Path, but: t.Container[str] = ()) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in but)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Processes:
    """The command lines of all processes of the machine while it lasts, read over and over.

    Other tests run at the same time: what is looked for is to be this one's own.
    """

    def __enter__(self) -> Processes:
        self.seen: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.01):
            for process in filter(str.isdecimal, os.listdir("/proc")):
                try:
                    self.seen.add(Path(f"/proc/{process}/cmdline").read_bytes())
                except OSError:
                    continue  # It has ended.

    @property
    def places(self) -> dict[str, bytes]:
        """What was seen, as places to search."""
        return {f"process {line.decode(errors='replace')}": line for line in self.seen}
