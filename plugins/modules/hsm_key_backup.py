#!/usr/bin/python
# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: hsm_key_backup
version_added: 0.3.0
short_description: Back up the keys of an HSM outside of it, and restore them
description:
  - Wrap the keys of a PKCS#11 token, such as an AWS CloudHSM, and keep them in a store of your own; show that the backup can be
    restored; restore what an HSM lacks.
  - Each run makes a data key on the HSM, and wraps keys under it on the HSM (RFC 5649). The data key leaves the HSM only under
    RSA public keys (RSA-OAEP) - that of an asymmetric KMS key, those of custodians, or both. No key is ever in the clear in the
    memory of the host that makes a backup.
  - Keys that cannot be exported are listed in RV(not_covered). Only AWS's own backups of the cluster have them.
  - It runs on a host that reaches the HSM. On a cluster with one HSM, the key availability check of the PKCS#11 library must be
    switched off.
author:
  - hsmops.cloudhsm contributors (@hsmops)
options:
  name:
    description:
      - Name of the backup in the store, such as that of the environment.
    type: str
    required: true
  state:
    description:
      - V(present) brings the backup up to date. Keys that have not changed are not wrapped again, and where none has, nothing is
        written.
      - V(verified) opens the backup, unwraps every key of it into a session object on the HSM, sees that it is the key that it is
        said to be, and compares the backup with the keys on the HSM. It changes nothing.
      - V(restored) does the same as V(verified) with the backup, and then creates the keys that the HSM lacks. Keys that are
        there are left alone.
      - V(absent) removes the backup.
    type: str
    choices:
      - present
      - verified
      - restored
      - absent
    default: present
  library:
    description:
      - Path of the PKCS#11 library.
    type: path
    default: /opt/cloudhsm/lib/libcloudhsm_pkcs11.so
  slot:
    description:
      - Number of the slot. Default is the first one with a token that is initialized.
      - Mutually exclusive with O(token_label).
    type: int
  token_label:
    description:
      - Label of the token.
    type: str
  pin:
    description:
      - PIN of the user who owns the keys; on CloudHSM, the name of a crypto user, a colon and the password.
      - Where it is not set, it is the first line of O(pin_file), else the environment variable E(HSM_PIN), else the first line
        of the file that E(HSM_PIN_FILE) names. Set such a variable for the whole run, or on the host. The keyword
        C(environment) of a play or a task is no place for a PIN - Ansible puts what stands there on a command line, and prints
        it with C(-vvv).
      - Without pipelining (C(ansible_pipelining)), Ansible writes every parameter of a module into a file that lies there while
        the module runs. O(pin_file) keeps the PIN out of it. The playbooks of this collection use pipelining.
      - It is tried once, and after a refusal not again, in later runs either. Five wrong ones in a row lock a crypto user.
    type: str
  pin_file:
    description:
      - File on the host that runs the module with the PIN in its first line, which nobody else should be able to read.
      - Mutually exclusive with O(pin).
    type: path
  pin_retry:
    description:
      - Log in although the token has refused a login of an earlier run on this host. For one run, after the PIN was corrected.
    type: bool
    default: false
  pin_refusals:
    description:
      - Folder on the host that runs the module where it is noted that a token has refused a PIN. Until that is taken back with
        O(pin_retry=true), no run tries another login, so that a schedule does not lock the user. Nothing of the PIN is noted.
      - Where that host ends with the run, as an execution environment of AWX does, name a folder that outlives it. Else every
        run is the first one.
    type: path
    default: ~/.ansible/hsmops_pin_refusals
  labels:
    description:
      - Glob patterns. Keys whose label matches one of them are selected. Default is every label.
      - What the backup has of other keys stays.
    type: list
    elements: str
    default: []
  ids:
    description:
      - Ids (C(CKA_ID)) of keys in hexadecimal. Default is every id.
    type: list
    elements: str
    default: []
  classes:
    description:
      - Classes of keys.
    type: list
    elements: str
    choices:
      - secret
      - private
      - public
    default:
      - secret
      - private
      - public
  store:
    description:
      - Where the backup is kept - AWS Secrets Manager, a bucket of S3, or a folder.
      - V(s3) needs botocore 1.35.69 or newer. Give the bucket versioning, so that what somebody overwrites can be had back.
    type: str
    choices:
      - secretsmanager
      - s3
      - directory
    default: secretsmanager
  prefix:
    description:
      - What the names of all secrets or objects of the backup begin with.
    type: str
    default: hsmops/
  store_kms_key_id:
    description:
      - KMS key with which the store encrypts. Default is that of Secrets Manager or S3.
      - It is another key than O(kms_key_id), and a symmetric one.
    type: str
  recovery_window_days:
    description:
      - How many days a deleted secret can be restored, V(7) to V(30), or V(0) for not at all.
    type: int
    default: 30
  bucket:
    description:
      - Bucket of O(store=s3).
    type: str
  object_lock_mode:
    description:
      - Lock each object against deletion, in this mode of S3 Object Lock. The bucket must have been created with it.
    type: str
    choices:
      - GOVERNANCE
      - COMPLIANCE
  object_lock_days:
    description:
      - How many days after it was written an object stays locked.
    type: int
  path:
    description:
      - Folder of O(store=directory), in which there is one for each backup.
    type: path
  kms_key_id:
    description:
      - Id, ARN or alias of an asymmetric KMS key with C(KeyUsage) C(ENCRYPT_DECRYPT) and an RSA C(KeySpec).
      - For O(state=present), its public half is what data keys are wrapped under; C(kms:GetPublicKey) is enough. For the
        others, it opens them, by C(kms:Decrypt).
    type: str
  custodian_public_keys:
    description:
      - RSA public keys in PEM. Whoever has one of the private halves can open the backup.
    type: list
    elements: str
    default: []
  custodian_key_file:
    description:
      - File on the host that runs the module with a custodian's private key in PEM. It opens the backup in place of
        O(kms_key_id).
    type: path
  custodian_passphrase:
    description:
      - Passphrase of O(custodian_key_file). What O(pin) says of pipelining goes for it too.
    type: str
  require_complete:
    description:
      - Fail, before anything is written, if there are selected keys that cannot be exported.
    type: bool
    default: false
  prune:
    description:
      - Have selected keys that are not on the HSM any more leave the backup.
    type: bool
    default: false
  restore_superseded:
    description:
      - Also restore keys that had been replaced on the HSM by others with the same class, label and id.
    type: bool
    default: false
  fingerprint:
    description:
      - SHA-256 that the manifest of the backup must have, as RV(fingerprint) of an earlier run. Anything else is refused, as an
        older or a forged backup.
      - Without it, who can write to the store can put a whole backup of their own making in its place.
    type: str
  min_generation:
    description:
      - Least RV(generation) that the backup must have.
    type: int
    default: 0
  confirm_absent:
    description:
      - The O(name) once more, for O(state=absent).
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - hsmops.cloudhsm.attributes
  - hsmops.cloudhsm.attributes.actiongroup_aws
