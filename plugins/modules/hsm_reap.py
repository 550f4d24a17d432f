#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: hsm_reap
version_added: 0.2.0
short_description: Delete the HSMs that nobody uses
description:
  - Delete the HSMs of those environments that nobody has used for a while, by the records of M(hsmops.cloudhsm.hsm_activity),
    and of no others. One task takes one environment or a thousand.
  - Redis is asked once for all environments, and AWS once for all clusters of a region. Only environments that are idle cost
    more.
  - An environment whose record is missing, unreadable or in the future is never idle. Where it has an HSM and no record at
    all, its time begins to count.
  - A deletion is claimed in Redis and announced by a tag of the cluster before it is carried out, so that a job which starts
    at the same moment either stops it, or knows that the HSM is going. HSMs are deleted by their ids only, by requests that
    were signed before the announcement lapsed.
  - After a deletion, the module waits until the HSMs are gone and until the backup that AWS makes of them is ready.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  environments:
    description:
      - The environments. A name, and a cluster, can stand once only.
    type: list
    elements: dict
    required: true
    suboptions:
      env:
        description:
          - Name in the activity store.
        type: str
        required: true
      cluster_id:
        description:
          - Id of the cluster.
        type: str
        required: true
      region:
        description:
          - AWS region of the cluster. Default is the region of the task.
        type: str
      idle_after:
        description:
          - How many seconds without use make it idle.
        type: int
        default: 1800
      aws:
        description:
          - Connection parameters of C(amazon.aws) for this environment, in place of those of the task, as where it is in
            another account. A C(profile) goes together with none of the others but C(region) and C(endpoint_url).
        type: dict
        suboptions:
          access_key:
            description:
              - Access key id.
            type: str
          endpoint_url:
            description:
              - URL of another endpoint than AWS's own.
            type: str
          profile:
            description:
              - Name of a profile.
            type: str
          region:
            description:
              - AWS region, if O(environments[].region) does not name it.
            type: str
          secret_key:
            description:
              - Secret access key.
            type: str
          session_token:
            description:
              - Session token.
            type: str
      keep:
        description:
          - Why its HSMs are not deleted now, whatever its activity, such as V(working hours). The report says so. Where it is
            empty, the activity decides.
        type: str
        default: ""
        version_added: 0.3.0
      key_stores:
        description:
          - What to do where AWS KMS has a custom key store on the cluster. KMS does not show that the last HSM has gone, and
            every use of its keys fails.
          - V(refuse) keeps the HSMs, until the key store is disconnected (M(hsmops.cloudhsm.cloudhsm_key_store)).
          - V(ignore) does not ask KMS.
        type: str
        choices:
          - refuse
          - ignore
        default: refuse
        version_added: 0.3.0
      prepared:
        description:
          - Whether everything is done that has to be done before a deletion, such as a backup of keys.
          - With V(false), an environment whose HSMs may go is V(due), and nothing is deleted. Do then what has to be done, and
            run again with V(true) and O(environments[].unused_since).
        type: bool
        default: true
        version_added: 0.3.0
      protected:
        description:
          - Never delete its HSMs. The tag C(hsmops:protected=true) of the cluster says the same, as does any other value but
            V(false), V(no), V(off) and V(0).
        type: bool
        default: false
      unused_since:
        description:
          - Delete only if the last use was before that moment, by the clock of the activity store in unix seconds.
          - What RV(environments[].checked_at) was when the environment was due. So nothing that was made since then is lost.
        type: float
        version_added: 0.3.0
  max_deletions:
    description:
      - How many environments may lose their HSMs, or be V(due), in one run. Those that have been idle for longest go first.
    type: int
    default: 5
  record_ttl:
    description:
      - How many seconds a record lives that is written because there was none. It is at least twice as long as
        O(environments[].idle_after), so that the environment can get idle.
    type: int
    default: 7200
  saved_placements:
    description:
      - Save before a deletion where the HSMs are, so that O(hsmops.cloudhsm.cloudhsm_hsm#module:saved_placements) brings them
        back there. Where that fails, nothing is deleted.
    type: dict
    version_added: 0.3.0
    suboptions:
      store:
        description:
          - Where they are kept - V(redis) is the activity store, and V(dynamodb) is O(saved_placements.table).
        type: str
        required: true
        choices:
          - redis
          - dynamodb
      table:
        description:
          - Name of the DynamoDB table, as O(hsmops.cloudhsm.hsm_placement#module:table), in the account and region of the
            cluster.
        type: str
  settle:
    description:
      - How many seconds to wait between the announcement of a deletion and the decision, so that everybody can read it. AWS
        states no figure for the lag of C(DescribeClusters). At most V(120).
    type: float
    default: 5
  wait_timeout:
    description:
      - How many seconds to wait at most for each deletion and its backup. The deletions go on side by side.
    type: int
    default: 3600
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - hsmops.cloudhsm.redis
  - hsmops.cloudhsm.waiting
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
attributes:
  check_mode:
    support: full
    details:
      - The decision is the real one, and nothing is written anywhere.
  diff_mode:
    support: none
    details:
      - The report says what became of each environment.
  idempotent:
    support: full
notes:
  - An environment that fails does not stop the others. The task fails at the end, with the report of all.
  - Where Redis does not answer, nothing is deleted, and the task fails.
  - Needs the permissions C(cloudhsm:DescribeClusters), C(cloudhsm:DescribeBackups), C(cloudhsm:DeleteHsm),
    C(cloudhsm:TagResource), C(cloudhsm:UntagResource), C(ec2:DeleteNetworkInterface), and C(kms:DescribeCustomKeyStores) unless
    O(environments[].key_stores=ignore).
seealso:
  - module: hsmops.cloudhsm.hsm_activity
  - module: hsmops.cloudhsm.cloudhsm_hsm
"""

EXAMPLES = r"""
- name: Delete the HSMs that nobody uses
  hsmops.cloudhsm.hsm_reap:
    region: eu-west-1
    redis_url: rediss://redis.example.com:6379/0
    environments:
      - env: dev
        cluster_id: cluster-abcdefghijk
      - env: test
        cluster_id: cluster-lmnopqrstuv
        idle_after: 7200
  register: reaped

- name: Show what became of each
  ansible.builtin.debug:
    msg: "{{ reaped.report }}"
"""

RETURN = r"""
due:
  description: The names of those environments whose HSMs may go when what has to be done before is done.
  returned: when the activity store answered
  type: list
  elements: str
  sample: []
environments:
  description: What became of each environment. Those of one account and region stand together, else in the order of
    O(environments).
  returned: when the activity store answered
  type: list
  elements: dict
  contains:
    backups:
      description: The backups that prove the deletion safe, newest first.
      type: list
      elements: dict
      returned: always
      sample: []
    checked_at:
      description: When the activity store was asked, by its own clock in unix seconds; none where it failed before.
      type: float
      returned: always
      sample: 1790000000
    cluster_id:
      description: The cluster.
      type: str
      returned: always
      sample: cluster-abcdefghijk
    deleted:
      description: The HSMs that AWS was asked to delete, as they were, in the form of
        RV(hsmops.cloudhsm.cloudhsm_hsm#module:deleted).
      type: list
      elements: dict
      returned: always
      sample: []
    env:
      description: The name.
      type: str
      returned: always
      sample: dev
    hsms:
      description: The HSMs that it had when it was decided about.
      type: list
      elements: dict
      returned: always
      sample: []
    idle_seconds:
      description: For how many seconds nobody had used it, if that is known.
      type: float
      returned: always
      sample: 2143
    placements:
      description: Where the deleted HSMs were, fit for O(hsmops.cloudhsm.cloudhsm_hsm#module:placements).
      type: list
      elements: dict
      returned: always
      sample: []
    reason:
      description: Why.
      type: str
      returned: always
      sample: last used 2143 s ago; idle after 1800 s
    status:
      description: V(kept), V(deleted), V(would_delete) in check mode, V(due), V(unknown), V(no_hsm) or V(failed).
      type: str
      returned: always
      sample: deleted
    warnings:
      description: What a person should know of it.
      type: list
      elements: str
      returned: always
      sample: []
report:
  description: The same, a line for each environment.
  returned: when the activity store answered
  type: list
  elements: str
  sample:
    - "dev: deleted: last used 2143 s ago; idle after 1800 s"
"""

import os

# Not AnsibleAWSModule.warn: that passes warnings to exit_json as well, which ansible-core deprecates.
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.apply import open_store
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api, key_stores
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.progress import ProgressFile
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import Wait
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.fleet import Fleet, reap
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.parameters import (
    make_environments,
    reap_argument_spec,
    report_result,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.saved import open_saved


def main() -> None:
    module = AnsibleAWSModule(argument_spec=reap_argument_spec(), supports_check_mode=True)
    params = module.params
    try:
        fleet = Fleet(
            environments=make_environments(params, module.region),
            store=open_store(params, os.environ),
            make_client=lambda place: api.client(module, region=place.region, **dict(place.connection)),
            make_wait=lambda environment: Wait(
                params["wait_timeout"],
                params["wait_delay"],
                [ProgressFile(params["progress_path"], environment.name).write],
            ),
            settle=params["settle"],
            record_ttl=params["record_ttl"],
            most=params["max_deletions"],
            open_placements=lambda place: open_saved(
                params["saved_placements"],
                params,
                os.environ,
                lambda: api.make_client(module, "dynamodb", region=place.region, **dict(place.connection)),
            ),
            find_key_stores=lambda place, cluster_id: key_stores.of_cluster(
                api.make_client(module, "kms", region=place.region, **dict(place.connection)), cluster_id
            ),
        )
        reports = reap(fleet, module.check_mode)
    except (ActivityError, PlanError, AnsibleAWSError) as error:
        module.fail_json(msg=str(error))

    for report in reports:
        for warning in report.outcome.warnings:
            warn(f"{report.environment.name}: {warning}")
    environments = [report_result(report) for report in reports]
    lines = [f"{found['env']}: {found['status']}: {found['reason']}" for found in environments]
    failed = [found["env"] for found in environments if found["status"] == "failed"]
    result = {
        "due": [found["env"] for found in environments if found["status"] == "due"],
        "environments": environments,
        "report": lines,
    }
    changed = any(found["deleted"] or found["status"] == "would_delete" for found in environments)
    if failed:
        module.fail_json(
            msg=f"{len(failed)} of {len(environments)} environments failed: {', '.join(failed)}. The report says why.",
            changed=changed,
            **result,
        )
    module.exit_json(changed=changed, **result)


if __name__ == "__main__":
    main()
