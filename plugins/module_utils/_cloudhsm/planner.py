# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Make a plan with what has to be asked for it elsewhere, and only where it matters."""

from __future__ import annotations

import dataclasses
import typing as t

from .key_stores_plan import refusal
from .plan import Absent, PlanError, Present, make_plan

if t.TYPE_CHECKING:
    from .key_stores_plan import KeyStore
    from .plan import Placement, Plan
    from .resources import Cluster


class Planner:
    """Makes the plan of one wish.

    Args:
        wish: The wish.
        find_key_stores: Finds KMS's custom key stores on a cluster. Called before the last HSM is to go.
        load_placements: Finds where the HSMs were before. Called before one is to be created, where the wish names no places.
    """

    def __init__(
        self,
        wish: Present | Absent,
        find_key_stores: t.Callable[[str], t.Sequence[KeyStore]],
        load_placements: t.Callable[[], t.Sequence[Placement]],
    ) -> None:
        self._wish = wish
        self._find_key_stores = find_key_stores
        self._load_placements = load_placements

    def __call__(self, cluster: Cluster) -> Plan:
        """Plan for the cluster.

        Raises:
            PlanError: It cannot or must not be done.
            AnsibleCloudHSMError: KMS did not answer.
        """
        plan = make_plan(self._wish, cluster)
        if isinstance(self._wish, Absent):
            remaining = [hsm for hsm in cluster.hsms if not hsm.leaving and hsm not in plan.delete]
            reason = refusal(self._find_key_stores(cluster.cluster_id)) if plan.delete and not remaining else None
            if reason:
                raise PlanError("key_stores", f"{reason}.")
        elif plan.create and not self._wish.placements and (places := self._load_placements()):
            # As many as are wanted: the others stay where they were for a later run.
            self._wish = dataclasses.replace(self._wish, placements=tuple(places))
            plan = make_plan(self._wish, cluster)
        return plan
