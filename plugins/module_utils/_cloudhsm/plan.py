# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Decide which HSMs to create and which to delete. Plain values in, a plan out: no AWS, no Ansible, no clock."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from .resources import Cluster, Hsm


class PlanError(Exception):
    """What was asked for cannot or must not be done; nothing has been changed.

    Args:
        parameter: The module parameter that has to change.
        message: What was found and what to do.
    """

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


@dataclass(frozen=True)
class Placement:
    """Where an HSM goes. Without an address, AWS picks a free one of the zone's subnet."""

    availability_zone: str
    ip_address: str | None = None

    def __str__(self) -> str:
        return f"{self.availability_zone} at {self.ip_address}" if self.ip_address else self.availability_zone

    def met_by(self, hsm: Hsm) -> bool:
        same_zone = hsm.availability_zone == self.availability_zone
        return same_zone and self.ip_address in (None, hsm.eni_ip)


@dataclass(frozen=True)
class Present:
    """At least count usable HSMs; with exact, exactly so many.

    placements says where the missing ones go first; then availability_zones, in order of preference (default: the
    cluster's own), spread evenly.
    """

    count: int = 1
    exact: bool = False
    availability_zones: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    replace_degraded: bool = False
    force: bool = False


@dataclass(frozen=True)
class Absent:
    """No HSM; with hsm_ids, none of these."""

    hsm_ids: tuple[str, ...] | None = None
    force: bool = False


