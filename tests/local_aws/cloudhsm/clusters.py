# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""CreateCluster, DescribeClusters, ModifyCluster and DeleteCluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import state as st
from .backups import of_cluster
from .certificates import claimed_by_nobody
from .errors import CloudHsmError, fill, invalid
from .history import History
from .initialization import set_claim
from .lookup import cluster_exists, filtered, live_backup, live_cluster
from .paging import page
from .policies import shared_backup
from .tags import as_dict
from .views import cluster_view, shown_status

PAGE = 25
HSM1 = "hsm1.medium"
HSM2M = "hsm2m.medium"
MOST_MIGRATED = 27
DEFAULT_RETENTION_DAYS = "90"
RETENTION_DAYS = range(7, 380)
DELETABLE = (st.UNINITIALIZED, st.INITIALIZED, st.ACTIVE, st.DEGRADED)


def create_cluster(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Make a cluster over the subnets of one VPC, one in each Availability Zone; with a backup, one that is ACTIVE soon."""
    mode = _mode(ctx, request)
    days = _retention_days(request.get("BackupRetentionPolicy"))
    backup = _source(ctx, request, mode)
    network_type = request.get("NetworkType", "IPV4")
    subnets = _subnets(ctx, request["SubnetIds"], network_type)
    _check_quota(ctx)
    tags = as_dict(request.get("TagList", []))
    cluster_id = ctx.ids.cluster()
    vpc_id = next(iter(subnets.values())).vpc_id
    cluster = st.Cluster(
        number=ctx.ids.number(),
        cluster_id=cluster_id,
        created=ctx.now,
        hsm_type=request["HsmType"],
        mode=mode,
        vpc_id=vpc_id,
        network_type=network_type,
        security_group=ctx.network.create_security_group(f"cloudhsm-{cluster_id}-sg", vpc_id),
        retention_days=days,
        subnets=subnets,
        status=History(ctx.now, st.Status(st.CREATE_IN_PROGRESS)),
        tags=History(ctx.now, tags),
        certificates=History(ctx.now, {}),
    )
    ctx.store.clusters[cluster_id] = cluster
    if backup is None:
        cluster.status.plan(ctx.now + ctx.knobs.cluster_create_seconds, st.Status(st.UNINITIALIZED))
    else:
        _take_over(ctx, cluster, backup)
    return {"Cluster": cluster_view(ctx, cluster, ctx.now)}


def describe_clusters(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """List clusters in the order of their creation, as they were `describe_lag_seconds` ago."""
    moment = ctx.now - ctx.knobs.describe_lag_seconds
    clusters = filtered(
        ctx,
        [cluster for cluster in ctx.store.clusters.values() if cluster_exists(ctx, cluster, moment)],
        request.get("Filters"),
        {
            "clusterIds": lambda cluster: cluster.cluster_id,
            "vpcIds": lambda cluster: cluster.vpc_id,
            "states": lambda cluster: shown_status(ctx, cluster, moment).name,
        },
    )
    shown, token = page(ctx, clusters, lambda cluster: (cluster.number,), request, PAGE)
    answer: dict[str, Any] = {"Clusters": [cluster_view(ctx, cluster, moment) for cluster in shown]}
    return answer | ({"NextToken": token} if token else {})


def delete_cluster(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a cluster that has no HSM left, not even a leaving one."""
    cluster = live_cluster(ctx, request["ClusterId"])
    if cluster.present_hsms(ctx.now):
        raise invalid(f"Cluster '{cluster.cluster_id}' still contains HSMs. Delete them first.")
    if cluster.state(ctx.now) not in DELETABLE:
        raise invalid(f"Cluster '{cluster.cluster_id}' cannot be deleted in state {cluster.state(ctx.now)}.")
    gone = ctx.now + ctx.knobs.cluster_delete_seconds
    cluster.status.change(ctx.now, st.Status(st.DELETE_IN_PROGRESS, st.CLUSTER_DELETING))
    cluster.status.plan(gone, st.Status(st.DELETED))
    ctx.later(gone, "cluster_deleted", cluster.cluster_id)
    view = cluster_view(ctx, cluster, ctx.now)
    del view["TagList"]
    return {"Cluster": view}


def modify_cluster(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Change how long backups are kept, at once, or begin to move the HSMs of an ACTIVE cluster to another type."""
    cluster = live_cluster(ctx, request["ClusterId"])
    policy, hsm_type = request.get("BackupRetentionPolicy"), request.get("HsmType")
    if not policy and not hsm_type:
        raise invalid("Specify BackupRetentionPolicy or HsmType.")
    if cluster.state(ctx.now) == st.DELETE_IN_PROGRESS:
        raise invalid(f"Cluster '{cluster.cluster_id}' is being deleted.")
    days = _retention_days(policy) if policy else cluster.retention_days
    if hsm_type:
        _migrate(ctx, cluster, hsm_type)
    cluster.retention_days = days
    # None: it begins when an HSM is gone.
    for backup in of_cluster(ctx, cluster.cluster_id, None, st.CREATE_IN_PROGRESS, st.READY):
        ctx.later(max(ctx.now, backup.created + int(days) * st.DAY), "expire", cluster.cluster_id)
    return {"Cluster": cluster_view(ctx, cluster, ctx.now)}


def let_go(ctx: st.Context, cluster_id: str) -> None:
    """Free what a DELETED cluster had in EC2, and what its HSMs were to be filled from."""
    cluster = ctx.store.clusters[cluster_id]
    if cluster.state(ctx.now) == st.DELETED:
        for hsm in cluster.hsms:
            ctx.network.delete_interface(hsm.eni_id)
        ctx.network.delete_security_group(cluster.security_group)
        ctx.contents.forget_snapshot(cluster_id)


def _source(ctx: st.Context, request: dict[str, Any], mode: str) -> st.Backup | None:
    """Return the backup that a cluster is to be made from; FIPS stays FIPS, and hsm2m does not go back (documented)."""
    if "SourceBackupId" not in request:
        return None
    source = request["SourceBackupId"]
    backup = shared_backup(ctx, source) if source.startswith("arn:") else live_backup(ctx, source)
    if backup.state(ctx.now) != st.READY:
        raise invalid(f"SourceBackupId: backup '{backup.backup_id}' is in state {backup.state(ctx.now)}, not READY.")
    if backup.mode != mode:
        raise invalid(f"Mode: the backup is of a cluster in mode {backup.mode}, not {mode}.")
    if backup.hsm_type == HSM2M and request["HsmType"] != HSM2M:
        raise invalid(f"HsmType: a backup of {HSM2M} cannot be restored to {request['HsmType']}.")
    return backup


def _take_over(ctx: st.Context, cluster: st.Cluster, backup: st.Backup) -> None:
    """Give a cluster the certificate and the contents of a backup: it is neither initialized nor activated again."""
    cluster.source_backup = backup.backup_id
    cluster.activated = True
    set_claim(ctx, cluster, backup.claim or claimed_by_nobody(cluster.number))
    cluster.status.plan(ctx.now + ctx.knobs.cluster_from_backup_seconds / 2, st.Status(st.INITIALIZE_IN_PROGRESS))
    cluster.status.plan(ctx.now + ctx.knobs.cluster_from_backup_seconds, st.Status(st.ACTIVE))
    if ctx.contents.has_snapshot(backup.backup_id):
        # Under the cluster's own id, for the backup may be deleted before the first HSM comes.
        ctx.contents.copy_snapshot(backup.backup_id, cluster.cluster_id)
    ctx.later(ctx.now + ctx.knobs.backup_period_seconds, "periodic_backup", cluster.cluster_id)


def _migrate(ctx: st.Context, cluster: st.Cluster, hsm_type: str) -> None:
    """Move a cluster from hsm1.medium to hsm2m.medium, or back within a day (documented)."""
    if cluster.state(ctx.now) != st.ACTIVE:
        raise invalid(
            f"Cluster '{cluster.cluster_id}' is in state {cluster.state(ctx.now)}; only ACTIVE can be modified."
        )
    hsms = cluster.present_hsms(ctx.now)
    if len(hsms) > MOST_MIGRATED:
        raise invalid(f"Cluster '{cluster.cluster_id}' has more than {MOST_MIGRATED} HSMs.")
    back = cluster.previous_hsm_type == hsm_type and cluster.rollback_until and ctx.now < cluster.rollback_until
    if not back and (cluster.hsm_type, hsm_type) != (HSM1, HSM2M):
        raise invalid(f"HsmType: cluster '{cluster.cluster_id}' cannot change from {cluster.hsm_type} to {hsm_type}.")
    cluster.previous_hsm_type = None if back else cluster.hsm_type
    cluster.rollback_until = None if back else ctx.now + ctx.knobs.rollback_window_seconds
    cluster.hsm_type = hsm_type
    for hsm in hsms:
        hsm.hsm_type = hsm_type
    cluster.status.change(ctx.now, st.Status(st.ROLLBACK_IN_PROGRESS if back else st.MODIFY_IN_PROGRESS))
    cluster.status.plan(ctx.now + len(hsms) * ctx.knobs.migrate_seconds_per_hsm, st.Status(st.ACTIVE))


def _mode(ctx: st.Context, request: dict[str, Any]) -> str:
    hsm1_accepted = request["HsmType"] == HSM1 and ctx.knobs.hsm1_medium_accepted
    if request["HsmType"] != HSM2M and not hsm1_accepted:
        raise invalid("Provided HsmType is not supported.")
    if "Mode" not in request and not hsm1_accepted:
        raise invalid(f"Mode is required for HsmType {request['HsmType']}.")
    return request.get("Mode", "FIPS")


def _retention_days(policy: dict[str, str] | None) -> str:
    value = (policy or {}).get("Value", DEFAULT_RETENTION_DAYS)
    if int(value) not in RETENTION_DAYS:
        raise invalid(f"BackupRetentionPolicy.Value must be 7 to 379 days, not {value}.")
    return value


def _subnets(ctx: st.Context, subnet_ids: list[str], network_type: str) -> dict[str, st.Subnet]:
    by_az: dict[str, st.Subnet] = {}
    dual = network_type == "DUALSTACK"
    for subnet_id in subnet_ids:
        subnet = ctx.network.subnet(subnet_id)
        if subnet is None:
            raise invalid(f"SubnetIds: subnet {subnet_id} does not exist.")
        if dual and not subnet.ipv6_cidr:
            raise invalid(f"SubnetIds: subnet {subnet_id} has no IPv6 CIDR, which NetworkType DUALSTACK needs.")
        if subnet.az in by_az:
            raise invalid(f"SubnetIds: more than one subnet in Availability Zone {subnet.az}.")
        by_az[subnet.az] = subnet if dual else replace(subnet, ipv6_cidr=None)
    if len({subnet.vpc_id for subnet in by_az.values()}) > 1:
        raise invalid("SubnetIds: the subnets are not all in one VPC.")
    return by_az


def _check_quota(ctx: st.Context) -> None:
    uncounted = {st.DELETED} if ctx.knobs.quota_counts_leaving else {st.DELETED, st.DELETE_IN_PROGRESS}
    count = sum(cluster.state(ctx.now) not in uncounted for cluster in ctx.store.clusters.values())
    if count >= ctx.knobs.quota_clusters:
        message = fill(ctx.knobs.quota_error_message, limit=ctx.knobs.quota_clusters, what="clusters")
        raise CloudHsmError(ctx.knobs.quota_error_code, message)
