# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The steps of the activity protocol, each one Lua script, so that it is atomic and reads the server's clock only.

A step is a precondition, which answers why the step is refused, and an effect, which happens only if it is not. All steps
share what stands around them: the keys, the clock, how the claim is read, and the answer.

Every time is a whole unix second, and no rounding makes an HSM look idle too early: a record is the second in which it was
written, and must be more than the limit before the present one; a hold and a claim live to the end of the second they name.
"""

from __future__ import annotations

# KEYS: last_access, holds, claim, fence. ARGV: "dry" to change nothing, then those of the step.
_HEAD = """
local RECORD, HOLDS, CLAIM, FENCE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = tonumber(redis.call('TIME')[1])

local function kind(key) return redis.call('TYPE', key).ok end

local function text(key)
  if kind(key) == 'string' then return redis.call('GET', key) end
end

-- Unix seconds as plan.py reads them; nil if it is none.
local function seconds(value)
  local digits, rest = string.match(value or '', '^(%d+)(.*)$')
  if digits and #digits <= 15 and #rest <= 10 and (rest == '' or string.find(rest, '^%.%d+$')) then
    local moment = tonumber(value)
    if moment >= 1000000000 then return moment end
  end
end

-- What the server says of itself; nil if it does not, or if this user may not ask.
local function said(section, name)
  local info = redis.pcall('INFO', section)
  if type(info) == 'string' then return string.match(info, '\\n' .. name .. ':(%w+)') end
end

local function run_id() return said('server', 'run_id') end

-- The second since which nothing is missing from the data: 0 where the server began empty, its start where it began with a
-- copy, which can be older than the last use; -1 where it does not say. Versions before 7.0 do not say what they loaded.
local function find_complete_since()
  local loaded, log = said('persistence', 'rdb_last_load_keys_loaded'), said('persistence', 'aof_enabled')
  if loaded == '0' and log == '0' then return 0 end
  local uptime = tonumber(said('server', 'uptime_in_seconds') or '')
  return uptime and now - uptime or -1
end

-- Asked by those steps only to which it matters.
local complete_since = 0

-- A number as INCR and the steps write it.
local function whole(value) return value and #value <= 15 and string.find(value, '^[1-9]%d*$') end

local FOREIGN = {phase = 'unknown', token = '', fence = '0', deadline = '0', hsm_ids = '', record = '', server = ''}

-- The live claim; nil where there is none; FOREIGN where its keys hold what no step wrote.
local function live_claim()
  if kind(FENCE) ~= 'none' and not whole(text(FENCE)) then return FOREIGN end
  if kind(CLAIM) == 'none' then return nil end
  if kind(CLAIM) ~= 'hash' then return FOREIGN end
  local names = {'phase', 'token', 'fence', 'deadline', 'hsm_ids', 'record', 'server'}
  local values, found = redis.call('HMGET', CLAIM, unpack(names)), {}
  for place, name in ipairs(names) do
    if not values[place] then return FOREIGN end
    found[name] = values[place]
  end
  local retiring = found.phase == 'retiring' or found.phase == 'committed'
  if not (retiring and seconds(found.record) or found.phase == 'creating') then return FOREIGN end
  if found.token == '' or not whole(found.fence) or not whole(found.deadline) then return FOREIGN end
  if tonumber(found.deadline) >= now then return found end
end

local claim = live_claim()

-- Why this token may not change the live claim; nil where it may.
local function not_own(token, phases)
  if not claim then return 'gone' end
  if claim.phase == 'unknown' then return 'unknown' end
  if claim.token ~= token then return 'claimed' end
  if not phases[claim.phase] then return claim.phase end
end

-- Why a token may not go by its claim; nil where it may. What was written after a copy of the claim is missing from it.
local function not_sure(token, phases)
  return not_own(token, phases) or (claim.server ~= run_id() and 'restarted' or nil)
end

local function touch(record_ttl) redis.call('SET', RECORD, now, 'EX', record_ttl) end

local function holds_unreadable() return kind(HOLDS) ~= 'none' and kind(HOLDS) ~= 'zset' end

local function drop_past_holds() redis.call('ZREMRANGEBYSCORE', HOLDS, '-inf', '(' .. now) end

-- The key outlives the deadline by an hour, for those who look; the deadline alone says whether the claim is live.
local function live_until(deadline)
  redis.call('HSET', CLAIM, 'deadline', deadline)
  redis.call('EXPIREAT', CLAIM, deadline + 3600)
end

