# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The CloudHSM service: every request passes here, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ..agenda import Agenda
from ..calls import Call, CallLog
from ..clock import ClockClosedError, VirtualClock
from ..faults import Fault, Faults
from ..knobs import Knobs
from ..validation import Model
from . import backup_operations, backups, clusters, hsms, initialization, policies, tags
from .errors import UNKNOWN_OPERATION, CloudHsmError, not_found
from .ids import Ids
from .state import Contents, Context, Network, Store

T = TypeVar("T")

OPERATIONS: dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {
    "CopyBackupToRegion": backup_operations.copy_backup_to_region,
    "CreateCluster": clusters.create_cluster,
    "CreateHsm": hsms.create_hsm,
    "DeleteBackup": backup_operations.delete_backup,
    "DeleteCluster": clusters.delete_cluster,
    "DeleteHsm": hsms.delete_hsm,
    "DeleteResourcePolicy": policies.delete_resource_policy,
    "DescribeBackups": backup_operations.describe_backups,
    "DescribeClusters": clusters.describe_clusters,
    "GetResourcePolicy": policies.get_resource_policy,
    "InitializeCluster": initialization.initialize_cluster,
    "ListTags": tags.list_tags,
    "ModifyBackupAttributes": backup_operations.modify_backup_attributes,
    "ModifyCluster": clusters.modify_cluster,
    "PutResourcePolicy": policies.put_resource_policy,
    "RestoreBackup": backup_operations.restore_backup,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
}
# What happens by itself, by the kind of the agenda's events.
EVENTS: dict[str, Callable[..., None]] = {
    "activation_seen": initialization.activation_seen,
    "backup_deleted": backups.forget_contents,
    "cluster_deleted": clusters.let_go,
    "eni_released": lambda ctx, eni_id: ctx.network.delete_interface(eni_id),
    "expire": backups.expire,
    "hsm_active": hsms.became_active,
    "periodic_backup": backups.back_up_periodically,
}


class DroppedAnswerError(Exception):
    """The request has had its effect, and the caller shall never hear of it."""


@dataclass(frozen=True)
class Request:
    """One request, decoded.

    Attributes:
        operation: Name as in `X-Amz-Target`.
        parameters: The decoded body.
        account: AWS account id.
        region: AWS Region.
        signed: `X-Amz-Date`, None when absent.
    """

    operation: str
    parameters: Any
    account: str
    region: str
    signed: str | None

    @property
    def cluster_id(self) -> str | None:
        """The cluster that the request names, if it names one; the operations about tags call it ResourceId."""
        given = self.parameters if isinstance(self.parameters, dict) else {}
        named = given.get("ClusterId", given.get("ResourceId"))
        return named if isinstance(named, str) else None


