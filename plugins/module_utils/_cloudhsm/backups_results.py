# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""From backups to what modules return. Pure."""

from __future__ import annotations

import datetime
import typing as t

from .transformations import resource_result

if t.TYPE_CHECKING:
    from .backups_apply import BackupOutcome


def backup_result(backup: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Make what a module returns of a backup: AWS's members in snake case, moments in UTC, the tags as a dictionary.

    Args:
        backup: The backup as DescribeBackups shows it, or as with_tags makes it.
    """
    shown = {
        key: _in_utc(value) if isinstance(value, datetime.datetime) else value
        for key, value in backup.items()
        if key != "tags"
    }
    result = resource_result(shown)
    result["tags"] = dict(backup["tags"]) if "tags" in backup else result["tags"]
    return result


def outcome_result(outcome: BackupOutcome, elapsed: float) -> dict[str, t.Any]:
    """Make what cloudhsm_backup returns of a run, complete or not.

    Args:
        outcome: What the run found and did, or would have done.
        elapsed: Seconds that it took.
    """
    copies = [{"region": region, **backup_result(copy)} for region, copy in sorted(outcome.copies.items())]
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "actions": outcome.actions,
        "copies": copies,
        "elapsed": round(elapsed, 1),
    }
    if outcome.backup is not None:
        result["backup"] = backup_result(outcome.backup)
    return result


def outcome_diff(outcome: BackupOutcome) -> dict[str, t.Any]:
    """Make the difference that a run made to a backup and its copies, or would make."""
    regions = sorted({*outcome.copied_before, *outcome.copied_after})
    return {
        "before": _line(outcome.before, sorted(outcome.copied_before)),
        "after": _line(outcome.backup, regions),
    }


def _line(backup: t.Mapping[str, t.Any] | None, regions: list[str]) -> dict[str, t.Any]:
    if backup is None:
        return {}
    return {
        "backup_id": backup["BackupId"],
        "backup_state": backup["BackupState"],
        "copied_to": regions,
        "never_expires": backup.get("NeverExpires", False),
        "tags": dict(backup["tags"]),
    }


def _in_utc(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds")
