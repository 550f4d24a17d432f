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
  - Say that environments are in use, or ask whether they are. An environment is a name for a CloudHSM cluster and those who
    use it.
  - The records are kept in Redis. That of an environment C(dev) is the key C(hsm:dev:last_access), which holds unix seconds;
    a plain C(SET hsm:dev:last_access <unix seconds> EX 7200) from a shell is a valid touch.
  - Every clock reading is the Redis server's own; the clocks of the hosts do not matter.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  action:
    description:
      - V(touch) writes now as the last use. It fails when Redis does not answer.
      - V(check) changes nothing and tells whether the environments are in use. It never fails for the sake of Redis - what
        cannot be read is V(unknown), and V(unknown) is never V(idle).
    type: str
    choices:
      - touch
      - check
    required: true
  env:
    description:
      - Names of the environments, one or many. They are all handled in one round trip.
    type: list
    elements: str
    required: true
    aliases:
      - envs
  record_ttl:
    description:
      - For V(touch), how many seconds the record lives. It should be several times O(idle_after), so that a record that is
        old can be told from one that was lost.
    type: int
    default: 7200
  idle_after:
    description:
      - For V(check), after how many seconds without use an environment is idle.
    type: int
    default: 1800
extends_documentation_fragment:
  - hsmops.cloudhsm.redis
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_redis
attributes:
  check_mode:
    support: full
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
"""

RETURN = r"""
environments:
  description: The environments, in the order of O(env).
  returned: success
  type: list
  elements: dict
  contains:
    env:
      description: The name.
      type: str
      returned: always
      sample: dev
    expires_in:
      description: How many seconds the record lives on.
      type: float
      returned: when it is known
      sample: 7200
    idle_seconds:
      description: How many seconds ago the environment was used last.
      type: float
      returned: with O(action=check), when it is known
      sample: 42
    last_access:
      description: When it was used last, in unix seconds of the Redis server's clock.
      type: float
      returned: when it is known
      sample: 1767258000
    reason:
      description: Why the status is what it is.
      type: str
      returned: with O(action=check)
      sample: last used 42 s ago; idle after 1800 s
    status:
      description:
        - V(active), V(idle) or V(unknown).
        - V(unknown) means that there is no record, that it cannot be read or lies in the future, or that Redis does not
          answer. Nothing may be deleted on the strength of it.
      type: str
      returned: with O(action=check)
      sample: active
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.apply import run_action
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.argument_spec import activity_argument_spec
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError


def main() -> None:
    module = AnsibleModule(argument_spec=activity_argument_spec(), supports_check_mode=True)
    try:
        result = run_action(module.params, module.check_mode, os.environ)
    except ActivityError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
