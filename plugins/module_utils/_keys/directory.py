# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Backups in a folder of a file system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import typing as t
from pathlib import Path

from .errors import KeyBackupError, StoreConflictError

_MANIFEST = "manifest.json"
_PART = re.compile(r"([0-9a-f]{64})\.json")
# A document, and what a run that died while it wrote one has left.
_OURS = re.compile(r"\.?(manifest|[0-9a-f]{64})\.json(\.[0-9a-f]{8})?")


class DirectoryStore:
    """A folder with the manifest, and a folder `parts` in it.

    Only the owner can read them (modes 0700 and 0600). A file is written under another name, flushed to the disk and then
    renamed, so that it is there as a whole or not at all.

    Args:
        path: The folder above; it must exist.
        name: The backup's name, that of the folder.

    Raises:
        KeyBackupError: The folder above does not exist, or what is in it leads elsewhere.
    """

    def __init__(self, path: str, name: str) -> None:
        if not os.path.isdir(path):
            raise KeyBackupError(f"path: {path} is no folder. Create it first, on a disk that outlives the HSM.")
        self._folder = Path(path) / name
        self._parts = self._folder / "parts"
        self.place = str(self._folder)
        for folder in (self._folder, self._parts):
            # Whoever can put one there would have this task write, and delete, wherever they like.
            if folder.is_symlink():
                raise KeyBackupError(
                    f"path: {folder} is a symbolic link. Put the folder itself there, or take another name."
                )

    def get_manifest(self) -> bytes | None:
        return self._read(self._folder / _MANIFEST)

    def replace_manifest(self, content: bytes, expected: bytes | None) -> None:
        with _reporting(self._folder), self._locked():
            if self.get_manifest() != expected:
                raise StoreConflictError(f"{self.place}: another run has replaced the manifest meanwhile. Run again.")
            _write(self._folder / _MANIFEST, content)

    def list_parts(self) -> set[str]:
        with _reporting(self._parts), contextlib.suppress(FileNotFoundError):
            return {found[1] for name in os.listdir(self._parts) if (found := _PART.fullmatch(name))}
        return set()

    def get_part(self, digest: str) -> bytes | None:
        return self._read(self._path(digest))

    def put_part(self, digest: str, content: bytes) -> None:
        if self.get_part(digest) == content:
            return
        with _reporting(self._parts):
            self._make_folders()
            _write(self._path(digest), content)

    def delete_part(self, digest: str) -> None:
        with _reporting(self._parts), contextlib.suppress(FileNotFoundError):
            self._path(digest).unlink()

    def delete_all(self) -> None:
        with _reporting(self._folder), contextlib.suppress(FileNotFoundError):
            (self._folder / _MANIFEST).unlink(missing_ok=True)
            for folder in (self._parts, self._folder):
                for entry in list(folder.iterdir()):
                    if _OURS.fullmatch(entry.name):
                        entry.unlink()
                folder.rmdir()

    def _path(self, digest: str) -> Path:
        return self._parts / f"{digest}.json"

    def _read(self, path: Path) -> bytes | None:
        with _reporting(path), contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        return None

    def _make_folders(self) -> None:
        for folder in (self._folder, self._parts):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                _flush(folder.parent)

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[None]:
        self._make_folders()
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _reporting(path: Path) -> t.Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyBackupError(f"path: {path}: {error.strerror}. See that this task can read and write there.") from error
