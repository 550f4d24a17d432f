# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Records of placements in Redis, beside the activity record of their environment."""

from __future__ import annotations

import typing as t

from .._activity.api import UnconfirmedError, locate
from .._activity.common import Call, Connection
from .._activity.plan import check_environment
from .._cloudhsm.plan import PlanError
from .plan import Owner, PlacementError, Record, decode, encode

if t.TYPE_CHECKING:
    from .._activity.common import Limits
    from .._activity.endpoint import Endpoint

# KEYS: placements. Answers the type of the key, and what it holds.
_LOAD = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then return {kind, redis.call('GET', KEYS[1])} end
return {kind, ''}
"""

# KEYS: placements. ARGV: the record; empty to have none. What is no string was not written by this: it stays.
_REPLACE = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then return {kind} end
if ARGV[1] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1]) end
return {'string'}
"""


class RedisPlacements:
    """A PlacementStore in Redis. A record has no end: it is needed after a weekend, too.

    Args:
        endpoint: The server.
        limits: How long to wait, and how many replicas must confirm what is written.

    Raises:
        ActivityError: The redis library is missing. Every method raises it where there is no answer.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self._connection = Connection(endpoint, limits)
        self._endpoint = endpoint
        self._limits = limits

    def load(self, owner: Owner) -> Record:
        """Return the record; empty where there is none."""
        key = self._key(owner)
        [[kind, text]], _replicas = self._connection.run(_LOAD, [Call((key,))])
        if kind == "none":
            return ()
        if kind != "string":
            raise self._unreadable(key, f"it is a {kind}, not a string")
        try:
            return decode(text)
        except PlanError as error:
            raise self._unreadable(key, str(error).removesuffix(".")) from error

    def replace(self, owner: Owner, record: Record) -> None:
        """Put a record in place of whatever there is."""
        self._write(owner, encode(record) if record else "")

    def forget(self, owner: Owner) -> None:
        """Have no record."""
        self._write(owner, "")

    def _write(self, owner: Owner, text: str) -> None:
        key, least = self._key(owner), self._limits.min_replicas
        [[kind]], replicas = self._connection.run(_REPLACE, [Call((key,), (text,))], confirm=least > 0)
        if kind != "string":
            raise self._unreadable(key, f"it is a {kind}, not a string")
        if replicas < least:
            raise UnconfirmedError(
                f"redis_min_replicas: {replicas} of {least} replicas of Redis at {self._endpoint.name} have confirmed the "
                f"placements after {self._limits.replica_timeout:g} s. They are lost if another replica takes over. Look at the "
                "replicas, and run again."
            )

    def _key(self, owner: Owner) -> str:
        problem = check_environment(owner.environment)
        if problem:
            raise PlacementError(f"env: {problem}.")
        return locate(self._endpoint, owner.environment, "placements")[0]

    def _unreadable(self, key: str, why: str) -> PlacementError:
        return PlacementError(
            f"env: the record of placements {key} in Redis at {self._endpoint.name} cannot be read: {why}. See what wrote it, "
            f"and delete it with DEL {key} if nobody needs it."
        )
