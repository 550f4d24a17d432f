# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The part of the control API that reaches into the HSMs.

Mount each route under the prefix of the control API and call its handler as
`handler(vault, find, *groups, body=body)`, under the lock of the service.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from .errors import RefusedError
from .users import ADMIN, Login
from .vault import Vault

CLUSTER = r"clusters/([^/]+)"
USER = rf"{CLUSTER}/users/([^/]+)"
# The control plane shows ACTIVE only a while after the activation, so it does not tell whether that has been done.
ACTIVATABLE = ("INITIALIZED", "ACTIVE")


class ClusterNow(Protocol):
    """A cluster as it is at this moment.

    Attributes:
        cluster_id: Its id.
        state: Its state.
        hsms: Its ACTIVE HSMs, as DescribeClusters shows them.
    """

    cluster_id: str
    state: str
    hsms: list[dict[str, Any]]


# Gives the cluster of an id, or the one that has an HSM at an address. Raises RefusedError: 404 when there is none, 409
# when several clusters have an HSM at that address.
Find = Callable[[str], ClusterNow]
Body = dict[str, Any]
Route = tuple[str, str, Callable[..., dict[str, Any]]]


def routes(activated: Callable[[str], None]) -> list[Route]:
    """Return method, pattern of the path, and handler.

    A handler raises RefusedError when it cannot do as asked, and ValueError for a bad body.

    Args:
        activated: Called with the id of a cluster that has been activated.
    """
    return [
        ("POST", f"{CLUSTER}/activate", partial(activate, activated=activated)),
        ("GET", f"{CLUSTER}/hsms", list_hsms),
        ("GET", f"{CLUSTER}/users", list_users),
        ("POST", f"{CLUSTER}/users", create_user),
        ("DELETE", USER, delete_user),
        ("POST", f"{USER}/password", change_password),
        ("POST", f"{CLUSTER}/login", login),
        ("GET", f"{CLUSTER}/token", token),
        ("GET", "hsms/([^/]+)", hsm_at),
    ]


def activate(vault: Vault, find: Find, cluster_id: str, body: Body, activated: Callable[[str], None]) -> dict[str, Any]:
    """Do what `cloudhsm-cli cluster activate` does."""
    password = _texts(body, "password")["password"]
    cluster = _reach(vault, find, cluster_id)
    if cluster.state not in ACTIVATABLE:
        raise RefusedError(409, f"Cluster {cluster_id} is {cluster.state}: it must be INITIALIZED to be activated.")
    vault.activate(cluster_id, password)
    activated(cluster_id)
    return {"ClusterId": cluster_id}


def list_hsms(_vault: Vault, find: Find, cluster_id: str, body: Body) -> dict[str, Any]:
    """Return the ACTIVE HSMs of a cluster."""
    _texts(body)
    return {"hsms": find(cluster_id).hsms}


def list_users(vault: Vault, find: Find, cluster_id: str, body: Body) -> dict[str, Any]:
    """Return the users; nobody need be logged in for it."""
    _texts(body)
    _reach(vault, find, cluster_id)
    return {"users": [{"name": name, "role": role, "locked": locked} for name, role, locked in vault.users(cluster_id)]}


def create_user(vault: Vault, find: Find, cluster_id: str, body: Body) -> dict[str, Any]:
    """Create a user, on behalf of an admin or through the side door."""
    person = _texts(body, "name", "role", "password", optional=("login",))
    _reach(vault, find, cluster_id)
    _require_admin(_on_behalf_of(vault, cluster_id, body))
    vault.create_user(cluster_id, **person)
    return {"name": person["name"].lower(), "role": person["role"]}


def delete_user(vault: Vault, find: Find, cluster_id: str, name: str, body: Body) -> dict[str, Any]:
    """Delete a user, on behalf of another who is an admin or through the side door."""
    _texts(body, optional=("login", "role"))
    _reach(vault, find, cluster_id)
    person = _on_behalf_of(vault, cluster_id, body)
    _require_admin(person)
    if person and person["name"] == name.lower():
        raise RefusedError(409, f"The user {name.lower()} is logged in: only another admin can delete them.")
    role = _role(vault, cluster_id, name, body)
    vault.delete_user(cluster_id, name)
    return {"name": name.lower(), "role": role}


