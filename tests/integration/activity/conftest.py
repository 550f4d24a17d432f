# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The tests of this folder run against Valkey and against Redis, and against what HSMOPS_REDIS_SERVERS names besides."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import find_endpoint
from harness.redis_servers import REDIS, VALKEY, Server

FURTHER = [Path(path) for path in os.environ.get("HSMOPS_REDIS_SERVERS", "").split(os.pathsep) if path]


@pytest.fixture(scope="session", params=[VALKEY, REDIS, *FURTHER], ids=["valkey", "redis", *map(str, FURTHER)])
def redis_port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[int]:
    with Server(request.param, tmp_path_factory.mktemp("redis")) as server:
        yield server.port


@pytest.fixture
def activity(redis_url: str) -> ActivityStore:
    """The activity store in an empty Redis."""
    return ActivityStore(find_endpoint({"redis_url": redis_url}, {}), Limits())
