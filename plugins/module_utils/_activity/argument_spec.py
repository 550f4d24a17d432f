# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters that name the activity store, for every module that uses it."""

from __future__ import annotations

import typing as t

RECORD_TTL = 7200
IDLE_AFTER = 1800
HOLD_FOR = 3600
SETTLE = 5.0

# What a step cannot do without.
REQUIRED_IF = [
    ("action", "hold", ["holder"]),
    ("action", "release", ["holder"]),
    ("action", "claim", ["phase"]),
    ("phase", "retiring", ["hsm_ids"]),
    ("action", "commit", ["token"]),
    ("action", "cancel", ["token"]),
    ("action", "finish", ["token"]),
]


def redis_argument_spec() -> dict[str, t.Any]:
    """Return the parameters that say where Redis is."""
    return {
        "redis_url": {"type": "str", "no_log": True},
        "redis_host": {"type": "str"},
        "redis_port": {"type": "int"},
        "redis_username": {"type": "str"},
        "redis_password": {"type": "str", "no_log": True},
        "redis_db": {"type": "int"},
        "redis_tls": {"type": "bool", "default": False},
        "redis_ca_certs": {"type": "path"},
        "redis_client_cert": {"type": "path"},
        "redis_client_key": {"type": "path", "no_log": False},
        "redis_sentinel_username": {"type": "str"},
        "redis_sentinel_password": {"type": "str", "no_log": True},
        "redis_timeout": {"type": "float", "default": 5},
        "redis_retry_for": {"type": "float"},
        "redis_min_replicas": {"type": "int", "default": 0},
        "redis_replica_timeout": {"type": "float", "default": 1},
    }


def activity_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of hsm_activity."""
    actions = ["touch", "hold", "release", "check", "claim", "commit", "cancel", "finish"]
    return {
        "action": {"type": "str", "required": True, "choices": actions},
        "env": {"type": "list", "elements": "str", "required": True, "aliases": ["envs"]},
        "record_ttl": {"type": "int", "default": RECORD_TTL},
        "idle_after": {"type": "int", "default": IDLE_AFTER},
        "holder": {"type": "str"},
        "hold_for": {"type": "int", "default": HOLD_FOR},
        "allow_long_hold": {"type": "bool", "default": False},
        "phase": {"type": "str", "choices": ["creating", "retiring"]},
        "token": {"type": "str", "no_log": False},
        "hsm_ids": {"type": "list", "elements": "str"},
        "claim_for": {"type": "int", "default": 300},
        "commit_for": {"type": "int", "default": 900},
        **redis_argument_spec(),
    }


def heartbeat_argument_spec() -> dict[str, t.Any]:
    """Return the parameters by which another module keeps an environment in use."""
    return {
        "env": {"type": "str", "required": True},
        "record_ttl": {"type": "int", "default": RECORD_TTL},
        "holder": {"type": "str"},
        "hold_for": {"type": "int", "default": HOLD_FOR},
        "allow_long_hold": {"type": "bool", "default": False},
        "settle": {"type": "float", "default": SETTLE},
        **redis_argument_spec(),
    }
