# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Clusters, HSMs and backups as the API shows them at a moment."""

from __future__ import annotations

from typing import Any

from . import state as st

# Somebody else's value for the same member in AWS's documentation; it opens nothing here.
PRE_CO_PASSWORD = "password"
NETWORK_MEMBERS = ("SubnetId", "EniId", "EniIp", "EniIpV6")


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Return tags in the shape of the API."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def hsm_view(hsm: st.Hsm, moment: float) -> dict[str, Any]:
    """Return the `Hsm` structure; the HSM must be listed at that moment."""
    status = hsm.status.at(moment)
    view: dict[str, Any] = {
        "AvailabilityZone": hsm.az,
        "ClusterId": hsm.cluster_id,
        "SubnetId": hsm.subnet_id,
        "EniId": hsm.eni_id,
        "EniIp": hsm.eni_ip,
        "HsmId": hsm.ids.at(moment),
        "HsmType": hsm.hsm_type,
    }
    if hsm.eni_ip_v6:
        view["EniIpV6"] = hsm.eni_ip_v6
    return view | _status_view(status) if status else view


def cluster_view(ctx: st.Context, cluster: st.Cluster, moment: float) -> dict[str, Any]:
    """Return the `Cluster` structure; the cluster must exist at that moment.

    A DELETED cluster keeps its subnets and loses tags and certificates (recorded).
    """
    status = shown_status(ctx, cluster, moment)
    deleted = status.name == st.DELETED
    view: dict[str, Any] = {
        "BackupPolicy": "DEFAULT",
        "BackupRetentionPolicy": {"Type": "DAYS", "Value": cluster.retention_days},
        "ClusterId": cluster.cluster_id,
        "CreateTimestamp": round(cluster.created, 3),
        "Hsms": [hsm_view(hsm, moment) for hsm in cluster.listed_hsms(moment)],
        "HsmType": cluster.hsm_type,
        "SecurityGroup": cluster.security_group,
        **_status_view(status),
        "SubnetMapping": {az: subnet.subnet_id for az, subnet in cluster.subnets.items()},
        "VpcId": cluster.vpc_id,
        "NetworkType": cluster.network_type,
        "Certificates": {} if deleted else dict(cluster.certificates.at(moment) or {}),
        "TagList": [] if deleted else tag_list(cluster.tags.at(moment) or {}),
        "Mode": cluster.mode,
    }
    if cluster.source_backup:
        view["SourceBackupId"] = cluster.source_backup
    if cluster.rollback_until and moment < cluster.rollback_until:
        view["HsmTypeRollbackExpiration"] = round(cluster.rollback_until, 3)
    if ctx.knobs.pre_co_password_shown and status.name == st.UNINITIALIZED and view["Hsms"]:
        view["PreCoPassword"] = PRE_CO_PASSWORD
    return view


def shown_status(ctx: st.Context, cluster: st.Cluster, moment: float) -> st.Status:
    """Return the status that the API tells of a cluster."""
    status = cluster.status.at(moment) or st.Status(st.CREATE_IN_PROGRESS)
    moving = {st.CREATE_IN_PROGRESS, st.DELETE_IN_PROGRESS} & {hsm.state(moment) for hsm in cluster.hsms}
    if ctx.knobs.cluster_updates_with_hsms and status.name == st.ACTIVE and moving:
        return st.Status(st.UPDATE_IN_PROGRESS)
    return status


def backup_arn(backup: st.Backup, owner: st.Context) -> str:
    """Return the ARN of a backup, given the context of its account and Region."""
    return f"arn:aws:cloudhsm:{owner.region}:{owner.account}:backup/{backup.backup_id}"


def backup_view(backup: st.Backup, owner: st.Context) -> dict[str, Any]:
    """Return the `Backup` structure, given the context of its account and Region."""
    state = backup.state(owner.now)
    # Recorded: none of its tags shows once it is to be deleted.
    gone = state in (st.PENDING_DELETION, st.DELETED)
    view = {
        "BackupId": backup.backup_id,
        "BackupArn": backup_arn(backup, owner),
        "BackupState": state,
        "ClusterId": backup.cluster_id,
        "CreateTimestamp": round(backup.created, 3),
        "NeverExpires": backup.never_expires,
        "TagList": [] if gone else tag_list(backup.tags.at(owner.now) or {}),
        "HsmType": backup.hsm_type,
        "Mode": backup.mode,
    }
    if backup.delete_at is not None:
        view["DeleteTimestamp"] = round(backup.delete_at, 3)
    if backup.origin:
        view |= {
            "CopyTimestamp": round(backup.origin.copied, 3),
            "SourceRegion": backup.origin.region,
            "SourceBackup": backup.origin.backup_id,
            "SourceCluster": backup.origin.cluster_id,
        }
        if not owner.knobs.copied_backup_shows_cluster:
            del view["ClusterId"]
    return view


def _status_view(status: st.Status) -> dict[str, str]:
    view = {"State": status.name}
    if status.message:
        view["StateMessage"] = status.message
    return view
