# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import local_aws
import pytest
from local_aws.client import Client
from local_aws.driver import LocalAws


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_serves_and_ends_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "local_aws", "--port", "0", "--rate", "0", "--set", "hsm_create_seconds=7"]
    tests = pathlib.Path(local_aws.__file__).parent.parent
    with subprocess.Popen(command, cwd=tests, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            ready = process.stdout.readline().split() if process.stdout else []
            assert ready[0] == "ready"
            client = Client(ready[1])
            assert client.health()["status"] == "ok"
            assert client.read_knobs()["hsm_create_seconds"] == 7
        finally:
            process.send_signal(number)
        _out, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_same_seed_same_ids_and_never_one_twice() -> None:
    def ids() -> list[str]:
        with LocalAws(rate=0, seed=7, quota_clusters=10) as aws:
            return [aws.lay_out(), aws.lay_out()]

    first, second = ids(), ids()
    assert first == second
    assert len(set(first)) == 2


def test_server_in_this_process_lets_go_of_its_port() -> None:
    with LocalAws() as aws:
        port = int(aws.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="refused"):
        Client(f"http://127.0.0.1:{port}").health()
