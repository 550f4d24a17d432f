# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from harness.kms import ACCOUNT, CLUSTER, PASSWORD, REGION, World


def connection(kms: Any) -> tuple[str, str | None]:
    [store] = kms.describe_custom_key_stores()["CustomKeyStores"]
    return store["ConnectionState"], store.get("ConnectionErrorCode")


def connect_and_wait(world: World, kms: Any, store_id: str) -> tuple[str, str | None]:
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    world.clock.advance(world.knobs.kms_connect_seconds)
    return connection(kms)


def disconnect_and_wait(world: World, kms: Any, store_id: str) -> None:
    kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    world.clock.advance(world.knobs.kms_disconnect_seconds)


def test_states_over_the_clock(world: World, kms: Any, store_id: str) -> None:
    world.set_knobs(kms_connect_seconds=1200, kms_disconnect_seconds=60)
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    world.clock.advance(1199)
    assert connection(kms) == ("CONNECTING", None)
    world.clock.advance(1)
    assert connection(kms) == ("CONNECTED", None)
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert connection(kms) == ("CONNECTED", None)
    kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)
    assert connection(kms) == ("DISCONNECTING", None)
    for operation in (kms.connect_custom_key_store, kms.disconnect_custom_key_store):
        with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
            operation(CustomKeyStoreId=store_id)
    world.clock.advance(60)
    assert connection(kms) == ("DISCONNECTED", None)
    with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
        kms.disconnect_custom_key_store(CustomKeyStoreId=store_id)


def test_disconnect_ends_an_attempt(world: World, kms: Any, store_id: str) -> None:
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    disconnect_and_wait(world, kms, store_id)
    world.clock.advance(world.knobs.kms_connect_seconds)
    assert connection(kms) == ("DISCONNECTED", None)


def test_every_connect_rotates_the_password(world: World, kms: Any, store_id: str) -> None:
    passwords = {PASSWORD}
    for _turn in range(2):
        assert connect_and_wait(world, kms, store_id) == ("CONNECTED", None)
        passwords.add(world.clusters.passwords[CLUSTER]["kmsuser"])
        disconnect_and_wait(world, kms, store_id)
    assert len(passwords) == 3
    assert all(password.isalnum() and 7 <= len(password) <= 32 for password in passwords)


def test_password_is_rotated_though_nobody_asks_for_the_outcome(world: World, kms: Any, store_id: str) -> None:
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert world.clusters.passwords[CLUSTER]["kmsuser"] != PASSWORD


def test_older_backup_has_an_older_password(world: World, kms: Any, connected_id: str) -> None:
    disconnect_and_wait(world, kms, connected_id)
    world.clusters.set_password(ACCOUNT, REGION, CLUSTER, "kmsuser", PASSWORD)
    assert connect_and_wait(world, kms, connected_id) == ("FAILED", "INVALID_CREDENTIALS")
    with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
        kms.connect_custom_key_store(CustomKeyStoreId=connected_id)
    with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
        kms.update_custom_key_store(CustomKeyStoreId=connected_id, KeyStorePassword=PASSWORD)
    disconnect_and_wait(world, kms, connected_id)
    kms.update_custom_key_store(CustomKeyStoreId=connected_id, KeyStorePassword=PASSWORD)
    assert connect_and_wait(world, kms, connected_id) == ("CONNECTED", None)


def test_wrong_password_locks_the_user_out(world: World, kms: Any, store_id: str) -> None:
    kms.update_custom_key_store(CustomKeyStoreId=store_id, KeyStorePassword="mistaken")
    for _turn in range(5):
        assert connect_and_wait(world, kms, store_id) == ("FAILED", "INVALID_CREDENTIALS")
        disconnect_and_wait(world, kms, store_id)
    assert connect_and_wait(world, kms, store_id) == ("FAILED", "USER_LOCKED_OUT")
    assert world.clusters.passwords[CLUSTER]["kmsuser"] == PASSWORD


def test_without_kmsuser(world: World, kms: Any, store_id: str) -> None:
    del world.clusters.passwords[CLUSTER]["kmsuser"]
    assert connect_and_wait(world, kms, store_id) == ("FAILED", "USER_NOT_FOUND")


def test_without_cluster(world: World, kms: Any, store_id: str) -> None:
    world.clusters.clear()
    assert connect_and_wait(world, kms, store_id) == ("FAILED", "CLUSTER_NOT_FOUND")


def test_cluster_that_is_not_active(world: World, kms: Any, store_id: str) -> None:
    world.clusters.change(state="DEGRADED")
    with pytest.raises(kms.exceptions.CloudHsmClusterNotActiveException):
        kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert connection(kms) == ("DISCONNECTED", None)


def test_one_hsm_is_enough(world: World, kms: Any, store_id: str) -> None:
    world.clusters.change(active_azs=[f"{REGION}a"])
    assert connect_and_wait(world, kms, store_id) == ("CONNECTED", None)


def test_parked_cluster(world: World, kms: Any, store_id: str) -> None:
    world.clusters.change(active_azs=[])
    assert connect_and_wait(world, kms, store_id) == ("FAILED", "INSUFFICIENT_CLOUDHSM_HSMS")
    disconnect_and_wait(world, kms, store_id)
    world.set_knobs(kms_connect_refuses_without_hsm=True)
    with pytest.raises(kms.exceptions.CloudHsmClusterInvalidConfigurationException):
        kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    assert connection(kms) == ("DISCONNECTED", None)


@pytest.mark.parametrize("code", ["NETWORK_ERRORS", "USER_LOGGED_IN", "INTERNAL_ERROR"])
def test_errors_on_demand(world: World, kms: Any, store_id: str, code: str) -> None:
    world.set_knobs(kms_connect_error=code)
    assert connect_and_wait(world, kms, store_id) == ("FAILED", code)
    assert world.clusters.passwords[CLUSTER]["kmsuser"] == PASSWORD


def test_failed_store_cannot_be_deleted(world: World, kms: Any, store_id: str) -> None:
    world.clusters.clear()
    connect_and_wait(world, kms, store_id)
    with pytest.raises(ClientError, match="CustomKeyStoreInvalidStateException"):
        kms.delete_custom_key_store(CustomKeyStoreId=store_id)
