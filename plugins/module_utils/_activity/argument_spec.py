# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters that name the activity store, for every module that uses it."""

from __future__ import annotations

import typing as t

RECORD_TTL = 7200
IDLE_AFTER = 1800


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
        "redis_timeout": {"type": "float", "default": 5},
    }


def activity_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of hsm_activity."""
    return {
        "action": {"type": "str", "required": True, "choices": ["touch", "check"]},
        "env": {"type": "list", "elements": "str", "required": True, "aliases": ["envs"]},
        "record_ttl": {"type": "int", "default": RECORD_TTL},
        "idle_after": {"type": "int", "default": IDLE_AFTER},
        **redis_argument_spec(),
    }


def heartbeat_argument_spec() -> dict[str, t.Any]:
    """Return the parameters by which another module keeps an environment in use."""
    return {
        "env": {"type": "str", "required": True},
        "record_ttl": {"type": "int", "default": RECORD_TTL},
        **redis_argument_spec(),
    }
