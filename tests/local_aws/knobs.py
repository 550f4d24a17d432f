# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Every duration, limit and undocumented behaviour of the local AWS, with its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any

INVALID_REQUEST = "CloudHsmInvalidRequestException"
# Knobs that take one of a few words, and those that may be empty.
CHOICES = {
    "restore_without_backup": ("empty", "degraded", "refused"),
    "signature_clock": ("either", "real", "virtual"),
}
MAY_BE_EMPTY = ("unsupported_azs", "error_type_prefix")


@dataclass(frozen=True)
class Knobs:
    """The settings of one local AWS. Durations are virtual seconds.

    A change counts for what begins after it: a state change that is already under way keeps its times.
    """

    cluster_create_seconds: Annotated[float, 'CreateCluster to UNINITIALIZED (documented: "a few minutes")'] = 180.0
    cluster_delete_seconds: Annotated[float, "DeleteCluster to DELETED (no source)"] = 120.0
    deleted_cluster_listed_seconds: Annotated[
        float, "how long DescribeClusters lists a DELETED cluster (recorded right after deletion, then unknown)"
    ] = 86400.0
    hsm_create_seconds: Annotated[float, "CreateHsm to ACTIVE (third parties measured 313 s to 20 min)"] = 600.0
    hsm_delete_seconds: Annotated[float, "DeleteHsm until the HSM is no longer listed (third party: about 120 s)"] = (
        120.0
    )
    eni_release_seconds: Annotated[float, "how long the address stays taken after the HSM is gone (unknown)"] = 0.0
    backup_seconds: Annotated[float, "a backup's CREATE_IN_PROGRESS to READY (unknown)"] = 60.0
    describe_lag_seconds: Annotated[float, "DescribeClusters shows the state of that many seconds ago (inferred)"] = 0.0

    quota_clusters: Annotated[int, "clusters per account and Region (documented)"] = 4
    quota_hsms: Annotated[int, "HSMs per account and Region (documented)"] = 6
    quota_hsms_per_cluster: Annotated[int, "HSMs per cluster (documented)"] = 28
    quota_counts_leaving: Annotated[bool, "DELETE_IN_PROGRESS HSMs and clusters count (inferred)"] = True
    quota_error_code: Annotated[str, "error of CreateCluster and CreateHsm over a quota (unknown)"] = INVALID_REQUEST
    quota_error_message: Annotated[str, "its text; {limit} and {what} are filled in (unknown)"] = (
        "The request would exceed the limit of {limit} {what}."
    )

    address_busy_code: Annotated[str, "error of CreateHsm for a taken address (unknown)"] = INVALID_REQUEST
    address_busy_message: Annotated[str, "its text; {address} and {subnet} are filled in (unknown)"] = (
        "IP address {address} is not available in subnet {subnet}."
    )
    no_capacity_code: Annotated[str, "error of CreateHsm in an AZ without capacity (unknown)"] = (
        "CloudHsmServiceException"
    )
    no_capacity_message: Annotated[str, "its text; {az} is filled in (unknown)"] = (
        "There is not enough capacity in Availability Zone {az}."
    )

    delete_hsm_again_accepted: Annotated[
        bool, "DeleteHsm of an HSM in DELETE_IN_PROGRESS answers with its id, else InvalidRequest (unknown)"
    ] = False
    hsm1_medium_accepted: Annotated[bool, "CreateCluster accepts hsm1.medium (live: refused since 2025)"] = False

    backup_on_add_to_empty_cluster: Annotated[
        bool, "a backup is made when the first HSM of an ACTIVE cluster without HSM becomes ACTIVE (inferred)"
    ] = True
    backup_of_unusable_hsm: Annotated[
        bool, "DeleteHsm of an HSM that is DEGRADED or CREATE_IN_PROGRESS makes a backup (unknown)"
    ] = False
    backup_of_initialized_cluster: Annotated[
        bool, "DeleteHsm in a cluster that is INITIALIZED, not ACTIVE, makes a backup (documented wording says no)"
    ] = False
    backup_begins_when_hsm_gone: Annotated[
        bool, "the backup of a removal begins when the HSM is gone, else at DeleteHsm (unknown)"
    ] = False
    backup_period_seconds: Annotated[
        float, "between two periodic backups of an ACTIVE cluster with an HSM, 0 for none (recorded: 24 h and 2 min)"
    ] = 86520.0
    backup_pending_deletion_seconds: Annotated[float, "PENDING_DELETION to DELETED (documented: 7 days)"] = 604800.0
    deleted_backup_listed_seconds: Annotated[float, "how long DescribeBackups lists a DELETED backup (unknown)"] = (
        86400.0
    )
    deleted_cluster_backups_expire: Annotated[
        bool, "retention goes on for the backups of a deleted cluster (inferred: not associated, so it does not)"
    ] = False
    backup_copy_seconds: Annotated[float, "CopyBackupToRegion to READY in the other Region (unknown)"] = 300.0
    copied_backup_shows_cluster: Annotated[bool, "a copied backup has a ClusterId, beside SourceCluster (unknown)"] = (
        False
    )
    policy_shares_are_promoted: Annotated[
        bool,
        "backups shared by PutResourcePolicy are listed for the other account (documented: only after a promotion in RAM)",
    ] = False
    restore_chosen_at_creation: Annotated[
        bool, "the backup of a new HSM is chosen at CreateHsm, else when the HSM becomes ACTIVE (unknown)"
    ] = False
    restore_from_pending_deletion: Annotated[
        bool, "a new HSM may be restored from a backup in PENDING_DELETION, else from READY ones only (unknown)"
    ] = False
    restore_without_backup: Annotated[
        str, "a new HSM of a parked cluster that has no backup left is empty, degraded, or refused (unknown)"
    ] = "empty"

    cluster_from_backup_seconds: Annotated[float, "CreateCluster from a backup to ACTIVE (no figure)"] = 300.0
    initialize_seconds: Annotated[float, "InitializeCluster to INITIALIZED (no figure)"] = 120.0
    initialize_error_code: Annotated[str, "error of InitializeCluster for a wrong state or certificate (unknown)"] = (
        INVALID_REQUEST
    )
    activation_seen_seconds: Annotated[
        float, "activation on the HSM until DescribeClusters says ACTIVE (third party: about 80 s)"
    ] = 80.0
    migrate_seconds_per_hsm: Annotated[float, "ModifyCluster of the HsmType, each HSM (documented: about 30 min)"] = (
        1800.0
    )
    rollback_window_seconds: Annotated[float, "how long a new HsmType can be taken back (documented: 24 h)"] = 86400.0
    cluster_updates_with_hsms: Annotated[
        bool, "an ACTIVE cluster shows UPDATE_IN_PROGRESS while HSMs come or go (unknown)"
    ] = False
    pre_co_password_shown: Annotated[
        bool, "an UNINITIALIZED cluster with an HSM shows a PreCoPassword (unknown; recorded without HSM: none)"
    ] = False
    create_hsm_shows_network: Annotated[
        bool, "CreateHsm's answer has SubnetId, EniId and EniIp (documented example: yes; the model: optional)"
    ] = True
    deleted_hsm_listed_seconds: Annotated[float, "how long DescribeClusters lists an HSM as DELETED (unknown)"] = 0.0

    az_not_mapped_code: Annotated[str, "error of CreateHsm in an AZ without a subnet of the cluster (unknown)"] = (
        INVALID_REQUEST
    )
    unsupported_azs: Annotated[
        str, "AZs that CloudHSM does not serve, with commas between (third party: found out at CreateHsm)"
    ] = ""
    unsupported_az_code: Annotated[str, "error of CreateHsm in such an AZ (unknown)"] = INVALID_REQUEST
    address_outside_code: Annotated[str, "error of CreateHsm for an address outside the subnet (unknown)"] = (
        INVALID_REQUEST
    )
    delete_hsm_selector_code: Annotated[str, "error of DeleteHsm with none or several selectors (unknown)"] = (
        INVALID_REQUEST
    )
    unknown_id_code: Annotated[
        str, "error for an id that does not exist (live: this one for DeleteCluster and the backups; else inferred)"
    ] = "CloudHsmResourceNotFoundException"
    unknown_filter_accepted: Annotated[bool, "an unknown filter name is ignored, else InvalidRequest (unknown)"] = False
    page_token_seconds: Annotated[float, "how long a NextToken is good, 0 for ever (unknown)"] = 0.0
    error_type_prefix: Annotated[str, "what comes before the code in an error's __type (unknown)"] = ""
    error_type_header: Annotated[bool, "errors also have the header x-amzn-ErrorType (unknown)"] = False

    # KMS: custom key stores and imported key material.
    kms_connect_seconds: Annotated[
        float, "ConnectCustomKeyStore to CONNECTED or FAILED (documented: up to 20 minutes)"
    ] = 300.0
    kms_disconnect_seconds: Annotated[float, "DisconnectCustomKeyStore to DISCONNECTED (no source)"] = 30.0
    kms_connect_error: Annotated[
        str, "ConnectionErrorCode that attempts to connect end with, `none` for what follows from the cluster (ours)"
    ] = "none"
    kms_connect_refuses_without_hsm: Annotated[
        bool,
        "ConnectCustomKeyStore without an active HSM answers CloudHsmClusterInvalidConfigurationException, else it ends"
        " FAILED (both documented)",
    ] = False
    kms_update_always_checks_cluster: Annotated[
        bool, "UpdateCustomKeyStore wants two active HSMs also when the cluster stays (documented wording says yes)"
    ] = True
    kms_no_hsm_code: Annotated[
        str, "error of a cryptographic operation in a CONNECTED key store without an active HSM (documented)"
    ] = "KMSInvalidStateException"
    kms_no_hsm_message: Annotated[str, "its text (documented for lost contact, inferred here)"] = (
        "KMS cannot communicate with your CloudHSM cluster."
    )
    kms_quota_key_stores: Annotated[int, "custom key stores per account and Region (documented)"] = 10
    kms_import_parameters_seconds: Annotated[
        float, "how long a wrapping key and its import token are good (documented: 24 h)"
    ] = 86400.0
    kms_import_token_reusable: Annotated[
        bool,
        "an import token may be used again, else InvalidImportTokenException (documented: get a new one each time)",
    ] = False
    kms_unsupported_code: Annotated[
        str, "error for what a kind of KMS key cannot have: a wrapping algorithm, a place in a key store (inferred)"
    ] = "UnsupportedOperationException"

    # Who may do what, and with how old a signature (iam/).
    signature_life_seconds: Annotated[
        float, "age at which a signature is refused, and how far it may be ahead; 0 for any (documented: 5 min)"
    ] = 300.0
    signature_clock: Annotated[
        str, "which time clients sign with: real, virtual, or either, whichever is nearer (of this local AWS)"
    ] = "either"
    iam_enforced: Annotated[bool, "CloudHSM asks moto's IAM who the caller is and may do (of this local AWS)"] = False
    iam_signatures_checked: Annotated[
        bool, "with iam_enforced: signatures are recomputed with the caller's secret (of this local AWS)"
    ] = True
    iam_denied_code: Annotated[
        str, "error for what the caller may not do (documented: this one or CloudHsmAccessDeniedException)"
    ] = "AccessDeniedException"
    iam_dependent_actions: Annotated[
        bool, "with iam_enforced: operations also need their dependent actions, as of EC2 (documented)"
    ] = True
    iam_dependent_denied_code: Annotated[str, "error for a dependent action that the caller may not do (unknown)"] = (
        "CloudHsmAccessDeniedException"
    )

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check(knob.name, type(knob.default), getattr(self, knob.name))

    def changed(self, values: Mapping[str, Any]) -> Knobs:
        """Return a copy with some knobs set.

        Raises:
            ValueError: A name is unknown or a value is of the wrong kind.
        """
        unknown = sorted(set(values) - {knob.name for knob in fields(self)})
        if unknown:
            raise ValueError(f"unknown knob: {', '.join(unknown)}")
        return replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """Return all knobs by name."""
        return asdict(self)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one `name=value` of the command line.

    Raises:
        ValueError: The text has no `=`, the name is unknown, or the value does not fit the knob.
    """
    name, equals, value = text.partition("=")
    kinds: dict[str, Any] = {knob.name: type(knob.default) for knob in fields(Knobs)}
    if not equals or name not in kinds:
        raise ValueError(f"not a knob setting: {text!r} (want NAME=VALUE with one of {', '.join(sorted(kinds))})")
    if kinds[name] is bool:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return name, value.lower() == "true"
    setting = kinds[name](value)
    Knobs().changed({name: setting})
    return name, setting


def _check(name: str, kind: type, value: Any) -> None:
    if kind is str and not (isinstance(value, str) and (value or name in MAY_BE_EMPTY)):
        raise ValueError(f"{name} must be a text, not {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}, not {value!r}")
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    if kind is int and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"{name} must be a whole number, 0 or more, not {value!r}")
    if kind is float and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0
    ):
        raise ValueError(f"{name} must be a number of seconds, 0 or more, not {value!r}")
