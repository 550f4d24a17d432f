# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: deletion_report
author: hsmops.cloudhsm contributors (@hsmops)
version_added: 0.3.0
short_description: Say what became of an HSM and its keys
description:
  - Say in a few lines what a run that backs up and deletes has done, what is known to be safe, and where it failed, what to do.
positional: env
options:
  _input:
    description:
      - Results of the steps that were taken, by C(due), C(keys), C(deletion) and C(backup), those of M(hsmops.cloudhsm.hsm_reap)
        (twice), M(hsmops.cloudhsm.hsm_key_backup) and M(hsmops.cloudhsm.cloudhsm_backup), and C(failure) with C(task) and C(msg).
    type: dict
    required: true
  env:
    description:
      - Name of the environment.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say what became of it
  ansible.builtin.debug:
    msg: "{{ {'due': due, 'deletion': deleted} | hsmops.cloudhsm.deletion_report('dev') }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

_Result = t.Mapping[str, t.Any]


def deletion_report(done: t.Mapping[str, _Result], env: str) -> list[str]:
    """Say what was done to an environment.

    Args:
        done: The results of the steps that were taken.
        env: Its name.
    """
    deletion = _environment(done.get("deletion") or {})
    deleted = [hsm["hsm_id"] for hsm in deletion.get("deleted", [])]
    failure = done.get("failure")
    if failure:
        lines = [f"{env}: FAILED at '{failure['task']}': {failure['msg']}"]
    else:
        decided = deletion or _environment(done["due"])
        lines = [f"{env}: {decided['status']}: {decided['reason']}"]
    if done.get("keys"):
        lines += _keys(done["keys"])
    if deleted:
        lines += [f"deleted: {', '.join(deleted)}", *_backups(deletion, done.get("backup") or {})]
    elif failure and _is_unclear(done.get("deletion") or {}):
        # The answer to a DeleteHsm may have been lost.
        lines.append(
            "No HSM is known to be deleted. See whether AWS still shows it before you rely on it; the next run begins again."
        )
    elif failure:
        lines.append(
            "Nothing was deleted: the HSM and its keys are as they were. Mend the cause; the next run begins again."
        )
    return lines


def _is_unclear(reaped: _Result) -> bool:
    """Say whether a deletion that is not known may have been asked for: it failed in that, or the task died."""
    if "environments" in reaped:
        return _environment(reaped).get("status") == "failed"
    return bool(reaped.get("failed"))


def _environment(reaped: _Result) -> _Result:
    found = reaped.get("environments") or [{}]
    return t.cast("_Result", found[0])


def _keys(keys: _Result) -> list[str]:
    if "fingerprint" not in keys:
        return []
    proof = f", of which {keys['verified']} were proved on the HSM" if "verified" in keys else ", not proved on the HSM"
    lines = [
        f"keys: {keys['keys']} in the backup {keys['name']}, generation {keys['generation']}{proof}; its fingerprint is "
        f"{keys['fingerprint']}"
    ]
    left_out = [f"{key['label']} ({key['reason']})" for key in keys.get("not_covered", [])]
    return lines + ([f"keys that only AWS's backup has: {', '.join(left_out)}"] if left_out else [])


def _backups(deletion: _Result, kept: _Result) -> list[str]:
    backups = deletion.get("backups", [])
    if not backups:
        return [
            "AWS's backup: none is known to be READY. Until one is, delete no backup of this cluster, and ask AWS support if "
            "none appears within the hour."
        ]
    lines = [f"AWS's backup: {backups[0]['backup_id']} is READY, and is restored into the next HSM of this cluster"]
    if (kept.get("backup") or {}).get("never_expires"):
        lines.append(f"AWS's backup: {kept['backup']['backup_id']} never expires")
    # One that is still being made when a run fails may come to nothing.
    copies = [copy for copy in kept.get("copies", []) if copy["backup_state"] == "READY"]
    return lines + [f"AWS's backup: {copy['region']} has it as {copy['backup_id']}" for copy in copies]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"deletion_report": deletion_report}
