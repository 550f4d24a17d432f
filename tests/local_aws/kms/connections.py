# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""ConnectCustomKeyStore and DisconnectCustomKeyStore."""

from __future__ import annotations

import secrets
import string
from typing import Any

from . import state as st
from .clusters import Login
from .errors import KmsError
from .key_stores import find_key_store, invalid_connection, not_active

LOGIN_ERRORS: dict[Login, str] = {
    "no user": "USER_NOT_FOUND",
    "wrong password": "INVALID_CREDENTIALS",
    "locked": "USER_LOCKED_OUT",
    "no hsm": "INSUFFICIENT_CLOUDHSM_HSMS",
}
NO_ERROR = "none"
# kmsuser's password is 7 to 32 letters and digits (documented).
PASSWORD_CHARACTERS = string.ascii_letters + string.digits
PASSWORD_LENGTH = 32


def connect_custom_key_store(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to connect: log in as kmsuser and give it a password that only KMS knows.

    What comes of it is decided now and shown when the connection has taken its time (inferred), so that nobody has to
    ask KMS for a thing to happen in the cluster. A store that is connected or on its way there stays as it is
    (documented to be valid; what it does is unknown).
    """
    store = find_key_store(ctx, request["CustomKeyStoreId"])
    state = store.connection_at(ctx.now).state
    if state in (st.DISCONNECTING, st.FAILED):
        raise invalid_connection(store, state)
    if state == st.DISCONNECTED:
        error = _log_in(ctx, store)
        store.connection.change(ctx.now, st.Connection(st.CONNECTING))
        outcome = st.Connection(st.FAILED, error) if error else st.Connection(st.CONNECTED)
        store.connection.plan(ctx.now + ctx.knobs.kms_connect_seconds, outcome)
    return {}


def disconnect_custom_key_store(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Disconnect, also from FAILED."""
    store = find_key_store(ctx, request["CustomKeyStoreId"])
    state = store.connection_at(ctx.now).state
    if state in (st.DISCONNECTING, st.DISCONNECTED):
        raise invalid_connection(store, state)
    store.connection.change(ctx.now, st.Connection(st.DISCONNECTING))
    store.connection.plan(ctx.now + ctx.knobs.kms_disconnect_seconds, st.Connection(st.DISCONNECTED))
    return {}


def _log_in(ctx: st.Context, store: st.KeyStore) -> str | None:
    """Log in and change the password; return the ConnectionErrorCode when that does not work.

    Raises:
        KmsError: The cluster is one for which the attempt does not even begin.
    """
    where = (ctx.account, ctx.region, store.cluster_id)
    cluster = ctx.clusters.facts(*where)
    if cluster is None:
        return "CLUSTER_NOT_FOUND"
    if cluster.state != "ACTIVE":
        raise not_active(cluster.cluster_id)
    if not cluster.active_azs:
        if ctx.knobs.kms_connect_refuses_without_hsm:
            raise KmsError("CloudHsmClusterInvalidConfigurationException", "The cluster has no active HSM.")
        return "INSUFFICIENT_CLOUDHSM_HSMS"
    if ctx.knobs.kms_connect_error != NO_ERROR:
        return ctx.knobs.kms_connect_error
    result = ctx.clusters.login(*where, st.KMSUSER, store.password)
    if result != "ok":
        return LOGIN_ERRORS[result]
    store.password = "".join(secrets.choice(PASSWORD_CHARACTERS) for _position in range(PASSWORD_LENGTH))
    ctx.clusters.set_password(*where, st.KMSUSER, store.password)
    return None
