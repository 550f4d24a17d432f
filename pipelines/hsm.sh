#!/bin/sh
# Say in Redis that an HSM is needed, where a job has only a shell and redis-cli (or valkey-cli).
#
#   hsm.sh touch ENV             it is in use now
#   hsm.sh hold ENV [HOLDER]     it is needed for HSM_HOLD_FOR (900) seconds
#   hsm.sh beat ENV [HOLDER]     hold again every HSM_BEAT seconds (240, or half of HSM_HOLD_FOR where that is less), until the
#                                process HSM_WATCH is gone, the file HSM_STOP_FILE appears, or HSM_BEAT_MAX seconds are over
#                                (604800; 21600 where no process is watched, and then also when the folder of that file is gone)
#   hsm.sh release ENV [HOLDER]  end a beat by HSM_STOP_FILE, where that is set, then the hold
#   hsm.sh check ENV             print active, held, idle, unknown, creating, retiring or committed
#
# Without HOLDER, it is HSM_HOLDER, else that of the pipeline, as the role hsmops.cloudhsm.hsm has it. The server is that of
# HSM_REDIS_URL, REDIS_URL, or REDIS_HOST and REDIS_PORT; its user and password, where they are not in the URL, are
# HSM_REDIS_USERNAME and HSM_REDIS_PASSWORD or REDIS_PASSWORD. HSM_REDIS_CA_CERTS is a file with authorities for TLS.
#
# It ends with 0; 1 from check where nobody uses it; 2 where the HSM is about to be deleted, so that ensure_hsm has to be run;
# 3 where Redis did not do it; 4 where it was called wrongly.
#
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
set -eu
# A trace would show the password.
set +x
LC_ALL=C
export LC_ALL

say() { printf 'hsm: %s\n' "$*" >&2; }

wrong() {
    say "$*"
    exit 4
}

# One script on the server, so that a step is whole or not at all, and knows no clock but the server's. It answers the status as
# it was before the step, the phase of a live claim, for how many seconds, and the status in words. What each means is in
# docs/redis.md of the collection; plan.judge of its Python code says the same.
STEP='
local RECORD, HOLDS, CLAIM, FENCE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local step, ttl, limit, holder, hold_for = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local now = tonumber(redis.call("TIME")[1])
local function kind(key) return redis.call("TYPE", key).ok end
local function text(key) return kind(key) == "string" and redis.call("GET", key) or "" end
local function whole(value) return value and #value <= 15 and string.find(value, "^[1-9]%d*$") end
local function seconds(value)
  local digits, rest = string.match(value, "^(%d+)(.*)$")
  if digits and #digits <= 15 and #rest <= 10 and (rest == "" or string.find(rest, "^%.%d+$")) then
    local moment = tonumber(value)
    if moment >= 1000000000 then return moment end
  end
end
local function said(section, name)
  local info = redis.pcall("INFO", section)
  if type(info) == "string" then return string.match(info, "\n" .. name .. ":(%w+)") end
end

local function find_claim()
  if kind(FENCE) ~= "none" and not whole(text(FENCE)) then return "unknown", 0 end
  if kind(CLAIM) == "none" then return end
  if kind(CLAIM) ~= "hash" then return "unknown", 0 end
  local found = redis.call("HMGET", CLAIM, "phase", "deadline", "record", "token", "fence", "hsm_ids", "server")
  for place = 1, 7 do
    if not found[place] then return "unknown", 0 end
  end
  local retiring = found[1] == "retiring" or found[1] == "committed"
  if not (retiring and seconds(found[3]) or found[1] == "creating") or found[4] == "" then return "unknown", 0 end
  if not whole(found[2]) or not whole(found[5]) then return "unknown", 0 end
  if tonumber(found[2]) >= now then return found[1], tonumber(found[2]) - now end
end

local held = kind(HOLDS) == "zset" and redis.call("ZRANGEBYSCORE", HOLDS, now, "+inf") or {}
local unreadable = kind(HOLDS) ~= "none" and kind(HOLDS) ~= "zset"
local phase, left = find_claim()

