# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness.pkcs11 import need_softhsm
from local_aws.contents.errors import RefusedError
from local_aws.contents.routes import routes
from local_aws.contents.vault import Vault

CLUSTER = "cluster-aaaaaaaaaaa"
HSM = {"EniIp": "10.42.0.4", "EniId": "eni-1", "HsmId": "hsm-aaaaaaaaaaa", "State": "ACTIVE"}
ADMIN_PASSWORD, PASSWORD = "admin-secret-1", "user-secret-1"
ADMIN = {"name": "Admin", "role": "admin", "password": ADMIN_PASSWORD}
APP = {"name": "app", "role": "crypto-user", "password": PASSWORD}


@dataclass
class Cluster:
    cluster_id: str = CLUSTER
    state: str = "INITIALIZED"
    hsms: list[dict[str, Any]] = field(default_factory=lambda: [HSM])


class Api:
    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.cluster = Cluster()
        self.activated: list[str] = []
        self._routes = routes(self.activated.append)

    def find(self, what: str) -> Cluster:
        if what not in (CLUSTER, *(hsm["EniIp"] for hsm in self.cluster.hsms)):
            raise RefusedError(404, f"There is no {what}.")
        return self.cluster

    def __call__(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        [(handler, found)] = [
            (handler, found)
            for known, pattern, handler in self._routes
            if known == method and (found := re.fullmatch(pattern, path))
        ]
        return handler(self.vault, self.find, *found.groups(), body=body)


@pytest.fixture
def fresh(tmp_path: Path) -> Api:
    vault = Vault(tmp_path, module=None)
    vault.start_fresh(CLUSTER)
    return Api(vault)


@pytest.fixture
def api(fresh: Api) -> Api:
    fresh("POST", f"clusters/{CLUSTER}/activate", password=ADMIN_PASSWORD)
    fresh("POST", f"clusters/{CLUSTER}/users", **APP)
    return fresh


def names(api: Api) -> list[str]:
    return [user["name"] for user in api("GET", f"clusters/{CLUSTER}/users")["users"]]


def test_activation_is_told(fresh: Api) -> None:
    path = f"clusters/{CLUSTER}/activate"
    assert fresh("POST", path, password=ADMIN_PASSWORD) == {"ClusterId": CLUSTER}
    assert fresh.activated == [CLUSTER]
    assert fresh.vault.is_activated(CLUSTER)
    with pytest.raises(RefusedError, match="already activated"):
        fresh("POST", path, password=ADMIN_PASSWORD)
    assert fresh.activated == [CLUSTER]


@pytest.mark.parametrize("state", ["UNINITIALIZED", "INITIALIZE_IN_PROGRESS"])
def test_only_an_initialized_cluster_is_activated(fresh: Api, state: str) -> None:
    fresh.cluster.state = state
    with pytest.raises(RefusedError, match=f"is {state}: it must be INITIALIZED") as caught:
        fresh("POST", f"clusters/{CLUSTER}/activate", password=ADMIN_PASSWORD)
    assert caught.value.status == 409
    assert not fresh.vault.is_activated(CLUSTER)
    assert fresh.activated == []


def test_users_by_the_side_door(api: Api) -> None:
    assert api("GET", f"clusters/{CLUSTER}/users")["users"][2:] == [
        {"name": "app", "role": "crypto-user", "locked": False}
    ]
    answer = api("POST", f"clusters/{CLUSTER}/users", name="Other", role="admin", password=PASSWORD)
    assert answer == {"name": "other", "role": "admin"}
    answer = api("POST", f"clusters/{CLUSTER}/users/OTHER/password", password="another-secret")
    assert answer == {"name": "other", "role": "admin"}
    assert api.vault.login(CLUSTER, "other", "another-secret") == "ok"
    assert api("DELETE", f"clusters/{CLUSTER}/users/Other") == {"name": "other", "role": "admin"}
    assert names(api) == ["admin", "app_user", "app"]


def test_an_admin_manages_users(api: Api) -> None:
    api("POST", f"clusters/{CLUSTER}/users", name="other", role="admin", password=PASSWORD, login=ADMIN)
    api("POST", f"clusters/{CLUSTER}/users/app/password", role="crypto-user", password="another-secret", login=ADMIN)
    assert api.vault.login(CLUSTER, "app", "another-secret") == "ok"
    api("DELETE", f"clusters/{CLUSTER}/users/app", role="crypto-user", login=ADMIN)
    assert names(api) == ["admin", "app_user", "other"]
    with pytest.raises(RefusedError, match="admin is logged in"):
        api("DELETE", f"clusters/{CLUSTER}/users/ADMIN", login=ADMIN)


def test_a_crypto_user_manages_nobody_but_their_own_password(api: Api) -> None:
    for method, path, more in (
        ("POST", "users", {"name": "other", "role": "admin", "password": PASSWORD}),
        ("DELETE", "users/admin", {}),
        ("POST", "users/admin/password", {"password": "another-secret"}),
    ):
        with pytest.raises(RefusedError, match="app is no admin"):
            api(method, f"clusters/{CLUSTER}/{path}", login=APP, **more)
    assert names(api) == ["admin", "app_user", "app"]
    api("POST", f"clusters/{CLUSTER}/users/APP/password", password="another-secret", login=APP)
    assert api.vault.login(CLUSTER, "app", "another-secret") == "ok"


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ({**ADMIN, "password": "not-the-password"}, "wrong password"),
        ({**ADMIN, "role": "crypto-user"}, "no user"),
        ({**ADMIN, "name": "nobody"}, "no user"),
    ],
)
def test_wrong_login_changes_nothing(api: Api, login: dict[str, str], reason: str) -> None:
    for method, path, more in (
        ("POST", "login", login),
        ("POST", "users", {"name": "other", "role": "admin", "password": PASSWORD, "login": login}),
        ("DELETE", "users/app", {"login": login}),
        ("POST", "users/app/password", {"password": "another-secret", "login": login}),
    ):
        with pytest.raises(RefusedError, match=f"failed: {reason}") as caught:
            api(method, f"clusters/{CLUSTER}/{path}", **more)
        assert caught.value.status == 409
        assert login["password"] not in str(caught.value)
    assert names(api) == ["admin", "app_user", "app"]
    assert api.vault.login(CLUSTER, "app", PASSWORD) == "ok"


