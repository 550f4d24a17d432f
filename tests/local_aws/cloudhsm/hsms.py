# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""CreateHsm and DeleteHsm."""

from __future__ import annotations

from typing import Any

from . import addresses
from . import state as st
from .backups import back_up_on_add, back_up_on_remove, cancel_planned
from .errors import CloudHsmError, fill, invalid, not_found
from .history import History
from .lookup import live_cluster
from .views import hsm_view

SELECTORS = ("HsmId", "EniId", "EniIp")


def create_hsm(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Add an HSM to a cluster, in a mapped Availability Zone, at the address wanted or the lowest free one."""
    cluster = live_cluster(ctx, request["ClusterId"])
    _check_state(ctx, cluster)
    az = request["AvailabilityZone"]
    if az not in cluster.subnets:
        raise invalid(f"Cluster '{cluster.cluster_id}' has no subnet in Availability Zone {az}.")
    _check_quotas(ctx, cluster)
    subnet = cluster.subnets[az]
    address = addresses.choose(ctx, subnet, request.get("IpAddress"))
    if ctx.faults.take_condition("no_capacity", az):
        raise CloudHsmError(ctx.knobs.no_capacity_code, fill(ctx.knobs.no_capacity_message, az=az))
    hsm = st.Hsm(
        cluster_id=cluster.cluster_id,
        az=az,
        subnet_id=subnet.subnet_id,
        eni_id=ctx.ids.eni(),
        eni_ip=address,
        hsm_type=cluster.hsm_type,
        ids=History(ctx.now, ctx.ids.hsm()),
        status=History(ctx.now, st.Status(st.CREATE_IN_PROGRESS)),
    )
    cluster.hsms.append(hsm)
    view = hsm_view(hsm, ctx.now)
    ready = ctx.now + ctx.knobs.hsm_create_seconds
    if ctx.faults.take_condition("degraded_hsm", az):
        hsm.status.plan(ready, st.Status(st.DEGRADED, st.HSM_FAILED))
    else:
        hsm.status.plan(ready, st.Status(st.ACTIVE, st.HSM_CREATED))
        back_up_on_add(ctx, cluster, hsm, ready)
    return {"Hsm": view}


def delete_hsm(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete the HSM that exactly one of HsmId, EniId and EniIp names (more or none: refused, inferred)."""
    cluster = live_cluster(ctx, request["ClusterId"])
    given = [name for name in SELECTORS if name in request]
    if len(given) != 1:
        raise invalid(f"Specify exactly one of HsmId, EniId and EniIp, not {len(given)}.")
    hsm = _find(ctx, cluster, given[0], request[given[0]])
    state = hsm.state(ctx.now)
    answer = {"HsmId": hsm.ids.at(ctx.now)}
    if state == st.DELETE_IN_PROGRESS:
        if not ctx.knobs.delete_hsm_again_accepted:
            raise invalid(f"HSM '{answer['HsmId']}' is already being deleted.")
        return answer
    back_up_on_remove(ctx, cluster, state)
    cancel_planned(ctx, hsm)
    gone = ctx.now + ctx.knobs.hsm_delete_seconds
    hsm.status.change(ctx.now, st.Status(st.DELETE_IN_PROGRESS))
    hsm.status.plan(gone, None)
    hsm.address_released = gone + ctx.knobs.eni_release_seconds
    return answer


def _check_state(ctx: st.Context, cluster: st.Cluster) -> None:
    state = cluster.state(ctx.now)
    if state in (st.UNINITIALIZED, st.INITIALIZED) and cluster.listed_hsms(ctx.now):
        raise invalid(f"Cluster '{cluster.cluster_id}' already contains an HSM but has not yet been fully activated")
    if state not in (st.UNINITIALIZED, st.ACTIVE, st.DEGRADED):
        raise invalid(f"Cluster '{cluster.cluster_id}' is in state {state}, in which no HSM can be created.")


def _check_quotas(ctx: st.Context, cluster: st.Cluster) -> None:
    everywhere = sum(_counted(ctx, other) for other in ctx.store.clusters.values())
    for count, limit, what in (
        (everywhere, ctx.knobs.quota_hsms, "HSMs"),
        (_counted(ctx, cluster), ctx.knobs.quota_hsms_per_cluster, "HSMs per cluster"),
    ):
        if count >= limit:
            message = fill(ctx.knobs.quota_error_message, limit=limit, what=what)
            raise CloudHsmError(ctx.knobs.quota_error_code, message)


def _counted(ctx: st.Context, cluster: st.Cluster) -> int:
    leaving = 0 if ctx.knobs.quota_counts_leaving else 1
    states = [hsm.state(ctx.now) for hsm in cluster.listed_hsms(ctx.now)]
    return len(states) - leaving * states.count(st.DELETE_IN_PROGRESS)


def _find(ctx: st.Context, cluster: st.Cluster, selector: str, value: str) -> st.Hsm:
    for hsm in cluster.listed_hsms(ctx.now):
        if value == {"HsmId": hsm.ids.at(ctx.now), "EniId": hsm.eni_id, "EniIp": hsm.eni_ip}[selector]:
            return hsm
    raise not_found(value)
