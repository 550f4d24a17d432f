# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What happens to clusters and HSMs without an API call: activation on the HSM itself, replacement, failure."""

from __future__ import annotations

from . import state as st
from .backups import back_up, cancel_planned
from .errors import not_found
from .lookup import live_cluster

CLAIMED = (st.INITIALIZED, st.ACTIVE)
UNCLAIMED = (st.CREATE_IN_PROGRESS, st.UNINITIALIZED)


def set_cluster_state(ctx: st.Context, cluster_id: str, state: str) -> None:
    """Put a cluster into a state at once.

    INITIALIZED and ACTIVE give it its certificate, as InitializeCluster would. Becoming ACTIVE for the first time
    makes a backup, as `cluster activate` does (documented).

    Raises:
        CloudHsmError: There is no such cluster.
    """
    cluster = live_cluster(ctx, cluster_id)
    activated = state == st.ACTIVE and not any(b.cluster is cluster for b in ctx.store.backups.values())
    cluster.status.change(ctx.now, st.Status(state))
    if state in CLAIMED or state in UNCLAIMED:
        cluster.claimed.change(ctx.now, state in CLAIMED)
    if activated:
        back_up(ctx, cluster, ctx.now)


def replace_hsm(ctx: st.Context, hsm_id: str, seconds: float) -> str:
    """Replace the hardware of an HSM: same network interface and address, new id (third parties saw it).

    Args:
        ctx: The context.
        hsm_id: The HSM that fails.
        seconds: Virtual seconds in CREATE_IN_PROGRESS before the new one is ACTIVE (no source).

    Returns:
        The new HsmId.

    Raises:
        CloudHsmError: There is no such HSM.
    """
    hsm = _hsm(ctx, hsm_id)
    new_id = ctx.ids.hsm()
    hsm.ids.change(ctx.now, new_id)
    hsm.status.change(ctx.now, st.Status(st.CREATE_IN_PROGRESS))
    hsm.status.plan(ctx.now + seconds, st.Status(st.ACTIVE, st.HSM_CREATED))
    return new_id


def degrade_hsm(ctx: st.Context, hsm_id: str, message: str) -> None:
    """Put an HSM into DEGRADED at once, for good.

    Raises:
        CloudHsmError: There is no such HSM.
    """
    hsm = _hsm(ctx, hsm_id)
    cancel_planned(ctx, hsm)
    hsm.status.change(ctx.now, st.Status(st.DEGRADED, message))


def _hsm(ctx: st.Context, hsm_id: str) -> st.Hsm:
    for cluster in ctx.store.clusters.values():
        for hsm in cluster.listed_hsms(ctx.now):
            if hsm.ids.at(ctx.now) == hsm_id and hsm.state(ctx.now) != st.DELETE_IN_PROGRESS:
                return hsm
    raise not_found(hsm_id)
