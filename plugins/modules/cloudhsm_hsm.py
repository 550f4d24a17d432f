#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cloudhsm_hsm
version_added: 0.1.0
short_description: Create and delete HSMs of an AWS CloudHSM cluster
description:
  - Bring an AWS CloudHSM (v2) cluster to a number of usable HSMs, or delete HSMs from it.
  - An HSM takes 10 to 20 minutes to create and is paid for by the hour while it exists. When one is added to a cluster
    that had HSMs before, AWS restores the cluster's latest backup into it, with its users and its token keys. When one is
    removed from an active cluster, AWS makes a backup.
  - An HSM that is being created already is adopted and waited for, not doubled. C(CreateHsm) is sent once for each HSM
    that is missing; where its answer is lost, the module looks for the HSM that it made.
  - HSMs are deleted by their ids, never by an address, so that the HSM which replaced another one is never hit.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  cluster_id:
    description:
      - Id of the cluster.
    type: str
    required: true
  state:
    description:
      - V(present) sees to it that there are O(count) usable HSMs.
      - V(absent) deletes the HSMs in O(hsm_ids), or all HSMs of the cluster. The cluster itself stays, and costs nothing by
        the hour.
    type: str
    choices:
      - present
      - absent
    default: present
  count:
    description:
      - How many usable HSMs there must be at least, V(1) if neither this nor O(placements) is given.
      - HSMs that are being created count; those that are being deleted or are C(DEGRADED) do not.
      - A cluster that was never activated takes one HSM only; more are refused.
      - Only with O(state=present); mutually exclusive with O(placements).
    type: int
  exact:
    description:
      - There must be no more HSMs than asked for, either. Those that are too many are deleted once the others are usable.
      - First those that are not in use yet go, then those in the fullest Availability Zones.
    type: bool
    default: false
  availability_zones:
    description:
      - Where missing HSMs are created, in order of preference. They are spread evenly, and the first of these zones gets
        the first HSM.
      - Default is every zone of the cluster's subnet mapping. Other zones are refused, because AWS fixes the mapping when it
        creates the cluster.
    type: list
    elements: str
  placements:
    description:
      - Where the HSMs are to be, one entry for each, to recreate exactly what there was. The module returns
        RV(placements) in this form.
      - While there are as many usable HSMs as entries, nothing is created, wherever they are.
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
          - The IPv4 address, from the subnet of that zone. Clients that are configured with the address of an HSM find it
            again only there.
        type: str
  ip_conflict:
    description:
      - What to do when an address of O(placements) stays taken for O(ip_conflict_timeout) seconds. The network interface of
        a deleted HSM keeps its address for a while.
      - V(fail) creates nothing; V(any) creates the HSM at any address of the zone.
    type: str
    choices:
      - fail
      - any
    default: fail
  ip_conflict_timeout:
    description:
      - For how many seconds an address that is taken is asked for again. Not used with O(wait=false).
    type: int
    default: 300
  az_fallback:
    description:
      - Where AWS refuses an HSM in one zone, as when it has no capacity there, try the other zones of O(availability_zones),
        at any address. An address that is taken is no such reason unless O(ip_conflict=any).
    type: bool
    default: false
  replace_degraded:
    description:
      - Replace HSMs that are C(DEGRADED). They serve nobody, never heal, and are paid for. Without this they are reported in a
        warning.
      - The new HSM is created first, unless the other one holds the address or the only place.
      - HSMs that become C(DEGRADED) while they are waited for are replaced once in a run.
    type: bool
    default: false
  hsm_ids:
    description:
      - Delete these HSMs only. An id that the cluster does not have is absent already.
      - Only with O(state=absent).
    type: list
    elements: str
  key_stores:
    description:
      - What to do where AWS KMS has a custom key store on the cluster whose last HSM is to be deleted. KMS does not show that it
        has gone, and every use of its keys fails.
      - V(refuse) fails, until the key store is disconnected (M(hsmops.cloudhsm.cloudhsm_key_store)).
      - V(ignore) does not ask KMS.
      - Only with O(state=absent).
    type: str
    choices:
      - refuse
      - ignore
    default: refuse
    version_added: 0.3.0
  force:
    description:
      - Delete the last HSM of a cluster that is not known to have been activated. AWS makes no backup of it, so that
        everything in it is lost.
    type: bool
    default: false
  wait:
    description:
      - Wait until the HSMs are usable, or until they are gone and the backup that AWS makes of them is ready.
      - With a local connection, the run shows how far the wait has come.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most, all together. When they are over the module fails, and returns what it began. The
        next run adopts HSMs that are being created.
    type: int
    default: 3600
  wait_delay:
    description:
      - How many seconds to pause between two looks. With O(activity) at most V(600), because each look keeps the environment in
        use.
    type: float
    default: 30
  saved_placements:
    description:
      - Create missing HSMs where those of the environment were that M(hsmops.cloudhsm.hsm_reap) deleted, in the same zone and at
        the same address. Nothing is asked where none is missing. O(ip_conflict) says what to do when an address stays taken.
      - Only with O(state=present), and without O(placements).
    type: dict
    version_added: 0.3.0
    suboptions:
      store:
        description:
          - Where they are kept - V(redis) is that of O(activity), under O(activity.env); V(dynamodb) is
            O(saved_placements.table).
        type: str
        required: true
        choices:
          - redis
          - dynamodb
      table:
        description:
          - Name of the DynamoDB table, as O(hsmops.cloudhsm.hsm_placement#module:table).
        type: str
  activity:
    description:
      - Say that an environment is in use, in the activity store of M(hsmops.cloudhsm.hsm_activity) - before AWS is asked, at
        every look while waiting, and again at the end of a wait. So nobody who deletes idle HSMs takes this one.
      - A deletion that M(hsmops.cloudhsm.hsm_reap) has announced is called off, or where it is too late for that, waited for.
      - Of several runs that miss an HSM at the same time, one creates it, and the others wait for it. A creation is claimed
        in the store and announced by a tag of the cluster before it is asked for.
      - Fails when the store does not answer at the beginning or at the end.
      - Only with O(state=present).
    type: dict
    suboptions:
      env:
        description:
          - Name of the environment.
        type: str
        required: true
      record_ttl:
        description:
          - How many seconds the record lives.
        type: int
        default: 7200
      holder:
        description:
          - Hold the environment for this holder, such as the id of a pipeline, instead of touching it only. What is held is not
            idle, however long nobody touches it.
        type: str
      hold_for:
        description:
          - For how many seconds from the last look it is held. Release it with M(hsmops.cloudhsm.hsm_activity) at the end.
          - At most a day, V(86400), unless O(activity.allow_long_hold=true).
        type: int
        default: 3600
      allow_long_hold:
        description:
          - Allow O(activity.hold_for) to be more than a day.
        version_added: 0.3.0
        type: bool
        default: false
      settle:
        description:
          - How many seconds to wait between the announcement of a creation, a tag of the cluster, and the creation, so that
            everybody can read it. AWS states no figure for the lag of C(DescribeClusters). At most V(120).
        type: float
        default: 5
      redis_url:
        description:
          - URL of the Redis. See M(hsmops.cloudhsm.hsm_activity) for this and the following.
        type: str
      redis_host:
        description:
          - Host name or address of the Redis.
        type: str
      redis_port:
        description:
          - Port of the Redis at O(activity.redis_host).
        type: int
      redis_username:
        description:
          - ACL user of the Redis.
        type: str
      redis_password:
        description:
          - Password of the Redis.
        type: str
      redis_db:
        description:
          - Number of the database.
        type: int
      redis_tls:
        description:
          - Use TLS with O(activity.redis_host).
        type: bool
        default: false
      redis_ca_certs:
        description:
          - File with the certificates of the authorities that the Redis's certificate is checked against.
        type: path
      redis_timeout:
        description:
          - Seconds to wait for a connection, and for an answer.
        type: float
        default: 5
      redis_client_cert:
        description:
          - File with the client's certificate, for a Redis that asks for one.
        type: path
      redis_client_key:
        description:
          - File with the key of O(activity.redis_client_cert).
        type: path
      redis_sentinel_username:
        description:
          - ACL user of the Sentinels.
        type: str
      redis_sentinel_password:
        description:
          - Password of the Sentinels.
        type: str
      redis_retry_for:
        description:
          - For how many seconds a step is repeated that found no server to take it.
        type: float
      redis_min_replicas:
        description:
          - How many replicas must confirm a hold or a claim.
        type: int
        default: 0
      redis_replica_timeout:
        description:
          - For how many seconds to wait for their confirmation.
        type: float
        default: 1
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
  - Calls that AWS throttles, and reads that fail for an internal reason of AWS, are repeated in up to 6 rounds within about
    half a minute.
  - With O(state=absent) it asks neither whether somebody uses the HSMs nor for the tag C(hsmops:protected). The module
    M(hsmops.cloudhsm.hsm_reap), and the playbooks that delete, do.
  - It backs up no key outside of the HSM, and relies on AWS's own backup. The playbook C(backup_then_delete_hsm) has both.
  - An HSM in the state C(ACTIVE) is not yet reachable from everywhere. Clients need the ports 2223 to 2225 of its address.
  - Needs the permissions C(cloudhsm:DescribeClusters), C(cloudhsm:CreateHsm), C(cloudhsm:DeleteHsm) and
    C(cloudhsm:DescribeBackups), those in EC2 that AWS documents for C(CreateHsm) and C(DeleteHsm), and
    C(ec2:DescribeSubnets) for O(placements) with addresses; with O(activity) also C(cloudhsm:TagResource) and
    C(cloudhsm:UntagResource); to delete the last HSM also C(kms:DescribeCustomKeyStores), unless O(key_stores=ignore).
seealso:
  - module: hsmops.cloudhsm.cloudhsm_cluster_info
  - module: hsmops.cloudhsm.hsm_activity
  - name: Manage backups in AWS CloudHSM
    description: When AWS makes backups, and when it restores them.
    link: https://docs.aws.amazon.com/cloudhsm/latest/userguide/manage-backups.html
"""

EXAMPLES = r"""
- name: Have a usable HSM
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    region: eu-west-1

- name: Have two, in different zones, and take another zone where one has no capacity
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    count: 2
    availability_zones:
      - eu-west-1b
      - eu-west-1a
    az_fallback: true

- name: Delete all HSMs of the cluster, and see that AWS has a backup of them
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    state: absent
  register: parked

- name: Recreate them where they were
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    placements: "{{ parked.placements }}"

- name: Delete one HSM
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    state: absent
    hsm_ids:
      - hsm-abcdefghijk

- name: Have a usable HSM, and keep the environment in use meanwhile
  hsmops.cloudhsm.cloudhsm_hsm:
    cluster_id: cluster-abcdefghijk
    activity:
      env: dev
      redis_url: rediss://redis.example.com:6379/0
      redis_password: "{{ vault_redis_password }}"
"""

RETURN = r"""
actions:
  description: The changes that AWS was asked for, or would be in check mode, a line each.
  returned: always
  type: list
  elements: str
  sample:
    - create an HSM in eu-west-1a
backups:
  description:
    - The backups that prove a deletion safe, namely those that AWS made of the HSMs which this run deleted and that are ready,
      newest first.
    - Where another run began the deletion, the newest backup that is ready. A run that finds no HSM to delete looks for none.
  returned: always
  type: list
  elements: dict
  sample: []
cluster:
  description: The cluster as AWS showed it last, in the form of RV(hsmops.cloudhsm.cloudhsm_cluster_info#module:clusters).
  returned: when AWS has shown it
  type: dict
  sample: {"cluster_id": "cluster-abcdefghijk", "state": "ACTIVE"}
created:
  description: The HSMs that this run had AWS create, as AWS shows them now. Also after a failure or a timeout.
  returned: always
  type: list
  elements: dict
  contains: &hsm
    availability_zone:
      description: The Availability Zone.
      type: str
      returned: always
      sample: eu-west-1a
    eni_id:
      description: The network interface. It stays when AWS replaces the HSM.
      type: str
      returned: always
      sample: eni-0123456789abcdef0
    eni_ip:
      description: The address.
      type: str
      returned: always
      sample: 192.0.2.10
    hsm_id:
      description: The id. It changes when AWS replaces the HSM.
      type: str
      returned: always
      sample: hsm-abcdefghijk
    state:
      description: The state.
      type: str
      returned: always
      sample: ACTIVE
    state_message:
      description: What AWS says of the state.
      type: str
      returned: always
      sample: HSM created.
    subnet_id:
      description: The subnet.
      type: str
      returned: always
      sample: subnet-0123456789abcdef0
deleted:
  description: The HSMs that this run had AWS delete, as they were. Also after a failure or a timeout.
  returned: always
  type: list
  elements: dict
  contains: *hsm
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
elapsed:
  description: How many seconds the run took.
  returned: always
  type: float
  sample: 612.4
hsms:
  description: The HSMs that the cluster has now, without those that are being deleted.
  returned: always
  type: list
  elements: dict
  contains: *hsm
placements:
  description:
    - Where the HSMs are, or with O(state=absent) where the deleted ones were. Fit for O(placements).
  returned: always
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
summary:
  description: One line that says what there is, and what was done or would be done in check mode.
  returned: always
  type: str
  sample: "1 HSM: hsm-abcdefghijk ACTIVE in eu-west-1a at 192.0.2.10; created 1, in 10 min 12 s"
"""

import os
from functools import partial

# Not AnsibleAWSModule.warn: that passes warnings to exit_json as well, which ansible-core deprecates.
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.argument_spec import heartbeat_argument_spec
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api, key_stores
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.apply import converge
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import error_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.creation import Creator
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.parameters import (
    create_options,
    hsm_argument_spec,
    make_wish,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.planner import Planner
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.progress import ProgressFile
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.results import outcome_diff, outcome_result
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.view import ClusterView, Outcome
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import Wait, WaitError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.ensuring import make_guard
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.plan import (
    Owner,
    PlacementError,
    PlacementStore,
    Record,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._placements.saved import (
    open_saved,
    saved_placements_argument_spec,
)


def _find_key_stores(module: AnsibleAWSModule, cluster_id: str) -> list:
    if module.params["key_stores"] == "ignore":
        return []
    return key_stores.of_cluster(api.make_client(module, "kms"), cluster_id)


def _load_placements(params: dict, saved: PlacementStore | None) -> Record:
    return saved.load(Owner((params["activity"] or {}).get("env", ""), params["cluster_id"])) if saved else ()


def main() -> None:
    spec = hsm_argument_spec(heartbeat_argument_spec(), saved_placements_argument_spec())
    module = AnsibleAWSModule(argument_spec=spec, supports_check_mode=True)
    params = module.params
    observers: list = [ProgressFile(params["progress_path"]).write]
    wait = Wait(params["wait_timeout"], params["wait_delay"], observers)
    outcome = Outcome()
    failure: dict = {}
    try:
        saved = open_saved(
            params["saved_placements"], params["activity"], os.environ, partial(api.make_client, module, "dynamodb")
        )
        planner = Planner(
            make_wish(params), partial(_find_key_stores, module), partial(_load_placements, params, saved)
        )
        view = ClusterView(api.client(module), params["cluster_id"], outcome)
        guard = make_guard(params, view, wait, observers)
        creator = Creator(
            view,
            partial(api.creating_client, module, guard.deadline),
            partial(api.ec2_client, module),
            create_options(params),
            wait,
            guard,
        )
        converge(view, planner, creator, guard, wait, params["wait"], module.check_mode)
    except (ActivityError, PlacementError, PlanError, WaitError) as error:
        failure = {"msg": str(error)}
    except AnsibleAWSError as error:
        failure = {"msg": str(error), "error": error_result(error)}

    for warning in outcome.warnings:
        warn(warning)
    result = outcome_result(outcome, wait.elapsed, params["state"] == "absent", module.check_mode)
    if module._diff:
        result["diff"] = outcome_diff(outcome, module.check_mode)
    if failure:
        module.fail_json(**failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
