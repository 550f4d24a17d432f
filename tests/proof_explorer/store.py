# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The Redis of the explored world: the real scripts, on a real server, by the clock of the world.

What a script does depends on nothing but the keys, its arguments and the clock. So each combination of these is run on the
server once, and what it answered and left is remembered. Expiry follows the world's clock.
"""

from __future__ import annotations

import json
import typing as t

import redis
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity import scripts

ENVIRONMENT = "dev"
KEYS = tuple(f"hsm:{ENVIRONMENT}:{key}" for key in ("last_access", "holds", "claim", "fence"))
RECORD, HOLDS, CLAIM, FENCE = KEYS

# The world's time lies decades ahead, so that no key with a date in it expires on the server by itself.
LATER_THAN_NOW = 3_900_000_000

# The one change to the scripts: they read the world's clock, and what the world's server says of itself.
_SEAMS = {
    "redis.call('TIME')[1]": "redis.call('GET', 'proof:clock')",
    "redis.pcall('INFO', section)": "redis.call('GET', 'proof:info')",
}

PLAIN_SET = "return redis.call('SET', KEYS[1], ARGV[1], 'EX', 7200) and {'', 0, '', '', -1, {}, {}}"

_LOAD = """
redis.call('FLUSHALL')
redis.call('SET', 'proof:clock', ARGV[1])
redis.call('SET', 'proof:info', ARGV[2])
local given = cjson.decode(ARGV[3])
for _, entry in ipairs(given) do
  local key, kind, values, life, at = entry[1], entry[2], entry[3], entry[4], entry[5]
  if kind == 'string' then redis.call('SET', key, values[1]) end
  if kind == 'hash' then redis.call('HSET', key, unpack(values)) end
  if kind == 'zset' then redis.call('ZADD', key, unpack(values)) end
  if life >= 0 then redis.call('EXPIRE', key, life) end
  if at >= 0 then redis.call('EXPIREAT', key, at) end
end
"""
_DUMP = """
local found = {}
for place, key in ipairs(KEYS) do
  local kind, values = redis.call('TYPE', key).ok, {}
  if kind == 'string' then values = {redis.call('GET', key)} end
  if kind == 'hash' then values = redis.call('HGETALL', key) end
  if kind == 'zset' then values = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  found[place] = {kind, values, redis.call('PTTL', key), redis.call('EXPIRETIME', key)}
end
return found
"""

# The run of the server, and when it began with a copy of its data; 0: it began empty.
Run = tuple[int, float]
FIRST_RUN: Run = (1, 0.0)

Entry = tuple[str, tuple[str, ...], "float | None"]
State = tuple[tuple[str, Entry], ...]


class Server:
    """Runs scripts on one server.

    Attributes:
        steps: How many different steps were run on it.
    """

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(port=port, decode_responses=True)
        self._known: dict[t.Any, tuple[t.Any, State]] = {}
        self._digests: dict[str, str] = {}
        self.names = {text: name.lower() for name, text in vars(scripts).items() if name.isupper() and name[0] != "_"}

    @property
    def steps(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def run(self, state: State, script: str, call: t.Any, now: float, run: Run) -> tuple[t.Any, State]:
        """Run a script. Returns its answer, and what the server holds then."""
        state = expire(state, now)
        wanted = (state, script, call.keys, call.arguments, now, run)
        if wanted not in self._known:
            self._known[wanted] = self._really_run(state, script, call, now, run)
        return self._known[wanted]

    def _digest(self, script: str) -> str:
        if script not in self._digests:
            text = script
            for real, explored in _SEAMS.items():
                if script not in (PLAIN_SET, _LOAD, _DUMP) and real not in script:
                    raise AssertionError(f"the scripts do without {real}: adapt the seam")
                text = text.replace(real, explored)
            self._digests[script] = self._client.script_load(text)
        return self._digests[script]

    def _really_run(self, state: State, script: str, call: t.Any, now: float, run: Run) -> tuple[t.Any, State]:
        load, step, dump = (self._digest(text) for text in (_LOAD, script, _DUMP))
        pipeline = self._client.pipeline(transaction=False)
        pipeline.evalsha(load, 0, int(now), _info(run, now), _encode(state, now))
        pipeline.evalsha(step, len(call.keys), *call.keys, *call.arguments)
        pipeline.evalsha(dump, len(KEYS), *KEYS)
        _loaded, answer, found = pipeline.execute()
        after = []
        for key, (kind, values, life, at) in zip(KEYS, found, strict=True):
            if kind == "none":
                continue
            expires = None
            if life >= 0:
                expires = float(at) if at > LATER_THAN_NOW else now + -(-life // 1000)
            after.append((key, (kind, tuple(values), expires)))
        # The life of the record is of the server's own clock, to the millisecond; rounded, so that it is always the same.
        answer[4] = -(-answer[4] // 1000) * 1000
        return _frozen(answer), tuple(after)


def _info(run: Run, now: float) -> str:
    number, began = run
    figures = {
        "run_id": number,
        "uptime_in_seconds": int(now - began),
        "rdb_last_load_keys_loaded": int(began > 0),
        "aof_enabled": 0,
    }
    return "".join(f"\n{name}:{value}" for name, value in figures.items())


def _frozen(answer: t.Any) -> t.Any:
    return tuple(map(_frozen, answer)) if isinstance(answer, list) else answer


def _encode(state: State, now: float) -> str:
    entries = []
    for key, (kind, values, expires) in state:
        given = list(values)
        if kind == "zset":
            given = [part for member, score in zip(given[::2], given[1::2], strict=True) for part in (score, member)]
        life = at = -1
        if expires is not None and expires > LATER_THAN_NOW and key == CLAIM:
            at = int(expires)
        elif expires is not None:
            life = int(expires - now)
        entries.append([key, kind, given, life, at])
    return json.dumps(entries) if entries else "{}"


def put(state: State, key: str, value: str, expires: float) -> State:
    """Return what the server holds after a string was written."""
    entries = {**dict(state), key: ("string", (value,), expires)}
    return tuple((name, entries[name]) for name in KEYS if name in entries)


def expire(state: State, now: float) -> State:
    """Return what the server holds at some moment, if nothing is written until then."""
    if all(entry[2] is None or entry[2] > now for _key, entry in state):
        return state
    return tuple((key, entry) for key, entry in state if entry[2] is None or entry[2] > now)


def live_claim(state: State, now: float) -> bool:
    """Say whether there is a claim that counts."""
    entry = dict(state).get(CLAIM)
    if entry is None:
        return False
    fields = dict(zip(entry[1][::2], entry[1][1::2], strict=True))
    return float(fields["deadline"]) >= now
