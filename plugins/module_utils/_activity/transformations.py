# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""From what a script answers to plain values."""

from __future__ import annotations

import math
import typing as t

from .plan import Answer, Claim, Holder, Snapshot


def to_answer(raw: t.Sequence[t.Any]) -> Answer:
    """Make an answer of what the scripts return: the refusal, the clock, and what is known of the environment."""
    refusal, now, kind, value, life, holders, claim, complete_since = raw
    snapshot = Snapshot(
        float(now),
        kind,
        value,
        life / 1000 if life >= 0 else None,
        None if holders is None else _to_holders(holders, now),
        _to_claim(claim, now),
        float(complete_since) if complete_since >= 0 else None,
    )
    return Answer(refusal or None, snapshot)


def _to_holders(flat: t.Sequence[str], now: int) -> tuple[Holder, ...]:
    ends = [float(end) for end in flat[1::2]]
    return tuple(
        Holder(holder, end - now if math.isfinite(end) else None) for holder, end in zip(flat[::2], ends, strict=True)
    )


def _to_claim(fields: t.Sequence[str], now: int) -> Claim | None:
    if not fields:
        return None
    phase, token, fence, deadline, hsm_ids = fields
    return Claim(phase, token, int(fence), float(deadline), max(0.0, float(deadline) - now), tuple(hsm_ids.split()))
