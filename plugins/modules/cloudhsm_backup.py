#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cloudhsm_backup
version_added: 0.3.0
short_description: Keep, tag, copy, restore and delete a backup of an AWS CloudHSM cluster
description:
  - Look after one backup of an AWS CloudHSM (v2) cluster, named by its id, or the newest one of a cluster that is ready.
  - AWS makes the backups; nobody can ask for one. With O(created_since), the module waits for the backup that AWS makes when an
    HSM was removed or added at that moment.
  - A copy in another region is asked for once. C(CopyBackupToRegion) does not tell the id of the copy, so the module finds it
    by what it was copied from; where the answer is lost, it looks for the copy and does not ask again.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  backup_id:
    description:
      - Id of the backup.
      - Exactly one of O(backup_id) and O(cluster_id) is needed.
    type: str
  cluster_id:
    description:
      - Id of a cluster. Its newest backup in the state C(READY) is meant. Only with O(state=present).
    type: str
  created_since:
    description:
      - The backup must have been made at this moment or later, in ISO 8601 with an offset from UTC, such as
        V(2026-01-01T09:00:00Z). Until there is one, the module waits.
      - Only with O(cluster_id).
    type: str
  state:
    description:
      - V(present) - the backup is there, as O(never_expires), O(tags) and O(copy_to_regions) say. One that is
        C(PENDING_DELETION) is restored.
      - V(absent) - the backup is deleted. AWS keeps it as C(PENDING_DELETION) for 7 days, in which V(present) restores it.
    type: str
    choices:
      - present
      - absent
    default: present
  never_expires:
    description:
      - Whether AWS keeps the backup for ever, or as long as the retention of its cluster says.
    type: bool
  purge_tags:
    description:
      - With O(tags), take every other tag off. Tags whose keys begin with C(aws:) or C(hsmops:) stay.
    type: bool
    default: true
  copy_to_regions:
    description:
      - Regions that are to have a copy of the backup. A copy that is ready or being made counts; one that failed, or is about
        to be deleted, does not.
      - AWS gives a new copy the tags of the backup. A copy belongs to no cluster, and never expires.
      - O(endpoint_url) is used for every region, where it is set.
    type: list
    elements: str
  force:
    description:
      - Delete also the last backup of a cluster that is ready. AWS fills a new HSM from it, so that without it everything is
        lost with the last HSM.
    type: bool
    default: false
  wait:
    description:
      - Wait until the backup and its copies are ready.
      - With V(false), a backup that is still being made is not changed, and a copy is asked for and left alone.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most, all together. When they are over the module fails, and returns what it began. The next
        run takes copies that are being made.
    type: int
    default: 3600
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - amazon.aws.tags
  - hsmops.cloudhsm.waiting
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
attributes:
  check_mode:
    support: full
    details:
      - Waits for nothing. Where a backup is still to come, the result says that something would be done to it.
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - A backup that the retention of its cluster deleted is deleted by it again soon after it is restored, unless
    O(never_expires=true) is given with it, or the retention is made longer before.
  - Only backups that AWS shows as those of a cluster are kept from deletion without O(force). A copy in another region is not,
    although it may be the last one there is.
  - Needs the permissions C(cloudhsm:DescribeBackups), and for what is asked for C(cloudhsm:ModifyBackupAttributes),
    C(cloudhsm:TagResource), C(cloudhsm:UntagResource), C(cloudhsm:CopyBackupToRegion), C(cloudhsm:RestoreBackup) and
    C(cloudhsm:DeleteBackup).
seealso:
  - module: hsmops.cloudhsm.cloudhsm_backup_info
  - module: hsmops.cloudhsm.cloudhsm_hsm
  - name: Manage backups in AWS CloudHSM
    description: When AWS makes backups, and when it restores them.
    link: https://docs.aws.amazon.com/cloudhsm/latest/userguide/manage-backups.html
"""

EXAMPLES = r"""
- name: Keep the newest backup of a cluster for ever, and have a copy of it in another region
  hsmops.cloudhsm.cloudhsm_backup:
    cluster_id: cluster-abcdefghijk
    never_expires: true
    copy_to_regions:
      - eu-central-1

- name: Note the time by AWS's own clock, before somebody deletes an HSM
  hsmops.cloudhsm.cloudhsm_cluster_info:
    cluster_ids:
      - cluster-abcdefghijk
  register: before

- name: Wait for the backup that AWS makes of that deletion
  hsmops.cloudhsm.cloudhsm_backup:
    cluster_id: cluster-abcdefghijk
    created_since: "{{ '%Y-%m-%dT%H:%M:%SZ' | ansible.builtin.strftime(before.moment, utc=true) }}"
    wait_timeout: 900
  register: result

- name: Restore a backup that was deleted less than 7 days ago
  hsmops.cloudhsm.cloudhsm_backup:
    backup_id: backup-abcdefghijk
    never_expires: true

- name: Delete a backup
  hsmops.cloudhsm.cloudhsm_backup:
    backup_id: backup-abcdefghijk
    state: absent
"""

RETURN = r"""
actions:
  description: The changes that AWS was asked for, or would be in check mode, a line each.
  returned: always
  type: list
  elements: str
  sample:
    - copy backup-abcdefghijk to eu-central-1
backup:
  description: The backup as AWS shows it, or as it would be in check mode, in the form of
    RV(hsmops.cloudhsm.cloudhsm_backup_info#module:backups).
  returned: when there is one
  type: dict
  sample: {"backup_id": "backup-abcdefghijk", "backup_state": "READY"}
copies:
  description:
    - The copies in O(copy_to_regions) that AWS shows, in the order of the regions' names, in the form of
      RV(hsmops.cloudhsm.cloudhsm_backup_info#module:backups), and with C(region).
  returned: always
  type: list
  elements: dict
  sample:
    - {"region": "eu-central-1", "backup_id": "backup-lmnopqrstuv", "backup_state": "READY"}
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
      sample: CloudHsmAccessDeniedException
    message:
      description: What AWS says of it.
      type: str
      returned: always
      sample: You are not authorized.
"""

from functools import partial

# Not AnsibleAWSModule.warn: that passes warnings to exit_json as well, which ansible-core deprecates.
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.backups_apply import BackupKeeper, BackupOutcome
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.backups_parameters import (
    backup_argument_spec,
    make_backup_wish,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.backups_results import (
    outcome_diff,
    outcome_result,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import error_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.progress import ProgressFile
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import Wait, WaitError


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=backup_argument_spec(),
        supports_check_mode=True,
        required_one_of=[("backup_id", "cluster_id")],
        mutually_exclusive=[("backup_id", "cluster_id")],
    )
    params = module.params
    wait = Wait(params["wait_timeout"], params["wait_delay"], [ProgressFile(params["progress_path"]).write])
    outcome = BackupOutcome()
    failure: dict = {}
    try:
        wish = make_backup_wish(params, module.region)
        keeper = BackupKeeper(
            lambda region: api.client(module, **({"region": region} if region else {})),
            partial(api.unrepeated_client, module),
            wait if params["wait"] else None,
            outcome,
        )
        keeper.converge(wish, module.check_mode)
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