local function find_status()
  if phase == "unknown" then return "unknown", "the keys of its claim hold what no step wrote" end
  if phase then return phase, "claimed (" .. phase .. ") for another " .. left .. " s" end
  if unreadable then return "unknown", "the key of its holds is of another type than a sorted set" end
  if #held > 0 then
    local names = string.gsub(table.concat(held, ", ", 1, math.min(3, #held)), "%c", "?")
    return "held", "held by " .. names .. (#held > 3 and ", ..." or "")
  end
  if kind(RECORD) == "none" then
    return "unknown", "there is no record: nobody has touched it, or the record has expired or was lost"
  end
  local last = seconds(text(RECORD))
  if not last then return "unknown", "the record is not a moment in unix seconds" end
  if last - now > 5 then return "unknown", string.format("the record lies %d s in the future of the Redis server", last - now) end
  local used = string.format("last used %d s ago; idle after %d s", math.max(0, now - last), limit)
  if now - last <= limit then return "active", used end
  if said("persistence", "rdb_last_load_keys_loaded") ~= "0" or said("persistence", "aof_enabled") ~= "0" then
    local up = tonumber(said("server", "uptime_in_seconds") or "")
    if not up then return "unknown", "Redis does not say since when it runs: give its user the right to INFO" end
    if up <= limit then return "unknown", "Redis came back " .. up .. " s ago with a copy of its data" end
  end
  return "idle", used
end

local status, reason = find_status()
if step == "hold" or step == "release" then
  if unreadable then return redis.error_reply("ERR the key of its holds is of another type than a sorted set") end
end
if step ~= "check" then redis.call("SET", RECORD, now, "EX", ttl) end
if step == "hold" or step == "release" then redis.call("ZREMRANGEBYSCORE", HOLDS, "-inf", "(" .. now) end
if step == "hold" then redis.call("ZADD", HOLDS, now + hold_for, holder) end
if step == "release" then redis.call("ZREM", HOLDS, holder) end
return "HSM " .. status .. " " .. (phase or "free") .. " " .. (left or 0) .. " " .. reason
'

# A positive whole number of seconds.
check_seconds() {
    case $2 in
    '' | *[!0-9]* | 0* | ?????????*) wrong "$1: '$2' is no number of seconds. Set it to a whole one from 1 on, or leave it out." ;;
    esac
}

check_names() {
    case $env in
    '') wrong "ENV: no environment is named. Call hsm.sh $step ENV, or set HSM_ENV." ;;
    *[!A-Za-z0-9_.@/+{}-]*)
        wrong "ENV: '$env' is no name of an environment: 1 to 200 letters, digits and any of _ . @ / + { } - are."
        ;;
    esac
    [ "${#env}" -le 200 ] || wrong "ENV: that name has ${#env} characters. 200 are allowed."
    case $step in
    hold | beat | release) ;;
    *) return 0 ;;
    esac
    case $holder in
    '') wrong "HOLDER: nobody is named. Call hsm.sh $step ENV HOLDER, or set HSM_HOLDER." ;;
    *[[:space:][:cntrl:]]*)
        wrong "HOLDER: '$holder' is no id of a holder: 1 to 200 printable characters without white space are."
        ;;
    esac
    [ "${#holder}" -le 200 ] || wrong "HOLDER: that id has ${#holder} bytes. 200 are allowed."
}

# As hsm_holder of the role: one id for all jobs of a pipeline.
find_holder() {
    if [ -n "${HSM_HOLDER:-}" ]; then
        holder=$HSM_HOLDER
    elif [ -n "${CI_PIPELINE_ID:-}" ]; then
        holder=gitlab-$CI_PIPELINE_ID
    elif [ -n "${GITHUB_RUN_ID:-}" ]; then
        holder=github-$GITHUB_RUN_ID
    else
        holder=
        rest=${BUILD_TAG:-}
        while :; do
            case $rest in
            *[[:space:]]*)
                holder=$holder${rest%%[[:space:]]*}_
                rest=${rest#*[[:space:]]}
                ;;
            *) break ;;
            esac
        done
        holder=$holder$rest
    fi
}

# Never shows a URL: a password may be in it.
refuse_url() {
    say "$source: $1."
    wrong "Put the password into REDIS_PASSWORD, and only host, port and database into the URL: rediss://redis.example.com:6379/0"
}

