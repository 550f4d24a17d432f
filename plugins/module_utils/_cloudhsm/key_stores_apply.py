# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Connect or disconnect the custom key stores of KMS on a cluster."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass, field

from . import key_stores
from . import key_stores_plan as plan
from .common import AnsibleCloudHSMError, error_code, may_have_had_effect
from .parameters import check_cluster_id, check_durations, waiting_argument_spec

if t.TYPE_CHECKING:
    from .key_stores_plan import KeyStore
    from .waiters import Wait

_TARGETS = {"connect": plan.CONNECTED, "disconnect": plan.DISCONNECTED}
# What a store shows when a call that is refused, or whose answer was lost, has been carried out.
_DONE = {
    "connect": (plan.CONNECTING, plan.CONNECTED),
    "disconnect": (plan.DISCONNECTING, plan.DISCONNECTED),
}


@dataclass
class KeyStoreOutcome:
    """What a run found and did, or in check mode would do. Complete at any moment.

    Attributes:
        before: The key stores on the cluster as they were found.
        stores: As they are now, or as check mode predicts them.
        actions: What was or would be done, a line each.
        warnings: What a person should know.
    """

    before: list[KeyStore] = field(default_factory=list)
    stores: list[KeyStore] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def key_store_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of cloudhsm_key_store."""
    return {
        "cluster_id": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["connected", "disconnected", "queried"], "default": "queried"},
        "wait": {"type": "bool", "default": True},
        **waiting_argument_spec(timeout=1800, delay=15),
    }


def check_parameters(params: t.Mapping[str, t.Any]) -> None:
    """Refuse what is malformed.

    Raises:
        PlanError: A parameter is.
    """
    check_cluster_id("cluster_id", params["cluster_id"])
    check_durations(params, "wait_timeout", "wait_delay")


class KeyStoreKeeper:
    """Brings the key stores on one cluster to a state.

    Args:
        client: The client of KMS.
        cluster_id: The cluster.
        wait: The bound of the run; None: wait for nothing.
        outcome: What the run found and did.
    """

    def __init__(self, client: t.Any, cluster_id: str, wait: Wait | None, outcome: KeyStoreOutcome) -> None:
        self._client = client
        self._cluster_id = cluster_id
        self._wait = wait
        self._outcome = outcome

    def converge(self, state: str, check_mode: bool) -> None:
        """Find the key stores, and carry out what is to be done.

        Args:
            state: "connected", "disconnected", or "queried".
            check_mode: Change nothing, wait for nothing, and predict.

        Raises:
            PlanError: It cannot be done without waiting.
            AnsibleCloudHSMError: A call failed.
            WaitError: What was waited for did not come in time, or cannot come any more.
        """
        self._outcome.before = self._look()
        steps = plan.make_steps(self._outcome.before, state)
        if state == "connected" and not steps:
            self._outcome.warnings.append(
                f"No custom key store of KMS in this account and region is on {self._cluster_id}: there is nothing to connect."
            )
        if self._wait is None:
            plan.check_without_wait(steps)
        if check_mode:
            self._predict(steps)
        elif state != "queried":
            self._carry_out(steps, "connect" if state == "connected" else "disconnect")

    def _carry_out(self, steps: t.Sequence[plan.Step], last: str) -> None:
        for step in steps:
            for call in step.calls:
                if call == "connect" and step.store.state != plan.DISCONNECTED:
                    self._await("disconnect", step.store)
                self._call(call, step.store)
        for step in steps:
            # One that somebody else has begun to connect or disconnect is waited for as well.
            if step.store.state != _TARGETS[last]:
                self._await(last, step.store)

    def _call(self, call: str, store: KeyStore) -> None:
        ask = key_stores.connect if call == "connect" else key_stores.disconnect
        try:
            ask(self._client, store.store_id)
        except AnsibleCloudHSMError as error:
            # A call whose answer was lost is repeated, and the repeated call is refused because the first had its effect.
            refused = error_code(error.exception) == "CustomKeyStoreInvalidStateException"
            if not refused and not may_have_had_effect(error.exception):
                raise
            now = self._find(store)
            if now is None or now.state not in _DONE[call]:
                raise
        self._outcome.actions.append(f"{call} {store}")
        self._look()

    def _await(self, call: str, store: KeyStore) -> None:
        look = plan.look_connected if call == "connect" else plan.look_disconnected
        if self._wait:
            self._wait.until(lambda: look(self._find(store)))

    def _predict(self, steps: t.Sequence[plan.Step]) -> None:
        self._outcome.actions = [f"{call} {step.store}" for step in steps for call in step.calls]
        self._outcome.stores = [
            dataclasses.replace(step.store, state=_TARGETS[step.calls[-1]], error_code="") if step.calls else step.store
            for step in steps
        ]

    def _find(self, store: KeyStore) -> KeyStore | None:
        return next((now for now in self._look() if now.store_id == store.store_id), None)

    def _look(self) -> list[KeyStore]:
        self._outcome.stores = key_stores.of_cluster(self._client, self._cluster_id)
        return self._outcome.stores


def outcome_result(outcome: KeyStoreOutcome, elapsed: float) -> dict[str, t.Any]:
    """Make what cloudhsm_key_store returns of a run, complete or not.

    Args:
        outcome: What the run found and did, or would have done.
        elapsed: Seconds that it took.
    """
    return {
        "changed": bool(outcome.actions),
        "actions": outcome.actions,
        "elapsed": round(elapsed, 1),
        "key_stores": [_result(store) for store in outcome.stores],
        "needs_hsm": plan.refusal(outcome.stores) is not None,
    }


def outcome_diff(outcome: KeyStoreOutcome) -> dict[str, t.Any]:
    """Make the difference that a run made to the key stores, or would make."""
    return {
        "before": {"key_stores": [_line(store) for store in outcome.before]},
        "after": {"key_stores": [_line(store) for store in outcome.stores]},
    }


def _result(store: KeyStore) -> dict[str, str]:
    """The members that matter, under the names that AWS gives, in snake case."""
    result = {
        "custom_key_store_id": store.store_id,
        "custom_key_store_name": store.name,
        "cloud_hsm_cluster_id": store.cluster_id,
        "connection_state": store.state,
    }
    return result | ({"connection_error_code": store.error_code} if store.error_code else {})


def _line(store: KeyStore) -> dict[str, str]:
    return {"custom_key_store_id": store.store_id, "connection_state": store.state}
