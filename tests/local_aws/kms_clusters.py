# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""CloudHSM as KMS reaches it: the state of clusters, and the users in their HSMs."""

from __future__ import annotations

from .cloudhsm.service import CloudHsm
from .cloudhsm.state import DELETED, Context
from .contents.vault import Vault
from .kms.clusters import ClusterFacts, Login


class KmsClusters:
    """Answers what KMS asks, see `kms.clusters.Clusters`.

    Args:
        service: The CloudHSM service.
        vault: What is inside its HSMs.
    """

    def __init__(self, service: CloudHsm, vault: Vault) -> None:
        self._service = service
        self._vault = vault

    def facts(self, account: str, region: str, cluster_id: str) -> ClusterFacts | None:
        """Return a cluster, None when there is none of that id."""

        def look(ctx: Context) -> ClusterFacts | None:
            cluster = ctx.store.clusters.get(cluster_id)
            if cluster is None or cluster.state(ctx.now) == DELETED:
                return None
            return ClusterFacts(
                cluster_id=cluster_id,
                state=cluster.state(ctx.now) or "",
                active_azs=[hsm.az for hsm in cluster.active_hsms(ctx.now)],
                cluster_certificate=cluster.claim.certificate if cluster.claim else None,
                trust_anchor=cluster.claim.trust_anchor if cluster.claim else None,
            )

        return self._service.in_account(account, region, look)

    def login(self, account: str, region: str, cluster_id: str, user: str, password: str) -> Login:
        """Try to log a crypto user in; a wrong password counts towards its lockout."""
        return self._service.in_account(
            account, region, lambda _ctx: self._vault.login(cluster_id, user, password).value
        )

    def set_password(self, account: str, region: str, cluster_id: str, user: str, password: str) -> None:
        """Change a crypto user's password on every HSM."""
        self._service.in_account(account, region, lambda _ctx: self._vault.change_password(cluster_id, user, password))
