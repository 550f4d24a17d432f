# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""One cluster as a run sees it, and what the run has done to it."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass, field

from . import api
from .marks import read_marks
from .plan import Plan, PlanError
from .resources import Cluster
from .transformations import to_cluster, to_tags

if t.TYPE_CHECKING:
    import datetime

    from .marks import Mark
    from .resources import Hsm


@dataclass
class Outcome:
    """What a run found and did. Complete at any moment, so that a run which fails can tell how far it came.

    Attributes:
        shown: The cluster in AWS's own form, as it was shown last.
        cluster: The cluster as it is known: as AWS showed it last, and the HSMs created that it has not shown yet.
        before: The cluster as it was found.
        plan: What was to be done.
        actions: What was done, a line each.
        created: HSMs that this run had AWS create.
        deleted: HSMs that this run had AWS delete, as they were.
        backups: The READY backups that prove a deletion safe, newest first.
        warnings: What a person should know.
    """

    shown: dict[str, t.Any] | None = None
    cluster: Cluster | None = None
    before: Cluster | None = None
    plan: Plan = field(default_factory=Plan)
    actions: list[str] = field(default_factory=list)
    created: list[Hsm] = field(default_factory=list)
    deleted: list[Hsm] = field(default_factory=list)
    backups: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class ClusterView:
    """Looks at one cluster, and remembers the last look.

    Attributes:
        client: The client for every call but CreateHsm.
        cluster: The cluster at the last look, with the HSMs created that AWS has not shown yet.
        tags: Its tags at the last look.
        seen_at: The moment of the last look on AWS's own clock.
        outcome: What the run found and did.
    """

    cluster: Cluster
    tags: dict[str, str]
    seen_at: datetime.datetime

    def __init__(self, client: t.Any, cluster_id: str, outcome: Outcome) -> None:
        self.client = client
        self.cluster_id = cluster_id
        self.outcome = outcome
        self._shown_ids: set[str] = set()

    def look(self) -> Cluster:
        """Describe the cluster.

        Raises:
            PlanError: There is no such cluster.
            AnsibleCloudHSMError: The call failed.
        """
        shown, moment = api.describe_cluster(self.client, self.cluster_id)
        if shown is None:
            raise PlanError(
                "cluster_id",
                f"there is no cluster {self.cluster_id} in this account and region. Check the id, region and profile.",
            )
        return self.accept(shown, moment)

    def accept(self, shown: dict[str, t.Any], moment: datetime.datetime) -> Cluster:
        """Take a look that somebody else has taken.

        Args:
            shown: The cluster as DescribeClusters shows it.
            moment: When that was, on AWS's own clock.
        """
        self.outcome.shown, self.seen_at = shown, moment
        self.tags = to_tags(shown)
        cluster = to_cluster(shown)
        self._shown_ids.update(hsm.hsm_id for hsm in cluster.hsms)
        # DescribeClusters may lag behind CreateHsm: what was created counts from then on.
        unshown = tuple(self.unshown())
        self.cluster = self.outcome.cluster = dataclasses.replace(cluster, hsms=cluster.hsms + unshown)
        return self.cluster

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The marks at the last look."""
        return read_marks(self.tags)

    @property
    def aws_time(self) -> float:
        """Unix seconds of AWS's own clock at the last look."""
        return self.seen_at.timestamp()

    @property
    def live_marks(self) -> tuple[Mark, ...]:
        """Those of them that may still mean something."""
        return tuple(mark for mark in self.marks if not mark.is_void(self.aws_time))

    @property
    def void_marks(self) -> tuple[Mark, ...]:
        """Those of them of which nothing can come any more."""
        return tuple(mark for mark in self.marks if mark.is_void(self.aws_time))

    def unshown(self) -> list[Hsm]:
        """Return the HSMs created by this run that AWS has never shown."""
        return [hsm for hsm in self.outcome.created if hsm.hsm_id not in self._shown_ids]
