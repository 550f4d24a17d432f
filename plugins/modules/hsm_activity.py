#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: hsm_activity
version_added: 0.1.0
short_description: Say and ask whether environments use their HSMs
description:
  - Say that environments are in use, ask whether they are, and agree on who may create or delete their HSMs. An environment is
    a name for a CloudHSM cluster and those who use it.
  - All of it is kept in Redis. The last use of an environment C(dev) is the key C(hsm:dev:last_access), which holds unix
    seconds; a plain C(SET hsm:dev:last_access <unix seconds> EX 7200) from a shell is a valid touch.
  - Every clock reading is the Redis server's own; the clocks of the hosts do not matter.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  action:
    description:
      - V(touch) writes now as the last use. It fails when Redis does not answer.
      - V(hold) touches, and says that O(holder) needs the HSM for the next O(hold_for) seconds, however old the last use gets.
        Hold again to hold longer.
      - V(release) touches, and ends what O(holder) holds.
      - V(check) changes nothing and tells whether the environments are in use. It never fails for the sake of Redis - what
        cannot be read is V(unknown), and V(unknown) is never V(idle).
      - V(claim) asks for the right to create or delete HSMs; see O(phase). Of many who claim, one is granted. Claiming again with
        the same O(token) lets the claim live longer.
      - V(commit) makes a claim for a deletion final, if nobody has used the environment since the claim. Nothing may be deleted
        that is not committed.
      - V(cancel) takes the claim of another for a deletion away, if it is not committed yet. Touch or hold first.
      - V(finish) gives one's own claim back.
      - A claim, commit, cancel or finish that is refused is no failure. It changes nothing, and
        RV(environments[].granted) tells.
    type: str
    choices:
      - touch
      - hold
      - release
      - check
      - claim
      - commit
      - cancel
      - finish
    required: true
  env:
    description:
      - Names of the environments, one or many. They are all handled in one round trip.
      - One only for V(claim), V(commit), V(cancel) and V(finish).
    type: list
    elements: str
    required: true
    aliases:
      - envs
  record_ttl:
    description:
      - For V(touch), V(hold) and V(release), how many seconds the record of the last use lives. It should be several times
        O(idle_after), so that a record that is old can be told from one that was lost.
    type: int
    default: 7200
  idle_after:
    description:
      - For V(check), and V(claim) with O(phase=retiring), after how many seconds without use an environment is idle.
    type: int
    default: 1800
  holder:
    description:
      - Who holds, such as the id of a pipeline - 1 to 200 printable characters without white space.
      - Required for V(hold) and V(release).
    version_added: 0.2.0
    type: str
  hold_for:
    description:
      - For V(hold), how many seconds from now the hold lives at least. At most a day, V(86400), unless
        O(allow_long_hold=true).
    version_added: 0.2.0
    type: int
    default: 3600
  allow_long_hold:
    description:
      - Allow O(hold_for) to be more than a day. Nothing but V(release) ends such a hold where its holder is gone, and the HSM
        costs money for as long.
    version_added: 0.3.0
    type: bool
    default: false
  phase:
    description:
      - What the claim is for. Required for V(claim).
      - V(creating) is granted if there is no live claim.
      - V(retiring) is granted if nobody has a live claim or hold, and the last use is known and more than O(idle_after) seconds
        ago.
    version_added: 0.2.0
    type: str
    choices:
      - creating
      - retiring
  token:
    description:
      - Who claims - 1 to 64 letters, digits and any of C(_ . -), made anew for each claim.
      - Required for V(commit), V(cancel) and V(finish). For V(claim), one is made where none is given; see
        RV(environments[].claim).
    version_added: 0.2.0
    type: str
  hsm_ids:
    description:
      - The HSMs that are to be deleted. Required for O(phase=retiring).
    version_added: 0.2.0
    type: list
    elements: str
  claim_for:
    description:
      - For V(claim), how many seconds from now the claim lives at least. At most a day.
    version_added: 0.2.0
    type: int
    default: 300
  commit_for:
    description:
      - For V(commit), how many seconds longer the claim lives, so that the deletion can be finished. At most a day.
    version_added: 0.2.0
    type: int
    default: 900
extends_documentation_fragment:
  - hsmops.cloudhsm.redis
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_redis
attributes:
  check_mode:
    support: full
    details:
      - Redis is asked whether the step would be taken, and nothing is written.
  diff_mode:
    support: none
    details:
      - The record of a moment has no difference worth showing.
  idempotent:
    support: none
    details:
      - A touch always writes the present moment. Use C(changed_when=false) where that is no change to you.
notes:
  - With a local connection the step is taken in the controller's own process, which takes a fraction of the time of a module
    and keeps the password off the disk. Otherwise it is taken on the managed host, whose environment variables then count.
  - A claim in Redis alone protects nobody who does not ask Redis. M(hsmops.cloudhsm.cloudhsm_hsm) and the reaper also mark the
    HSMs in AWS; see C(docs/redis.md) and C(docs/architecture.md) of the collection.
