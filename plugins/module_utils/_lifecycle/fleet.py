# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Reap a fleet: one pass over Redis, one over the clusters of each region, then work on the idle environments only."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import typing as t
from dataclasses import dataclass, field

from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError

from .._activity.endpoint import ActivityError
from .._cloudhsm import api
from .._cloudhsm.key_stores_plan import refusal
from .._cloudhsm.marks import is_protected
from .._cloudhsm.plan import PlanError
from .._cloudhsm.transformations import to_cluster
from .._cloudhsm.view import ClusterView, Outcome
from .._cloudhsm.waiters import WaitError
from .._placements.plan import Owner, PlacementError
from .._placements.saved import record_of
from .marking import take_off
from .plan import DELETE, DUE, KEEP, NOTHING, START_CLOCK, Decision, Environment, Place, decide, limit
from .reaping import Reaper

if t.TYPE_CHECKING:
    from .._activity.api import ActivityStore
    from .._cloudhsm.key_stores_plan import KeyStore
    from .._cloudhsm.resources import Cluster, Hsm
    from .._cloudhsm.waiters import Wait
    from .._placements.plan import PlacementStore

# What becomes of an environment, as a report has it.
STATUSES = {DELETE: "deleted", DUE: "due", START_CLOCK: "unknown", KEEP: "kept", NOTHING: "no_hsm"}
FAILURES = (ActivityError, AnsibleAWSError, PlacementError, PlanError, WaitError)


@dataclass
class Report:
    """What became of one environment.

    Attributes:
        status: "kept", "deleted", "would_delete", "due", "unknown", "no_hsm" or "failed".
        reason: Why, in words.
        hsms: The HSMs that it had.
        idle_seconds: For how long nobody had used it, where that is known.
        checked_at: When the activity store was asked, by its own clock.
        outcome: What was done to it.
    """

    environment: Environment
    status: str
    reason: str
    hsms: tuple[Hsm, ...] = ()
    idle_seconds: float | None = None
    checked_at: float | None = None
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True)
class Fleet:
    """The environments of one run, and what reaches them.

    Attributes:
        environments: By account and region; each name once.
        store: The activity store.
        make_client: Makes a CloudHSM client for an account and region.
        make_wait: Makes the bound for the work on one environment.
        settle: Seconds after which everybody is shown a tag that was written.
        record_ttl: How many seconds a record lives that is started.
        most: How many environments may lose their HSMs in this run.
        open_placements: Opens the store of placements for an account and region; None: they are not saved.
        find_key_stores: Finds KMS's custom key stores on a cluster of an account and region.
    """

    environments: t.Mapping[Place, t.Sequence[Environment]]
    store: ActivityStore
    make_client: t.Callable[[Place], t.Any]
    make_wait: t.Callable[[Environment], Wait]
    settle: float
    record_ttl: int
    most: int
    open_placements: t.Callable[[Place], PlacementStore | None] = lambda _place: None
    find_key_stores: t.Callable[[Place, str], t.Sequence[KeyStore]] = lambda _place, _cluster_id: ()


class _Found(t.NamedTuple):
    """One environment with its cluster, as it was shown when it was decided about."""

    environment: Environment
    place: Place
    view: ClusterView
    decision: Decision


def reap(fleet: Fleet, check_mode: bool) -> list[Report]:
    """Delete the HSMs that nobody uses. An environment that fails does not stop the others.

    Args:
        fleet: The environments.
        check_mode: Decide as always, and change nothing.

    Returns:
        A report for each environment, in the order of the places and of their environments.

    Raises:
        ActivityError: The activity store does not answer: nothing is known of anybody, and nothing was deleted.
    """
    names = [environment.name for members in fleet.environments.values() for environment in members]
    snapshots = {name: answer.snapshot for name, answer in zip(names, fleet.store.check(names), strict=True)}
    reports: dict[str, Report] = {}
    found: dict[str, _Found] = {}
    for place, members in fleet.environments.items():
        try:
            found |= _look(fleet, place, members, snapshots, reports)
        except AnsibleAWSError as error:
            reports |= {member.name: Report(member, "failed", str(error)) for member in members}
    decisions = limit({name: entry.decision for name, entry in found.items()}, fleet.most)
    found = {name: entry._replace(decision=decisions[name]) for name, entry in found.items()}
    found = _spare_key_stores(fleet, found, reports)
    for name, entry in found.items():
        decision = entry.decision
        reports[name] = Report(
            entry.environment,
            "would_delete" if check_mode and decision.action == DELETE else STATUSES[decision.action],
            decision.reason,
            decision.hsms,
            decision.idle_seconds,
            snapshots[name].now,
            entry.view.outcome,
        )
    if not check_mode:
        _start_clocks(fleet, found, reports)
        _take_off_void_marks(found)
        _delete(fleet, [entry for entry in found.values() if entry.decision.action == DELETE], reports)
    return [reports[name] for name in names]


