# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: hsm_status
author: hsmops.cloudhsm contributors (@hsmops)
version_added: 0.3.0
short_description: Say whether an environment has its HSM
description:
  - Say in one word whether a pipeline can use the HSMs of an environment, has to create some, or has to wait.
positional: activity, moment
options:
  _input:
    description:
      - The cluster, as M(hsmops.cloudhsm.cloudhsm_cluster_info) returns it.
    type: dict
    required: true
  activity:
    description:
      - The activity of the environment, as M(hsmops.cloudhsm.hsm_activity) returns it.
    type: dict
    required: true
  moment:
    description:
      - When the cluster was as it is said to be, as M(hsmops.cloudhsm.cloudhsm_cluster_info) returns it.
    type: float
    required: true
  count:
    description:
      - How many usable HSMs there are to be.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: Say whether the environment has its HSM
  ansible.builtin.debug:
    msg: "{{ found.clusters[0] | hsmops.cloudhsm.hsm_status(activity.environments[0], found.moment) }}"
"""

RETURN = r"""
_value:
  description:
    - C(status) is V(active), V(none) or V(in_progress); C(code) is 0, 1 or 2 for these, as an exit status.
    - C(reason) says why, in words. C(hsms) are those that can be used.
  type: dict
  sample:
    status: active
    code: 0
    reason: hsm-abcdefghijk (eu-west-1a, 192.0.2.10) is ACTIVE
    hsms:
      - hsm_id: hsm-abcdefghijk
        availability_zone: eu-west-1a
        eni_ip: 192.0.2.10
"""

import typing as t

from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.marks import read_marks
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.resources import (
    CLUSTER_ACTIVATED_STATES,
    Cluster,
    Hsm,
)

# Those in which HSMs can be used. ensure asks no more either where there are enough of them.
_READY = CLUSTER_ACTIVATED_STATES | {"DEGRADED", "UPDATE_IN_PROGRESS"}
_CODES = {"active": 0, "none": 1, "in_progress": 2}
_SHOWN = ("hsm_id", "availability_zone", "state", "eni_id", "eni_ip", "subnet_id")


def hsm_status(
    cluster: t.Mapping[str, t.Any], activity: t.Mapping[str, t.Any], moment: float, count: int = 1
) -> dict[str, t.Any]:
    """Say whether an environment has its HSMs.

    Args:
        cluster: The cluster.
        activity: The activity of the environment.
        moment: When the cluster was so, in unix seconds of AWS's clock.
        count: How many usable HSMs there are to be.
    """
    hsms = tuple(Hsm(**{name: hsm.get(name, "") for name in _SHOWN}) for hsm in cluster["hsms"])
    claim = activity.get("claim") or {}
    marks = [mark for mark in read_marks(cluster["tags"]) if not mark.is_void(moment)]
    doomed = {mark.hsm_id for mark in marks if mark.hsm_id}
    if claim.get("phase") == "committed":
        # Those of a claim that names none: all of them, until that is known better.
        doomed |= set(claim.get("hsm_ids") or [hsm.hsm_id for hsm in hsms])
    creating = claim.get("phase") == "creating" or any(not mark.hsm_id for mark in marks)
    found = Cluster(cluster["cluster_id"], cluster["state"], hsms=hsms)
    status, reason = _status(found, doomed, creating, count)
    usable = [hsm for hsm in hsms if hsm.usable and hsm.hsm_id not in doomed] if status == "active" else []
    return {
        "status": status,
        "code": _CODES[status],
        "reason": reason,
        "hsms": [{name: getattr(hsm, name) for name in ("hsm_id", "availability_zone", "eni_ip")} for hsm in usable],
    }


def _status(cluster: Cluster, doomed: set[str], creating: bool, count: int) -> tuple[str, str]:
    of_cluster = "" if cluster.state == "ACTIVE" else f"; cluster {cluster.cluster_id} is {cluster.state}"
    usable = [hsm for hsm in cluster.hsms if hsm.usable and hsm.hsm_id not in doomed]
    if len(usable) >= count and cluster.state in _READY:
        return "active", _states(usable) + of_cluster
    going = [f"{hsm} is about to be deleted" for hsm in cluster.hsms if hsm.hsm_id in doomed and not hsm.leaving]
    going += [_states([hsm]) for hsm in cluster.hsms if hsm.coming or hsm.state == "DELETE_IN_PROGRESS"]
    if creating and not going:
        going = ["somebody is about to create an HSM"]
    if going or cluster.busy:
        return "in_progress", "; ".join(going or ["wait for the cluster"]) + of_cluster
    rest = [hsm for hsm in cluster.hsms if not hsm.leaving]
    found = f"{_states(rest)}; {len(usable)} of {count} can be used" if rest else "there is no HSM"
    return "none", found + of_cluster


def _states(hsms: t.Iterable[Hsm]) -> str:
    return "; ".join(f"{hsm} is {hsm.state}" for hsm in hsms)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"hsm_status": hsm_status}
