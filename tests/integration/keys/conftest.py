# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""SoftHSM tokens, custodians, and runs of hsm_key_backup."""

from __future__ import annotations

import functools
import shutil
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_key_backup
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat
from harness.modules import run_module
from harness.pkcs11 import need_softhsm
from harness.tokens import PIN, Tokens

PASSPHRASE = "the custodian's own"


@dataclass(frozen=True)
class Custodian:
    """Somebody with an RSA pair."""

    public: str
    key_file: str

    @property
    def opening(self) -> dict[str, t.Any]:
        """The parameters by which they open a backup."""
        return {"custodian_key_file": self.key_file, "custodian_passphrase": PASSPHRASE}


@pytest.fixture(scope="session")
def memory() -> t.Iterator[Path]:
    """A folder in memory, where there is one: tokens on a disk take ten times as long."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(dir=parent))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tokens(memory: Path) -> t.Iterator[Tokens]:
    """The tokens of this process."""
    need_softhsm()
    with pytest.MonkeyPatch.context() as patch:
        made = Tokens(memory)
        patch.setenv("SOFTHSM2_CONF", str(made.conf))
        yield made


@pytest.fixture
def token(tokens: Tokens) -> str:
    """The label of an empty token."""
    return tokens.make()


@pytest.fixture(scope="session")
def custodians(memory: Path) -> list[Custodian]:
    """Two custodians."""
    made = []
    for number in range(2):
        key = rsa.generate_private_key(65537, 2048)
        path = memory / f"custodian-{number}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode()))
        )
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        made.append(Custodian(public, str(path)))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a directory store keeps its backups."""
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def run(tokens: Tokens, token: str, folder: Path, tmp_path: Path) -> t.Callable[..., dict[str, t.Any]]:
    """Run the module with the directory store; a parameter that is given goes before these."""

    def run_with(**arguments: t.Any) -> dict[str, t.Any]:
        given = {"name": "dev", "store": "directory", "path": str(folder), "library": tokens.library, "pin": PIN}
        given |= {"token_label": token, "pin_refusals": str(tmp_path / "refusals"), **arguments}
        return run_module(hsm_key_backup, **{name: value for name, value in given.items() if value is not None})

    return run_with


@pytest.fixture
def back_up(run: t.Callable[..., dict[str, t.Any]], custodians: list[Custodian]) -> t.Callable[..., dict[str, t.Any]]:
    """Run with state=present for the first custodian."""
    return functools.partial(run, custodian_public_keys=[custodians[0].public])


@pytest.fixture
def verify(run: t.Callable[..., dict[str, t.Any]], custodians: list[Custodian]) -> t.Callable[..., dict[str, t.Any]]:
    """Run with state=verified as the first custodian."""
    return functools.partial(run, state="verified", **custodians[0].opening)


@pytest.fixture
def restore(run: t.Callable[..., dict[str, t.Any]], custodians: list[Custodian]) -> t.Callable[..., dict[str, t.Any]]:
    """Run with state=restored as the first custodian."""
    return functools.partial(run, state="restored", **custodians[0].opening)
