# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What cloudhsm_hsm returns of a run, whether it succeeded or not. Pure."""

from __future__ import annotations

import typing as t

from .progress import duration
from .transformations import hsm_result, resource_result

if t.TYPE_CHECKING:
    from .resources import Cluster, Hsm
    from .view import Outcome


def outcome_result(outcome: Outcome, elapsed: float, absent: bool, check_mode: bool) -> dict[str, t.Any]:
    """Make the result of a run, complete or not.

    Args:
        outcome: What the run found and did.
        elapsed: Seconds that it took.
        absent: HSMs were to be deleted, so that their places are what a later run wants to know.
        check_mode: Predict what the run would have done.
    """
    hsms = _current_hsms(outcome)
    deleted = list(outcome.plan.delete) if check_mode else outcome.deleted
    result: dict[str, t.Any] = {
        "changed": outcome.plan.changes if check_mode else bool(outcome.created or outcome.deleted),
        "actions": outcome.plan.actions() if check_mode else outcome.actions,
        "hsms": [hsm_result(hsm) for hsm in hsms],
        "created": [hsm_result(_as_shown(hsm, outcome)) for hsm in outcome.created],
        "deleted": [hsm_result(hsm) for hsm in deleted],
        "elapsed": round(elapsed, 1),
        "summary": _summary(outcome, hsms, elapsed, check_mode),
        "backups": [resource_result(backup) for backup in outcome.backups],
        "placements": [
            {"availability_zone": hsm.availability_zone, "ip_address": hsm.eni_ip}
            for hsm in ((*outcome.plan.leaving, *deleted) if absent else hsms)
        ],
    }
    if outcome.shown:
        result["cluster"] = resource_result(outcome.shown)
    return result


def _summary(outcome: Outcome, hsms: list[Hsm], elapsed: float, check_mode: bool) -> str:
    """Say in one line what there is, and what the run did or would do."""
    if outcome.cluster is None:
        return "AWS has not shown the cluster, and nothing was changed"
    listed = ", ".join(f"{hsm.hsm_id} {hsm.state} in {hsm.availability_zone} at {hsm.eni_ip}" for hsm in hsms)
    there_is = f"{len(hsms)} HSM{'' if len(hsms) == 1 else 's'}" + (f": {listed}" if listed else "")
    done = [f"created {len(outcome.created)}"] if outcome.created else []
    done += [f"deleted {len(outcome.deleted)}"] if outcome.deleted else []
    if check_mode and outcome.plan.changes:
        return f"{there_is}; would {', '.join(outcome.plan.actions())}"
    return f"{there_is}; {' and '.join(done) or 'nothing to change'}, in {duration(elapsed)}"


def outcome_diff(outcome: Outcome, check_mode: bool) -> dict[str, t.Any]:
    """Make the difference that a run made to the HSMs of the cluster, or would make."""
    before = outcome.before
    if before is None or outcome.cluster is None:
        return {"before": {}, "after": {}}
    after = _predicted(outcome, before) if check_mode else [_line(hsm) for hsm in _current_hsms(outcome)]
    return {"before": {"hsms": [_line(hsm) for hsm in before.hsms if not hsm.leaving]}, "after": {"hsms": after}}


def _current_hsms(outcome: Outcome) -> list[Hsm]:
    """The HSMs that stay. What this run has created or had deleted since the last look counts as well."""
    known = outcome.cluster.hsms if outcome.cluster else ()
    created = [hsm for hsm in outcome.created if not (outcome.cluster and outcome.cluster.find(hsm))]
    gone = {hsm.hsm_id for hsm in outcome.deleted}
    return [hsm for hsm in (*known, *created) if not hsm.leaving and hsm.hsm_id not in gone]


def _as_shown(hsm: Hsm, outcome: Outcome) -> Hsm:
    return (outcome.cluster.find(hsm) if outcome.cluster else None) or hsm


def _predicted(outcome: Outcome, before: Cluster) -> list[dict[str, str]]:
    kept = [_line(hsm) for hsm in before.hsms if not hsm.leaving and hsm not in outcome.plan.delete]
    made = [
        {
            "availability_zone": wish.placement.availability_zone,
            "eni_ip": wish.placement.ip_address or "chosen by AWS",
            "hsm_id": "chosen by AWS",
            "state": "ACTIVE",
        }
        for wish in outcome.plan.create
    ]
    return kept + made


def _line(hsm: Hsm) -> dict[str, str]:
    return {
        "availability_zone": hsm.availability_zone,
        "eni_ip": hsm.eni_ip,
        "hsm_id": hsm.hsm_id,
        "state": hsm.state,
    }
