# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: drill_report
author: hsmops.cloudhsm contributors (@hsmops)
version_added: 0.3.0
short_description: Say what the rehearsal of a restore has shown
description:
  - Say in a few lines how long a restore takes, and what would have been lost.
positional: env
options:
  _input:
    description:
      - What the drill found, by C(seconds) for all of it, C(source) for the backup of AWS, and C(cluster), C(hsm) and C(keys)
        for the results of M(hsmops.cloudhsm.cloudhsm_cluster), M(hsmops.cloudhsm.cloudhsm_hsm) and
        M(hsmops.cloudhsm.hsm_key_backup).
    type: dict
    required: true
  env:
    description:
      - Name of the environment.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Report
  ansible.builtin.debug:
    msg: "{{ hsm_drilled | hsmops.cloudhsm.drill_report('dev') }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t


def drill_report(found: t.Mapping[str, t.Any], env: str) -> list[str]:
    """Say what a drill has shown.

    Args:
        found: What it found.
        env: The name of the environment.
    """
    source, keys = found["source"], found["keys"]
    made = source["create_timestamp"][:19]
    parts = f"{found['cluster']['elapsed']:.0f} s for a cluster, {found['hsm']['elapsed']:.0f} s for an HSM in it"
    lines = [
        f"{env}: an HSM with its keys was there after {found['seconds']:.0f} s: {parts}",
        f"AWS's backup: {source['backup_id']} of {made} UTC. What came into the HSM after that moment is not in it",
    ]
    if keys.get("skipped"):
        return [*lines, "keys: not proved, because hsm_key_backup is not set"]
    lacking = ", ".join(key["label"] for key in keys["restored"])
    uncovered = ", ".join(f"{key['label']} ({key['reason']})" for key in keys["not_covered"])
    return [
        *lines,
        f"keys: all {keys['keys']} of the backup {keys['name']}, generation {keys['generation']}, were proved",
        f"keys: AWS's backup alone would have lost {lacking or 'none of these'}",
        f"keys: the backup {keys['name']} alone would have lost {uncovered or 'none of these'}",
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"drill_report": drill_report}
