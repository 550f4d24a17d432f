# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters of hsm_key_backup: their specification, their check, and what they express."""

from __future__ import annotations

import datetime
import re
import typing as t

from . import aws
from .apply import Wish
from .data_keys import CustodianOpener, KmsOpener, Opener, Recipient, kms_recipient
from .directory import DirectoryStore
from .errors import KeyBackupError
from .plan import Selection
from .public_keys import CustodianKey, read_public_key
from .records import KEY_CLASSES
from .s3 import S3Store
from .secrets_manager import SecretsManagerStore
from .stores import Store

if t.TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

_Params = t.Mapping[str, t.Any]

# What secrets, objects and folders can all be named, without a way out of the folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")
_PREFIX = re.compile(r"[A-Za-z0-9/_+=.@-]{0,200}")
_HEX = re.compile(r"([0-9a-fA-F]{2})*")
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")
_RECOVERY_DAYS = (0, *range(7, 31))


def argument_spec() -> dict[str, t.Any]:
    """Return the parameters of hsm_key_backup."""
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "verified", "restored", "absent"], "default": "present"},
        "library": {"type": "path", "default": "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so"},
        "slot": {"type": "int"},
        "token_label": {"type": "str", "no_log": False},
        "pin": {"type": "str", "no_log": True},
        "pin_file": {"type": "path"},
        "pin_retry": {"type": "bool", "default": False},
        "pin_refusals": {"type": "path", "default": "~/.ansible/hsmops_pin_refusals"},
        "labels": {"type": "list", "elements": "str", "default": []},
        "ids": {"type": "list", "elements": "str", "default": []},
        "classes": {"type": "list", "elements": "str", "choices": list(KEY_CLASSES), "default": list(KEY_CLASSES)},
        "store": {"type": "str", "choices": ["secretsmanager", "s3", "directory"], "default": "secretsmanager"},
        "prefix": {"type": "str", "default": "hsmops/"},
        "store_kms_key_id": {"type": "str", "no_log": False},
        "recovery_window_days": {"type": "int", "default": 30},
        "bucket": {"type": "str"},
        "object_lock_mode": {"type": "str", "choices": ["GOVERNANCE", "COMPLIANCE"]},
        "object_lock_days": {"type": "int"},
        "path": {"type": "path"},
        "kms_key_id": {"type": "str", "no_log": False},
        "custodian_public_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "custodian_key_file": {"type": "path", "no_log": False},
        "custodian_passphrase": {"type": "str", "no_log": True},
        "require_complete": {"type": "bool", "default": False},
        "prune": {"type": "bool", "default": False},
        "restore_superseded": {"type": "bool", "default": False},
        "fingerprint": {"type": "str"},
        "min_generation": {"type": "int", "default": 0},
        "confirm_absent": {"type": "str"},
    }


# What AnsibleModule checks of them by itself.
RULES: dict[str, t.Any] = {
    "required_if": [
        ("store", "s3", ["bucket"]),
        ("store", "directory", ["path"]),
        ("state", "absent", ["confirm_absent"]),
    ],
    "required_together": [("object_lock_mode", "object_lock_days")],
    "required_by": {"custodian_passphrase": ["custodian_key_file"]},
    "mutually_exclusive": [("slot", "token_label"), ("pin", "pin_file")],
}


def make_wish(params: _Params) -> Wish:
    """Return what a run is to do.

    Raises:
        KeyBackupError: A parameter is malformed.
    """
    name, fingerprint = params["name"], params["fingerprint"]
    if not _NAME.fullmatch(name):
        raise KeyBackupError(f"name: {name!r} is no name. Use up to 100 letters, digits and _.@+-.")
    if fingerprint is not None and not _FINGERPRINT.fullmatch(fingerprint):
        raise KeyBackupError(
            f"fingerprint: {fingerprint!r} is no SHA-256. Give the 64 hexadecimal digits that a run returned."
        )
    if params["min_generation"] < 0:
        raise KeyBackupError(f"min_generation: {params['min_generation']} is less than 0. Generations begin with 1.")
    for key_id in params["ids"]:
        if not _HEX.fullmatch(key_id):
            raise KeyBackupError(f"ids: {key_id!r} is not hexadecimal. Give two digits a byte, such as '0a1b'.")
    ids = tuple(key_id.lower() for key_id in params["ids"])
    return Wish(
        name=name,
        selection=Selection(tuple(params["labels"]), ids, tuple(params["classes"])),
        fingerprint=fingerprint,
        min_generation=params["min_generation"],
        require_complete=params["require_complete"],
        prune=params["prune"],
        superseded=params["restore_superseded"],
    )


