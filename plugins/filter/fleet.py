# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
author: hsmops.cloudhsm contributors (@hsmops)
version_added: 0.2.0
short_description: Gather the environments of a play for one task
description:
  - Make of the hosts of a play, each one an environment, the list that O(hsmops.cloudhsm.hsm_reap#module:environments) takes.
  - Each environment is described by the variables C(hsm_cluster_id), C(hsm_env), C(hsm_region), C(hsm_idle_after),
    C(hsm_protected) and C(hsm_aws) of its host.
positional: hostvars
options:
  _input:
    description:
      - Names of the hosts, such as C(ansible_play_hosts_all).
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - The variables of all hosts, the variable C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Delete the HSMs that nobody uses, in all environments of the play at once
  hsmops.cloudhsm.hsm_reap:
    environments: "{{ ansible_play_hosts_all | hsmops.cloudhsm.fleet(hostvars) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The environments.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

# Variables of a host to what the module calls them.
_OPTIONS = {
    "hsm_region": "region",
    "hsm_idle_after": "idle_after",
    "hsm_protected": "protected",
    "hsm_aws": "aws",
}


def fleet(hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Describe each host as an environment.

    Args:
        hosts: Names of hosts.
        hostvars: Names of hosts to their variables.

    Raises:
        AnsibleFilterError: A host has no cluster, or the hosts have several activity stores.
    """
    environments = []
    stores = set()
    for host in hosts:
        known = hostvars[host]
        if "hsm_cluster_id" not in known:
            raise AnsibleFilterError(f"hsm_cluster_id: {host} has none. Set it in the inventory, or leave {host} out.")
        stores.add(known.get("hsm_redis_url"))
        given = {option: known[name] for name, option in _OPTIONS.items() if known.get(name) is not None}
        environments.append({"env": known.get("hsm_env", host), "cluster_id": known["hsm_cluster_id"], **given})
    if len(stores) > 1:
        raise AnsibleFilterError(
            f"hsm_redis_url: the {len(hosts)} environments of this play have {len(stores)} different ones. Run a play for "
            "each activity store."
        )
    return environments


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"fleet": fleet}
