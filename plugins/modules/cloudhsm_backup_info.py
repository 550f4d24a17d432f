#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cloudhsm_backup_info
version_added: 0.3.0
short_description: Get information about AWS CloudHSM backups
description:
  - Get information about the backups of AWS CloudHSM (v2) clusters, page by page. All filters that are given must match.
  - AWS makes a backup when a cluster is activated, when an HSM is added to an active cluster or removed from it, and once a
    day while there is an HSM. Nobody can ask for one.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  backup_ids:
    description:
      - Ids of the backups. An id that does not exist is left out of the result, without an error.
    type: list
    elements: str
  source_backup_ids:
    description:
      - Ids of backups in other regions. Those that were copied from them match.
    type: list
    elements: str
  cluster_ids:
    description:
      - Ids of the clusters that the backups are of. A copy in another region belongs to no cluster there.
    type: list
    elements: str
  states:
    description:
      - States of the backups - V(CREATE_IN_PROGRESS), V(READY), V(PENDING_DELETION) or V(DELETED).
    type: list
    elements: str
  never_expires:
    description:
      - Whether they are exempt from the retention of their cluster.
    type: bool
  tags:
    description:
      - Tags that the backups have, all of them. AWS shows no tags of a backup that is about to be deleted.
    type: dict
  shared:
    description:
      - List the backups that other accounts share with this one, in place of its own.
    type: bool
    default: false
  created_since:
    description:
      - Only backups that were made at this moment or later, in ISO 8601 with an offset from UTC, such as
        V(2026-01-01T09:00:00Z).
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
  - hsmops.cloudhsm.attributes.info_module
notes:
  - Needs the permission C(cloudhsm:DescribeBackups).
seealso:
  - module: hsmops.cloudhsm.cloudhsm_backup
  - module: hsmops.cloudhsm.cloudhsm_cluster_info
  - name: DescribeBackups
    description: The AWS CloudHSM API reference.
    link: https://docs.aws.amazon.com/cloudhsm/latest/APIReference/API_DescribeBackups.html
"""

EXAMPLES = r"""
- name: Read the backups of a cluster that can be restored
  hsmops.cloudhsm.cloudhsm_backup_info:
    cluster_ids:
      - cluster-abcdefghijk
    states:
      - READY
  register: result

- name: Show the newest of them
  ansible.builtin.debug:
    msg: "{{ result.backups | first }}"

- name: Find the copies of a backup in another region
  hsmops.cloudhsm.cloudhsm_backup_info:
    region: eu-central-1
    source_backup_ids:
      - backup-abcdefghijk
"""

RETURN = r"""
backups:
  description: The backups that match, newest first; an empty list when none does.
  returned: always
  type: list
  elements: dict
  contains:
    backup_arn:
      description: The ARN.
      type: str
      returned: when AWS gives it
      sample: arn:aws:cloudhsm:eu-west-1:123456789012:backup/backup-abcdefghijk
    backup_id:
      description: The id.
      type: str
      returned: always
      sample: backup-abcdefghijk
    backup_state:
      description: V(CREATE_IN_PROGRESS), V(READY), V(PENDING_DELETION) or V(DELETED).
      type: str
      returned: always
      sample: READY
    cluster_id:
      description: The cluster.
      type: str
      returned: when it is no copy
      sample: cluster-abcdefghijk
    copy_timestamp:
      description: When it was copied from another region, in UTC.
      type: str
      returned: when it is a copy
      sample: "2026-01-01T10:00:00.000000+00:00"
    create_timestamp:
      description: When it was made, in UTC. A copy has the moment of its source.
      type: str
      returned: always
      sample: "2026-01-01T09:00:00.000000+00:00"
    delete_timestamp:
      description: When it will be gone for ever, in UTC.
      type: str
      returned: when it is about to be deleted
      sample: "2026-01-08T09:00:00.000000+00:00"
    hsm_type:
      description: The type of the HSMs.
      type: str
      returned: when AWS gives it
      sample: hsm2m.medium
    mode:
      description: V(FIPS) or V(NON_FIPS).
      type: str
      returned: when AWS gives it
      sample: FIPS
    never_expires:
      description: Whether it is exempt from the retention of its cluster.
      type: bool
      returned: when AWS gives it
      sample: false
    source_backup:
      description: The backup that it was copied from.
      type: str
      returned: when it is a copy
      sample: backup-lmnopqrstuv
    source_cluster:
      description: The cluster of that backup.
      type: str
      returned: when it is a copy
      sample: cluster-abcdefghijk
    source_region:
      description: The region of that backup.
      type: str
      returned: when it is a copy
      sample: eu-west-1
    tags:
      description: The tags.
      type: dict
      returned: always
      sample: {"environment": "dev"}
"""

from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api, backups
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.backups_parameters import (
    backup_filters,
    backup_info_argument_spec,
    read_moment,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.backups_results import backup_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.transformations import has_tags


def main() -> None:
    module = AnsibleAWSModule(argument_spec=backup_info_argument_spec(), supports_check_mode=True)
    params = module.params
    try:
        since = read_moment("created_since", params["created_since"])
        found = backups.describe(api.client(module), backup_filters(params), params["shared"])
    except PlanError as error:
        module.fail_json(msg=str(error))
    except AnsibleAWSError as error:
        module.fail_json_aws_error(error)
    wanted = [
        backup
        for backup in found
        if has_tags(backup, params["tags"] or {}) and (since is None or backup["CreateTimestamp"] >= since)
    ]
    module.exit_json(changed=False, backups=[backup_result(backup) for backup in wanted])


if __name__ == "__main__":
    main()
