# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What the activity of an environment means. Plain values in, a judgement out: no Redis, no Ansible, no clock."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

# Runners that write the record with their own clock may be a little ahead of the server.
CLOCK_SKEW_SECONDS = 5
# In the year 2001. What is less was not meant as a moment of use: a flag, a date such as 20260118, seconds since a boot.
EARLIEST = 1_000_000_000
DAY = 86_400
# Longer than anybody means, and short enough for the numbers of Redis and the clocks of both sides.
MOST_SECONDS = 3_650 * DAY

_UNIX_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
# A colon parts the components of a key; white space and control characters could be two names that look the same.
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_.@/+{}-]{1,200}")
# The first brace and the one that closes it, with something between: Redis Cluster places a key by that alone.
_HASH_TAG = re.compile(r"[^{]*\{[^}]+\}")
# A token is part of the key of a tag in AWS, which has room for 128 letters.
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HSM_ID = re.compile(r"hsm-[A-Za-z0-9]{1,32}")


@dataclass(frozen=True)
class Holder:
    """Somebody who needs the HSM.

    Attributes:
        holder: Its id.
        expires_in: Seconds until the hold ends; None where it never does.
    """

    holder: str
    expires_in: float | None


@dataclass(frozen=True)
class Claim:
    """An actor that is changing the HSM.

    Attributes:
        phase: "creating", "retiring" or "committed"; "unknown" where the keys hold what no step wrote.
        token: The actor.
        fence: Rises with every claim of the environment.
        deadline: When the claim ends, in unix seconds of the server.
        expires_in: Seconds until then.
        hsm_ids: The HSMs that are to go.
    """

    phase: str
    token: str = ""
    fence: int = 0
    deadline: float = 0.0
    expires_in: float = 0.0
    hsm_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The activity of one environment as the server has it.

    Attributes:
        now: The server's clock, in unix seconds.
        kind: Redis type of the record; "none" where there is no key.
        value: What the record holds.
        expires_in: Seconds until the record expires; None where it does not.
        holders: The live holds; None where their key holds something else.
        claim: The live claim.
        complete_since: Since when nothing is missing from what the server has, in its unix seconds: its start, where it began
            with a copy of its data. 0 where it began empty, or was not asked; None where it does not say.
    """

    now: float
    kind: str
    value: str
    expires_in: float | None = None
    holders: tuple[Holder, ...] | None = ()
    claim: Claim | None = None
    complete_since: float | None = 0.0


@dataclass(frozen=True)
class Answer:
    """What became of one step.

    Attributes:
        refusal: Why the step changed nothing: a status of a Judgement, or one of REFUSALS. None where it was taken.
        snapshot: The environment right after the step.
    """

    refusal: str | None
    snapshot: Snapshot

    @property
    def granted(self) -> bool:
        """Whether the step was taken."""
        return self.refusal is None


@dataclass(frozen=True)
class Judgement:
    """Whether an environment is in use.

    Attributes:
        status: The phase of the live claim, else "held", "active", "idle" or "unknown". Unknown is never idle.
        reason: Why, in words.
        last_access: Unix seconds of the last use, where it is known.
        idle_seconds: Seconds since the last use, where it is known.
        expires_in: Seconds until the record expires, where it does.
        holders: The live holds.
        claim: The live claim.
    """

    status: str
    reason: str
    last_access: float | None = None
    idle_seconds: float | None = None
    expires_in: float | None = None
    holders: tuple[Holder, ...] = ()
    claim: Claim | None = None


# Refusals that are not the status of the environment, or mean more than it.
REFUSALS = {
    "gone": "this token has no live claim: it was cancelled, finished or lost, or its deadline has passed",
    "claimed": "another token has the live claim",
    "creating": "the claim of this token is for a creation",
    "retiring": "the claim of this token is for a deletion",
    "committed": "the claim of this token is committed",
    "changed": "the environment was used after it was claimed",
    "recorded": "there is a record",
    "restarted": "Redis has started anew since the claim, or another server has taken over: later uses may be missing from it",
}


def judge(snapshot: Snapshot, idle_after: float) -> Judgement:
    """Say whether an environment is in use.

    Args:
        snapshot: Its activity.
        idle_after: Seconds without use after which it is idle.
    """
    status, reason = _status(snapshot, idle_after)
    last_access = _last_access(snapshot)
    idle_seconds = None if last_access is None else snapshot.now - last_access
    if idle_seconds is not None:
        idle_seconds = max(0.0, idle_seconds) if idle_seconds >= -CLOCK_SKEW_SECONDS else None
    return Judgement(
        status, reason, last_access, idle_seconds, snapshot.expires_in, snapshot.holders or (), snapshot.claim
    )


def _status(snapshot: Snapshot, idle_after: float) -> tuple[str, str]:
    # The script that claims for a deletion asks in the same order.
    claim, holders = snapshot.claim, snapshot.holders
    if claim:
        known = f"claimed ({claim.phase}) for another {claim.expires_in:.0f} s"
        return claim.phase, known if claim.phase != "unknown" else "the keys of its claim hold what no step wrote"
    if holders is None:
        return "unknown", "the key of its holds is of another type than a sorted set"
    if holders:
        names = [f"{holder.holder} {_until(snapshot.now, holder.expires_in)}" for holder in holders[:3]]
        return "held", f"held by {', '.join(names + ['…'] * (len(holders) > 3))}"
    return _record_status(snapshot, idle_after)


def _record_status(snapshot: Snapshot, idle_after: float) -> tuple[str, str]:
    if snapshot.kind == "none":
        return "unknown", "there is no record: nobody has touched it, or the record has expired or was lost"
    last_access = _last_access(snapshot)
    if last_access is None:
        return "unknown", "the record is not a moment in unix seconds"
    idle_seconds = snapshot.now - last_access
    if idle_seconds < -CLOCK_SKEW_SECONDS:
        return "unknown", f"the record lies {-idle_seconds:.0f} s in the future of the Redis server's clock"
    status = "idle" if idle_seconds > idle_after else "active"
    if status == "idle" and (doubt := _doubt(snapshot, idle_after)):
        return "unknown", doubt
    return status, f"last used {max(0.0, idle_seconds):.0f} s ago; idle after {idle_after:.0f} s"


def _doubt(snapshot: Snapshot, idle_after: float) -> str:
    """Say why the last use can be later than the record, or nothing: what was written after a copy is missing from it."""
    if snapshot.complete_since is None:
        return "Redis does not say since when it runs: give its user the right to INFO"
    since = snapshot.now - snapshot.complete_since
    if since > idle_after:
        return ""
    return f"Redis came back {since:.0f} s ago with a copy of its data, from which later uses may be missing"


def _last_access(snapshot: Snapshot) -> float | None:
    readable = snapshot.kind == "string" and _UNIX_SECONDS.fullmatch(snapshot.value)
    return float(snapshot.value) if readable and float(snapshot.value) >= EARLIEST else None


def _until(now: float, seconds: float | None) -> str:
    # A script may write anything as the end of a hold.
    if seconds is None or seconds > 100 * MOST_SECONDS:
        return "for ever"
    return f"until {datetime.datetime.fromtimestamp(now + seconds, datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def explain(answer: Answer, idle_after: float) -> str:
    """Say in words why a step was refused; of one that was taken, how the environment stands."""
    return REFUSALS.get(answer.refusal or "") or judge(answer.snapshot, idle_after).reason


def check_environment(name: str) -> str | None:
    """Say what is wrong with the name of an environment, or None."""
    if _ENVIRONMENT.fullmatch(name):
        return None
    if not name:
        return "the name of an environment is empty"
    wanted = "1 to 200 letters, digits and any of _ . @ / + { } - are"
    return f"{_shown(name)} is no name of an environment: {wanted}"


def check_duration(seconds: float, most: float = MOST_SECONDS) -> str | None:
    """Say what is wrong with a number of seconds, or None."""
    # Neither does what is no number lie between the two.
    if 0 < seconds <= most:
        return None
    return f"{seconds} is no duration. Set it to more than 0 and at most {most} seconds"


def check_hold_for(seconds: float, long: bool) -> str | None:
    """Say what is wrong with the length of a hold, or None.

    Args:
        seconds: How long it lives.
        long: It may live for longer than a day.
    """
    if not long and DAY < seconds <= MOST_SECONDS:
        return (
            f"{seconds} is more than a day ({DAY} seconds), for which the HSM stays whatever becomes of its holder. Hold again "
            "while it is needed, or set allow_long_hold=true"
        )
    return check_duration(seconds)


def check_holder(name: str) -> str | None:
    """Say what is wrong with the id of a holder, or None."""
    if 0 < len(name) <= 200 and name.isprintable() and " " not in name:
        return None
    return f"{_shown(name)} is no id of a holder: 1 to 200 printable characters without white space are"


def check_token(token: str) -> str | None:
    """Say what is wrong with a token, or None."""
    if _TOKEN.fullmatch(token):
        return None
    return f"{_shown(token)} is no token: 1 to 64 letters, digits and any of _ . - are"


def check_hsm_id(hsm_id: str) -> str | None:
    """Say what is wrong with the id of an HSM, or None."""
    return None if _HSM_ID.fullmatch(hsm_id) else f"{_shown(hsm_id)} is no id of an HSM, such as hsm-1a2b3c4d5e6"


def has_hash_tag(name: str) -> bool:
    """Say whether all keys of an environment are in one place of a Redis Cluster."""
    return bool(_HASH_TAG.match(name))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
