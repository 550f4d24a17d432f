# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What stands in for redis-cli where there is none, for as much of it as pipelines/hsm.sh needs of a server without TLS."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import typing as t
from pathlib import Path

import redis

_OPTIONS = {"-h": "host", "-p": "port", "-n": "db", "--user": "username"}


@contextlib.contextmanager
def provide_redis_cli(folder: Path) -> t.Iterator[None]:
    """See that there is a redis-cli in the PATH while the context lasts."""
    path = os.environ["PATH"]
    if not shutil.which("redis-cli") and not shutil.which("valkey-cli"):
        print(
            "There is no redis-cli here (on Debian, apt-get install redis-tools). A small one of Python stands in for it.\n"
        )
        program = folder / "redis-cli"
        program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, __file__])} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{path}"
    try:
        yield
    finally:
        os.environ["PATH"] = path


def main(arguments: list[str]) -> None:
    """Send one command, and print the answer."""
    server: dict[str, t.Any] = {"password": os.environ.get("REDISCLI_AUTH")}
    while arguments and arguments[0] in _OPTIONS:
        option, value, *arguments = arguments
        server[_OPTIONS[option]] = value
    client = redis.Redis(
        **{**server, "port": int(server["port"]), "db": int(server.get("db", 0))}, decode_responses=True
    )
    try:
        print(client.execute_command(*arguments))
    except redis.RedisError as error:
        print(error)


if __name__ == "__main__":
    main(sys.argv[1:])