seealso:
  - module: hsmops.cloudhsm.cloudhsm_hsm
"""

EXAMPLES = r"""
- name: Say that the environment is in use
  hsmops.cloudhsm.hsm_activity:
    action: touch
    env: dev
    redis_url: rediss://redis.example.com:6379/0
    redis_password: "{{ vault_redis_password }}"

- name: Hold it while a long job runs, however long nobody touches it
  hsmops.cloudhsm.hsm_activity:
    action: hold
    env: dev
    holder: "{{ lookup('ansible.builtin.env', 'CI_PIPELINE_ID') }}"
    hold_for: 10800
    redis_url: redis+sentinel://sentinel1:26379,sentinel2:26379,sentinel3:26379/main
    redis_min_replicas: 1

- name: Ask for several environments, with REDIS_HOST and REDIS_PASSWORD from the environment
  hsmops.cloudhsm.hsm_activity:
    action: check
    env:
      - dev
      - test
    idle_after: 3600
  register: activity

- name: Show those that nobody uses
  ansible.builtin.debug:
    msg: "{{ activity.environments | selectattr('status', 'eq', 'idle') | map(attribute='env') }}"

- name: Ask for the right to delete an HSM
  hsmops.cloudhsm.hsm_activity:
    action: claim
    phase: retiring
    env: dev
    hsm_ids:
      - hsm-lgavqitns2a
  register: claim

- name: Say why it was not given
  ansible.builtin.debug:
    msg: "{{ claim.environments[0].refusal }}: {{ claim.environments[0].reason }}"
  when: not claim.environments[0].granted
"""

RETURN = r"""
environments:
  description: The environments right after the step, in the order of O(env).
  returned: success
  type: list
  elements: dict
  contains:
    claim:
      description: The live claim, or V(none).
      type: dict
      returned: always
      contains:
        deadline:
          description: When it ends, in unix seconds of the Redis server's clock.
          type: float
          sample: 1767258300
        expires_in:
          description: How many seconds are left until then.
          type: float
          sample: 300
        fence:
          description: A number that rises with every claim of the environment.
          type: int
          sample: 7
        hsm_ids:
          description: The HSMs that are to be deleted.
          type: list
          elements: str
          sample: ["hsm-lgavqitns2a"]
        phase:
          description: V(creating), V(retiring) or V(committed); V(unknown) if the keys hold what no step wrote.
          type: str
          sample: retiring
        token:
          description: Who has it.
          type: str
          sample: 5f9c3a
    env:
      description: The name.
      type: str
      returned: always
      sample: dev
    expires_in:
      description: How many seconds the record of the last use lives on.
      type: float
      returned: when it is known
      sample: 7200
    granted:
      description: Whether the step was taken.
      type: bool
      returned: with O(action=claim), O(action=commit), O(action=cancel) and O(action=finish)
      sample: true
    holders:
      description: Who holds it.
      type: list
      elements: dict
      returned: always
      contains:
        expires_in:
          description: How many seconds the hold lives on; V(none) if for ever.
          type: float
          sample: 3600
        holder:
          description: The id.
          type: str
          sample: pipeline-4711
    idle_seconds:
      description: How many seconds ago the environment was used last.
      type: float
      returned: when it is known
      sample: 42
    last_access:
      description: When it was used last, in unix seconds of the Redis server's clock.
      type: float
      returned: when it is known
      sample: 1767258000
    reason:
      description: Why the step was refused, or else why the status is what it is, in words.
      type: str
      returned: always
      sample: last used 42 s ago; idle after 1800 s
    refusal:
      description:
        - Why the step was refused, or V(none).
        - V(active), V(held) or V(unknown) - the environment is in use, or may be.
        - V(claimed) - another token has the live claim.
        - V(gone) - this token has no live claim. It was cancelled, finished or lost, or its deadline has passed. Of a claim that
          is gone nobody knows whether it was committed.
        - V(creating), V(retiring) or V(committed) - the claim of this token is in this phase, in which the step is not possible.
        - V(changed) - somebody has used the environment since the claim.
        - V(restarted) - Redis has started anew since the claim, or another server has taken over.
      type: str
      returned: with O(action=claim), O(action=commit), O(action=cancel) and O(action=finish)
      sample: held
    status:
      description:
        - V(creating), V(retiring) or V(committed) if there is a live claim, else V(held), V(active), V(idle) or V(unknown).
        - V(unknown) means that there is no record, that it is no moment or lies in the future, that Redis has come back with a
          copy of its data a while ago, or that it does not answer. Nothing may be deleted on the strength of it.
      type: str
      returned: always
      sample: active
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.apply import run_action
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.argument_spec import (
    REQUIRED_IF,
    activity_argument_spec,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError


def main() -> None:
    module = AnsibleModule(activity_argument_spec(), required_if=REQUIRED_IF, supports_check_mode=True)
    try:
        result = run_action(module.params, module.check_mode, os.environ)
    except ActivityError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
