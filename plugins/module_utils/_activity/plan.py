# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What a record of activity means. Plain values in, a judgement out: no Redis, no Ansible, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Runners that write the record with their own clock may be a little ahead of the server.
CLOCK_SKEW_SECONDS = 5

_UNIX_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
# A colon parts the components of a key; white space and control characters could be two names that look the same.
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_.@/+{}-]{1,200}")


@dataclass(frozen=True)
class Record:
    """The record of one environment as the server has it.

    Attributes:
        now: The server's clock, in unix seconds.
        kind: Redis type of the key; "none" where there is no key.
        value: What the key holds.
        expires_in: Seconds until the record expires; None where it does not.
    """

    now: float
    kind: str
    value: str
    expires_in: float | None = None


@dataclass(frozen=True)
class Judgement:
    """Whether an environment is in use.

    Attributes:
        status: "active", "idle" or "unknown". Unknown is never idle.
        reason: Why, in words.
        last_access: Unix seconds of the last use, where it is known.
        idle_seconds: Seconds since the last use, where it is known.
        expires_in: Seconds until the record expires, where it does.
    """

    status: str
    reason: str
    last_access: float | None = None
    idle_seconds: float | None = None
    expires_in: float | None = None


def judge(record: Record, idle_after: float) -> Judgement:
    """Say whether an environment is in use.

    Args:
        record: Its record.
        idle_after: Seconds without use after which it is idle.
    """
    if record.kind == "none":
        return Judgement("unknown", "there is no record: nobody has touched it, or the record has expired or was lost")
    if record.kind != "string" or not _UNIX_SECONDS.fullmatch(record.value):
        return Judgement("unknown", "the record is not a number of unix seconds", expires_in=record.expires_in)
    last_access = float(record.value)
    idle_seconds = record.now - last_access
    if idle_seconds < -CLOCK_SKEW_SECONDS:
        reason = f"the record lies {-idle_seconds:.0f} s in the future of the Redis server's clock"
        return Judgement("unknown", reason, last_access, expires_in=record.expires_in)
    idle_seconds = max(0.0, idle_seconds)
    status = "idle" if idle_seconds > idle_after else "active"
    reason = f"last used {idle_seconds:.0f} s ago; idle after {idle_after:.0f} s"
    return Judgement(status, reason, last_access, idle_seconds, record.expires_in)


def check_environment(name: str) -> str | None:
    """Say what is wrong with the name of an environment, or None."""
    if _ENVIRONMENT.fullmatch(name):
        return None
    if not name:
        return "the name of an environment is empty"
    shown = name if len(name) <= 40 else f"{name[:40]}…"
    return f"{shown!r} is no name of an environment: 1 to 200 letters, digits and any of _ . @ / + {{ }} - are"
