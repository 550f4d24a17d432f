# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A local AWS goes on where another process left off."""

from __future__ import annotations

import pathlib
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness.pkcs11 import Pkcs11Application, need_softhsm
from local_aws import saved
from local_aws.client import Client, ControlError
from local_aws.driver import LocalAws

PIN = "alice:Passw0rd!"
TESTS = pathlib.Path(__file__).parents[2]


@contextmanager
def running(state: pathlib.Path) -> Iterator[Client]:
    """A local AWS in a process of its own, which keeps its state in a file."""
    command = [sys.executable, "-m", "local_aws", "--port", "0", "--rate", "0", "--state", str(state)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Client(process.stdout.readline().split()[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_everything_is_there_after_a_restart(tmp_path: pathlib.Path) -> None:
    need_softhsm()
    state = tmp_path / "state"
    with running(state) as aws:
        cluster_id = aws.lay_out()
        hsms = aws.client("cloudhsmv2")
        hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")
        aws.advance(1000)
        aws.create_user(cluster_id, *PIN.split(":"))
        with Pkcs11Application(aws.token(cluster_id), PIN) as application:
            application.call("generate", label="kept")
            ciphertext = application.call("encrypt", label="kept", text="attack at dawn, ")
        hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1b")
        aws.set_knobs(hsm_delete_seconds=7)
        key_id = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
        encrypted = aws.client("kms").encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
        external = aws.client("kms").create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
        aws.client("secretsmanager").create_secret(Name="backup", SecretString="blob")
        before, now = seen(aws), aws.now()
    assert state.stat().st_mode & 0o777 == 0o600

    with running(state) as aws:
        assert (aws.now(), seen(aws), aws.read_knobs()["hsm_delete_seconds"]) == (now, before, 7)
        with Pkcs11Application(aws.token(cluster_id), PIN) as application:
            assert application.call("decrypt", label="kept", encrypted=ciphertext) == "attack at dawn, "
        kms = aws.client("kms")
        assert kms.decrypt(CiphertextBlob=encrypted)["Plaintext"] == b"secret"
        assert kms.describe_key(KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"
        assert aws.client("secretsmanager").get_secret_value(SecretId="backup")["SecretString"] == "blob"
        # What was under way goes on, and no id comes again.
        aws.advance(600)
        hsms = aws.client("cloudhsmv2")
        assert {hsm["State"] for hsm in hsms.describe_clusters()["Clusters"][0]["Hsms"]} == {"ACTIVE"}
        third = hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1c")["Hsm"]
        assert third["HsmId"] not in {hsm["HsmId"] for hsm in before["Clusters"][0]["Hsms"]}


def seen(aws: Client) -> dict[str, Any]:
    """What the API shows of CloudHSM, and of its network interfaces."""
    hsms = aws.client("cloudhsmv2")
    interfaces = aws.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    return {
        "Clusters": hsms.describe_clusters()["Clusters"],
        "Backups": hsms.describe_backups()["Backups"],
        "Addresses": sorted(interface["PrivateIpAddress"] for interface in interfaces),
    }


def test_saving_needs_a_file(aws: LocalAws) -> None:
    with pytest.raises(ControlError, match="409: no file to save to: start the local AWS with --state FILE"):
        aws.save()


def test_refuses_what_it_did_not_write(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.write_text("not a pickle")
    with pytest.raises(saved.SavedStateError, match="not a saved state"):
        saved.read(other)
    other.write_bytes(pickle.dumps({"format": 0}))
    with pytest.raises(saved.SavedStateError, match="another version"):
        saved.read(other)


def test_a_failure_to_write_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state"
    saved.write(path, {"now": 1.0})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        saved.write(path, {"now": lambda: None})
    assert saved.read(path)["now"] == 1.0