read_url() {
    case $url in
    redis://*) ;;
    rediss://*) tls=yes ;;
    *) refuse_url "not the URL of one Redis server, which begins with redis:// or rediss://" ;;
    esac
    rest=${url#*://}
    case $rest in
    *%*) refuse_url "holds a %, and this script does not decode it" ;;
    *[[:space:][:cntrl:]]*) refuse_url "holds white space" ;;
    *'?'* | *'#'*) refuse_url "holds a ? or #, which this script does not read" ;;
    esac
    case $rest in
    *@*)
        login=${rest%@*}
        rest=${rest##*@}
        case $login in
        *@* | */* | *:*:*) refuse_url "its user or password holds one of @ / :" ;;
        *:*)
            user=${login%%:*}
            [ -z "${login#*:}" ] || password=${login#*:}
            ;;
        *) user=$login ;;
        esac
        ;;
    esac
    case $rest in
    */*)
        database=${rest#*/}
        rest=${rest%%/*}
        ;;
    esac
    case $rest in
    '['*']') host=${rest#?} host=${host%?} ;;
    '['*']:'*) host=${rest#?} host=${host%%]*} port=${rest##*:} ;;
    *:*) host=${rest%%:*} port=${rest#*:} ;;
    *) host=$rest ;;
    esac
    case $host in '' | -* | *,* | *'['* | *']'*) refuse_url "its host is malformed" ;; esac
    case $port in '' | *[!0-9]*) refuse_url "its port is malformed" ;; esac
    case $database in *[!0-9]*) refuse_url "what stands behind the / is no number of a database" ;; esac
}

find_server() {
    host='' port=6379 database='' tls=''
    user=${HSM_REDIS_USERNAME:-}
    password=${HSM_REDIS_PASSWORD:-${REDIS_PASSWORD:-}}
    url=${HSM_REDIS_URL:-${REDIS_URL:-}}
    if [ -n "$url" ]; then
        source=REDIS_URL
        [ -z "${HSM_REDIS_URL:-}" ] || source=HSM_REDIS_URL
        read_url
    elif [ -n "${REDIS_HOST:-}" ]; then
        source=REDIS_HOST
        host=$REDIS_HOST
        port=${REDIS_PORT:-6379}
        case $host in -* | *[!A-Za-z0-9_.:-]*) wrong "REDIS_HOST: '$host' is no name of a host." ;; esac
        case $port in '' | *[!0-9]*) wrong "REDIS_PORT: '$port' is no port number." ;; esac
    else
        wrong "REDIS_URL: no Redis is named. Set REDIS_URL, or REDIS_HOST, REDIS_PORT and REDIS_PASSWORD."
    fi
    if command -v redis-cli >/dev/null 2>&1; then
        client=redis-cli
    elif command -v valkey-cli >/dev/null 2>&1; then
        client=valkey-cli
    else
        wrong "neither redis-cli nor valkey-cli is in this image. Debian has it in redis-tools, Alpine in redis."
    fi
}

# The password goes through the environment of that one process: everybody can read its command line.
redis() {
    [ -z "$database" ] || set -- -n "$database" "$@"
    [ -z "$user" ] || set -- --user "$user" "$@"
    if [ -n "$tls" ]; then
        [ -z "${HSM_REDIS_CA_CERTS:-}" ] || set -- --cacert "$HSM_REDIS_CA_CERTS" "$@"
        set -- --tls "$@"
    fi
    set -- "$client" -h "$host" -p "$port" "$@"
    # redis-cli waits for ever for a server that is silent.
    if command -v timeout >/dev/null 2>&1; then set -- timeout 10 "$@"; fi
    if [ -n "$password" ]; then
        REDISCLI_AUTH=$password VALKEYCLI_AUTH=$password "$@" 2>&1 </dev/null || :
    else
        "$@" 2>&1 </dev/null || :
    fi
}

# Say why Redis did not do it; its answer tells, because the exit status of redis-cli does not.
explain() {
    where="Redis at $host:$port"
    case $1 in
    *WRONGPASS* | *NOAUTH* | *'AUTH failed'* | *'invalid password'*)
        say "$source: $where refused the user or password. Look at REDIS_PASSWORD and HSM_REDIS_USERNAME."
        ;;
    *NOPERM*) say "$source: $where denies this user the right to do it. docs/redis.md of the collection lists the rights." ;;
    *READONLY*) say "$source: $where is a replica, which nobody can write to. Name the primary." ;;
    *ertificate* | *SSL* | *TLS*) say "$source: $where and this side do not agree on TLS ($1). Look at HSM_REDIS_CA_CERTS." ;;
    '' | *'ould not connect'* | *onnection* | *'I/O error'* | *closed*)
        say "$source: $where does not answer${1:+ ($1)}. Nothing is known of $env."
        ;;
    *) say "$source: $where did not do it ($1)." ;;
    esac
}

# Have the server take a step. Returns 3 where it did not; else status, phase, left and reason are set.
ask() {
    answer=$(redis script load "$STEP")
    case $answer in
    *[!0-9a-f]* | '') ;;
    *)
        answer=$(redis evalsha "$answer" 4 "hsm:$env:last_access" "hsm:$env:holds" "hsm:$env:claim" "hsm:$env:fence" \
            "$1" "$record_ttl" "$idle_after" "$holder" "$hold_for")
        ;;
    esac
    case $answer in
    'HSM '*) ;;
    *)
        explain "$answer"
        return 3
        ;;
    esac
    answer=${answer#HSM }
    status=${answer%% *} answer=${answer#* }
    phase=${answer%% *} answer=${answer#* }
    left=${answer%% *} reason=${answer#* }
}

# Say what else is going on. Returns 2 where the HSM is about to be deleted.
tell() {
    if [ "$phase" = committed ]; then
        say "$env: the HSM is about to be deleted, which can take $left s. Run ensure_hsm: it waits for that, and makes a new one."
        return 2
    fi
    say "$env: $1"
    case $status in
    idle | unknown) say "$env: until now it was $status ($reason). If no ensure_hsm has run since, there may be no HSM." ;;
    esac
}

# A job that clears its checkout away is still there to be watched; where none is, the folder stands for it.
stopped() {
    [ -n "${HSM_STOP_FILE:-}" ] || return 1
    if [ "$watch" -eq 0 ]; then
        case $HSM_STOP_FILE in */*) [ -d "${HSM_STOP_FILE%/*}/" ] || return 0 ;; esac
    fi
    [ -e "$HSM_STOP_FILE" ]
}

