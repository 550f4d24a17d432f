# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a runner has."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import redis
from harness.gitlab import TOOL, inherited

ENV, HOLDS = "dev", "hsm:dev:holds"


@pytest.fixture(scope="session", autouse=True)
def _redis_cli() -> None:
    if shutil.which("redis-cli"):
        return
    if os.environ.get("CI"):
        pytest.fail("no redis-cli")
    pytest.skip("no redis-cli (apt-get install redis-tools)")


@pytest.fixture
def holders(store: redis.Redis) -> t.Callable[[], dict[str, int]]:
    """Tells who holds the environment, and for how many seconds yet."""

    def read() -> dict[str, int]:
        now = store.time()[0]
        return {name: int(score) - now for name, score in store.zrange(HOLDS, 0, -1, withscores=True)}

    return read


@pytest.fixture
def running() -> t.Callable[[str], list[int]]:
    """Finds the processes on whose command line a text stands."""

    def find(text: str) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    return find


@pytest.fixture
def slow_holds(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a redis-cli whose holds are held up on their way, and the file that lets them arrive."""
    folder, arrive = tmp_path / "slow", tmp_path / "arrive"
    folder.mkdir()
    program = folder / "redis-cli"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *" hold "*)\n  : >"{arrive}.awaited"\n  while [ ! -e "{arrive}" ]; do sleep 0.05; done ;;\n'
        f'esac\nexec {shutil.which("redis-cli")} "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return folder, arrive


@pytest.fixture
def tool(redis_url):
    """Run the script. What is not said otherwise, the environment of a job says."""

    def run(*arguments, shell=("sh",), **variables):
        return subprocess.run(
            [*shell, TOOL, *arguments], env={**inherited(), "REDIS_URL": redis_url, **variables},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return run