attributes:
  check_mode:
    support: full
    details:
      - The module logs in and looks at the keys. What cannot be wrapped although its attributes allow it is found only when it
        is wrapped.
  diff_mode:
    support: full
    details:
      - Shows names and numbers of keys, and no key.
  idempotent:
    support: full
requirements:
  - python-pkcs11 >= 0.10.1
  - cryptography >= 40.0.0
notes:
  - The library of CloudHSM's Client SDK 5 and that of SoftHSM 2 are known to be supported.
seealso:
  - module: hsmops.cloudhsm.cloudhsm_hsm
  - name: Key wrapping
    description: What AWS CloudHSM says of wrapping keys.
    link: https://docs.aws.amazon.com/cloudhsm/latest/userguide/manage-aes-key-wrapping.html
"""

EXAMPLES = r"""
- name: Back up every key of a crypto user
  hsmops.cloudhsm.hsm_key_backup:
    name: dev
    pin: "{{ hsm_pin }}"
    kms_key_id: alias/hsm-backup
  register: backup

- name: See that the backup can be restored, and that it is the one that was made
  hsmops.cloudhsm.hsm_key_backup:
    name: dev
    state: verified
    pin: "{{ hsm_pin }}"
    kms_key_id: alias/hsm-backup
    fingerprint: "{{ backup.fingerprint }}"

- name: Restore what the HSM lacks
  hsmops.cloudhsm.hsm_key_backup:
    name: dev
    state: restored
    pin: "{{ hsm_pin }}"
    kms_key_id: alias/hsm-backup

- name: Back up the keys of one application in a folder, for two custodians and without AWS
  hsmops.cloudhsm.hsm_key_backup:
    name: payments
    store: directory
    path: /mnt/safe/hsm
    pin_file: /etc/hsm/pin
    labels:
      - payments-*
    custodian_public_keys:
      - "{{ lookup('ansible.builtin.file', 'alice.pem') }}"
      - "{{ lookup('ansible.builtin.file', 'bob.pem') }}"

- name: Remove a backup
  hsmops.cloudhsm.hsm_key_backup:
    name: dev
    state: absent
    confirm_absent: dev
"""

RETURN = r"""
name:
  description: Name of the backup.
  returned: always
  type: str
  sample: dev
generation:
  description: How many manifests of this name there have been.
  returned: unless O(state=absent)
  type: int
  sample: 3
created:
  description: When the manifest was written.
  returned: unless O(state=absent)
  type: str
  sample: "2026-01-01T09:00:00+00:00"
