# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A control API that reaches into one cluster's HSMs, over HTTP, and the tools that speak to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import local_aws
import pytest
from local_aws.contents.errors import RefusedError
from local_aws.contents.routes import routes
from local_aws.contents.vault import Vault

BIN = Path(local_aws.__file__).with_name("bin")
CLUSTER = "cluster-aaaaaaaaaaa"
ADDRESS = "10.42.0.4"


@dataclass
class Estate:
    """One cluster with one HSM, which tests change."""

    vault: Vault
    url: str = ""
    cluster_id: str = CLUSTER
    state: str = "INITIALIZED"
    hsms: list[dict[str, Any]] = field(
        default_factory=lambda: [{"EniIp": ADDRESS, "EniId": "eni-1", "AvailabilityZone": "eu-west-1a"}]
    )

    def activated(self, _cluster_id: str) -> None:
        """Take note of an activation."""
        self.state = "ACTIVE"

    def find(self, what: str) -> Estate:
        """Return the cluster, by its id or by the address of its HSM."""
        if what not in (CLUSTER, *(hsm["EniIp"] for hsm in self.hsms)):
            raise RefusedError(404, f"There is no {what}.")
        return self


def handler_for(estate: Estate) -> type[BaseHTTPRequestHandler]:
    """Return a handler that mounts the routes."""
    table = routes(estate.activated)

    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            path = self.path.removeprefix("/_local/")
            [(run, found)] = [
                (run, found)
                for method, pattern, run in table
                if method == self.command and (found := re.fullmatch(pattern, path))
            ]
            try:
                status, answer = 200, run(estate.vault, estate.find, *found.groups(), body=body)
            except (RefusedError, ValueError) as error:
                status, answer = getattr(error, "status", 400), {"error": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = serve  # noqa: N815 (names that the base class calls)

        def log_message(self, *_args: Any) -> None:
            """Keep quiet."""

    return Handler


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    """A cluster whose first HSM is there, INITIALIZED and not activated."""
    estate = Estate(Vault(tmp_path / "vault"))
    estate.vault.start_fresh(CLUSTER)
    server = HTTPServer(("127.0.0.1", 0), handler_for(estate))
    estate.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield estate
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Tools:
    """Runs the tools as a shell does."""

    home: Path
    url: str
    bin: Path = BIN

    def environment(self, **more: str) -> dict[str, str]:
        """Return what a tool finds in its environment."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHON": sys.executable,
            "CLOUDHSM_LOCAL_HOME": str(self.home),
            "AWS_ENDPOINT_URL": self.url,
            **more,
        }

    def run(self, tool: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a tool with more variables in its environment."""
        environment = self.environment(**more)
        command = [self.bin / tool, *arguments]
        return subprocess.run(command, env=environment, input="", capture_output=True, text=True, check=False)

    def cli(self, *arguments: str, **more: str) -> tuple[int, Any]:
        """Run cloudhsm-cli and return its exit status, which its answer repeats, and its data."""
        done = self.run("cloudhsm-cli", *arguments, **more)
        answer = json.loads(done.stdout)
        assert answer["error_code"] == done.returncode
        return done.returncode, answer["data"]


@pytest.fixture
def tools(estate: Estate, tmp_path: Path) -> Tools:
    """The tools, configured for nothing."""
    return Tools(tmp_path / "home", estate.url)


@pytest.fixture
def configured(tools: Tools) -> Tools:
    """The tools, of which cloudhsm-cli is configured for the HSM."""
    tools.run("configure-cli", "-a", ADDRESS).check_returncode()
    return tools
