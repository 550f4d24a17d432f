# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from pathlib import Path

import pytest
from local_aws.contents.errors import RefusedError
from local_aws.contents.users import Login
from local_aws.contents.vault import Vault

CLUSTER, OTHER = "cluster-aaaaaaaaaaa", "cluster-bbbbbbbbbbb"
ADMIN_PASSWORD, PASSWORD = "admin-secret-1", "user-secret-1"


def fail_to_log_in(vault: Vault, name: str, times: int = 5) -> list[str]:
    return [vault.login(CLUSTER, name, "not-the-password").value for _turn in range(times)]


def test_fresh_hsm_is_activated_once(tmp_path: Path) -> None:
    vault = Vault(tmp_path, module=None)
    vault.start_fresh(CLUSTER)
    assert vault.alive(CLUSTER)
    assert not vault.is_activated(CLUSTER)
    assert vault.users(CLUSTER) == [
        ("admin", "unactivated-admin", False),
        ("app_user", "internal(APPLIANCE_USER)", False),
    ]
    assert vault.login(CLUSTER, "admin", "") == Login.WRONG_PASSWORD
    for change in (
        lambda: vault.create_user(CLUSTER, "app", "crypto-user", PASSWORD),
        lambda: vault.change_password(CLUSTER, "admin", PASSWORD),
        lambda: vault.delete_user(CLUSTER, "admin"),
    ):
        with pytest.raises(RefusedError, match="not activated"):
            change()
    with pytest.raises(ValueError, match="8 to 32"):
        vault.activate(CLUSTER, "short")
    vault.activate(CLUSTER, ADMIN_PASSWORD)
    assert vault.is_activated(CLUSTER)
    assert vault.users(CLUSTER)[0] == ("admin", "admin", False)
    assert vault.login(CLUSTER, "admin", ADMIN_PASSWORD) == "ok"
    with pytest.raises(RefusedError, match="already activated"):
        vault.activate(CLUSTER, ADMIN_PASSWORD)
    with pytest.raises(RefusedError, match="in use"):
        vault.start_fresh(CLUSTER)


def test_users_come_and_go(users_only: Vault) -> None:
    users_only.create_user(CLUSTER, "App_1", "crypto-user", PASSWORD)
    users_only.create_user(CLUSTER, "second", "admin", PASSWORD)
    assert [user[:2] for user in users_only.users(CLUSTER)[2:]] == [("app_1", "crypto-user"), ("second", "admin")]
    with pytest.raises(RefusedError, match="app_1 already"):
        users_only.create_user(CLUSTER, "APP_1", "admin", PASSWORD)
    users_only.change_password(CLUSTER, "APP_1", "another-secret")
    assert users_only.login(CLUSTER, "app_1", PASSWORD) == "wrong password"
    assert users_only.login(CLUSTER, "app_1", "another-secret") == "ok"
    users_only.delete_user(CLUSTER, "App_1")
    assert users_only.login(CLUSTER, "app_1", "another-secret") == "no user"
    with pytest.raises(RefusedError) as unknown:
        users_only.delete_user(CLUSTER, "app_1")
    assert unknown.value.status == 404
    with pytest.raises(RefusedError, match="belongs to AWS"):
        users_only.delete_user(CLUSTER, "app_user")


@pytest.mark.parametrize(
    ("name", "role", "password", "text"),
    [
        ("", "admin", PASSWORD, "name must be"),
        ("a" * 32, "admin", PASSWORD, "name must be"),
        ("a-b", "admin", PASSWORD, "name must be"),
        ("a:b", "admin", PASSWORD, "name must be"),
        ("app", "root", PASSWORD, "role must be one of admin, crypto-user"),
        ("app", "unactivated-admin", PASSWORD, "role must be one of"),
        ("app", "admin", "s" * 7, "8 to 32 characters, not 7"),
        ("app", "admin", "s" * 33, "8 to 32 characters, not 33"),
    ],
)
def test_limits_of_a_user(users_only: Vault, name: str, role: str, password: str, text: str) -> None:
    before = users_only.users(CLUSTER)
    with pytest.raises(ValueError, match=text) as caught:
        users_only.create_user(CLUSTER, name, role, password)
    assert password not in str(caught.value)
    assert users_only.users(CLUSTER) == before


def test_longest_user(users_only: Vault) -> None:
    users_only.create_user(CLUSTER, "a" * 31, "crypto-user", "ß:" * 16)
    assert users_only.login(CLUSTER, "a" * 31, "ß:" * 16) == "ok"


def test_five_failures_in_a_row_lock(users_only: Vault) -> None:
    assert fail_to_log_in(users_only, "admin", 4) == ["wrong password"] * 4
    assert users_only.login(CLUSTER, "admin", ADMIN_PASSWORD) == "ok"
    assert fail_to_log_in(users_only, "admin") == ["wrong password"] * 5
    assert users_only.users(CLUSTER)[0] == ("admin", "admin", True)
    assert users_only.login(CLUSTER, "admin", ADMIN_PASSWORD) == "locked"
    users_only.change_password(CLUSTER, "admin", ADMIN_PASSWORD)
    assert users_only.login(CLUSTER, "admin", ADMIN_PASSWORD) == "ok"


