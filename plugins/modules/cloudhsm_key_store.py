#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cloudhsm_key_store
version_added: 0.3.0
short_description: Connect and disconnect the KMS custom key store on an AWS CloudHSM cluster
description:
  - See, connect or disconnect the custom key stores of AWS KMS that keep their keys in an AWS CloudHSM (v2) cluster.
  - KMS goes on showing a key store as C(CONNECTED) after the last HSM of its cluster was deleted, while every use of its keys
    fails. So disconnect it before the last HSM is deleted, and connect it again when there is one.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  cluster_id:
    description:
      - Id of the cluster. Every custom key store on it is meant; there may be none.
    type: str
    required: true
  state:
    description:
      - V(connected) - KMS is connected to the cluster, which must have an active HSM. A key store whose last attempt failed is
        disconnected first, because KMS does not connect it otherwise, and tried once.
      - V(disconnected) - KMS is not connected. Its keys cannot be used until it is again.
      - V(queried) changes nothing.
    type: str
    choices:
      - connected
      - disconnected
      - queried
    default: queried
  wait:
    description:
      - Wait until it is connected, or disconnected.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most, all together. KMS takes up to 20 minutes to connect.
    type: int
    default: 1800
  wait_delay:
    description:
      - How many seconds to pause between two looks.
    type: float
    default: 15
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - hsmops.cloudhsm.waiting
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
attributes:
  check_mode:
    support: full
    details:
      - Waits for nothing, and takes for granted that KMS can connect.
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - Every time it connects, KMS gives C(kmsuser) a new password that nobody else knows. It comes back with the backup that AWS
    makes when an HSM is deleted, but not with an older one.
  - Needs the permission C(kms:DescribeCustomKeyStores), and for what is asked for C(kms:ConnectCustomKeyStore) and
    C(kms:DisconnectCustomKeyStore).
seealso:
  - module: hsmops.cloudhsm.cloudhsm_hsm
  - name: AWS CloudHSM key stores
    description: The AWS KMS Developer Guide.
    link: https://docs.aws.amazon.com/kms/latest/developerguide/keystore-cloudhsm.html
"""

EXAMPLES = r"""
- name: Disconnect KMS before the last HSM is deleted
  hsmops.cloudhsm.cloudhsm_key_store:
    cluster_id: cluster-abcdefghijk
    state: disconnected

- name: Connect it again when there is an HSM
  hsmops.cloudhsm.cloudhsm_key_store:
    cluster_id: cluster-abcdefghijk
    state: connected

- name: Ask whether KMS needs the HSM
  hsmops.cloudhsm.cloudhsm_key_store:
    cluster_id: cluster-abcdefghijk
  register: result
"""

RETURN = r"""
actions:
  description: The changes that KMS was asked for, or would be in check mode, a line each.
  returned: always
  type: list
  elements: str
  sample:
    - connect cks-0123456789abcdef0 (payments)
elapsed:
  description: How many seconds the run took.
  returned: always
  type: float
  sample: 312.4
error:
  description: The error of AWS, where a call failed.
  returned: on failure of a call to AWS
  type: dict
  contains:
    code:
      description: The error code.
      type: str
      returned: always
      sample: AccessDeniedException
    message:
      description: What AWS says of it.
      type: str
      returned: always
      sample: You are not authorized.
key_stores:
  description: The custom key stores on the cluster as KMS shows them, or as they would be in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    cloud_hsm_cluster_id:
      description: The cluster.
      type: str
      returned: always
      sample: cluster-abcdefghijk
    connection_error_code:
      description: Why the last attempt to connect failed.
      type: str
      returned: when it failed
      sample: INSUFFICIENT_CLOUDHSM_HSMS
    connection_state:
      description: V(CONNECTED), V(CONNECTING), V(FAILED), V(DISCONNECTED) or V(DISCONNECTING).
      type: str
      returned: always
      sample: CONNECTED
    custom_key_store_id:
      description: The id.
      type: str
      returned: always
      sample: cks-0123456789abcdef0
    custom_key_store_name:
      description: The name.
      type: str
      returned: always
      sample: payments
needs_hsm:
  description: Whether one of them is in a state in which the last HSM of the cluster should not be deleted.
  returned: always
  type: bool
  sample: true
"""

# Not AnsibleAWSModule.warn: that passes warnings to exit_json as well, which ansible-core deprecates.
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import error_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.key_stores_apply import (
    KeyStoreKeeper,
    KeyStoreOutcome,
    check_parameters,
    key_store_argument_spec,
    outcome_diff,
    outcome_result,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.progress import ProgressFile
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import Wait, WaitError


def main() -> None:
    module = AnsibleAWSModule(argument_spec=key_store_argument_spec(), supports_check_mode=True)
    params = module.params
    wait = Wait(params["wait_timeout"], params["wait_delay"], [ProgressFile(params["progress_path"]).write])
    outcome = KeyStoreOutcome()
    failure: dict = {}
    try:
        check_parameters(params)
        keeper = KeyStoreKeeper(
            api.make_client(module, "kms"), params["cluster_id"], wait if params["wait"] else None, outcome
        )
        keeper.converge(params["state"], module.check_mode)
    except (PlanError, WaitError) as error:
        failure = {"msg": str(error)}
    except AnsibleAWSError as error:
        failure = {"msg": str(error), "error": error_result(error)}

    for warning in outcome.warnings:
        warn(warning)
    result = outcome_result(outcome, wait.elapsed)
    if module._diff:
        result["diff"] = outcome_diff(outcome)
    if failure:
        module.fail_json(**failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