def test_login_counts_failures(api: Api) -> None:
    path = f"clusters/{CLUSTER}/login"
    assert api("POST", path, **ADMIN) == {"name": "admin", "role": "admin"}
    for _turn in range(5):
        with pytest.raises(RefusedError, match="wrong password"):
            api("POST", path, **{**ADMIN, "password": "not-the-password"})
    with pytest.raises(RefusedError, match="locked"):
        api("POST", path, **ADMIN)


@pytest.mark.parametrize("gone", ["no ACTIVE HSM", "no contents"])
def test_nothing_is_reached_without_an_hsm(api: Api, gone: str) -> None:
    if gone == "no contents":
        api.vault.erase(CLUSTER)
    else:
        api.cluster.hsms = []
    for method, path, more in (
        ("POST", "activate", {"password": PASSWORD}),
        ("GET", "users", {}),
        ("POST", "users", {**APP, "name": "other"}),
        ("DELETE", "users/app", {}),
        ("POST", "users/app/password", {"password": PASSWORD}),
        ("POST", "login", ADMIN),
        ("GET", "token", {}),
    ):
        with pytest.raises(RefusedError, match="no ACTIVE HSM") as caught:
            api(method, f"clusters/{CLUSTER}/{path}", **more)
        assert caught.value.status == 409


def test_unknown_cluster_user_and_address(api: Api) -> None:
    for method, path, more in (
        ("GET", "clusters/cluster-zzzzzzzzzzz/users", {}),
        ("DELETE", f"clusters/{CLUSTER}/users/nobody", {}),
        ("DELETE", f"clusters/{CLUSTER}/users/app", {"role": "admin"}),
        ("POST", f"clusters/{CLUSTER}/users/nobody/password", {"password": PASSWORD}),
        ("GET", "hsms/10.42.0.5", {}),
        ("GET", f"hsms/{CLUSTER}", {}),
    ):
        with pytest.raises(RefusedError, match="There is no") as caught:
            api(method, path, **more)
        assert caught.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("POST", "activate", {}, "password must be given"),
        ("POST", "activate", {"password": 12345678}, "password must be given, as a text"),
        ("POST", "users", {"name": "x", "role": "admin"}, "password must be given"),
        ("POST", "users", {**APP, "colour": "red"}, "unknown: colour; known here: name, role, password, login"),
        ("POST", "users", {**APP, "name": "x", "login": None}, "login must be an object"),
        ("POST", "users", {**APP, "name": "x", "login": {}}, "name must be given"),
        ("POST", "users/app/password", {"password": PASSWORD, "login": {}}, "name must be given"),
        ("POST", "users/app/password", {"password": "short"}, "8 to 32"),
        ("GET", "users", {"name": "x"}, "unknown: name; known here: nothing"),
    ],
)
def test_bad_bodies_are_told_why(api: Api, method: str, path: str, body: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        api(method, f"clusters/{CLUSTER}/{path}", **body)
    assert PASSWORD not in str(caught.value)


def test_hsms(api: Api) -> None:
    assert api("GET", f"clusters/{CLUSTER}/hsms") == {"hsms": [HSM]}
    assert api("GET", "hsms/10.42.0.4") == {**HSM, "ClusterId": CLUSTER}


def test_token(api: Api, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="softhsm2"):
        api("GET", f"clusters/{CLUSTER}/token")
    need_softhsm()
    api.vault = Vault(tmp_path / "other")
    api.vault.start_fresh(CLUSTER)
    answer = api("GET", f"clusters/{CLUSTER}/token")
    assert set(answer) == {"conf", "module", "label"}
    assert Path(answer["conf"]).exists()
    assert Path(answer["module"]).exists()