def test_appliance_user_never_logs_in(users_only: Vault) -> None:
    assert fail_to_log_in(users_only, "app_user", 6) == ["wrong password"] * 6
    assert users_only.login(CLUSTER, "app_user", "") == "wrong password"


def test_users_passwords_and_lockout_survive_a_backup(users_only: Vault) -> None:
    users_only.create_user(CLUSTER, "app", "crypto-user", PASSWORD)
    users_only.create_user(CLUSTER, "clumsy", "crypto-user", PASSWORD)
    fail_to_log_in(users_only, "clumsy")
    kept = users_only.users(CLUSTER)
    users_only.snapshot(CLUSTER, "backup-1")
    users_only.change_password(CLUSTER, "clumsy", PASSWORD)
    users_only.delete_user(CLUSTER, "app")
    users_only.erase(CLUSTER)
    users_only.restore("backup-1", CLUSTER)
    assert users_only.users(CLUSTER) == kept
    assert users_only.login(CLUSTER, "app", PASSWORD) == "ok"
    assert users_only.login(CLUSTER, "clumsy", PASSWORD) == "locked"


def test_what_is_restored_is_not_the_backup(users_only: Vault) -> None:
    users_only.snapshot(CLUSTER, "backup-1")
    users_only.restore("backup-1", OTHER)
    users_only.change_password(OTHER, "admin", "another-secret")
    users_only.restore("backup-1", CLUSTER)
    assert users_only.login(CLUSTER, "admin", ADMIN_PASSWORD) == "ok"
    assert users_only.login(OTHER, "admin", ADMIN_PASSWORD) == "wrong password"


def test_without_an_hsm_there_is_nothing(users_only: Vault) -> None:
    users_only.erase(CLUSTER)
    users_only.erase(CLUSTER)
    assert not users_only.alive(CLUSTER)
    assert not users_only.is_activated(CLUSTER)
    assert users_only.login(CLUSTER, "admin", ADMIN_PASSWORD) == "no hsm"
    for use in (
        lambda: users_only.users(CLUSTER),
        lambda: users_only.activate(CLUSTER, PASSWORD),
        lambda: users_only.create_user(CLUSTER, "app", "crypto-user", PASSWORD),
        lambda: users_only.snapshot(CLUSTER, "backup-1"),
        lambda: users_only.token(CLUSTER),
    ):
        with pytest.raises(RefusedError, match="has no HSM") as caught:
            use()
        assert caught.value.status == 409
    users_only.start_fresh(CLUSTER)
    assert not users_only.is_activated(CLUSTER)


def test_backups_are_known_by_their_id(users_only: Vault) -> None:
    users_only.snapshot(CLUSTER, "backup-1")
    users_only.copy_snapshot("backup-1", "backup-2")
    users_only.forget_snapshot("backup-1")
    users_only.forget_snapshot("backup-1")
    assert not users_only.has_snapshot("backup-1")
    assert users_only.has_snapshot("backup-2")
    for use in (
        lambda: users_only.restore("backup-1", CLUSTER),
        lambda: users_only.copy_snapshot("backup-1", "backup-3"),
    ):
        with pytest.raises(RefusedError, match="backup-1") as caught:
            use()
        assert caught.value.status == 404
    users_only.restore("backup-2", OTHER)
    assert users_only.is_activated(OTHER)
    users_only.reset()
    assert not users_only.alive(CLUSTER)
    assert not users_only.has_snapshot("backup-2")


def test_users_survive_a_restart(users_only: Vault, tmp_path: Path) -> None:
    fail_to_log_in(users_only, "admin", 3)
    users_only.snapshot(CLUSTER, "backup-1")
    other = Vault(tmp_path / "elsewhere", module=None)
    other.start_fresh(OTHER)
    other.load(users_only.dump())
    assert not other.alive(OTHER)
    assert other.users(CLUSTER) == users_only.users(CLUSTER)
    assert fail_to_log_in(other, "admin", 3) == ["wrong password", "wrong password", "locked"]
    other.restore("backup-1", OTHER)
    assert other.login(OTHER, "admin", ADMIN_PASSWORD) == "ok"


def test_no_password_is_kept_or_printed(users_only: Vault) -> None:
    users_only.create_user(CLUSTER, "app", "crypto-user", PASSWORD)
    users_only.snapshot(CLUSTER, "backup-1")
    [contents, kept] = [*users_only._clusters.values(), *users_only._snapshots.values()]
    shown = f"{contents!r} {contents.users.members!r} {kept!r}"
    for secret in (PASSWORD, ADMIN_PASSWORD):
        assert secret.encode() not in users_only.dump()
    for hidden in (contents.so_pin, contents.users.get("app").digest, contents.users.get("app").salt):
        assert hidden not in shown


def test_token_needs_softhsm(users_only: Vault) -> None:
    with pytest.raises(RefusedError, match="install the package softhsm2"):
        users_only.token(CLUSTER)