# With process 1, which is that of a job in a container, this one ends anyway.
over() {
    if stopped; then return 0; fi
    [ "$watch" -gt 1 ] && ! kill -0 "$watch" 2>/dev/null
}

beat() {
    lived=0 pause=$beat_every
    while [ "$lived" -lt "$beat_max" ]; do
        waited=0
        while [ "$waited" -lt "$pause" ]; do
            if over; then return 0; fi
            sleep 1
            waited=$((waited + 1)) lived=$((lived + 1))
        done
        if over; then return 0; fi
        pause=$beat_every
        if ask hold; then
            [ "$phase" != committed ] || tell || :
        else
            [ "$pause" -le 15 ] || pause=15
        fi
        # A release that came between the look and the hold was undone by it. One that comes later is not.
        if stopped; then
            ask release
            return
        fi
    done
    say "$env: $holder has been held for $beat_max s, the longest that HSM_BEAT_MAX allows. It ends in $hold_for s."
}

step=${1:-} env=${2:-${HSM_ENV:-}}
case $step in
touch | hold | beat | release | check) ;;
*) wrong "'$step' is no command. Call hsm.sh touch, hold, beat, release or check, with the name of the environment." ;;
esac
# First the beat, then the hold, because a beat that comes between would undo the release; and before anything can go wrong here.
if [ "$step" = release ] && [ -n "${HSM_STOP_FILE:-}" ]; then
    touch "$HSM_STOP_FILE" || say "HSM_STOP_FILE: that file cannot be written, and a beat goes on."
fi
find_holder
holder=${3:-$holder}
check_names
record_ttl=${HSM_RECORD_TTL:-7200} idle_after=${HSM_IDLE_AFTER:-1800} hold_for=${HSM_HOLD_FOR:-900}
watch=${HSM_WATCH:-0}
check_seconds HSM_RECORD_TTL "$record_ttl"
check_seconds HSM_IDLE_AFTER "$idle_after"
check_seconds HSM_HOLD_FOR "$hold_for"
beat_every=240
[ "$hold_for" -ge 480 ] || [ "$hold_for" -lt 2 ] || beat_every=$((hold_for / 2))
beat_every=${HSM_BEAT:-$beat_every}
check_seconds HSM_BEAT "$beat_every"
[ "$hold_for" -le 86400 ] || wrong "HSM_HOLD_FOR: $hold_for s are more than a day. Hold again while it is needed."
case $watch in '' | *[!0-9]*) wrong "HSM_WATCH: '$watch' is no id of a process." ;; esac
# A process that is watched bounds its beat itself, however long the job takes.
beat_max=21600
[ "$watch" -eq 0 ] || beat_max=604800
beat_max=${HSM_BEAT_MAX:-$beat_max}
check_seconds HSM_BEAT_MAX "$beat_max"
# Said by the hold already: nobody looks at a beat that does not begin, and the job would outlast its hold.
if [ "$step" = beat ] || { [ "$step" = hold ] && [ -n "${HSM_BEAT:-}${HSM_STOP_FILE:-}" ]; } && [ $((2 * beat_every)) -gt "$hold_for" ]; then
    wrong "HSM_BEAT: with one beat of $beat_every s missed, a hold of $hold_for s is over. Set it to half of HSM_HOLD_FOR or less."
fi
find_server
case $step in
touch)
    ask touch || exit
    tell "in use as of now; the record lives $record_ttl s" || exit
    ;;
hold)
    [ -z "${HSM_STOP_FILE:-}" ] || rm -f "$HSM_STOP_FILE"
    ask hold || exit
    tell "held by $holder for $hold_for s" || exit
    ;;
beat) beat ;;
release)
    ask release || exit
    say "$env: released by $holder"
    ;;
check)
    ask check || exit
    printf '%s\n' "$status"
    say "$env: $status, $reason"
    case $status in active | held | creating) ;; *) exit 1 ;; esac
    ;;
esac