class CloudHsm:
    """CloudHSM v2 in every account and Region.

    One lock goes around every operation, so that what an operation looked at is still true when it acts.

    Args:
        clock: Where the time comes from.
        knobs: Settings at start, and again after `reset`.
        seed: Seed of the ids, None for others at every start.
        network: Gives the EC2 of an account and Region.
        contents: What is inside the HSMs.
    """

    def __init__(
        self,
        clock: VirtualClock,
        knobs: Knobs,
        seed: int | None,
        network: Callable[[str, str], Network],
        contents: Contents,
    ) -> None:
        self.clock = clock
        self._faults = Faults()
        self.calls = CallLog()
        self._initial_knobs = knobs
        self._knobs = knobs
        self._ids = Ids(seed)
        self._network = network
        self.contents = contents
        self.agenda = Agenda()
        self.model = Model()
        self._stores: dict[tuple[str, str], Store] = {}
        # Whoever holds it may look something up through the methods below.
        self._lock = threading.RLock()
        self._held = 0

    @property
    def faults(self) -> Faults:
        """The faults. Whatever is due happens before anybody gets hold of them: a new fault strikes nothing of the past."""
        with self.settled():
            return self._faults

    @property
    def knobs(self) -> Knobs:
        """The settings in force."""
        return self._knobs

    def set_knobs(self, values: Mapping[str, Any]) -> Knobs:
        """Change some settings, after everything has happened that is due, and return all.

        Raises:
            ValueError: A name is unknown or a value is of the wrong kind; nothing has changed.
        """
        with self.settled():
            self._knobs = self._knobs.changed(values)
            return self._knobs

    def reset(self) -> None:
        """Forget clusters, HSMs, backups, faults and calls, and set the knobs back; the clock goes on.

        What they have in EC2 goes too, and what is in the HSMs.
        """
        with self._lock:
            for (account, region), store in self._stores.items():
                self._free(self._network(account, region), store)
            self._stores.clear()
            self.agenda.clear()
            self.contents.reset()
            self._knobs = self._initial_knobs
            self._faults.clear()
            self.calls.clear()

    @property
    def held(self) -> int:
        """How many requests and answers are held on the wire now."""
        return self._held

    @contextmanager
    def settled(self) -> Iterator[float]:
        """Let everything happen that is due, and then nothing else meanwhile; gives the time up to which it has."""
        with self._lock:
            now = self.clock.now()
            self._settle(now)
            yield now

    def call(self, request: Request, authorize: Callable[[Context], None]) -> dict[str, Any]:
        """Carry out a request and return the answer's body.

        Args:
            request: The request.
            authorize: Refuses callers that may not send it, given the context.

        Raises:
            CloudHsmError: The answer is an error.
            DroppedAnswerError: No answer may be sent.
        """
        self._hold("hold", request)
        try:
            return self._call(request, authorize)
        finally:
            self._hold("hold_answer", request)

    def where_it_is(self, resource_id: str, action: Callable[[Context, str], T]) -> T:
        """Do something with a cluster or an HSM in the account and Region that has it.

        Raises:
            CloudHsmError: None of them has it.
        """
        with self.settled() as now:
            for account, region in list(self._stores):
                try:
                    return action(self._context(account, region, now), resource_id)
                except CloudHsmError:
                    continue
        raise not_found(resource_id)

    def everywhere(self, action: Callable[[Context], list[T]]) -> list[T]:
        """Gather what there is in all accounts and Regions."""
        with self.settled() as now:
            return [
                found for account, region in list(self._stores) for found in action(self._context(account, region, now))
            ]

    def in_account(self, account: str, region: str, action: Callable[[Context], T]) -> T:
        """Do something in an account and Region."""
        with self.settled() as now:
            return action(self._context(account, region, now))

    def _call(self, request: Request, authorize: Callable[[Context], None]) -> dict[str, Any]:
        with self.settled() as now:
            ctx = self._context(request.account, request.region, now)
            outcome = "ok"
            try:
                return self._answer(ctx, request, authorize)
            except CloudHsmError as error:
                outcome = error.code
                raise
            except DroppedAnswerError:
                outcome = "dropped"
                raise
            finally:
                self.calls.add(
                    Call(
                        request.operation,
                        request.parameters,
                        ctx.now,
                        request.account,
                        request.region,
                        request.signed,
                        outcome,
                    )
                )

    def _hold(self, kind: str, request: Request) -> None:
        seconds = self._faults.take_hold(kind, request.operation, request.region, request.cluster_id)
        if not seconds:
            return
        until = self.clock.now() + seconds
        with self._lock:
            self._held += 1
        try:
            self.clock.wait_until(until)
        except ClockClosedError as closed:
            raise DroppedAnswerError from closed
        finally:
            with self._lock:
                self._held -= 1

    def _settle(self, now: float) -> None:
        while event := self.agenda.pop_due(now):
            ctx = self._context(event.account, event.region, event.at)
            EVENTS[event.kind](ctx, *event.subjects)

    def dump(self) -> dict[str, Any]:
        """Return everything that is to outlive a restart, for pickling under the caller's hold of `settled`."""
        return {"knobs": self._knobs, "stores": self._stores, "ids": self._ids, "agenda": self.agenda}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take over what `dump` returned."""
        with self._lock:
            self._knobs, self._stores = saved["knobs"], saved["stores"]
            self._ids, self.agenda = saved["ids"], saved["agenda"]

    def _context(self, account: str, region: str, now: float) -> Context:
        return Context(
            account=account,
            region=region,
            now=now,
            knobs=self._knobs,
            faults=self._faults,
            ids=self._ids,
            network=self._network(account, region),
            contents=self.contents,
            store=self._stores.setdefault((account, region), Store()),
            agenda=self.agenda,
            elsewhere=lambda other, place: self._context(other, place, now),
            owners=lambda place: [
                self._context(other, place, now) for other, found in list(self._stores) if found == place
            ],
        )

    def _free(self, network: Network, store: Store) -> None:
        for cluster in store.clusters.values():
            for hsm in cluster.hsms:
                network.delete_interface(hsm.eni_id)
            network.delete_security_group(cluster.security_group)

    def _answer(self, ctx: Context, request: Request, authorize: Callable[[Context], None]) -> dict[str, Any]:
        if request.operation not in self.model.operations:
            raise CloudHsmError(UNKNOWN_OPERATION, f"The operation {request.operation} does not exist.")
        authorize(ctx)
        fault = self._faults.take_request_fault(request.operation, request.region, request.cluster_id)
        if fault is None:
            return self._perform(ctx, request)
        return self._strike(fault, ctx, request)

    def _strike(self, fault: Fault, ctx: Context, request: Request) -> dict[str, Any]:
        if fault.kind in ("error_after", "drop_answer"):
            try:
                self._perform(ctx, request)
            except CloudHsmError as hidden:
                failure: CloudHsmError | None = hidden
            else:
                failure = None
            if fault.kind == "drop_answer":
                raise DroppedAnswerError from failure
            raise CloudHsmError(*fault.error) from failure
        raise CloudHsmError(*fault.error)

    def _perform(self, ctx: Context, request: Request) -> dict[str, Any]:
        return OPERATIONS[request.operation](ctx, self.model.check(request.operation, request.parameters))
