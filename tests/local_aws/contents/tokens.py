# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The keys of one cluster's HSMs: the files of a SoftHSM token."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LABEL = "hsm1"
PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
SOFTHSM = next((path for path in map(Path, PLACES) if path.exists()), None)
CHILD = Path(__file__).with_name("softhsm_child.py")
TOKEN_OBJECT = "token.object"
GENERATION = "generation"


@dataclass(frozen=True)
class Token:
    """What a PKCS#11 application needs.

    Attributes:
        conf: The value of SOFTHSM2_CONF.
        module: The library that stands in for libcloudhsm_pkcs11.so.
        label: The token's label.
    """

    conf: Path
    module: Path
    label: str = LABEL


class TokenFiles:
    """The folder with the token of one cluster and with the SoftHSM configuration that names it.

    SoftHSM reads its configuration once in the life of a process and keeps what it found. So no process but the client's
    and a short-lived child ever loads the library.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokens = folder / "tokens"
        self.conf = folder / "softhsm2.conf"

    def make(self, files: dict[str, str]) -> None:
        """Make the folder, in place of what is left of an earlier one.

        Args:
            files: What `read` returned for another folder; empty for no token.
        """
        self.erase()
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700)
        self._tokens.mkdir(mode=0o700)
        lines = [f"directories.tokendir = {self._tokens}", "objectstore.backend = file", "log.level = ERROR"]
        _write(self.conf, "".join(f"{line}\n" for line in lines).encode())
        for name, content in files.items():
            path = self._tokens / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            # A client that has the library open looks again only at a generation that it has not seen.
            fresh = path.name == GENERATION
            _write(path, secrets.token_bytes(8) if fresh else base64.b64decode(content))

    def read(self) -> dict[str, str]:
        """Return every file of the token in base64, by its path."""
        files = {}
        for path in sorted(self._tokens.glob("*/*")):
            try:
                with path.open("rb") as stream:
                    # SoftHSM holds a lock while it writes.
                    fcntl.lockf(stream, fcntl.LOCK_SH)
                    files[str(path.relative_to(self._tokens))] = base64.b64encode(stream.read()).decode()
            except FileNotFoundError:
                continue  # a client has destroyed that key just now
        return files

    def erase(self) -> None:
        """Remove everything, if there is anything."""
        if not self._folder.exists():
            return
        # Once renamed, nothing that a client does at the same time can make the removal fail.
        gone = self._folder.with_name(f"{self._folder.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        self._folder.rename(gone)
        shutil.rmtree(gone)

    def holds_keys(self) -> bool:
        """True when the token has an object."""
        return any(path.name != TOKEN_OBJECT for path in self._tokens.glob("*/*.object"))

    def set_pin(self, module: Path, so_pin: str, pin: str) -> None:
        """Set the user PIN of the token, and make the token first if there is none. Its keys stay.

        Args:
            module: SoftHSM's library.
            so_pin: PIN of the security officer.
            pin: The new user PIN.

        Raises:
            RuntimeError: SoftHSM failed.
        """
        exists = any(self._tokens.glob(f"*/{TOKEN_OBJECT}"))
        request = {"module": str(module), "label": LABEL, "so_pin": so_pin, "pin": pin, "exists": exists}
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(CHILD)],
            input=json.dumps(request),
            env={"SOFTHSM2_CONF": str(self.conf)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"SoftHSM failed: {done.stderr.strip()}")


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
