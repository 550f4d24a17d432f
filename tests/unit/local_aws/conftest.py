# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A frozen local AWS for every test, and a boto3 client that does not retry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from local_aws.driver import LocalAws

ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture(scope="session")
def server() -> Iterator[LocalAws]:
    """One server: moto's EC2 takes a second to load."""
    with LocalAws(rate=0, seed=1) as aws:
        yield aws


@pytest.fixture
def aws(server: LocalAws) -> Iterator[LocalAws]:
    """The server, empty and with its own settings."""
    server.reset(cloudhsm_only=True)
    yield server
    server.set_rate(0)


@pytest.fixture(scope="session")
def hsms(server: LocalAws) -> Any:
    """A CloudHSM client without retries."""
    return server.client("cloudhsmv2", config=ONCE)


@pytest.fixture
def subnets(aws: LocalAws) -> list[str]:
    """Three subnets that all tests share, for a VPC of its own costs each test 50 ms."""
    ec2 = aws.client("ec2")

    def tagged() -> list[str]:
        found = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["shared"]}])
        return [subnet["SubnetId"] for subnet in found["Subnets"]]

    if not tagged():
        aws.lay_out("shared")
        aws.reset(cloudhsm_only=True)
    return tagged()


@pytest.fixture
def cluster_id(aws: LocalAws, hsms: Any, subnets: list[str]) -> str:
    """An ACTIVE cluster without HSM, tagged Name=dev."""
    tags = [{"Key": "Name", "Value": "dev"}]
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets, TagList=tags)["Cluster"]
    aws.activate(made["ClusterId"])
    return made["ClusterId"]
