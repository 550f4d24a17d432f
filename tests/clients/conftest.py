# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A local AWS for clients that somebody else wrote, and the environment that they run in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_aws.client import ACCESS_KEY, REGION, SECRET_KEY
from local_aws.driver import LocalAws


@pytest.fixture(scope="module")
def server() -> Iterator[LocalAws]:
    """One server for each file: moto's EC2 takes a second to load."""
    with LocalAws(rate=0) as aws:
        yield aws


@pytest.fixture
def aws(server: LocalAws) -> LocalAws:
    """The server, empty, its clock frozen and its settings as at the start."""
    server.reset()
    server.set_rate(0)
    return server


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a client in a process of its own: nothing of whoever runs this but the way to programs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
