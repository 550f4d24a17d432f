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
    C(hsm_protected) and C(hsm_aws) of its host. In its C(hsm_working_hours), its HSMs are kept.
  - Where C(hsm_key_backup_required), C(hsm_backup_never_expires) or C(hsm_backup_copy_to) is set, or C(hsm_key_stores) is
    V(disconnect), the environment is not C(prepared) - it is told when its HSMs may go, and the entry point
    C(backup_then_delete) of the role does what is to be done, and deletes them.
  - One task deletes in all of them, so they have one activity store, and C(hsm_redis_url), C(hsm_redis_username),
    C(hsm_redis_options), C(hsm_saved_placements), C(hsm_settle) and C(hsm_record_ttl) must be the same for all. Whatever else
    the task takes, such as C(hsm_reap_max) or C(hsm_redis_password), it takes from the first host.
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

import json
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_int, check_type_str
from ansible_collections.hsmops.cloudhsm.plugins.filter.working_hours import working_hours

# Variables of a host: what the module calls them, and what they must be. The module would say so too, but not of which
# environment.
_OPTIONS: dict[str, tuple[str, t.Callable[[t.Any], t.Any], str]] = {
    "hsm_region": ("region", check_type_str, "a name"),
    "hsm_idle_after": ("idle_after", check_type_int, "a number of seconds"),
    "hsm_protected": ("protected", check_type_bool, "true or false"),
    "hsm_aws": ("aws", check_type_dict, "a dictionary"),
}
_KEY_STORES = ("refuse", "disconnect", "ignore")
# What a task has one of for all of its environments. (The password of the activity store may be looked up somewhere, which is
# done once: with the same server and user it is the same, or wrong.)
_SHARED = (
    "hsm_redis_url",
    "hsm_redis_username",
    "hsm_redis_options",
    "hsm_saved_placements",
    "hsm_settle",
    "hsm_record_ttl",
)


def fleet(hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Describe each host as an environment.

    Args:
        hosts: Names of hosts.
        hostvars: Names of hosts to their variables.

    Raises:
        AnsibleFilterError: A host has no cluster, or a value that cannot be used, or the hosts differ in what they have to share.
    """
    environments = []
    shared: dict[str, set[str]] = {name: set() for name in _SHARED}
    for host in hosts:
        known = hostvars[host]
        if "hsm_cluster_id" not in known:
            raise AnsibleFilterError(f"hsm_cluster_id: {host} has none. Set it in the inventory, or leave {host} out.")
        for name in _SHARED:
            shared[name].add(json.dumps(known.get(name), sort_keys=True, default=str))
        given = {}
        for name, (option, check, wanted) in _OPTIONS.items():
            if known.get(name) is None:
                continue
            try:
                check(known[name])
            except TypeError as error:
                # Not what was found: it may hold a secret key.
                raise AnsibleFilterError(f"{name}: that of {host} is not {wanted}.") from error
            given[option] = known[name]
        environments.append(
            {
                "env": known.get("hsm_env", host),
                "cluster_id": known["hsm_cluster_id"],
                **given,
                **_working_hours(host, known),
                **_preparation(host, known),
            }
        )
    for name, values in shared.items():
        if len(values) > 1:
            raise AnsibleFilterError(
                f"{name}: the {len(hosts)} environments of this play have {len(values)} different ones. Set the same for all of "
                "them, or run a play for each."
            )
    return environments


def _working_hours(host: str, known: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Say whether the HSMs of a host stay for its working hours."""
    try:
        hours = working_hours(known.get("hsm_working_hours"), known.get("hsm_schedule_at"))
    except AnsibleFilterError as error:
        raise AnsibleFilterError(f"{error} This is that of {host}.") from error
    return {"keep": hours["reason"]} if hours["at_work"] else {}


def _preparation(host: str, known: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Say what has to be done before the HSMs of a host may go."""
    key_stores = known.get("hsm_key_stores") or "refuse"
    if key_stores not in _KEY_STORES:
        raise AnsibleFilterError(
            f"hsm_key_stores: that of {host} is {key_stores!r}. Set it to one of {', '.join(_KEY_STORES)}."
        )
    wanted = [key_stores == "disconnect", bool(known.get("hsm_backup_copy_to"))]
    for name in ("hsm_key_backup_required", "hsm_backup_never_expires"):
        try:
            wanted.append(check_type_bool(known.get(name) or False))
        except TypeError as error:
            raise AnsibleFilterError(f"{name}: that of {host} is not true or false.") from error
    found: dict[str, t.Any] = {} if key_stores == "refuse" else {"key_stores": "ignore"}
    return {**found, "prepared": False} if any(wanted) else found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"fleet": fleet}
