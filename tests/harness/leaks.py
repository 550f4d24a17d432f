# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A search for secrets in what a run leaves."""

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path


def forms(secret: bytes) -> list[bytes]:
    """The ways in which a secret can be written down."""
    return [
        secret,
        secret.hex().encode(),
        base64.b64encode(secret),
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
