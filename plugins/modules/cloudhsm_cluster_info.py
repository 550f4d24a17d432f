#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cloudhsm_cluster_info
version_added: 0.1.0
short_description: Get information about AWS CloudHSM clusters
description:
  - Get information about AWS CloudHSM (v2) clusters and the HSMs in them.
  - Every cluster of the account and region is read, page by page, in as few calls as there are pages. All filters that
    are given must match.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  cluster_ids:
    description:
      - Ids of the clusters. An id that does not exist is left out of the result, without an error.
    type: list
    elements: str
  states:
    description:
      - States of the clusters, such as V(ACTIVE) or V(UNINITIALIZED).
      - AWS lists a deleted cluster with the state V(DELETED) for a while.
    type: list
    elements: str
  vpc_ids:
    description:
      - Ids of the VPCs that the clusters are in.
    type: list
    elements: str
  tags:
    description:
      - Tags that the clusters have, all of them.
    type: dict
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
  - hsmops.cloudhsm.attributes.info_module
seealso:
  - module: hsmops.cloudhsm.cloudhsm_hsm
  - name: DescribeClusters
    description: The AWS CloudHSM API reference.
    link: https://docs.aws.amazon.com/cloudhsm/latest/APIReference/API_DescribeClusters.html
"""

EXAMPLES = r"""
- name: Read every cluster of the region
  hsmops.cloudhsm.cloudhsm_cluster_info:
    region: eu-west-1
  register: result

- name: Read the active clusters of the development environments
  hsmops.cloudhsm.cloudhsm_cluster_info:
    states:
      - ACTIVE
    tags:
      environment: dev
  register: result

- name: Show the addresses of all HSMs that can be used
  ansible.builtin.debug:
    msg: "{{ result.clusters | map(attribute='hsms') | flatten | selectattr('state', 'eq', 'ACTIVE') | map(attribute='eni_ip') }}"
"""

RETURN = r"""
clusters:
  description: The clusters that match, in the order of their ids; an empty list when none does.
  returned: always
  type: list
  elements: dict
  contains:
    backup_policy:
      description: The backup policy. AWS knows one.
      type: str
      returned: always
      sample: DEFAULT
    backup_retention_policy:
      description: How long AWS keeps backups.
      type: dict
      returned: when AWS gives it
      sample: {"type": "DAYS", "value": "90"}
    certificates:
      description:
        - The certificates that AWS shows in this state of the cluster, and the certificate signing request while there is
          one.
      type: dict
      returned: always
      sample: {}
    cluster_id:
      description: The id.
      type: str
      returned: always
      sample: cluster-abcdefghijk
    create_timestamp:
      description: When the cluster was created.
      type: str
      returned: always
      sample: "2026-01-01T09:00:00.000000+00:00"
    hsm_type:
      description: The type of its HSMs.
      type: str
      returned: always
      sample: hsm2m.medium
    hsm_type_rollback_expiration:
      description: Until when a change of the type can be taken back.
      type: str
      returned: when AWS gives it
      sample: "2026-01-02T09:00:00.000000+00:00"
    hsms:
      description: Its HSMs, in any state.
      type: list
      elements: dict
      returned: always
      contains:
        availability_zone:
          description: The Availability Zone.
          type: str
          returned: always
          sample: eu-west-1a
        cluster_id:
          description: The id of the cluster.
          type: str
          returned: when AWS gives it
          sample: cluster-abcdefghijk
        eni_id:
          description: The network interface. It stays when AWS replaces the HSM.
          type: str
          returned: when AWS gives it
          sample: eni-0123456789abcdef0
        eni_ip:
          description: The address of the network interface.
          type: str
          returned: when AWS gives it
          sample: 192.0.2.10
        eni_ip_v6:
          description: The IPv6 address of the network interface.
          type: str
          returned: when AWS gives it
          sample: 2001:db8::10
        hsm_id:
          description: The id. It changes when AWS replaces the HSM.
          type: str
          returned: always
          sample: hsm-abcdefghijk
        hsm_type:
          description: The type.
          type: str
          returned: when AWS gives it
          sample: hsm2m.medium
        state:
          description: V(CREATE_IN_PROGRESS), V(ACTIVE), V(DEGRADED), V(DELETE_IN_PROGRESS) or V(DELETED).
          type: str
          returned: always
          sample: ACTIVE
        state_message:
          description: What AWS says of the state.
          type: str
          returned: when AWS gives it
          sample: HSM created.
        subnet_id:
          description: The subnet.
          type: str
          returned: when AWS gives it
          sample: subnet-0123456789abcdef0
    mode:
      description: V(FIPS) or V(NON_FIPS).
      type: str
      returned: when AWS gives it
      sample: FIPS
    network_type:
      description: V(IPV4) or V(DUALSTACK).
      type: str
      returned: when AWS gives it
      sample: IPV4
    security_group:
      description: The security group that AWS made for the cluster.
      type: str
      returned: when AWS gives it
      sample: sg-0123456789abcdef0
    source_backup_id:
      description: The backup that the cluster was made from.
      type: str
      returned: when AWS gives it
      sample: backup-abcdefghijk
    state:
      description: The state.
      type: str
      returned: always
      sample: ACTIVE
    state_message:
      description: What AWS says of the state.
      type: str
      returned: when AWS gives it
      sample: The cluster is being deleted.
    subnet_mapping:
      description: The subnet of each Availability Zone. HSMs can be created in these zones only.
      type: dict
      returned: always
      sample: {"eu-west-1a": "subnet-0123456789abcdef0"}
    tags:
      description: The tags.
      type: dict
      returned: always
      sample: {"environment": "dev"}
    vpc_id:
      description: The VPC.
      type: str
      returned: always
      sample: vpc-0123456789abcdef0
moment:
  description: When AWS answered, in unix seconds of its own clock, against which the deadlines in tags are held.
  version_added: 0.3.0
  returned: always
  type: float
  sample: 1767258000
"""

from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.parameters import (
    cluster_filters,
    cluster_info_argument_spec,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.transformations import has_tags, resource_result


def main() -> None:
    module = AnsibleAWSModule(argument_spec=cluster_info_argument_spec(), supports_check_mode=True)
    try:
        clusters, moment = api.describe_clusters(api.client(module), cluster_filters(module.params))
    except PlanError as error:
        module.fail_json(msg=str(error))
    except AnsibleAWSError as error:
        module.fail_json_aws_error(error)
    wanted = [cluster for cluster in clusters if has_tags(cluster, module.params["tags"] or {})]
    wanted.sort(key=lambda cluster: cluster["ClusterId"])
    shown = [resource_result(cluster) for cluster in wanted]
    module.exit_json(changed=False, clusters=shown, moment=moment.timestamp())


if __name__ == "__main__":
    main()
