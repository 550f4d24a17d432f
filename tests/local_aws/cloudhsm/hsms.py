# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""CreateHsm and DeleteHsm, and what happens when an HSM begins and ceases to serve."""

from __future__ import annotations

from typing import Any

from . import addresses, backups
from . import state as st
from .certificates import of_first_hsm
from .errors import CloudHsmError, fill, invalid, not_found
from .history import History
from .lookup import live_cluster
from .views import NETWORK_MEMBERS, hsm_view

SELECTORS = ("HsmId", "EniId", "EniIp")


def create_hsm(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Add an HSM to a cluster, in a mapped Availability Zone, at the address wanted or the lowest free one."""
    cluster = live_cluster(ctx, request["ClusterId"])
    _check_state(ctx, cluster)
    az = request["AvailabilityZone"]
    _check_zone(ctx, cluster, az)
    _check_quotas(ctx, cluster)
    _check_contents(ctx, cluster)
    subnet = cluster.subnets[az]
    address = addresses.choose(ctx, cluster.cluster_id, subnet, request.get("IpAddress"))
    if ctx.struck("no_capacity", cluster.cluster_id, az):
        raise CloudHsmError(ctx.knobs.no_capacity_code, fill(ctx.knobs.no_capacity_message, az=az))
    description = f"CloudHSM managed network interface of {cluster.cluster_id}"
    eni_id, address_v6 = ctx.network.create_interface(subnet, address, cluster.security_group, description)
    hsm = st.Hsm(
        cluster_id=cluster.cluster_id,
        az=az,
        subnet_id=subnet.subnet_id,
        eni_id=eni_id,
        eni_ip=address,
        eni_ip_v6=address_v6,
        hsm_type=cluster.hsm_type,
        ids=History(ctx.now, ctx.ids.hsm()),
        status=History(ctx.now, st.Status(st.CREATE_IN_PROGRESS)),
        restored_from=backups.latest(ctx, cluster) if ctx.knobs.restore_chosen_at_creation else None,
    )
    cluster.hsms.append(hsm)
    view = hsm_view(hsm, ctx.now)
    if not ctx.knobs.create_hsm_shows_network:
        view = {member: value for member, value in view.items() if member not in NETWORK_MEMBERS}
    backups.back_up_on_add(ctx, cluster)
    begin(ctx, hsm, ctx.knobs.hsm_create_seconds, degraded=ctx.struck("degraded_hsm", cluster.cluster_id, az))
    return {"Hsm": view}


def delete_hsm(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete the HSM that exactly one of HsmId, EniId and EniIp names (more or none: refused, inferred)."""
    cluster = live_cluster(ctx, request["ClusterId"])
    given = [name for name in SELECTORS if name in request]
    if len(given) != 1:
        message = f"Specify exactly one of HsmId, EniId and EniIp, not {len(given)}."
        raise CloudHsmError(ctx.knobs.delete_hsm_selector_code, message)
    if cluster.state(ctx.now) in (st.MODIFY_IN_PROGRESS, st.ROLLBACK_IN_PROGRESS):
        raise invalid(f"Cluster '{cluster.cluster_id}' is in state {cluster.state(ctx.now)}.")
    hsm = _find(ctx, cluster, given[0], request[given[0]])
    state = hsm.state(ctx.now)
    answer = {"HsmId": hsm.ids.at(ctx.now)}
    if state == st.DELETE_IN_PROGRESS:
        if not ctx.knobs.delete_hsm_again_accepted:
            raise invalid(f"HSM '{answer['HsmId']}' is already being deleted.")
        return answer
    gone = ctx.now + ctx.knobs.hsm_delete_seconds
    backups.back_up_on_remove(ctx, cluster, state, gone)
    hsm.status.change(ctx.now, st.Status(st.DELETE_IN_PROGRESS))
    if ctx.knobs.deleted_hsm_listed_seconds:
        hsm.status.plan(gone, st.Status(st.DELETED))
    hsm.status.plan(gone + ctx.knobs.deleted_hsm_listed_seconds, None)
    ctx.later(gone + ctx.knobs.eni_release_seconds, "eni_released", hsm.eni_id)
    cease(ctx, cluster)
    return answer


def begin(ctx: st.Context, hsm: st.Hsm, seconds: float, degraded: bool = False) -> None:
    """Let an HSM that is being created become ACTIVE, or DEGRADED, after some virtual seconds."""
    ready = ctx.now + seconds
    if degraded:
        hsm.status.plan(ready, st.Status(st.DEGRADED, st.HSM_FAILED))
    else:
        hsm.status.plan(ready, st.Status(st.ACTIVE, st.HSM_CREATED))
        ctx.later(ready, "hsm_active", hsm.cluster_id, hsm.eni_id)


def cease(ctx: st.Context, cluster: st.Cluster) -> None:
    """Forget what the HSMs held when none of them serves any more."""
    if not cluster.active_hsms(ctx.now):
        ctx.contents.erase(cluster.cluster_id)
        if cluster.state(ctx.now) == st.UNINITIALIZED:
            # The key of the signing request was on that HSM.
            cluster.certificates.change(ctx.now, {})


def became_active(ctx: st.Context, cluster_id: str, eni_id: str) -> None:
    """Fill an HSM that has just been created, show the certificates of a first one, and make the backup of its addition."""
    cluster = ctx.store.clusters[cluster_id]
    hsm = next(hsm for hsm in cluster.hsms if hsm.eni_id == eni_id)
    if hsm.state(ctx.now) != st.ACTIVE:
        return
    first = not ctx.contents.alive(cluster_id)
    if first and not _fill(ctx, cluster, hsm):
        hsm.status.change(ctx.now, st.Status(st.DEGRADED, st.HSM_FAILED))
        return
    if cluster.state(ctx.now) == st.UNINITIALIZED and not cluster.certificates.at(ctx.now):
        cluster.certificates.change(ctx.now, of_first_hsm(cluster.number))
    if first:
        backups.back_up_on_first(ctx, cluster)


def _fill(ctx: st.Context, cluster: st.Cluster, hsm: st.Hsm) -> bool:
    """Put into an HSM what it is to hold; False when it comes to nothing."""
    chosen = hsm.restored_from
    source = chosen if chosen and ctx.contents.has_snapshot(chosen) else backups.latest(ctx, cluster)
    if source:
        ctx.contents.restore(source, cluster.cluster_id)
        return True
    # Where it is "refused", CreateHsm is; an HSM whose backup went only later has nobody left to refuse it to.
    if cluster.activated and ctx.knobs.restore_without_backup != "empty":
        return False
    ctx.contents.start_fresh(cluster.cluster_id)
    return True


def _check_state(ctx: st.Context, cluster: st.Cluster) -> None:
    state = cluster.state(ctx.now)
    if state in (st.UNINITIALIZED, st.INITIALIZED) and cluster.present_hsms(ctx.now):
        raise invalid(f"Cluster '{cluster.cluster_id}' already contains an HSM but has not yet been fully activated")
    if state not in (st.UNINITIALIZED, st.ACTIVE, st.DEGRADED):
        raise invalid(f"Cluster '{cluster.cluster_id}' is in state {state}, in which no HSM can be created.")


def _check_zone(ctx: st.Context, cluster: st.Cluster, az: str) -> None:
    if az not in cluster.subnets:
        message = f"Cluster '{cluster.cluster_id}' has no subnet in Availability Zone {az}."
        raise CloudHsmError(ctx.knobs.az_not_mapped_code, message)
    if az in [unsupported.strip() for unsupported in ctx.knobs.unsupported_azs.split(",")]:
        raise CloudHsmError(ctx.knobs.unsupported_az_code, f"CloudHSM is not available in Availability Zone {az}.")


def _check_contents(ctx: st.Context, cluster: st.Cluster) -> None:
    parked = cluster.activated and not ctx.contents.alive(cluster.cluster_id)
    if parked and ctx.knobs.restore_without_backup == "refused" and not backups.latest(ctx, cluster):
        raise invalid(f"Cluster '{cluster.cluster_id}' has no backup to restore onto a new HSM.")


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
    states = [hsm.state(ctx.now) for hsm in cluster.present_hsms(ctx.now)]
    return len(states) - leaving * states.count(st.DELETE_IN_PROGRESS)


def _find(ctx: st.Context, cluster: st.Cluster, selector: str, value: str) -> st.Hsm:
    for hsm in cluster.present_hsms(ctx.now):
        if value == {"HsmId": hsm.ids.at(ctx.now), "EniId": hsm.eni_id, "EniIp": hsm.eni_ip}[selector]:
            return hsm
    raise not_found(value, ctx.knobs.unknown_id_code)
