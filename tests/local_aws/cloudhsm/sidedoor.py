# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What happens to clusters and HSMs without an API call: any state at once, replacement, failure."""

from __future__ import annotations

from . import state as st
from .certificates import claimed_by_nobody
from .errors import not_found
from .hsms import begin, cease
from .initialization import become_active, set_claim
from .lookup import live_cluster

CLAIMED = (st.INITIALIZED, st.ACTIVE)
UNCLAIMED = (st.CREATE_IN_PROGRESS, st.UNINITIALIZED)
# Of the admin of a cluster that becomes ACTIVE by this door.
ADMIN_PASSWORD = "LocalAdmin1"


def set_cluster_state(ctx: st.Context, cluster_id: str, state: str) -> None:
    """Put a cluster into a state at once.

    INITIALIZED and ACTIVE give it a certificate, as InitializeCluster would. Becoming ACTIVE for the first time gives the
    admin a password and makes a backup, as `cluster activate` does (documented).

    Raises:
        CloudHsmError: There is no such cluster.
    """
    cluster = live_cluster(ctx, cluster_id)
    if state in CLAIMED and cluster.claim is None:
        set_claim(ctx, cluster, claimed_by_nobody(cluster.number))
    if state in UNCLAIMED:
        cluster.claim = None
        cluster.certificates.change(ctx.now, {})
    if state == st.ACTIVE and not cluster.activated:
        _activate(ctx, cluster)
    else:
        cluster.status.change(ctx.now, st.Status(state))


def replace_hsm(ctx: st.Context, hsm_id: str, seconds: float) -> str:
    """Replace the hardware of an HSM: same network interface and address, new id (third parties saw it).

    If it was the only one, what it held is back at the last backup (AWS's FAQ).

    Args:
        ctx: The context.
        hsm_id: The HSM that fails.
        seconds: Virtual seconds in CREATE_IN_PROGRESS before the new one is ACTIVE (no source).

    Returns:
        The new HsmId.

    Raises:
        CloudHsmError: There is no such HSM.
    """
    cluster, hsm = _hsm(ctx, hsm_id)
    new_id = ctx.ids.hsm()
    hsm.ids.change(ctx.now, new_id)
    # What was chosen for the old hardware is not what the new one is filled from.
    hsm.restored_from = None
    hsm.status.change(ctx.now, st.Status(st.CREATE_IN_PROGRESS))
    cease(ctx, cluster)
    begin(ctx, hsm, seconds)
    return new_id


def degrade_hsm(ctx: st.Context, hsm_id: str, message: str) -> None:
    """Put an HSM into DEGRADED at once, for good.

    Raises:
        CloudHsmError: There is no such HSM.
    """
    cluster, hsm = _hsm(ctx, hsm_id)
    hsm.status.change(ctx.now, st.Status(st.DEGRADED, message))
    cease(ctx, cluster)


def _activate(ctx: st.Context, cluster: st.Cluster) -> None:
    parked = not ctx.contents.alive(cluster.cluster_id)
    if parked:
        ctx.contents.start_fresh(cluster.cluster_id)
    if not ctx.contents.is_activated(cluster.cluster_id):
        ctx.contents.activate(cluster.cluster_id, ADMIN_PASSWORD)
    become_active(ctx, cluster)
    if parked:
        ctx.contents.erase(cluster.cluster_id)


def _hsm(ctx: st.Context, hsm_id: str) -> tuple[st.Cluster, st.Hsm]:
    for cluster in ctx.store.clusters.values():
        for hsm in cluster.present_hsms(ctx.now):
            if hsm.ids.at(ctx.now) == hsm_id and hsm.state(ctx.now) != st.DELETE_IN_PROGRESS:
                return cluster, hsm
    raise not_found(hsm_id)
