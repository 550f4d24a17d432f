# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Clusters, HSMs and backups as the API shows them at a moment."""

from __future__ import annotations

from typing import Any

from . import state as st
from .certificates import CLUSTER_CERTIFICATE


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
    return view | _status_view(status, "State") if status else view


def cluster_view(cluster: st.Cluster, moment: float) -> dict[str, Any]:
    """Return the `Cluster` structure; the cluster must exist at that moment.

    A DELETED cluster keeps its subnets and loses tags and certificates (recorded).
    """
    status = cluster.status.at(moment) or st.Status(st.CREATE_IN_PROGRESS)
    deleted = status.name == st.DELETED
    tags = {} if deleted else cluster.tags.at(moment) or {}
    certificates = {"ClusterCertificate": CLUSTER_CERTIFICATE} if cluster.claimed.at(moment) and not deleted else {}
    return {
        "BackupPolicy": "DEFAULT",
        "BackupRetentionPolicy": {"Type": "DAYS", "Value": cluster.retention_days},
        "ClusterId": cluster.cluster_id,
        "CreateTimestamp": round(cluster.created, 3),
        "Hsms": [hsm_view(hsm, moment) for hsm in cluster.listed_hsms(moment)],
        "HsmType": cluster.hsm_type,
        "SecurityGroup": cluster.security_group,
        **_status_view(status, "State"),
        "SubnetMapping": {az: subnet.subnet_id for az, subnet in cluster.subnets.items()},
        "VpcId": cluster.vpc_id,
        "NetworkType": "IPV4",
        "Certificates": certificates,
        "TagList": tag_list(tags),
        "Mode": cluster.mode,
    }


def backup_view(backup: st.Backup, ctx: st.Context) -> dict[str, Any]:
    """Return the `Backup` structure."""
    status = backup.status.at(ctx.now) or st.Status(st.CREATE_IN_PROGRESS)
    return {
        "BackupId": backup.backup_id,
        "BackupArn": f"arn:aws:cloudhsm:{ctx.region}:{ctx.account}:backup/{backup.backup_id}",
        "BackupState": status.name,
        "ClusterId": backup.cluster.cluster_id,
        "CreateTimestamp": round(backup.created, 3),
        "NeverExpires": False,
        "TagList": tag_list(backup.tags.at(ctx.now) or {}),
        "HsmType": backup.cluster.hsm_type,
        "Mode": backup.cluster.mode,
    }


def _status_view(status: st.Status, member: str) -> dict[str, str]:
    view = {member: status.name}
    if status.message:
        view["StateMessage"] = status.message
    return view
