#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cloudhsm_cluster
version_added: 0.3.0
short_description: Create, change and delete an AWS CloudHSM cluster
description:
  - Look after one AWS CloudHSM (v2) cluster, found by its id, or by its tag C(Name), which no two clusters may share.
  - A new cluster is C(UNINITIALIZED) and has no HSM. One that is made from a backup becomes C(ACTIVE), with the certificate, the
    users and the keys in the backup. A cluster costs nothing by the hour; its HSMs do.
  - C(CreateCluster) is sent once. Where its answer is lost, the module looks for the cluster by the name that was sent with it,
    and adopts it; it does not ask again.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  cluster_id:
    description:
      - Id of the cluster, which exists.
      - Exactly one of O(cluster_id) and O(name) is needed.
    type: str
  name:
    description:
      - Value of the cluster's tag C(Name). A cluster that is missing is created with it.
      - Where two clusters have it that are not being deleted, the module refuses and lists them.
    type: str
  state:
    description:
      - V(present) - the cluster is there, as the other parameters say.
      - V(absent) - the cluster is deleted. Refused while it has HSMs, and while its tag C(hsmops:protected) keeps it, unless
        O(force) is set. Its backups stay.
    type: str
    choices:
      - present
      - absent
    default: present
  subnet_ids:
    description:
      - Ids of 1 to 10 subnets of one VPC, each in another Availability Zone. HSMs can be created only in these zones.
      - Needed to create a cluster, and fixed from then on.
    type: list
    elements: str
  hsm_type:
    description:
      - The type of the HSMs, such as V(hsm2m.medium). Needed to create a cluster.
      - An C(ACTIVE) cluster of V(hsm1.medium) is moved to V(hsm2m.medium), which takes AWS half an hour for each HSM, and for 24
        hours back. That needs botocore 1.35.94 or newer.
    type: str
  mode:
    description:
      - The mode of the cluster. Needed to create one, unless O(hsm_type=hsm1.medium), and fixed from then on.
      - That of the backup with O(source_backup_id).
    type: str
    choices:
      - FIPS
      - NON_FIPS
  network_type:
    description:
      - The kind of network, V(IPV4) if it is not given. Fixed once the cluster is created.
      - Needs botocore 1.35.81 or newer.
    type: str
    choices:
      - IPV4
      - DUALSTACK
  backup_retention_days:
    description:
      - For how many days AWS keeps the backups of the cluster, V(7) to V(379). A new cluster has V(90) if it is not given.
    type: int
  source_backup_id:
    description:
      - Id of a backup in this region that a new cluster is made from, or its ARN, which a backup of another account needs.
      - Fixed once the cluster is created.
    type: str
  tags:
    description:
      - The tags. The tag C(hsmops:protected) may be among them.
      - With O(cluster_id), another C(Name) renames the cluster.
    type: dict
    aliases:
      - resource_tags
  purge_tags:
    description:
      - With O(tags), take every other tag off. C(Name) stays, and so do tags whose keys begin with C(aws:) or C(hsmops:).
    type: bool
    default: true
  force:
    description:
      - Delete the cluster although its tag C(hsmops:protected) has a value other than V(false), V(no), V(off) and V(0).
    type: bool
    default: false
  wait:
    description:
      - Wait until the cluster is in a state that it stays in, or until it is deleted.
      - With V(false), nothing is changed that AWS refuses while the cluster is being changed already. A lost answer to
        C(CreateCluster) is waited for all the same.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most, all together. When they are over the module fails, and returns what it began. The next
        run goes on from there.
    type: int
    default: 3600
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
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - Two runs that create a cluster of one name at the same moment make two. With O(wait=true) both fail when they see it, and say
    which clusters there are.
  - A cluster that was found C(DEGRADED) is reported in a warning. One that becomes so while it is waited for is a failure.
  - Needs the permissions C(cloudhsm:DescribeClusters), and for what is asked for C(cloudhsm:CreateCluster),
    C(cloudhsm:ModifyCluster), C(cloudhsm:TagResource), also to create a cluster, C(cloudhsm:UntagResource) and
    C(cloudhsm:DeleteCluster), and those in EC2 and IAM that AWS documents for them.