@dataclass(frozen=True)
class Create:
    """One wish for an HSM. fallback_zones are tried in order where the caller allows it and the first zone refuses."""

    placement: Placement
    fallback_zones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What to do, in this order.

    Attributes:
        delete_first: HSMs that stand in the way of what is created: gone before it.
        gone_first: HSMs that are leaving and stand in the way likewise.
        create: HSMs to create.
        adopt: HSMs that somebody is creating already: waited for, as if they were ours.
        delete_after: HSMs to delete once the others are usable.
        leaving: HSMs that somebody is deleting already and whose end is wanted.
        degraded: DEGRADED HSMs that stay: they cost money, serve nobody and never heal.
    """

    delete_first: tuple[Hsm, ...] = ()
    gone_first: tuple[Hsm, ...] = ()
    create: tuple[Create, ...] = ()
    adopt: tuple[Hsm, ...] = ()
    delete_after: tuple[Hsm, ...] = ()
    leaving: tuple[Hsm, ...] = ()
    degraded: tuple[Hsm, ...] = ()

    @property
    def delete(self) -> tuple[Hsm, ...]:
        return self.delete_first + self.delete_after

    @property
    def changes(self) -> bool:
        return bool(self.create or self.delete)

    def actions(self) -> list[str]:
        """Say what will be done, a line each, in order."""
        return [
            *(f"delete {hsm}" for hsm in self.delete_first),
            *(f"create an HSM in {wish.placement}" for wish in self.create),
            *(f"delete {hsm}" for hsm in self.delete_after),
        ]


def make_plan(wish: Present | Absent, cluster: Cluster) -> Plan:
    """Plan for a wish of either kind.

    Raises:
        PlanError: It cannot or must not be done.
    """
    return plan_present(cluster, wish) if isinstance(wish, Present) else plan_absent(cluster, wish)


def plan_present(cluster: Cluster, wish: Present) -> Plan:
    """Plan for a number of usable HSMs.

    HSMs that are being created count, those that are leaving or DEGRADED do not.

    Raises:
        PlanError: The cluster is deleted, a zone is not mapped, or the cluster was never activated and the wish would
            give it a second HSM, or cost it its last one without force.
    """
    _check_cluster(cluster)
    _check_zones(cluster, wish)
    counted = [hsm for hsm in cluster.hsms if hsm.usable or hsm.coming]
    degraded = tuple(hsm for hsm in cluster.hsms if hsm.degraded)
    missing = max(0, wish.count - len(counted))
    if missing:
        _check_states(cluster)
    if missing and not cluster.activated:
        return _plan_first_hsm(cluster, wish)

    creations = _creations(cluster, wish, missing)
    wanted = {(c.placement.availability_zone, c.placement.ip_address) for c in creations if c.placement.ip_address}
    in_the_way = tuple(hsm for hsm in cluster.hsms if (hsm.availability_zone, hsm.eni_ip) in wanted)
    replaced = degraded if wish.replace_degraded else ()
    _check_addresses(in_the_way, replaced)
    surplus = _surplus(cluster, wish, counted) if wish.exact else ()
    return Plan(
        delete_first=tuple(hsm for hsm in replaced if hsm in in_the_way),
        gone_first=tuple(hsm for hsm in in_the_way if hsm.leaving),
        create=creations,
        adopt=tuple(hsm for hsm in counted if hsm.coming and hsm not in surplus),
        delete_after=tuple(hsm for hsm in replaced if hsm not in in_the_way) + surplus,
        degraded=tuple(hsm for hsm in degraded if hsm not in replaced),
    )


def plan_absent(cluster: Cluster, wish: Absent) -> Plan:
    """Plan for no HSM, or for none of those named. An id that the cluster does not have is absent already.

    Raises:
        PlanError: The cluster was never activated, and would lose its last HSM without force.
    """
    named = [hsm for hsm in cluster.hsms if wish.hsm_ids is None or hsm.hsm_id in wish.hsm_ids]
    targets = tuple(hsm for hsm in named if not hsm.leaving)
    _check_last_hsm(cluster, targets, wish.force)
    leaving = tuple(hsm for hsm in named if hsm.state == "DELETE_IN_PROGRESS")
    return Plan(delete_after=targets, leaving=leaving)


def _plan_first_hsm(cluster: Cluster, wish: Present) -> Plan:
    """Plan for a cluster that was never activated: one HSM at a time, because a second one locks the cluster."""
    if wish.count > 1:
        raise PlanError(
            "placements" if wish.placements else "count",
            f"{wish.count} HSMs were asked for, but cluster {cluster.cluster_id} is {cluster.state}: a cluster takes "
            "one HSM until it is activated. Ask for one, initialize and activate the cluster, then ask for the rest.",
        )
    degraded = tuple(hsm for hsm in cluster.hsms if hsm.degraded)
    if degraded and not wish.replace_degraded:
        raise PlanError(
            "replace_degraded",
            f"{degraded[0]} is DEGRADED ({degraded[0].state_message or 'no message from AWS'}) and never heals, and "
            f"cluster {cluster.cluster_id}, which is {cluster.state}, takes no second HSM until it is activated. "
            "Set replace_degraded=true and force=true to delete it and create another.",
        )
    _check_last_hsm(cluster, degraded, wish.force)
    leaving = tuple(hsm for hsm in cluster.hsms if hsm.state == "DELETE_IN_PROGRESS")
    return Plan(delete_first=degraded, gone_first=leaving, create=_creations(cluster, wish, 1))


def _check_cluster(cluster: Cluster) -> None:
    if cluster.deleted:
        raise PlanError(
            "cluster_id", f"cluster {cluster.cluster_id} is {cluster.state}. Name a cluster that is not deleted."
        )


def _check_states(cluster: Cluster) -> None:
    """Refuse to create beside an HSM of which nothing can be said: it may be the one that is wanted."""
    for hsm in cluster.hsms:
        if not (hsm.usable or hsm.coming or hsm.degraded or hsm.leaving):
            raise PlanError(
                "cluster_id",
                f"{hsm} is in the state {hsm.state!r}, which this version does not know. Wait until it is ACTIVE or gone, or "
                "update the collection.",
            )


def _check_zones(cluster: Cluster, wish: Present) -> None:
    mapped = sorted(cluster.subnet_mapping)
    asked = {"availability_zones": wish.availability_zones}
    asked["placements"] = tuple(placement.availability_zone for placement in wish.placements)
    for parameter, zones in asked.items():
        unmapped = [zone for zone in zones if zone not in mapped]
        if unmapped:
            raise PlanError(
                parameter,
                f"cluster {cluster.cluster_id} has no subnet in {', '.join(unmapped)}. Its zones are "
                f"{', '.join(mapped)}; they were fixed when it was created. Name one of these.",
            )


def _check_addresses(in_the_way: t.Iterable[Hsm], replaced: t.Collection[Hsm]) -> None:
    for hsm in in_the_way:
        if hsm.degraded and hsm not in replaced:
            raise PlanError(
                "placements",
                f"{hsm.eni_ip} belongs to {hsm.hsm_id}, which is DEGRADED and never heals. Set replace_degraded=true "
                "to delete it first.",
            )


def _check_last_hsm(cluster: Cluster, targets: t.Collection[Hsm], force: bool) -> None:
    """Refuse to take the last HSM from a cluster that may never have been activated: no backup of it is ever made."""
    remaining = [hsm for hsm in cluster.hsms if not hsm.leaving and hsm not in targets]
    if targets and not remaining and not cluster.activated and not force:
        raise PlanError(
            "force",
            f"cluster {cluster.cluster_id} is {cluster.state}, so it is not known to have been activated, and AWS backs "
            f"up only activated clusters: what is in its last HSM, {', '.join(map(str, targets))}, would be lost for "
            "good. Activate the cluster first, or set force=true to lose it.",
        )


def _creations(cluster: Cluster, wish: Present, missing: int) -> tuple[Create, ...]:
    """Place the missing HSMs: at the placements that no HSM has yet, then in the emptiest of the preferred zones."""
    zones = wish.availability_zones or tuple(sorted(cluster.subnet_mapping))
    present = [hsm for hsm in cluster.hsms if hsm.usable or hsm.coming]
    free = _unmet(wish.placements, present)[:missing]
    crowd = Counter(hsm.availability_zone for hsm in present)
    crowd.update(placement.availability_zone for placement in free)
    while len(free) < missing:
        zone = min(zones, key=lambda candidate: (crowd[candidate], zones.index(candidate)))
        crowd[zone] += 1
        free.append(Placement(zone))
    return tuple(
        Create(placement, tuple(zone for zone in zones if zone != placement.availability_zone)) for placement in free
    )


def _unmet(placements: t.Sequence[Placement], hsms: t.Iterable[Hsm]) -> list[Placement]:
    unclaimed = list(hsms)
    unmet = list(placements)
    # Those with an address choose first: an HSM that one of them wants would do for any other of its zone.
    for placement in sorted(placements, key=lambda candidate: candidate.ip_address is None):
        match = next((hsm for hsm in unclaimed if placement.met_by(hsm)), None)
        if match is not None:
            unclaimed.remove(match)
            unmet.remove(placement)
    return unmet


def _surplus(cluster: Cluster, wish: Present, counted: t.Sequence[Hsm]) -> tuple[Hsm, ...]:
    """Choose what goes when there are too many: those not yet in use, then those least where they were wanted."""
    zones = wish.availability_zones or tuple(sorted(cluster.subnet_mapping))
    keep = list(counted)
    surplus = []

    def reluctance(hsm: Hsm) -> tuple[bool, bool, int, int, str]:
        zone = hsm.availability_zone
        crowd = sum(other.availability_zone == zone for other in keep)
        rank = zones.index(zone) if zone in zones else len(zones)
        return (not hsm.coming, any(p.met_by(hsm) for p in wish.placements), -crowd, -rank, hsm.hsm_id)

    while len(keep) > wish.count:
        victim = min(keep, key=reluctance)
        keep.remove(victim)
        surplus.append(victim)
    return tuple(surplus)
