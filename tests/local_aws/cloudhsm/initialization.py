# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""InitializeCluster, and activation, which happens on the HSM and which no operation asks for."""

from __future__ import annotations

from typing import Any

from . import state as st
from .backups import back_up
from .certificates import CLUSTER_CERTIFICATE, CSR, CertificateError, check_claim
from .errors import CloudHsmError
from .lookup import live_cluster


def initialize_cluster(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Claim an UNINITIALIZED cluster whose first HSM is there, with a certificate for the key of its CSR."""
    cluster = live_cluster(ctx, request["ClusterId"])
    if cluster.state(ctx.now) != st.UNINITIALIZED:
        raise _refused(ctx, f"Cluster '{cluster.cluster_id}' is in state {cluster.state(ctx.now)}, not UNINITIALIZED.")
    csr = (cluster.certificates.at(ctx.now) or {}).get(CSR)
    if csr is None:
        raise _refused(ctx, f"Cluster '{cluster.cluster_id}' has no HSM yet, and so no CSR.")
    try:
        check_claim(csr, request["SignedCert"], request["TrustAnchor"])
    except CertificateError as error:
        raise _refused(ctx, str(error)) from error
    set_claim(ctx, cluster, st.Claim(request["SignedCert"], request["TrustAnchor"]))
    status = st.Status(st.INITIALIZE_IN_PROGRESS, st.CLUSTER_INITIALIZING)
    cluster.status.change(ctx.now, status)
    cluster.status.plan(ctx.now + ctx.knobs.initialize_seconds, st.Status(st.INITIALIZED))
    return {"State": status.name, "StateMessage": status.message}


def activated(ctx: st.Context, cluster: st.Cluster) -> None:
    """Note that the admin of an INITIALIZED cluster has set a password; the API tells it later (third party)."""
    ctx.later(ctx.now + ctx.knobs.activation_seen_seconds, "activation_seen", cluster.cluster_id)


def activation_seen(ctx: st.Context, cluster_id: str) -> None:
    """Show a cluster as ACTIVE whose activated HSM is still there, and make the backup that brings (documented)."""
    cluster = ctx.store.clusters[cluster_id]
    if cluster.state(ctx.now) == st.INITIALIZED and ctx.contents.is_activated(cluster_id):
        become_active(ctx, cluster)


def become_active(ctx: st.Context, cluster: st.Cluster) -> None:
    """Make a cluster ACTIVE for the first time."""
    cluster.activated = True
    cluster.status.change(ctx.now, st.Status(st.ACTIVE))
    back_up(ctx, cluster)
    ctx.later(ctx.now + ctx.knobs.backup_period_seconds, "periodic_backup", cluster.cluster_id)


def set_claim(ctx: st.Context, cluster: st.Cluster, claim: st.Claim) -> None:
    """Give a cluster its certificate; the CSR and those of the hardware are no longer shown (documented)."""
    cluster.claim = claim
    cluster.certificates.change(ctx.now, {CLUSTER_CERTIFICATE: claim.certificate})


def _refused(ctx: st.Context, message: str) -> CloudHsmError:
    return CloudHsmError(ctx.knobs.initialize_error_code, message)
