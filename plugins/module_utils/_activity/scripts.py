# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The steps of the activity protocol, each one Lua script, so that it is atomic and reads the server's clock only."""

from __future__ import annotations

# KEYS: last_access. ARGV: seconds the record lives. Returns the server's unix seconds.
TOUCH = """
local now = redis.call('TIME')[1]
redis.call('SET', KEYS[1], now, 'EX', ARGV[1])
return now
"""

# KEYS: last_access. Returns the server's unix seconds, the type of the record, its value, and its life in milliseconds.
CHECK = """
local now = redis.call('TIME')[1]
local kind = redis.call('TYPE', KEYS[1]).ok
local value = ''
if kind == 'string' then value = redis.call('GET', KEYS[1]) end
return {now, kind, value, redis.call('PTTL', KEYS[1])}
"""
