# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A vault without SoftHSM, and one with a crypto user and a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.pkcs11 import need_softhsm
from local_aws.contents.vault import Vault

CLUSTER = "cluster-aaaaaaaaaaa"
ADMIN_PASSWORD, PASSWORD = "admin-secret-1", "user-secret-1"


@pytest.fixture
def users_only(tmp_path: Path) -> Vault:
    """A vault with an activated cluster, on a machine without SoftHSM."""
    vault = Vault(tmp_path / "vault", module=None)
    vault.start_fresh(CLUSTER)
    vault.activate(CLUSTER, ADMIN_PASSWORD)
    return vault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `vault` keeps its files."""
    return tmp_path / "vault"


@pytest.fixture
def vault(folder: Path) -> Vault:
    """A vault with an activated cluster, whose crypto user `app` reaches the keys."""
    need_softhsm()
    vault = Vault(folder)
    vault.start_fresh(CLUSTER)
    vault.activate(CLUSTER, ADMIN_PASSWORD)
    vault.create_user(CLUSTER, "app", "crypto-user", PASSWORD)
    return vault
