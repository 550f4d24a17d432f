# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Every step of the activity protocol, taken as a module's user takes it, and the rights that it needs."""

from __future__ import annotations

import redis
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Limits
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import find_endpoint
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_activity

from .modules import run_module

READ = ["+evalsha", "+info", "+script|load", "+time", "+type", "+get", "+pttl", "+zrangebyscore", "+hmget"]
USE = ["+set", "+zadd", "+zrem", "+zremrangebyscore"]
CHANGE = ["+zcount", "+incr", "+hset", "+expireat", "+del"]
CLUSTER = ["+cluster|slots", "+command"]

EVERY_STEP = [
    {"action": "touch"},
    {"action": "hold", "holder": "job"},
    {"action": "release", "holder": "job"},
    {"action": "check"},
    {"action": "claim", "phase": "creating", "token": "one"},
    {"action": "finish", "token": "one"},
    {"action": "claim", "phase": "retiring", "token": "two", "hsm_ids": ["hsm-1"]},
    {"action": "cancel", "token": "two"},
    {"action": "claim", "phase": "retiring", "token": "two", "hsm_ids": ["hsm-1"]},
    {"action": "commit", "token": "two"},
]


def opened(url: str, limits: Limits | None = None, **params: str) -> ActivityStore:
    """Open an activity store."""
    return ActivityStore(find_endpoint({"redis_url": url, **params}, {}), limits or Limits())


def take_every_step(client: redis.Redis, env: str = "dev", **store: str) -> None:
    """Take each step of the module, and see that it is granted."""
    for step in EVERY_STEP:
        if step.get("phase") == "retiring":
            client.set(f"hsm:{env}:last_access", client.time()[0] - 3600)
        result = run_module(hsm_activity, env=[env], **step, **store)
        assert not result.get("failed"), result
        entry = result["environments"][0]
        assert entry.get("granted", True), (step, entry)
        assert entry["status"] != "unknown", (step, entry)
