# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What the custom key stores of KMS on a cluster mean for it, and how to connect or disconnect them. Pure.

A key store that is CONNECTED stays so when the last HSM of its cluster goes, and every use of its keys fails from then on. So
its state tells nobody that the HSM is gone; who deletes the last one has to ask before.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .plan import PlanError
from .waiters import Verdict, WaitError

CONNECTED = "CONNECTED"
CONNECTING = "CONNECTING"
DISCONNECTED = "DISCONNECTED"
DISCONNECTING = "DISCONNECTING"
FAILED = "FAILED"

# In these KMS is not logged in to the cluster, and the keys of the store cannot be used anyway.
_NOT_IN_USE = (DISCONNECTED, FAILED)

# What to do about each ConnectionErrorCode, from the API reference of KMS and its page on fixing a key store.
_ADVICE = {
    "CLUSTER_NOT_FOUND": "The cluster is gone. Associate the key store with one that was made from its backup.",
    "INSUFFICIENT_CLOUDHSM_HSMS": "The cluster has no active HSM. Create one with hsmops.cloudhsm.cloudhsm_hsm, and run again.",
    "INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET": "A subnet of the cluster has no free address. Free one, and run again.",
    "INTERNAL_ERROR": "KMS failed. Run again.",
    "INVALID_CREDENTIALS": "KMS does not know the password of kmsuser, as after the restore of an older backup. Set a new one in "
    "the cluster, tell KMS of it with UpdateCustomKeyStore, and run again.",
    "NETWORK_ERRORS": "KMS does not reach the cluster. Check its security group and network, and run again.",
    "SUBNET_NOT_FOUND": "A subnet of the cluster is gone. Make a cluster of its backup, and associate the key store with it.",
    "USER_LOCKED_OUT": "kmsuser is locked after too many wrong passwords. Set a new one in the cluster, tell KMS of it with "
    "UpdateCustomKeyStore, and run again.",
    "USER_LOGGED_IN": "Somebody else is logged in as kmsuser. Log that session out, and run again.",
    "USER_NOT_FOUND": "There is no kmsuser on every HSM of the cluster. Create it, tell KMS of its password with "
    "UpdateCustomKeyStore, and run again.",
}


@dataclass(frozen=True)
class KeyStore:
    """A custom key store of KMS on a cluster.

    Attributes:
        store_id: Its id.
        name: Its name.
        cluster_id: The cluster.
        state: The ConnectionState.
        error_code: The ConnectionErrorCode, where it is FAILED.
    """

    store_id: str
    name: str
    cluster_id: str
    state: str
    error_code: str = ""

    def __str__(self) -> str:
        return f"{self.store_id} ({self.name})"


@dataclass(frozen=True)
class Step:
    """What to do to one key store: wait for a state where one is named, then take the calls in their order.

    Attributes:
        store: The key store as it was found.
        calls: "disconnect" and "connect".
    """

    store: KeyStore
    calls: tuple[str, ...] = ()


def refusal(key_stores: t.Iterable[KeyStore]) -> str | None:
    """Say why the last HSM of a cluster must not be deleted because of the key stores on it; None: it may.

    A store that KMS is connected to, or is connecting to or disconnecting from, needs the HSM. So may one in a state that is not
    known. One that is DISCONNECTED or FAILED does not: KMS is not logged in, and its keys are unavailable already.

    Args:
        key_stores: The key stores on the cluster, read just now.
    """
    needing = [store for store in key_stores if store.state not in _NOT_IN_USE]
    if not needing:
        return None
    named = ", ".join(f"{store} is {store.state or 'in a state that KMS does not tell'}" for store in needing)
    return (
        f"KMS has a custom key store on cluster {needing[0].cluster_id}: {named}. Without an HSM every use of its keys fails, "
        "and KMS goes on showing it as CONNECTED. Disconnect it first with hsmops.cloudhsm.cloudhsm_key_store and "
        "state=disconnected, or keep an HSM"
    )


def plan_connected(store: KeyStore) -> Step:
    """Decide how a key store gets connected. KMS connects one that FAILED only once it was disconnected."""
    calls = {CONNECTED: (), CONNECTING: (), FAILED: ("disconnect", "connect")}
    return Step(store, calls.get(store.state, ("connect",)))


def plan_disconnected(store: KeyStore) -> Step:
    """Decide how a key store gets disconnected. One that FAILED can be, too."""
    return Step(store, () if store.state in (DISCONNECTED, DISCONNECTING) else ("disconnect",))


def make_steps(key_stores: t.Iterable[KeyStore], state: str) -> list[Step]:
    """Decide what to do to each key store.

    Args:
        key_stores: The key stores on the cluster.
        state: "connected", "disconnected", or "queried".
    """
    plans = {"connected": plan_connected, "disconnected": plan_disconnected, "queried": Step}
    return [plans[state](store) for store in key_stores]


def check_without_wait(steps: t.Iterable[Step]) -> None:
    """Refuse what cannot be done without waiting.

    Raises:
        PlanError: A store must be disconnected before it can be connected.
    """
    for step in steps:
        if "connect" in step.calls and step.store.state != DISCONNECTED:
            raise PlanError(
                "wait",
                f"{step.store} is {step.store.state}, and must be {DISCONNECTED} before it can be connected. Set wait=true.",
            )


def look_disconnected(store: KeyStore | None) -> Verdict:
    """Say whether a key store is disconnected. Right after the call, KMS may still show what it was.

    Raises:
        WaitError: It is gone.
    """
    store = _there(store)
    return Verdict(store.state == DISCONNECTED, f"key store {store} is {store.state}")


def look_connected(store: KeyStore | None) -> Verdict:
    """Say whether a key store is connected. Right after the call, KMS may still show it as DISCONNECTED.

    Raises:
        WaitError: It will not be connected.
    """
    store = _there(store)
    if store.state == FAILED:
        raise WaitError(failed_text(store))
    if store.state == DISCONNECTING:
        raise WaitError(f"key store {store} is {DISCONNECTING}: somebody disconnects it. Find out who, and run again")
    return Verdict(store.state == CONNECTED, f"key store {store} is {store.state}")


def failed_text(store: KeyStore) -> str:
    """Say why a key store could not be connected, and what to do."""
    advice = _ADVICE.get(store.error_code, "See what KMS documents for this code, and run again.")
    return f"KMS could not connect {store} to {store.cluster_id}: {store.error_code or 'it gives no reason'}. {advice}"


def _there(store: KeyStore | None) -> KeyStore:
    if store is None:
        raise WaitError("the key store is gone: somebody deleted it, or associated it with another cluster")
    return store
