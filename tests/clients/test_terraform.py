# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Terraform and its AWS provider, where both are installed; neither can be had from a Python index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_aws.driver import LocalAws

PROVIDERS = "registry.terraform.io"
# The provider waits for half a minute at each step by its own clock, in which every state is reached at this rate.
RATE = 600

CONFIGURATION = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "purpose" { type = string }

provider "aws" {
  region                      = "eu-west-1"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints {
    cloudhsmv2 = var.endpoint
    ec2        = var.endpoint
    iam        = var.endpoint
    sts        = var.endpoint
  }
}

resource "aws_vpc" "this" {
  cidr_block = "10.43.0.0/16"
}

resource "aws_subnet" "this" {
  for_each          = { "eu-west-1a" = "10.43.0.0/24", "eu-west-1b" = "10.43.1.0/24" }
  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value
}

resource "aws_cloudhsm_v2_cluster" "this" {
  hsm_type   = "hsm2m.medium"
  mode       = "FIPS"
  subnet_ids = [for subnet in aws_subnet.this : subnet.id]
  tags       = { Name = "terraform", Purpose = var.purpose }
}

resource "aws_cloudhsm_v2_hsm" "this" {
  cluster_id = aws_cloudhsm_v2_cluster.this.cluster_id
  subnet_id  = aws_subnet.this["eu-west-1a"].id
  ip_address = "10.43.0.10"
}

output "cluster_id" { value = aws_cloudhsm_v2_cluster.this.cluster_id }
output "hsm_id" { value = aws_cloudhsm_v2_hsm.this.hsm_id }
output "hsm_state" { value = aws_cloudhsm_v2_hsm.this.hsm_state }
"""

Terraform = Callable[..., subprocess.CompletedProcess[str]]


def mirror() -> Path | None:
    """The folder of a plugin mirror that holds the AWS provider."""
    named = (os.environ.get(name) for name in ("TERRAFORM_PROVIDER_MIRROR", "TF_PLUGIN_CACHE_DIR"))
    usual = ("/usr/share/terraform/plugins", Path.home() / ".terraform.d/plugins", "/opt/tf-plugins")
    for folder in map(Path, (*filter(None, named), *usual)):
        if any((folder / PROVIDERS / "hashicorp/aws").glob("**/terraform-provider-aws*")):
            return folder
    return None


@pytest.fixture
def running() -> Iterator[LocalAws]:
    with LocalAws(rate=RATE) as aws:
        yield aws


@pytest.fixture
def terraform(running: LocalAws, environment: dict[str, str], tmp_path: Path) -> Terraform:
    program, plugins = shutil.which("terraform"), mirror()
    if program is None or plugins is None:
        pytest.skip("no terraform on PATH, or no AWS provider in a plugin mirror (TERRAFORM_PROVIDER_MIRROR names one)")
    settings = tmp_path / "terraformrc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{plugins}" }}\n}}\n')
    (tmp_path / "main.tf").write_text(CONFIGURATION)
    variables = environment | {
        "TF_CLI_CONFIG_FILE": str(settings),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
        "TF_VAR_endpoint": running.url,
    }

    def run(*arguments: str, purpose: str = "test") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=variables | {"TF_VAR_purpose": purpose},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.mark.slow
def test_apply_plan_change_and_destroy(running: LocalAws, terraform: Terraform) -> None:
    hsms = running.client("cloudhsmv2")
    terraform("init", "-no-color")
    terraform("apply", "-no-color", "-auto-approve")
    output = {name: entry["value"] for name, entry in json.loads(terraform("output", "-json").stdout).items()}
    [cluster] = hsms.describe_clusters()["Clusters"]
    [hsm] = cluster["Hsms"]
    assert (cluster["ClusterId"], hsm["HsmId"], "ACTIVE") == tuple(
        output[n] for n in ("cluster_id", "hsm_id", "hsm_state")
    )
    assert (hsm["EniIp"], hsm["AvailabilityZone"]) == ("10.43.0.10", "eu-west-1a")

    # Ends with 2 when it would change anything.
    terraform("plan", "-no-color", "-detailed-exitcode")
    terraform("apply", "-no-color", "-auto-approve", "-refresh=false", purpose="other")
    [changed] = hsms.describe_clusters()["Clusters"]
    assert {tag["Key"]: tag["Value"] for tag in changed["TagList"]} == {"Name": "terraform", "Purpose": "other"}
    assert changed["Hsms"] == cluster["Hsms"]

    terraform("destroy", "-no-color", "-auto-approve", "-refresh=false", purpose="other")
    assert [left["State"] for left in hsms.describe_clusters()["Clusters"]] in ([], ["DELETED"])
    assert [call for call in running.calls() if call["outcome"] == "InvalidSignatureException"] == []
