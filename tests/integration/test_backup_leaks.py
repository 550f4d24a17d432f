# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whatever a run prints and leaves behind, there is no PIN and no key in it. Run as AWX runs it: by ansible-runner, at -vvv."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import ansible_runner
import pytest
import yaml
from harness.estates import FEW_KINDS, PIN, Estate, Estates
from harness.leaks import Processes, files, forms, leaks
from harness.pkcs11 import need_softhsm
from harness.redis_servers import wait_until
from sandbox.sandbox import CHECKOUT

# A run gets what is secret from there, so it stands there.
GIVEN = ("pin", "inventory")


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estates]:
    need_softhsm()
    with Estates(tmp_path_factory.mktemp("estates")) as estates:
        yield estates


def open_data_keys(estates: Estates, estate: Estate) -> list[bytes]:
    """The data keys of the backup, as KMS gives them to whoever restores it."""
    manifest = json.loads(estate.secrets()[f"hsmops/{estate.name}/manifest"])
    kms = estates.aws.client("kms")
    return [
        kms.decrypt(
            KeyId=estates.kms_key, EncryptionAlgorithm=form["algorithm"], CiphertextBlob=base64.b64decode(form["blob"])
        )["Plaintext"]
        for data_key in manifest["data_keys"]
        for form in data_key["wrapped"]
    ]


def test_the_scan_finds_what_is_planted(tmp_path):
    secret = os.urandom(32)
    for number, form in enumerate(forms(secret)):
        (tmp_path / str(number)).write_bytes(b"before" + form + b"after")
    assert len(leaks({"key": secret}, files(tmp_path))) == len(forms(secret))
    assert leaks({"key": os.urandom(32)}, files(tmp_path)) == []

    with Processes() as processes, subprocess.Popen(["cat", "-", secret.hex()], stdin=subprocess.PIPE) as process:
        wait_until(lambda: leaks({"key": secret}, processes.places), 20)
        process.kill()


def test_a_run_leaves_nothing_secret(estates, tmp_path):
    estate = estates.make(hsm_backup_never_expires=True).furnish(FEW_KINDS)
    key = os.urandom(32)
    estate.ask("bring", label="brought", value=key.hex())
    del estate.variables["hsm_key_backup"]["pin"]
    estate.variables["hsm_key_backup"]["pin_file"] = str(tmp_path / "pin")
    (tmp_path / "pin").write_text(PIN)
    # The host with the PKCS#11 library has a Python of its own.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho used >> "$0.used"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    inventory = estates.inventory(estate)
    inventory["all"]["hosts"]["vault"] = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
    inventory["all"]["vars"]["hsm_key_backup_host"] = "vault"
    (tmp_path / "inventory").write_text(yaml.safe_dump(inventory))
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    (tmp_path / "runner").mkdir()
    home.mkdir()
    temporary.mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "SOFTHSM2_CONF": str(estate.conf),
        "ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log"),
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"),
    }
    with Processes() as processes:
        for playbook in ("backup_then_delete_hsm", "ensure_hsm"):
            done = ansible_runner.run(
                private_data_dir=str(tmp_path / "runner"),
                project_dir=str(CHECKOUT),
                playbook=str(CHECKOUT / "playbooks" / f"{playbook}.yml"),
                inventory=str(tmp_path / "inventory"),
                extravars={"env": estate.name, "hsm_keys_after_restore": "restored"},
                envvars=environment,
                verbosity=3,
                quiet=True,
            )
            assert (done.status, done.rc) == ("successful", 0), done.stdout.read()

    places = files(tmp_path, GIVEN) | processes.places
    assert len(list((tmp_path / "runner" / "artifacts").iterdir())) == 2
    assert any(b"ansible-playbook" in line for line in processes.seen)
    assert (tmp_path / "python.used").exists()
    assert (tmp_path / "ansible.log").stat().st_size > 1000
    places |= {f"Redis {name!r}": content for name, content in estates.contents().items()}
    places |= {f"secret {name}": content for name, content in estate.secrets().items()}
    places["calls to AWS"] = json.dumps(estates.aws.calls()).encode()
    _user, _colon, password = PIN.partition(":")
    data_keys = {f"data key {number}": found for number, found in enumerate(open_data_keys(estates, estate))}
    assert data_keys
    assert leaks({"PIN": password.encode(), "key": key, **data_keys}, places) == []
