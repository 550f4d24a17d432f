# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""One cluster as a run sees it, and what the run has done to it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from . import api
from .plan import Plan, PlanError
from .resources import Cluster
from .transformations import to_cluster

if t.TYPE_CHECKING:
    import datetime

    from .resources import Hsm


@dataclass
class Outcome:
    """What a run found and did. Complete at any moment, so that a run which fails can tell how far it came.

    Attributes:
        cluster: The cluster as AWS showed it last.
        before: The cluster as it was found.
        plan: What was to be done.
        created: HSMs that this run had AWS create.
        deleted: HSMs that this run had AWS delete, as they were.
        backups: The READY backups that prove a deletion safe, newest first.
        warnings: What a person should know.
    """

    cluster: dict[str, t.Any] | None = None
    before: Cluster | None = None
    plan: Plan = field(default_factory=Plan)
    created: list[Hsm] = field(default_factory=list)
    deleted: list[Hsm] = field(default_factory=list)
    backups: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class ClusterView:
    """Looks at one cluster, and remembers the last look.

    Attributes:
        client: The client for every call but CreateHsm.
        cluster: The cluster at the last look.
        seen_at: The moment of the last look on AWS's own clock.
        outcome: What the run found and did.
    """

    cluster: Cluster
    seen_at: datetime.datetime

    def __init__(self, client: t.Any, cluster_id: str, outcome: Outcome) -> None:
        self.client = client
        self.cluster_id = cluster_id
        self.outcome = outcome

    def look(self) -> Cluster:
        """Describe the cluster.

        Raises:
            PlanError: There is no such cluster.
            AnsibleCloudHSMError: The call failed.
        """
        shown, self.seen_at = api.describe_cluster(self.client, self.cluster_id)
        if shown is None:
            raise PlanError(
                "cluster_id",
                f"there is no cluster {self.cluster_id} in this account and region. Check the id, region and profile.",
            )
        self.outcome.cluster = shown
        self.cluster = to_cluster(shown)
        return self.cluster
