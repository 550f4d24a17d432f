#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: hsm_placement
version_added: 0.3.0
short_description: Remember where the HSMs of an environment were
description:
  - Remember the Availability Zones and the addresses of the HSMs of an environment, so that they come back to the same places
    after they were deleted, and clients find them again.
  - A record is replaced as a whole, and never added to.
  - The records are kept in the Redis of M(hsmops.cloudhsm.hsm_activity), or in a DynamoDB table such as that of AWS's sample code
    for the scheduled deletion of HSMs.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  state:
    description:
      - V(present) - the record is O(placements), and nothing else.
      - V(absent) - there is no record.
      - V(queried) changes nothing.
    type: str
    choices:
      - present
      - absent
      - queried
    default: present
  store:
    description:
      - Where the records are.
    type: str
    choices:
      - redis
      - dynamodb
    default: redis
  env:
    description:
      - Name of the environment. Required with O(store=redis).
    type: str
  cluster_id:
    description:
      - Id of the cluster. Required with O(store=dynamodb).
    type: str
  table:
    description:
      - Name of the DynamoDB table. Required with O(store=dynamodb).
      - Its partition key is C(ClusterId), its sort key C(IpAddress). With the sort key C(AvailabilityZone) it has room for one
        HSM in each zone, and without a sort key for one HSM. All are strings.
      - Each row has the attributes C(ClusterId), C(AvailabilityZone) and C(IpAddress). Rows that are there already are read and
        replaced as well.
    type: str
  placements:
    description:
      - Where the HSMs were, one entry for each, in any order. Takes RV(hsmops.cloudhsm.cloudhsm_hsm#module:placements). Required
        with O(state=present), where it must not be empty - a run that found no HSM should not forget where the last ones were.
    type: list
    elements: dict
    suboptions:
      availability_zone:
        description:
          - The Availability Zone.
        type: str
        required: true
      ip_address:
        description:
          - The IPv4 or IPv6 address.
        type: str
        required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - hsmops.cloudhsm.redis
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - A record that cannot be read is an error in every state, and stays as it is.
  - In Redis the record is the string C(hsm:<env>:placements), in JSON, which never expires. O(redis_min_replicas) counts for it.
  - With O(store=dynamodb), needs the permissions C(dynamodb:DescribeTable) and C(dynamodb:Query), and to change something
    C(dynamodb:PutItem) and C(dynamodb:DeleteItem), all on the table.
seealso:
  - module: hsmops.cloudhsm.cloudhsm_hsm
  - module: hsmops.cloudhsm.hsm_activity
"""

EXAMPLES = r"""
- name: Delete the HSMs
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    state: absent
  register: parked

- name: Remember where they were
  hsmops.cloudhsm.hsm_placement:
    env: dev
    redis_url: rediss://redis.example.com:6379/0
    placements: "{{ parked.placements }}"
  when: parked.placements

- name: Look up where they were
  hsmops.cloudhsm.hsm_placement:
    env: dev
    redis_url: rediss://redis.example.com:6379/0
    state: queried
  register: remembered

- name: Recreate them there
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    placements: "{{ remembered.placements }}"

- name: Look them up in a DynamoDB table
  hsmops.cloudhsm.hsm_placement:
    store: dynamodb
    table: CloudHSMMetadata
    cluster_id: cluster-abcdefghijk
    state: queried
"""

RETURN = r"""
placements:
  description: The record as it is now, or would be in check mode, in the order of zones and addresses; an empty list when
    there is none. Fit for O(placements), and for O(hsmops.cloudhsm.cloudhsm_hsm#module:placements) where it is not empty.
  returned: success
  type: list
  elements: dict
  contains:
    availability_zone:
      description: The Availability Zone.
      type: str
      returned: always
      sample: eu-west-1a
    ip_address:
      description: The address.
      type: str
      returned: always
      sample: 192.0.2.10
"""

import os

from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.apply import (
    REQUIRED_IF,
    converge,
    make_owner,
    make_wish,
    open_store,
    placement_argument_spec,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.plan import PlacementError, plain


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=placement_argument_spec(), supports_check_mode=True, required_if=REQUIRED_IF
    )
    params = module.params
    try:
        owner, wish = make_owner(params), make_wish(params)
        store = open_store(params, os.environ, lambda: api.make_client(module, "dynamodb"))
        before, after = converge(store, owner, wish, module.check_mode)
    except (ActivityError, PlacementError, PlanError) as error:
        module.fail_json(msg=str(error))
    except AnsibleAWSError as error:
        module.fail_json_aws_error(error)
    result: dict = {"changed": before != after, "placements": plain(after)}
    if module._diff:
        result["diff"] = {"before": {"placements": plain(before)}, "after": {"placements": plain(after)}}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
