# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.pkcs11 import Pkcs11Application, Pkcs11Error, use_keys
from local_aws.contents import tokens
from local_aws.contents.errors import RefusedError
from local_aws.contents.vault import Vault

CLUSTER, OTHER = "cluster-aaaaaaaaaaa", "cluster-bbbbbbbbbbb"
ADMIN_PASSWORD, PASSWORD = "admin-secret-1", "user-secret-1"
PIN = f"app:{PASSWORD}"


def labels(vault: Vault, pin: str = PIN, cluster_id: str = CLUSTER) -> list[str]:
    return use_keys(vault.token(cluster_id), pin, "labels")


def park_and_return(vault: Vault) -> None:
    vault.snapshot(CLUSTER, "backup-1")
    vault.erase(CLUSTER)
    vault.restore("backup-1", CLUSTER)


def test_key_survives_and_only_what_the_backup_keeps_comes_back(vault: Vault) -> None:
    with Pkcs11Application(vault.token(CLUSTER), PIN) as application:
        application.call("generate", label="kept")
        application.call("generate", label="session", store=False)
        assert application.call("labels") == ["kept", "session"]
        encrypted = application.call("encrypt", label="kept", text="the secret")
        vault.snapshot(CLUSTER, "backup-1")
        application.call("generate", label="late")
        assert application.call("labels") == ["kept", "late", "session"]
    vault.erase(CLUSTER)
    vault.restore("backup-1", CLUSTER)
    with Pkcs11Application(vault.token(CLUSTER), PIN) as application:
        assert application.call("labels") == ["kept"]
        assert application.call("decrypt", label="kept", encrypted=encrypted) == "the secret"


def test_destroyed_key_comes_back_with_an_older_backup(vault: Vault) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    vault.snapshot(CLUSTER, "backup-1")
    use_keys(vault.token(CLUSTER), PIN, "destroy", label="a")
    assert labels(vault) == []
    vault.restore("backup-1", CLUSTER)
    assert labels(vault) == ["a"]


def test_open_application_loses_the_keys(vault: Vault) -> None:
    with Pkcs11Application(vault.token(CLUSTER), PIN) as application:
        application.call("generate", label="a")
        encrypted = application.call("encrypt", label="a", text="x")
        vault.erase(CLUSTER)
        assert application.call("labels") == []
        for action, more in (
            ("decrypt", {"label": "a", "encrypted": encrypted}),
            ("generate", {"label": "b"}),
        ):
            with pytest.raises(Pkcs11Error):
                application.call(action, **more)


def test_open_application_that_did_nothing_meanwhile_sees_what_was_restored(vault: Vault) -> None:
    with Pkcs11Application(vault.token(CLUSTER), PIN) as application:
        application.call("generate", label="a")
        encrypted = application.call("encrypt", label="a", text="x")
        vault.snapshot(CLUSTER, "backup-1")
        application.call("generate", label="late")
        vault.erase(CLUSTER)
        vault.restore("backup-1", CLUSTER)
        # With one more key, the token would have as many changes as when the application looked last.
        use_keys(vault.token(CLUSTER), PIN, "generate", label="new")
        assert application.call("labels") == ["a", "new"]
        assert application.call("decrypt", label="a", encrypted=encrypted) == "x"


@pytest.mark.parametrize("pin", [f"app:{PASSWORD}x", PASSWORD, f"admin:{ADMIN_PASSWORD}", f"other:{PASSWORD}"])
def test_wrong_pin(vault: Vault, pin: str) -> None:
    with pytest.raises(Pkcs11Error, match="PinIncorrect"):
        labels(vault, pin)
    assert labels(vault) == []


def test_pin_follows_the_password_and_the_keys_stay(vault: Vault) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    encrypted = use_keys(vault.token(CLUSTER), PIN, "encrypt", label="a", text="x")
    vault.snapshot(CLUSTER, "backup-1")
    vault.change_password(CLUSTER, "app", "another-secret")
    with pytest.raises(Pkcs11Error, match="PinIncorrect"):
        labels(vault)
    assert use_keys(vault.token(CLUSTER), "app:another-secret", "decrypt", label="a", encrypted=encrypted) == "x"
    vault.restore("backup-1", CLUSTER)
    assert labels(vault) == ["a"]


def test_locked_user_has_no_pin(vault: Vault) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    for _turn in range(5):
        vault.login(CLUSTER, "app", "not-the-password")
    park_and_return(vault)
    with pytest.raises(Pkcs11Error, match="PinIncorrect"):
        labels(vault)
    vault.change_password(CLUSTER, "app", PASSWORD)
    assert labels(vault) == ["a"]


def test_token_belongs_to_the_first_crypto_user_but_kmsuser(vault: Vault) -> None:
    vault.start_fresh(OTHER)
    vault.activate(OTHER, ADMIN_PASSWORD)
    for name, role in (("boss", "admin"), ("kmsuser", "crypto-user"), ("one", "crypto-user"), ("two", "crypto-user")):
        vault.create_user(OTHER, name, role, PASSWORD)
    assert labels(vault, f"one:{PASSWORD}", OTHER) == []
    for name in ("boss", "kmsuser", "two"):
        with pytest.raises(Pkcs11Error, match="PinIncorrect"):
            labels(vault, f"{name}:{PASSWORD}", OTHER)