def _look(
    fleet: Fleet,
    place: Place,
    members: t.Sequence[Environment],
    snapshots: t.Mapping[str, t.Any],
    reports: dict[str, Report],
) -> dict[str, _Found]:
    client = fleet.make_client(place)
    shown, moment = api.describe_clusters(client)
    clusters = {cluster["ClusterId"]: cluster for cluster in shown}
    found = {}
    for environment in members:
        cluster = clusters.get(environment.cluster_id)
        if cluster is None or to_cluster(cluster).deleted:
            reason = f"hsm_cluster_id: there is no cluster {environment.cluster_id} in {place.region}, or it is being deleted."
            reports[environment.name] = Report(environment, "failed", reason)
            continue
        view = ClusterView(client, environment.cluster_id, Outcome())
        view.accept(cluster, moment)
        decision = decide(
            environment, snapshots[environment.name], view.cluster, view.marks, view.aws_time, is_protected(view.tags)
        )
        found[environment.name] = _Found(environment, place, view, decision)
    return found


def _spare_key_stores(fleet: Fleet, found: t.Mapping[str, _Found], reports: dict[str, Report]) -> dict[str, _Found]:
    """Keep the HSMs that a custom key store of KMS needs. Asked only of those that are about to go."""
    spared = {}
    for name, entry in found.items():
        decision = entry.decision
        if decision.action in (DELETE, DUE) and entry.environment.key_stores == "refuse":
            try:
                reason = refusal(fleet.find_key_stores(entry.place, entry.environment.cluster_id))
            except AnsibleAWSError as error:
                reports[name] = Report(entry.environment, "failed", str(error), decision.hsms, decision.idle_seconds)
                continue
            if reason:
                decision = dataclasses.replace(decision, action=KEEP, reason=reason)
        spared[name] = entry._replace(decision=decision)
    return spared


def _start_clocks(fleet: Fleet, found: t.Mapping[str, _Found], reports: t.Mapping[str, Report]) -> None:
    """Begin to count for HSMs of which nothing is known: what is unknown is never idle, and need not stay unknown."""
    names = [name for name, entry in found.items() if entry.decision.action == START_CLOCK]
    if not names:
        return
    # A record that expires before it is idle would only be started again and again.
    record_ttl = max(fleet.record_ttl, *(2 * int(found[name].environment.idle_after) for name in names))
    for name, answer in zip(names, fleet.store.start_clock(names, record_ttl), strict=True):
        if answer.granted:
            reports[name].reason = "there was no record; its time begins to count now"


def _take_off_void_marks(found: t.Mapping[str, _Found]) -> None:
    for entry in found.values():
        void = {mark.key for mark in entry.view.void_marks}
        if void and (warning := take_off(entry.view, void)):
            entry.view.outcome.warnings.append(warning)


def _delete(fleet: Fleet, doomed: t.Sequence[_Found], reports: t.Mapping[str, Report]) -> None:
    """Delete in all environments at once: each one waits for minutes, and none for another."""
    ready: list[tuple[_Found, t.Callable[[Cluster], None]]] = []
    # Each has a client of its own, which signs for its own deadline; boto3 does not make clients in threads.
    for entry in doomed:
        try:
            entry.view.client = fleet.make_client(entry.place)
            ready.append((entry, _make_remember(fleet, entry)))
        except FAILURES as error:
            report = reports[entry.environment.name]
            report.status, report.reason = "failed", str(error)
    if not ready:
        return
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(ready)) as pool:
        for entry, remember in ready:
            pool.submit(_delete_one, fleet, entry, reports[entry.environment.name], remember)


def _make_remember(fleet: Fleet, entry: _Found) -> t.Callable[[Cluster], None]:
    environment, store = entry.environment, fleet.open_placements(entry.place)
    owner = Owner(environment.name, environment.cluster_id)
    return lambda cluster: store.replace(owner, record_of(cluster)) if store else None


def _delete_one(fleet: Fleet, entry: _Found, report: Report, remember: t.Callable[[Cluster], None]) -> None:
    environment = entry.environment
    try:
        reaper = Reaper(entry.view, fleet.store, environment, fleet.make_wait(environment), fleet.settle, remember)
        if spared := reaper.reap(entry.decision.hsms):
            report.status, report.reason = "kept", spared.reason
    except FAILURES as error:
        report.status, report.reason = "failed", str(error)
    except Exception as error:
        report.status, report.reason = "failed", f"{type(error).__name__}: {error}"
