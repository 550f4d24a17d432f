# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Custom key stores backed by CloudHSM: create, update, delete, describe."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from ..cloudhsm.history import History
from . import state as st
from .clusters import ClusterFacts
from .errors import KmsError, invalid, not_implemented

PAGE = 100
REQUIRED = ("CloudHsmClusterId", "TrustAnchorCertificate", "KeyStorePassword")


def create_custom_key_store(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Associate a key store with a cluster; a repeated request gets the store that is there (documented)."""
    _check_kind(request)
    missing = [member for member in REQUIRED if member not in request]
    if missing:
        raise invalid(f"A key store of type {st.AWS_CLOUDHSM} needs {', '.join(missing)}.")
    name = request["CustomKeyStoreName"]
    for store in ctx.store.key_stores.values():
        if store.name == name:
            if _is_same(ctx, store, request):
                return {"CustomKeyStoreId": store.store_id}
            raise _name_in_use(name)
    if len(ctx.store.key_stores) >= ctx.knobs.kms_quota_key_stores:
        raise KmsError(
            "LimitExceededException", f"The limit of {ctx.knobs.kms_quota_key_stores} key stores is reached."
        )
    cluster = _find_cluster(ctx, request["CloudHsmClusterId"])
    for store in ctx.store.key_stores.values():
        if store.cluster_id == cluster.cluster_id or _same_history(store, cluster):
            raise KmsError(
                "CloudHsmClusterInUseException",
                f"{cluster.cluster_id} is associated with, or shares a backup history with, {store.store_id}.",
            )
    _check_active(cluster)
    check_two_zones(cluster)
    anchor = request["TrustAnchorCertificate"]
    if cluster.trust_anchor is not None and not _same_pem(cluster.trust_anchor, anchor):
        raise KmsError("IncorrectTrustAnchorException", f"This is not the trust anchor of {cluster.cluster_id}.")
    ctx.store.created += 1
    store = st.KeyStore(
        number=ctx.store.created,
        # As in the documented examples: 17 hexadecimal digits.
        store_id=f"cks-{secrets.token_hex(9)[1:]}",
        name=name,
        cluster_id=cluster.cluster_id,
        cluster_certificate=cluster.cluster_certificate,
        trust_anchor=anchor,
        password=request["KeyStorePassword"],
        created=ctx.now,
        connection=History(ctx.now, st.Connection(st.DISCONNECTED)),
    )
    ctx.store.key_stores[store.store_id] = store
    return {"CustomKeyStoreId": store.store_id}


def update_custom_key_store(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Change the name, what KMS believes kmsuser's password to be, or the cluster."""
    _check_kind(request)
    store = find_key_store(ctx, request["CustomKeyStoreId"])
    only_name = not {"KeyStorePassword", "CloudHsmClusterId"} & set(request)
    _check_connection(ctx, store, st.DISCONNECTED, *([st.CONNECTED] if only_name else []))
    name = request.get("NewCustomKeyStoreName", store.name)
    if any(other.name == name for other in ctx.store.key_stores.values() if other is not store):
        raise _name_in_use(name)
    cluster_id = request.get("CloudHsmClusterId", store.cluster_id)
    if "CloudHsmClusterId" in request or ctx.knobs.kms_update_always_checks_cluster:
        cluster = _find_cluster(ctx, cluster_id)
        if cluster_id != store.cluster_id and not _same_history(store, cluster):
            raise KmsError(
                "CloudHsmClusterNotRelatedException", f"{cluster_id} shares no backup history with {store.cluster_id}."
            )
        _check_active(cluster)
        check_two_zones(cluster)
    store.name = name
    store.cluster_id = cluster_id
    store.password = request.get("KeyStorePassword", store.password)
    return {}


def delete_custom_key_store(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a key store that has no key left, not even one that is pending deletion."""
    store = find_key_store(ctx, request["CustomKeyStoreId"])
    _check_connection(ctx, store, st.DISCONNECTED)
    if any(key.store_id == store.store_id for key in ctx.store.keys.values()):
        raise KmsError("CustomKeyStoreHasCMKsException", f"{store.store_id} contains KMS keys.")
    del ctx.store.key_stores[store.store_id]
    return {}


def describe_custom_key_stores(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the key stores in the order of their creation (the real order is unknown), or the one that is named."""
    if "CustomKeyStoreId" in request and "CustomKeyStoreName" in request:
        raise invalid("Specify CustomKeyStoreId or CustomKeyStoreName, not both.")
    found = list(ctx.store.key_stores.values())
    if "CustomKeyStoreId" in request:
        found = [find_key_store(ctx, request["CustomKeyStoreId"])]
    elif "CustomKeyStoreName" in request:
        name = request["CustomKeyStoreName"]
        found = [store for store in found if store.name == name]
        if not found:
            raise _no_key_store(name)
    last = _read_marker(request["Marker"]) if "Marker" in request else 0
    rest = sorted((store for store in found if store.number > last), key=lambda store: store.number)
    shown = rest[: request.get("Limit", PAGE)]
    answer: dict[str, Any] = {"CustomKeyStores": [_view(store, ctx.now) for store in shown], "Truncated": False}
    if len(shown) < len(rest):
        answer |= {"Truncated": True, "NextMarker": _write_marker(shown[-1].number)}
    return answer


def find_key_store(ctx: st.Context, store_id: str) -> st.KeyStore:
    """Return a key store.

    Raises:
        KmsError: There is none of that id.
    """
    if store_id not in ctx.store.key_stores:
        raise _no_key_store(store_id)
    return ctx.store.key_stores[store_id]


def connected_key_store(ctx: st.Context, store_id: str) -> st.KeyStore:
    """Return a key store that is CONNECTED.

    Raises:
        KmsError: There is none of that id, or it is in another state.
    """
    store = find_key_store(ctx, store_id)
    _check_connection(ctx, store, st.CONNECTED)
    return store


def check_two_zones(cluster: ClusterFacts | None) -> None:
    """Raise an error unless a cluster has active HSMs in two Availability Zones."""
    if cluster is None or len(set(cluster.active_azs)) < 2:
        raise KmsError(
            "CloudHsmClusterInvalidConfigurationException",
            "The cluster must have at least two active HSMs, each in a different Availability Zone.",
        )


def invalid_connection(store: st.KeyStore, state: str) -> KmsError:
    """Return the error for a request that the connection state forbids."""
    return KmsError("CustomKeyStoreInvalidStateException", f"{store.store_id} is {state}.")


def not_active(cluster_id: str) -> KmsError:
    """Return the error for a cluster that is not ACTIVE."""
    return KmsError("CloudHsmClusterNotActiveException", f"{cluster_id} is not active.")


def _check_kind(request: dict[str, Any]) -> None:
    if request.get("CustomKeyStoreType", st.AWS_CLOUDHSM) != st.AWS_CLOUDHSM:
        raise not_implemented("An external key store")
    if proxy := [member for member in request if member.startswith("Xks")]:
        raise invalid(f"{', '.join(proxy)}: not for a key store of type {st.AWS_CLOUDHSM}.")


def _check_connection(ctx: st.Context, store: st.KeyStore, *states: str) -> None:
    state = store.connection_at(ctx.now).state
    if state not in states:
        raise invalid_connection(store, state)


def _check_active(cluster: ClusterFacts) -> None:
    if cluster.state != "ACTIVE":
        raise not_active(cluster.cluster_id)


def _find_cluster(ctx: st.Context, cluster_id: str) -> ClusterFacts:
    cluster = ctx.clusters.facts(ctx.account, ctx.region, cluster_id)
    if cluster is None:
        raise KmsError("CloudHsmClusterNotFoundException", f"There is no cluster {cluster_id}.")
    return cluster


def _is_same(ctx: st.Context, store: st.KeyStore, request: dict[str, Any]) -> bool:
    return (
        store.connection_at(ctx.now).state == st.DISCONNECTED
        and store.cluster_id == request["CloudHsmClusterId"]
        and store.password == request["KeyStorePassword"]
        and _same_pem(store.trust_anchor, request["TrustAnchorCertificate"])
    )


def _same_history(store: st.KeyStore, cluster: ClusterFacts) -> bool:
    if store.cluster_certificate is None or cluster.cluster_certificate is None:
        return False
    return _same_pem(store.cluster_certificate, cluster.cluster_certificate)


def _same_pem(one: str, other: str) -> bool:
    """Compare two texts without their white space: line ends change on the way through files and templates."""
    return "".join(one.split()) == "".join(other.split())


def _name_in_use(name: str) -> KmsError:
    return KmsError("CustomKeyStoreNameInUseException", f"Another key store is called '{name}'.")


def _no_key_store(what: str) -> KmsError:
    return KmsError("CustomKeyStoreNotFoundException", f"There is no key store '{what}'.")


def _view(store: st.KeyStore, moment: float) -> dict[str, Any]:
    connection = store.connection_at(moment)
    view = {
        "CustomKeyStoreId": store.store_id,
        "CustomKeyStoreName": store.name,
        "CustomKeyStoreType": st.AWS_CLOUDHSM,
        "CloudHsmClusterId": store.cluster_id,
        "TrustAnchorCertificate": store.trust_anchor,
        "ConnectionState": connection.state,
        "CreationDate": round(store.created, 3),
    }
    return view | ({"ConnectionErrorCode": connection.error} if connection.error else {})


def _write_marker(number: int) -> str:
    return base64.b64encode(str(number).encode()).decode()


def _read_marker(marker: str) -> int:
    try:
        return int(base64.b64decode(marker.encode(), validate=True))
    except ValueError:
        raise KmsError("InvalidMarkerException", "The marker is not valid.") from None