def test_user_with_keys_is_not_deleted(vault: Vault) -> None:
    vault.create_user(CLUSTER, "next", "crypto-user", PASSWORD)
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    with pytest.raises(RefusedError, match="owns keys"):
        vault.delete_user(CLUSTER, "app")
    use_keys(vault.token(CLUSTER), PIN, "destroy", label="a")
    vault.delete_user(CLUSTER, "app")
    with pytest.raises(Pkcs11Error, match="PinIncorrect"):
        labels(vault)
    vault.change_password(CLUSTER, "next", PASSWORD)
    assert labels(vault, f"next:{PASSWORD}") == []


def test_slot_is_empty_until_there_is_a_crypto_user(vault: Vault) -> None:
    vault.start_fresh(OTHER)
    with pytest.raises(Pkcs11Error, match="NoSuchToken"):
        labels(vault, cluster_id=OTHER)


def test_clusters_do_not_see_each_other(vault: Vault) -> None:
    vault.start_fresh(OTHER)
    vault.activate(OTHER, ADMIN_PASSWORD)
    vault.create_user(OTHER, "app", "crypto-user", PASSWORD)
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    assert labels(vault) == ["a"]
    assert labels(vault, cluster_id=OTHER) == []
    vault.erase(OTHER)
    assert labels(vault) == ["a"]


def test_backup_opens_in_another_cluster(vault: Vault) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    encrypted = use_keys(vault.token(CLUSTER), PIN, "encrypt", label="a", text="x")
    vault.snapshot(CLUSTER, "backup-1")
    vault.restore("backup-1", OTHER)
    use_keys(vault.token(OTHER), PIN, "generate", label="b")
    assert use_keys(vault.token(OTHER), PIN, "decrypt", label="a", encrypted=encrypted) == "x"
    assert labels(vault) == ["a"]


def test_copy_of_a_backup_stands_alone(vault: Vault) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    vault.snapshot(CLUSTER, "backup-1")
    vault.copy_snapshot("backup-1", "backup-2")
    use_keys(vault.token(CLUSTER), PIN, "generate", label="b")
    vault.snapshot(CLUSTER, "backup-1")
    vault.forget_snapshot("backup-1")
    vault.restore("backup-2", CLUSTER)
    assert labels(vault) == ["a"]


def test_keys_survive_a_restart(vault: Vault, tmp_path: Path) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    encrypted = use_keys(vault.token(CLUSTER), PIN, "encrypt", label="a", text="x")
    vault.snapshot(CLUSTER, "backup-1")
    use_keys(vault.token(CLUSTER), PIN, "generate", label="b")
    dumped = vault.dump()
    vault.reset()
    other = Vault(tmp_path / "elsewhere")
    other.load(dumped)
    assert labels(other) == ["a", "b"]
    assert use_keys(other.token(CLUSTER), PIN, "decrypt", label="a", encrypted=encrypted) == "x"
    other.change_password(CLUSTER, "app", "another-secret")
    assert labels(other, "app:another-secret") == ["a", "b"]
    other.restore("backup-1", CLUSTER)
    assert labels(other) == ["a"]


def test_restart_in_a_folder_where_a_killed_process_left_files(vault: Vault, folder: Path) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    dumped = vault.dump()
    use_keys(vault.token(CLUSTER), PIN, "generate", label="after the dump")
    other = Vault(folder)
    other.load(dumped)
    assert labels(other) == ["a"]


def test_erasing_leaves_no_file(vault: Vault, folder: Path) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    vault.snapshot(CLUSTER, "backup-1")
    vault.erase(CLUSTER)
    assert list(folder.iterdir()) == []
    vault.restore("backup-1", CLUSTER)
    vault.reset()
    assert list(folder.iterdir()) == []


def test_nobody_else_can_read(vault: Vault, folder: Path) -> None:
    use_keys(vault.token(CLUSTER), PIN, "generate", label="a")
    park_and_return(vault)
    use_keys(vault.token(CLUSTER), PIN, "generate", label="b")
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [folder, *folder.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_paths_stay_for_the_life_of_the_cluster(vault: Vault) -> None:
    before = vault.token(CLUSTER)
    park_and_return(vault)
    assert vault.token(CLUSTER) == before


def test_no_pin_in_a_command_line_or_environment(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    run = subprocess.run

    def watch(command: list[str], **more: Any) -> Any:
        started.append(f"{command} {more['env']}")
        return run(command, check=more.pop("check", False), **more)

    monkeypatch.setattr(tokens.subprocess, "run", watch)
    vault.change_password(CLUSTER, "app", "another-secret")
    [shown] = started
    assert "another-secret" not in shown
    assert vault._clusters[CLUSTER].so_pin not in shown


def test_failure_of_softhsm_is_told_without_a_pin(folder: Path, vault: Vault) -> None:
    [token_object] = folder.rglob("token.object")
    token_object.write_bytes(b"broken")
    with pytest.raises(RuntimeError, match="SoftHSM failed: C_") as caught:
        vault.change_password(CLUSTER, "app", "another-secret")
    assert "another-secret" not in str(caught.value)
