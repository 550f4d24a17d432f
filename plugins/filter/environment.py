# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: environment
author: hsmops.cloudhsm contributors (@hsmops)
version_added: 0.1.0
short_description: Check that the inventory has the environments that a play is for
description:
  - Return the host pattern of a play as it is, if each part of it matches a host or group of the inventory.
  - Fail otherwise. Ansible itself ends with success when no host matches, which tells a pipeline that it has its HSM.
positional: groups
options:
  _input:
    description:
      - The host pattern, such as V(dev) or V(dev,staging).
    type: str
    required: true
  groups:
    description:
      - The groups of the inventory, the variable C(groups).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Have a usable HSM in the environments named on the command line
  hosts: "{{ env | default('') | hsmops.cloudhsm.environment(groups) }}"
  tasks: []
"""

RETURN = r"""
_value:
  description: The host pattern.
  type: str
"""

import fnmatch
import re
import typing as t

from ansible.errors import AnsibleFilterError

_HELP = "Say which one with -e env=NAME, and which inventory with -i."


def environment(pattern: str, groups: t.Mapping[str, t.Sequence[str]]) -> str:
    """Return a host pattern of which each part matches a host or group.

    Args:
        pattern: The pattern.
        groups: Names of groups to names of their hosts.

    Raises:
        AnsibleFilterError: It is empty, or a part of it matches nothing.
    """
    names = {"localhost", *groups, *(host for hosts in groups.values() for host in hosts)}
    parts = [part for part in re.split(r"[,:]", pattern) if part and part[0] not in "!&"]
    if not parts:
        raise AnsibleFilterError(f"env: no environment is named. {_HELP}")
    for part in parts:
        # A regular expression, or a range of a group: Ansible's own to judge.
        if part[0] != "~" and "[" not in part and not fnmatch.filter(names, part):
            raise AnsibleFilterError(f"env: no host or group of the inventory matches {part!r}. {_HELP}")
    return pattern


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"environment": environment}
