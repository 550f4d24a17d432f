# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The `aws` command: that of the virtual environment, else any on PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.claims import sign
from local_aws.client import REGION
from local_aws.driver import LocalAws

# Version 1 of the command ends with 255, version 2 with 254.
REFUSED = (254, 255)
MISSING = "no aws command in the virtual environment or on PATH (uv tool install awscli)"

Aws = Callable[..., Any]


def find() -> str | None:
    """The command, or None."""
    environment = Path(sys.prefix)
    for folder in (environment / "bin", environment / "tools/bin", environment / "tools/awscli/bin"):
        if found := shutil.which("aws", path=str(folder)):
            return found
    return shutil.which("aws")


@pytest.fixture(scope="module")
def command() -> str:
    found = find()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


@pytest.fixture
def run(command: str, aws: LocalAws, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    # The version manager that a command may be a shim of looks for its own folder at home.
    variables = environment | {name: value for name, value in os.environ.items() if name.startswith("PYENV_")}

    def run_it(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [command, "--endpoint-url", aws.url, "--output", "json", "cloudhsmv2", *arguments]
        return subprocess.run(line, env=variables, capture_output=True, text=True, timeout=60, check=False)

    return run_it


@pytest.fixture
def cli(run: Callable[..., subprocess.CompletedProcess[str]]) -> Aws:
    def ask(*arguments: str) -> Any:
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout) if done.stdout else None

    return ask


def test_life_of_a_cluster(aws: LocalAws, cli: Aws, tmp_path: Path) -> None:
    ec2 = aws.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.45.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.45.0.0/24", AvailabilityZone=f"{REGION}a")["Subnet"]
    made = cli(
        *("create-cluster", "--hsm-type", "hsm2m.medium", "--mode", "FIPS", "--subnet-ids", subnet["SubnetId"]),
        *("--backup-retention-policy", "Type=DAYS,Value=30", "--tag-list", "Key=Name,Value=signing"),
    )["Cluster"]
    cluster_id = made["ClusterId"]
    assert (made["State"], made["BackupRetentionPolicy"]["Value"]) == ("CREATE_IN_PROGRESS", "30")
    aws.advance(600)
    by_id = ("--filters", f"clusterIds={cluster_id}")
    assert cli("describe-clusters", *by_id, "--query", "Clusters[0].State") == "UNINITIALIZED"

    hsm = cli(
        "create-hsm", "--cluster-id", cluster_id, "--availability-zone", f"{REGION}a", "--ip-address", "10.45.0.9"
    )["Hsm"]
    assert (hsm["State"], hsm["EniIp"]) == ("CREATE_IN_PROGRESS", "10.45.0.9")
    aws.advance(1200)
    csr = cli("describe-clusters", *by_id, "--query", "Clusters[0].Certificates.ClusterCsr")
    files = [tmp_path / "cluster.crt", tmp_path / "customerCA.crt"]
    for path, content in zip(files, sign(csr), strict=True):
        path.write_text(content)
    names = zip(("--signed-cert", "--trust-anchor"), files, strict=True)
    given = [argument for option, path in names for argument in (option, f"file://{path}")]
    answer = cli("initialize-cluster", "--cluster-id", cluster_id, *given)
    assert answer == {
        "State": "INITIALIZE_IN_PROGRESS",
        "StateMessage": "Cluster is initializing. State will change to INITIALIZED upon completion.",
    }
    aws.advance(600)
    aws.activate(cluster_id)
    aws.advance(60)

    assert cli("delete-hsm", "--cluster-id", cluster_id, "--hsm-id", hsm["HsmId"]) == {"HsmId": hsm["HsmId"]}
    aws.advance(600)
    assert cli("describe-clusters", *by_id, "--query", "Clusters[0].[State, length(Hsms)]") == ["ACTIVE", 0]
    assert cli("describe-backups", *by_id, "--query", "Backups[*].BackupState") == ["READY", "READY"]
    assert cli("delete-cluster", "--cluster-id", cluster_id)["Cluster"]["State"] == "DELETE_IN_PROGRESS"


def test_tags_backups_and_pages(aws: LocalAws, cli: Aws) -> None:
    ids = [aws.lay_out(name) for name in ("one", "two", "three")]
    aws.advance(60)
    cli("tag-resource", "--resource-id", ids[0], "--tag-list", "Key=owner,Value=me", "Key=Purpose,Value=test")
    cli("untag-resource", "--resource-id", ids[0], "--tag-key-list", "owner")
    tags = cli("list-tags", "--resource-id", ids[0])["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"Name": "one", "Purpose": "test"}
    query = ("--query", "Clusters[*].ClusterId")
    assert cli("describe-clusters", *query) == ids
    assert cli("describe-clusters", "--page-size", "1", *query) == ids
    first = cli("describe-clusters", "--max-items", "2")
    rest = cli("describe-clusters", "--starting-token", first["NextToken"])
    assert [cluster["ClusterId"] for cluster in first["Clusters"] + rest["Clusters"]] == ids

    ready = ("--filters", f"clusterIds={ids[0]},states=READY")
    [backup] = cli("describe-backups", *ready)["Backups"]
    assert cli("describe-backups", "--filters", f"clusterIds={ids[0]},states=DELETED")["Backups"] == []
    copied = cli("copy-backup-to-region", "--destination-region", "us-east-1", "--backup-id", backup["BackupId"])
    assert copied["DestinationBackup"]["SourceBackup"] == backup["BackupId"]
    aws.advance(3600)
    of_it = ("--filters", f"sourceBackupIds={backup['BackupId']}")
    [copy] = cli("describe-backups", "--region", "us-east-1", *of_it)["Backups"]
    assert (copy["BackupState"], copy["SourceRegion"]) == ("READY", REGION)


def test_errors_name_the_exception(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run("delete-hsm", "--cluster-id", "cluster-aaaaaaaaaaa", "--hsm-id", "hsm-aaaaaaaaaaa")
    assert done.returncode in REFUSED
    assert done.stdout == ""
    assert "An error occurred (CloudHsmResourceNotFoundException) when calling the DeleteHsm operation" in done.stderr
    done = run("create-hsm", "--cluster-id", "cluster-1", "--availability-zone", "nowhere")
    assert done.returncode in REFUSED
    assert "An error occurred (CloudHsmInvalidRequestException) when calling the CreateHsm operation" in done.stderr