seealso:
  - module: hsmops.cloudhsm.cloudhsm_cluster_info
  - module: hsmops.cloudhsm.cloudhsm_hsm
  - module: hsmops.cloudhsm.cloudhsm_backup
  - name: Create a cluster in AWS CloudHSM
    description: What AWS fixes when it creates a cluster.
    link: https://docs.aws.amazon.com/cloudhsm/latest/userguide/create-cluster.html
"""

EXAMPLES = r"""
- name: Have a cluster that nobody deletes by accident
  hsmops.cloudhsm.cloudhsm_cluster:
    name: payments
    hsm_type: hsm2m.medium
    mode: FIPS
    subnet_ids:
      - subnet-0123456789abcdef0
      - subnet-0123456789abcdef1
    backup_retention_days: 365
    tags:
      environment: prod
      hsmops:protected: "true"

- name: Have a copy of it, made from a backup
  hsmops.cloudhsm.cloudhsm_cluster:
    name: payments-drill
    hsm_type: hsm2m.medium
    mode: FIPS
    subnet_ids:
      - subnet-0123456789abcdef0
    source_backup_id: backup-abcdefghijk
  register: copy

- name: Keep the backups of a cluster longer
  hsmops.cloudhsm.cloudhsm_cluster:
    cluster_id: cluster-abcdefghijk
    backup_retention_days: 379

- name: Delete the HSMs of the copy
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: "{{ copy.cluster.cluster_id }}"
    state: absent

- name: Delete the copy
  hsmops.cloudhsm.cloudhsm_cluster:
    name: payments-drill
    state: absent
"""

RETURN = r"""
actions:
  description: The changes that AWS was asked for, or would be in check mode, a line each. Also after a failure or a timeout.
  returned: always
  type: list
  elements: str
  sample:
    - create cluster payments
cluster:
  description:
    - The cluster as AWS showed it last, or as it would be in check mode, in the form of
      RV(hsmops.cloudhsm.cloudhsm_cluster_info#module:clusters).
    - In check mode, a cluster that would be created lacks what AWS chooses, such as C(cluster_id).
  returned: when AWS shows it, or check mode predicts it
  type: dict
  sample: {"cluster_id": "cluster-abcdefghijk", "state": "UNINITIALIZED"}
elapsed:
  description: How many seconds the run took.
  returned: always
  type: float
  sample: 182.4
error:
  description: The error of AWS, where a call failed.
  returned: on failure of a call to AWS
  type: dict
  contains:
    code:
      description: The error code.
      type: str
      returned: always
      sample: CloudHsmAccessDeniedException
    message:
      description: What AWS says of it.
      type: str
      returned: always
      sample: You are not authorized.
summary:
  description: One line that says what there is, and what was done or would be done in check mode.
  returned: always
  type: str
  sample: "cluster-abcdefghijk (payments) UNINITIALIZED with 0 HSMs; create cluster payments, in 3 min 02 s"
"""

from functools import partial

# Not AnsibleAWSModule.warn: that passes warnings to exit_json as well, which ansible-core deprecates.
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.clusters_apply import (
    ClusterKeeper,
    ClusterOutcome,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.clusters_parameters import (
    cluster_argument_spec,
    make_cluster_wish,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.clusters_results import (
    outcome_diff,
    outcome_result,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import error_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.progress import ProgressFile
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import Wait, WaitError


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=cluster_argument_spec(),
        supports_check_mode=True,
        required_one_of=[("cluster_id", "name")],
        mutually_exclusive=[("cluster_id", "name")],
    )
    params = module.params
    if params["network_type"] is not None:
        # An older one drops it from every answer, so that each cluster would seem to be IPV4.
        module.require_botocore_at_least("1.35.81", reason="to know the network_type of a cluster")
    wait = Wait(params["wait_timeout"], params["wait_delay"], [ProgressFile(params["progress_path"]).write])
    outcome = ClusterOutcome()
    failure: dict = {}
    try:
        wish = make_cluster_wish(params)
        keeper = ClusterKeeper(
            api.client(module), partial(api.unrepeated_client, module), wait, params["wait"], outcome
        )
        keeper.converge(wish, module.check_mode)
    except (PlanError, WaitError) as error:
        failure = {"msg": str(error)}
    except AnsibleAWSError as error:
        failure = {"msg": str(error), "error": error_result(error)}

    for warning in outcome.warnings:
        warn(warning)
    result = outcome_result(outcome, wait.elapsed, module.check_mode)
    if module._diff:
        result["diff"] = outcome_diff(outcome)
    if failure:
        module.fail_json(**failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