def find_pin(params: _Params, environ: t.Mapping[str, str]) -> str:
    """Return the PIN from where it is given: pin, pin_file, HSM_PIN, or the file that HSM_PIN_FILE names.

    Raises:
        KeyBackupError: It is nowhere, or empty.
    """
    if params["pin"]:
        return t.cast(str, params["pin"])
    if params["pin_file"]:
        return _read_pin(params["pin_file"], "pin_file")
    if environ.get("HSM_PIN"):
        return environ["HSM_PIN"]
    if environ.get("HSM_PIN_FILE"):
        return _read_pin(environ["HSM_PIN_FILE"], "HSM_PIN_FILE")
    raise KeyBackupError(
        "pin: there is none. Set pin, pin_file or the environment variable HSM_PIN or HSM_PIN_FILE; on CloudHSM, the PIN is"
        " user:password."
    )


def _read_pin(path: str, source: str) -> str:
    try:
        # With or without the mark that some editors put first.
        with open(path, encoding="utf-8-sig") as stream:
            pin = stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyBackupError(
            f"{source}: {path} cannot be read ({type(error).__name__}). Name a text file that this task can read."
        ) from None
    if not pin:
        raise KeyBackupError(f"{source}: the first line of {path} is empty. Write the PIN there.")
    return pin


def make_store(module: AnsibleAWSModule, now: datetime.datetime) -> Store:
    """Return the store that the parameters name.

    Args:
        module: The module.
        now: The moment, from which Object Lock counts.

    Raises:
        KeyBackupError: A parameter is malformed, or the folder does not exist.
        AnsibleAWSError: No region is configured.
    """
    params = module.params
    if params["store"] == "directory":
        return DirectoryStore(params["path"], params["name"])
    if not _PREFIX.fullmatch(params["prefix"]):
        raise KeyBackupError(
            f"prefix: {params['prefix']!r} cannot begin a name. Use up to 200 letters, digits and /_+=.@-."
        )
    if params["store"] == "s3":
        # An older one does not know If-Match of PutObject.
        module.require_botocore_at_least("1.35.69", reason="to replace a manifest in S3")
        return S3Store(
            aws.client(module, "s3"), params["bucket"], params["prefix"], params["name"], _object_settings(params, now)
        )
    days = params["recovery_window_days"]
    if days not in _RECOVERY_DAYS:
        raise KeyBackupError(
            f"recovery_window_days: {days} is not possible. Set it to 7 to 30, or to 0 for no recovery."
        )
    client = aws.client(module, "secretsmanager")
    return SecretsManagerStore(client, params["prefix"], params["name"], params["store_kms_key_id"], days)


def _object_settings(params: _Params, now: datetime.datetime) -> dict[str, t.Any]:
    settings: dict[str, t.Any] = {"ServerSideEncryption": "aws:kms"}
    if params["store_kms_key_id"]:
        settings["SSEKMSKeyId"] = params["store_kms_key_id"]
    if params["object_lock_mode"]:
        if params["object_lock_days"] < 1:
            raise KeyBackupError(
                f"object_lock_days: {params['object_lock_days']} is less than 1. Set it to how long nobody may delete."
            )
        settings |= aws.object_lock(params["object_lock_mode"], params["object_lock_days"], now)
    return settings


def make_recipients(module: AnsibleAWSModule) -> list[Recipient]:
    """Return who must be able to open the backup.

    Raises:
        KeyBackupError: There is nobody, or one has no fitting key.
        AnsibleAWSError: KMS does not give the public key.
    """
    params = module.params
    custodians = [
        Recipient("custodian", "", read_public_key(text, f"custodian_public_keys[{number}]"))
        for number, text in enumerate(params["custodian_public_keys"])
    ]
    kms = [kms_recipient(aws.client(module, "kms"), params["kms_key_id"])] if params["kms_key_id"] else []
    recipients = list({recipient.fingerprint: recipient for recipient in kms + custodians}.values())
    if not recipients:
        raise KeyBackupError(
            "kms_key_id: nobody could open this backup. Set kms_key_id to an asymmetric RSA key of KMS, custodian_public_keys to "
            "the public keys of those who keep the private ones, or both."
        )
    return recipients


def make_opener(module: AnsibleAWSModule) -> Opener:
    """Return who opens the backup: the custodian whose file is named, or else KMS.

    Raises:
        KeyBackupError: It is nobody, or the file cannot be read.
        AnsibleAWSError: No region is configured.
    """
    params = module.params
    if params["custodian_key_file"]:
        return CustodianOpener(CustodianKey(params["custodian_key_file"], params["custodian_passphrase"]))
    if params["kms_key_id"]:
        return KmsOpener(aws.client(module, "kms"), params["kms_key_id"])
    raise KeyBackupError(
        "kms_key_id: nobody opens the backup. Set it, or custodian_key_file to a custodian's private key."
    )