-- A claim that this token has already only lives longer, so that a step may be repeated whose answer was lost.
local function take_claim(phase, token, claim_for, hsm_ids)
  if not claim then
    redis.call('HSET', CLAIM, 'fence', redis.call('INCR', FENCE), 'phase', phase, 'token', token,
      'hsm_ids', hsm_ids, 'record', text(RECORD) or '', 'server', run_id() or '')
  end
  live_until(now + claim_for)
end

local function answer(refusal)
  local holders = false
  if not holds_unreadable() then holders = redis.call('ZRANGEBYSCORE', HOLDS, now, '+inf', 'WITHSCORES') end
  local live, shown = live_claim(), {}
  if live then shown = {live.phase, live.token, live.fence, live.deadline, live.hsm_ids} end
  return {refusal or '', now, kind(RECORD), text(RECORD) or '', redis.call('PTTL', RECORD), holders, shown,
    complete_since}
end
"""

_TAIL = """
local refusal = precondition()
if not refusal and ARGV[1] ~= 'dry' then effect() end
return answer(refusal)
"""


def _step(precondition: str = "", effect: str = "") -> str:
    return f"{_HEAD}\nlocal function precondition()\n{precondition}end\n\nlocal function effect()\n{effect}end\n{_TAIL}"


CHECK = _step(
    precondition="""
  complete_since = find_complete_since()
"""
)

# ARGV: record_ttl.
TOUCH = _step(effect="  touch(ARGV[2])\n")

# ARGV: record_ttl. An HSM in being that nobody has touched yet: its time begins now.
START_CLOCK = _step(
    precondition="""
  if kind(RECORD) ~= 'none' then return 'recorded' end
""",
    effect="  touch(ARGV[2])\n",
)

# ARGV: record_ttl, holder, hold_for.
HOLD = _step(
    precondition="""
  if holds_unreadable() then return 'unknown' end
""",
    effect="""
  touch(ARGV[2])
  drop_past_holds()
  redis.call('ZADD', HOLDS, now + ARGV[4], ARGV[3])
""",
)

# ARGV: record_ttl, holder.
RELEASE = _step(
    precondition="""
  if holds_unreadable() then return 'unknown' end
""",
    effect="""
  touch(ARGV[2])
  drop_past_holds()
  redis.call('ZREM', HOLDS, ARGV[3])
""",
)

# ARGV: token, claim_for.
CLAIM_CREATING = _step(
    precondition="""
  if claim then return not_own(ARGV[2], {creating = true}) end
""",
    effect="""
  take_claim('creating', ARGV[2], ARGV[3], '')
""",
)

# ARGV: token, claim_for, HSM ids, idle_after, seconds that a record may lie in the future.
# The claim remembers the record, and leaves no holds, because none of them is live.
CLAIM_RETIRING = _step(
    precondition="""
  if claim then return not_own(ARGV[2], {retiring = true}) end
  if holds_unreadable() then return 'unknown' end
  if redis.call('ZCOUNT', HOLDS, now, '+inf') > 0 then return 'held' end
  local last_access = seconds(text(RECORD))
  if not last_access or last_access - now > tonumber(ARGV[6]) then return 'unknown' end
  if now - last_access <= tonumber(ARGV[5]) then return 'active' end
  complete_since = find_complete_since()
  if complete_since < 0 or now - complete_since <= tonumber(ARGV[5]) then return 'unknown' end
""",
    effect="""
  if not claim then drop_past_holds() end
  take_claim('retiring', ARGV[2], ARGV[3], ARGV[4])
""",
)

# ARGV: token, claim_for.
RENEW = _step(
    precondition="""
  return not_own(ARGV[2], {creating = true, retiring = true})
""",
    effect="""
  live_until(now + ARGV[3])
""",
)

# ARGV: token, commit_for. A claim that is committed already stays as it is; writing it once more lets WAIT confirm it.
COMMIT = _step(
    precondition="""
  local refusal = not_sure(ARGV[2], {retiring = true, committed = true})
  if refusal or claim.phase == 'committed' then return refusal end
  if text(RECORD) ~= claim.record or kind(HOLDS) ~= 'none' then return 'changed' end
""",
    effect="""
  redis.call('HSET', CLAIM, 'phase', 'committed')
  if claim.phase ~= 'committed' then live_until(claim.deadline + ARGV[3]) end
""",
)

# ARGV: token. One that is gone is refused: it may have been committed before it was lost, and so may a copy of it.
CANCEL = _step(
    precondition="""
  return not_sure(ARGV[2], {retiring = true})
""",
    effect="""
  redis.call('DEL', CLAIM)
""",
)

# ARGV: token.
FINISH = _step(
    precondition="""
  return not_own(ARGV[2], {creating = true, retiring = true, committed = true})
""",
    effect="""
  redis.call('DEL', CLAIM)
""",
)