fingerprint:
  description:
    - SHA-256 of the manifest. Keep it where those who can write to the store cannot.
    - In check mode, it is that of the manifest that stands.
  returned: unless O(state=absent)
  type: str
  sample: 5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5
keys:
  description: How many keys the backup has.
  returned: unless O(state=absent)
  type: int
  sample: 12
parts:
  description: How many parts the backup consists of.
  returned: unless O(state=absent)
  type: int
  sample: 1
added:
  description: Keys that came into the backup.
  returned: O(state=present)
  type: list
  elements: dict
  sample: [{"class": "secret", "label": "payments", "id": "01"}]
renewed:
  description: Keys that were in the backup with other flags, or could not be opened by every recipient.
  returned: O(state=present)
  type: list
  elements: dict
  sample: []
unchanged:
  description: How many selected keys were in the backup as they are.
  returned: O(state=present)
  type: int
  sample: 11
kept:
  description: Keys that stay in the backup, and are not on the HSM any more.
  returned: O(state=present)
  type: list
  elements: dict
  sample: []
superseded:
  description: Keys that stay in the backup, in whose place the HSM has another key with the same class, label and id.
  returned: O(state=present)
  type: list
  elements: dict
  sample: []
pruned:
  description: Keys that left the backup.
  returned: O(state=present)
  type: list
  elements: dict
  sample: []
not_covered:
  description:
    - Selected keys on the HSM that the backup does not have, and why, such as that they cannot be exported. Only AWS's own
      backups of the cluster have them.
  returned: unless O(state=absent)
  type: list
  elements: dict
  sample: [{"class": "secret", "label": "root", "id": "02", "reason": "it is not extractable"}]
verified:
  description: How many keys were unwrapped and are what they are said to be.
  returned: O(state=verified)
  type: int
  sample: 12
restored:
  description: Keys that were created.
  returned: O(state=restored)
  type: list
  elements: dict
  sample: [{"class": "secret", "label": "payments", "id": "01"}]
present:
  description: How many keys of the backup were on the HSM already.
  returned: O(state=restored)
  type: int
  sample: 11
differences:
  description:
    - Keys of the backup of which the HSM has something else by that name.
    - C(what) is V(value) for another key, V(flags) for other flags, and V(unknown) for one that cannot be compared.
  returned: O(state=verified) or O(state=restored)
  type: list
  elements: dict
  sample: [{"class": "secret", "label": "payments", "id": "01", "what": "value"}]
"""

import datetime
import os
from pathlib import Path

from ansible.module_utils.basic import missing_required_lib

# Not AnsibleAWSModule.warn: that passes warnings to exit_json as well, which ansible-core deprecates.
from ansible.module_utils.common.warnings import warn
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.apply import (
    Outcome,
    back_up,
    remove,
    restore,
    verify,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.errors import KeyBackupError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.hsm import PKCS11_IMPORT_ERROR, open_hsm
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.parameters import (
    RULES,
    argument_spec,
    find_pin,
    make_opener,
    make_recipients,
    make_store,
    make_wish,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.public_keys import CRYPTOGRAPHY_IMPORT_ERROR
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.refusals import Refusals


def run(module: AnsibleAWSModule, now: datetime.datetime) -> Outcome:
    """Do what the parameters ask for; whoever is to open the backup is found before the HSM is asked for anything."""
    params, dry = module.params, module.check_mode
    wish, store = make_wish(params), make_store(module, now)
    if params["state"] == "absent":
        return remove(store, wish.name, params["confirm_absent"], dry)
    pin = find_pin(params, os.environ)
    # Wherever it came from, nothing that is printed holds it.
    module.no_log_values.add(pin)
    recipients = make_recipients(module) if params["state"] == "present" else []
    opener = None if params["state"] == "present" else make_opener(module)
    refusals = Refusals(Path(params["pin_refusals"]), params["pin_retry"], now)
    hsm = open_hsm(params["library"], params["slot"], params["token_label"], pin, refusals)
    try:
        if opener is None:
            return back_up(hsm, store, recipients, wish, now, dry)
        if params["state"] == "verified":
            return verify(hsm, store, opener, wish)
        return restore(hsm, store, opener, wish, dry)
    finally:
        hsm.close()


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True, **RULES)
    for library, trace in (("python-pkcs11", PKCS11_IMPORT_ERROR), ("cryptography", CRYPTOGRAPHY_IMPORT_ERROR)):
        if trace:
            module.fail_json(msg=missing_required_lib(library), exception=trace)
    try:
        outcome = run(module, datetime.datetime.now(datetime.timezone.utc))
    except KeyBackupError as error:
        module.fail_json(msg=str(error))
    except AnsibleAWSError as error:
        module.fail_json_aws_error(error)
    for warning in outcome.warnings:
        warn(warning)
    result = {"changed": outcome.changed, **outcome.result}
    if module._diff:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    if outcome.failure:
        module.fail_json(msg=outcome.failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
