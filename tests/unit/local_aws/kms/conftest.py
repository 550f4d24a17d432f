# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""One KMS for all tests, and what most of them begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from harness.kms import ANCHOR, CLUSTER, PASSWORD, Import, World, wrap


@pytest.fixture(scope="session")
def served_world() -> Iterator[World]:
    """One server for all tests: a client's model takes a while to load."""
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="session")
def kms(served_world: World) -> Any:
    """A KMS client without retries."""
    return served_world.client()


@pytest.fixture
def world(served_world: World) -> World:
    """The world, empty but for the keys that moto keeps."""
    served_world.reset()
    return served_world


@pytest.fixture
def store_id(world: World, kms: Any) -> str:
    """A key store that was never connected, with a cluster of two HSMs."""
    world.clusters.add()
    return kms.create_custom_key_store(
        CustomKeyStoreName="store",
        CloudHsmClusterId=CLUSTER,
        TrustAnchorCertificate=ANCHOR,
        KeyStorePassword=PASSWORD,
    )["CustomKeyStoreId"]


@pytest.fixture
def connected_id(world: World, kms: Any, store_id: str) -> str:
    """The same store, CONNECTED."""
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    world.clock.advance(world.knobs.kms_connect_seconds)
    return store_id


@pytest.fixture
def import_material(kms: Any) -> Import:
    """Import material, wrapped for real."""

    def imported(key_id: str, material: bytes, algorithm: str = "RSAES_OAEP_SHA_256", **more: Any) -> dict[str, Any]:
        parameters = kms.get_parameters_for_import(
            KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048"
        )
        if "ValidTo" not in more:
            more.setdefault("ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE")
        return kms.import_key_material(
            KeyId=key_id,
            ImportToken=parameters["ImportToken"],
            EncryptedKeyMaterial=wrap(parameters["PublicKey"], algorithm, material),
            **more,
        )

    return imported