def change_password(vault: Vault, find: Find, cluster_id: str, name: str, body: Body) -> dict[str, Any]:
    """Change a password, on behalf of the user or an admin or through the side door."""
    password = _texts(body, "password", optional=("login", "role"))["password"]
    _reach(vault, find, cluster_id)
    person = _on_behalf_of(vault, cluster_id, body)
    if person and person["name"] != name.lower():
        _require_admin(person)
    role = _role(vault, cluster_id, name, body)
    vault.change_password(cluster_id, name, password)
    return {"name": name.lower(), "role": role}


def login(vault: Vault, find: Find, cluster_id: str, body: Body) -> dict[str, Any]:
    """Try to log in; failures are counted."""
    _reach(vault, find, cluster_id)
    person = _log_in(vault, cluster_id, body)
    return {"name": person["name"], "role": person["role"]}


def token(vault: Vault, find: Find, cluster_id: str, body: Body) -> dict[str, Any]:
    """Return where PKCS#11 finds the keys."""
    _texts(body)
    _reach(vault, find, cluster_id)
    found = vault.token(cluster_id)
    return {"conf": str(found.conf), "module": str(found.module), "label": found.label}


def hsm_at(_vault: Vault, find: Find, address: str, body: Body) -> dict[str, Any]:
    """Return the ACTIVE HSM at an address, as DescribeClusters shows it."""
    _texts(body)
    cluster = find(address)
    for hsm in cluster.hsms:
        if hsm["EniIp"] == address:
            return {**hsm, "ClusterId": cluster.cluster_id}
    raise RefusedError(404, f"There is no ACTIVE HSM at {address}.")


def _reach(vault: Vault, find: Find, cluster_id: str) -> ClusterNow:
    cluster = find(cluster_id)
    if not cluster.hsms or not vault.alive(cluster_id):
        raise RefusedError(409, f"Cluster {cluster_id} has no ACTIVE HSM: create one and wait for it.")
    return cluster


def _on_behalf_of(vault: Vault, cluster_id: str, body: Body) -> dict[str, str] | None:
    """Log in whom the request names, and return them; None for the side door."""
    return _log_in(vault, cluster_id, body["login"]) if "login" in body else None


def _require_admin(person: dict[str, str] | None) -> None:
    if person and person["role"] != ADMIN:
        raise RefusedError(409, f"The user {person['name']} is no admin: log in as one.")


def _log_in(vault: Vault, cluster_id: str, person: Any) -> dict[str, str]:
    if not isinstance(person, dict):
        raise ValueError("login must be an object with name, role and password")
    given = _texts(person, "name", "role", "password")
    name, role = given["name"].lower(), given["role"]
    known = (name, role) in [(known, its_role) for known, its_role, _locked in vault.users(cluster_id)]
    outcome = vault.login(cluster_id, name, given["password"]) if known else Login.NO_USER
    if outcome is not Login.OK:
        raise RefusedError(409, f"The login of {name} as {role} failed: {outcome.value}.")
    return given | {"name": name}


def _role(vault: Vault, cluster_id: str, name: str, body: Body) -> str:
    """Return the role of a user, who must have the one that is named, if one is."""
    for known, role, _locked in vault.users(cluster_id):
        if known == name.lower() and body.get("role", role) == role:
            return role
    wanted = f" with the role {body['role']}" if "role" in body else ""
    raise RefusedError(404, f"There is no user {name}{wanted}.")


def _texts(body: Body, *names: str, optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the members that are required, which are texts; the values are in no error, for some are secret."""
    unknown = sorted(set(body) - {*names, *optional})
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known here: {', '.join([*names, *optional]) or 'nothing'}")
    for name in names:
        if not isinstance(body.get(name), str):
            raise ValueError(f"{name} must be given, as a text")
    return {name: body[name] for name in names}
