# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The CloudHSM service: every request passes here, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..calls import Call, CallLog
from ..clock import VirtualClock
from ..faults import Fault, Faults
from ..knobs import Knobs
from ..validation import Model
from .backups import describe_backups
from .clusters import create_cluster, delete_cluster, describe_clusters
from .errors import UNKNOWN_OPERATION, CloudHsmError, invalid, not_found
from .hsms import create_hsm, delete_hsm
from .ids import Ids
from .state import Context, Network, Store
from .tags import list_tags, tag_resource, untag_resource

T = TypeVar("T")

OPERATIONS: dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {
    "CreateCluster": create_cluster,
    "CreateHsm": create_hsm,
    "DeleteCluster": delete_cluster,
    "DeleteHsm": delete_hsm,
    "DescribeBackups": describe_backups,
    "DescribeClusters": describe_clusters,
    "ListTags": list_tags,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
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


class CloudHsm:
    """CloudHSM v2 in every account and Region.

    One lock goes around every operation, so that what an operation looked at is still true when it acts.

    Args:
        clock: Where the time comes from.
        knobs: Settings at start, and again after `reset`.
        seed: Seed of the ids, None for others at every start.
        network: Gives the EC2 of an account and Region.
    """

    def __init__(
        self, clock: VirtualClock, knobs: Knobs, seed: int | None, network: Callable[[str, str], Network]
    ) -> None:
        self.clock = clock
        self.faults = Faults()
        self.calls = CallLog()
        self._initial_knobs = knobs
        self._knobs = knobs
        self._ids = Ids(seed)
        self._network = network
        self.model = Model()
        self._stores: dict[tuple[str, str], Store] = {}
        self._lock = threading.Lock()

    @property
    def knobs(self) -> Knobs:
        """The settings in force."""
        return self._knobs

    def set_knobs(self, values: Mapping[str, Any]) -> Knobs:
        """Change some settings and return all.

        Raises:
            ValueError: A name is unknown or a value is of the wrong kind; nothing has changed.
        """
        with self._lock:
            self._knobs = self._knobs.changed(values)
            return self._knobs

    def reset(self) -> None:
        """Forget clusters, HSMs, backups, faults and calls, and set the knobs back; the clock goes on."""
        with self._lock:
            self._stores.clear()
            self._knobs = self._initial_knobs
            self.faults.clear()
            self.calls.clear()

    def call(self, request: Request) -> dict[str, Any]:
        """Carry out a request and return the answer's body.

        Raises:
            CloudHsmError: The answer is an error.
            DroppedAnswerError: No answer may be sent.
        """
        with self._lock:
            ctx = self._context(request.account, request.region)
            outcome = "ok"
            try:
                return self._answer(ctx, request)
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

    def where_it_is(self, resource_id: str, action: Callable[[Context, str], T]) -> T:
        """Do something with a cluster or an HSM in the account and Region that has it.

        Raises:
            CloudHsmError: None of them has it.
        """
        with self._lock:
            for account, region in list(self._stores):
                try:
                    return action(self._context(account, region), resource_id)
                except CloudHsmError:
                    continue
        raise not_found(resource_id)

    def _context(self, account: str, region: str) -> Context:
        store = self._stores.setdefault((account, region), Store())
        network = self._network(account, region)
        return Context(account, region, self.clock.now(), self._knobs, self.faults, self._ids, network, store)

    def _answer(self, ctx: Context, request: Request) -> dict[str, Any]:
        if request.operation not in self.model.operations:
            raise CloudHsmError(UNKNOWN_OPERATION, f"The operation {request.operation} does not exist.")
        fault = self.faults.take_request_fault(request.operation)
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
        parameters = self.model.check(request.operation, request.parameters)
        operation = OPERATIONS.get(request.operation)
        if operation is None:
            raise invalid(f"{request.operation} is not implemented by this local AWS yet.")
        return operation(ctx, parameters)
