# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""CreateCluster, DescribeClusters and DeleteCluster."""

from __future__ import annotations

from typing import Any

from . import state as st
from .errors import CloudHsmError, fill, invalid
from .history import History
from .lookup import cluster_exists, filtered, live_cluster
from .paging import page
from .tags import as_dict
from .views import cluster_view

PAGE = 25
DEFAULT_RETENTION_DAYS = "90"
RETENTION_DAYS = range(7, 380)
DELETABLE = (st.UNINITIALIZED, st.INITIALIZED, st.ACTIVE, st.DEGRADED)


def create_cluster(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Make a cluster over the subnets of one VPC, one in each Availability Zone."""
    mode = _mode(ctx, request)
    days = _retention_days(request.get("BackupRetentionPolicy"))
    for member, wanted in (("SourceBackupId", None), ("NetworkType", "IPV4")):
        if request.get(member, wanted) != wanted:
            raise invalid(f"{member} {request[member]} is not implemented by this local AWS yet.")
    subnets = _subnets(ctx, request["SubnetIds"])
    _check_quota(ctx)
    tags = as_dict(request.get("TagList", []))
    cluster_id = ctx.ids.cluster()
    vpc_id = next(iter(subnets.values())).vpc_id
    status = History(ctx.now, st.Status(st.CREATE_IN_PROGRESS))
    status.plan(ctx.now + ctx.knobs.cluster_create_seconds, st.Status(st.UNINITIALIZED))
    cluster = st.Cluster(
        number=ctx.ids.number(),
        cluster_id=cluster_id,
        created=ctx.now,
        hsm_type=request["HsmType"],
        mode=mode,
        vpc_id=vpc_id,
        security_group=ctx.network.create_security_group(f"cloudhsm-{cluster_id}-sg", vpc_id),
        retention_days=days,
        subnets=subnets,
        status=status,
        tags=History(ctx.now, tags),
        claimed=History(ctx.now, False),
    )
    ctx.store.clusters[cluster_id] = cluster
    return {"Cluster": cluster_view(cluster, ctx.now) | {"State": st.CREATE_IN_PROGRESS}}


def describe_clusters(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """List clusters in the order of their creation, as they were `describe_lag_seconds` ago."""
    moment = ctx.now - ctx.knobs.describe_lag_seconds
    clusters = filtered(
        [cluster for cluster in ctx.store.clusters.values() if cluster_exists(ctx, cluster, moment)],
        request.get("Filters"),
        {
            "clusterIds": lambda cluster: cluster.cluster_id,
            "vpcIds": lambda cluster: cluster.vpc_id,
            "states": lambda cluster: cluster.state(moment),
        },
    )
    shown, token = page(clusters, lambda cluster: (cluster.number,), request, PAGE)
    answer: dict[str, Any] = {"Clusters": [cluster_view(cluster, moment) for cluster in shown]}
    return answer | ({"NextToken": token} if token else {})


def delete_cluster(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a cluster that has no HSM left, not even a leaving one."""
    cluster = live_cluster(ctx, request["ClusterId"])
    if cluster.listed_hsms(ctx.now):
        raise invalid(f"Cluster '{cluster.cluster_id}' still contains HSMs. Delete them first.")
    if cluster.state(ctx.now) not in DELETABLE:
        raise invalid(f"Cluster '{cluster.cluster_id}' cannot be deleted in state {cluster.state(ctx.now)}.")
    leaving = st.Status(st.DELETE_IN_PROGRESS, st.CLUSTER_DELETING)
    cluster.status.change(ctx.now, leaving)
    cluster.status.plan(ctx.now + ctx.knobs.cluster_delete_seconds, st.Status(st.DELETED))
    ctx.network.delete_security_group(cluster.security_group)
    view = cluster_view(cluster, ctx.now) | {"State": leaving.name, "StateMessage": leaving.message}
    del view["TagList"]
    return {"Cluster": view}


def _mode(ctx: st.Context, request: dict[str, Any]) -> str:
    hsm1_accepted = request["HsmType"] == "hsm1.medium" and ctx.knobs.hsm1_medium_accepted
    if request["HsmType"] != "hsm2m.medium" and not hsm1_accepted:
        raise invalid("Provided HsmType is not supported.")
    if "Mode" not in request and not hsm1_accepted:
        raise invalid(f"Mode is required for HsmType {request['HsmType']}.")
    return request.get("Mode", "FIPS")


def _retention_days(policy: dict[str, str] | None) -> str:
    value = (policy or {}).get("Value", DEFAULT_RETENTION_DAYS)
    if int(value) not in RETENTION_DAYS:
        raise invalid(f"BackupRetentionPolicy.Value must be 7 to 379 days, not {value}.")
    return value


def _subnets(ctx: st.Context, subnet_ids: list[str]) -> dict[str, st.Subnet]:
    by_az: dict[str, st.Subnet] = {}
    for subnet_id in subnet_ids:
        subnet = ctx.network.subnet(subnet_id)
        if subnet is None:
            raise invalid(f"SubnetIds: subnet {subnet_id} does not exist.")
        if subnet.az in by_az:
            raise invalid(f"SubnetIds: more than one subnet in Availability Zone {subnet.az}.")
        by_az[subnet.az] = subnet
    if len({subnet.vpc_id for subnet in by_az.values()}) > 1:
        raise invalid("SubnetIds: the subnets are not all in one VPC.")
    return by_az


def _check_quota(ctx: st.Context) -> None:
    uncounted = {st.DELETED} if ctx.knobs.quota_counts_leaving else {st.DELETED, st.DELETE_IN_PROGRESS}
    count = sum(cluster.state(ctx.now) not in uncounted for cluster in ctx.store.clusters.values())
    if count >= ctx.knobs.quota_clusters:
        message = fill(ctx.knobs.quota_error_message, limit=ctx.knobs.quota_clusters, what="clusters")
        raise CloudHsmError(ctx.knobs.quota_error_code, message)
