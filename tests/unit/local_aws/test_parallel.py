# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Many callers at once."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws
from local_aws.moto_bridge import MotoNetwork

ZONES = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
THREADS = 25


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def many(server: LocalAws) -> Any:
    """A client with a connection for each thread."""
    return server.client("cloudhsmv2", config=Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS))


@pytest.fixture
def clusters(aws: LocalAws, many: Any, subnets: list[str]) -> list[str]:
    """Four ACTIVE clusters over the same subnets."""
    aws.set_knobs(quota_hsms=100, quota_hsms_per_cluster=100)
    request = {"HsmType": "hsm2m.medium", "Mode": "FIPS", "SubnetIds": subnets}
    made = [many.create_cluster(**request)["Cluster"]["ClusterId"] for _turn in range(4)]
    for cluster_id in made:
        aws.activate(cluster_id)
    return made


def listed(many: Any) -> list[dict[str, Any]]:
    return [hsm for cluster in many.describe_clusters()["Clusters"] for hsm in cluster["Hsms"]]


@pytest.mark.parametrize("count", [1, 4])
def test_hundred_at_once_get_hundred_addresses(
    aws: LocalAws, many: Any, clusters: list[str], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    look = MotoNetwork.addresses_in_use

    def look_and_yield(network: MotoNetwork, subnet_id: str) -> set[str]:
        found = look(network, subnet_id)
        time.sleep(0)  # lets another thread run between the look and the choice
        return found

    def create(number: int) -> dict[str, Any]:
        return many.create_hsm(ClusterId=clusters[number % count], AvailabilityZone=ZONES[0])["Hsm"]

    monkeypatch.setattr(MotoNetwork, "addresses_in_use", look_and_yield)
    with ThreadPoolExecutor(THREADS) as pool:
        made = list(pool.map(create, range(100)))
    for member in ("EniIp", "HsmId", "EniId"):
        assert len({hsm[member] for hsm in made}) == 100
    with pytest.raises(ClientError, match="limit of 100 HSMs"):
        create(100)
    aws.advance(600)
    assert {(hsm["HsmId"], hsm["State"]) for hsm in listed(many)} == {(hsm["HsmId"], "ACTIVE") for hsm in made}
    assert len(aws.calls("CreateHsm")) == 101
    # One backup for the activation of each cluster, one for the first HSMs of each.
    assert len(many.describe_backups()["Backups"]) == 4 + count


def test_one_address_goes_to_one_of_many(many: Any, clusters: list[str]) -> None:
    def create(number: int) -> bool:
        request = {"ClusterId": clusters[number % 4], "AvailabilityZone": ZONES[0], "IpAddress": "10.42.0.99"}
        try:
            many.create_hsm(**request)
        except many.exceptions.CloudHsmInvalidRequestException:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(create, range(50))) == 1


def test_quota_is_never_passed(aws: LocalAws, many: Any, clusters: list[str]) -> None:
    aws.set_knobs(quota_hsms=7, quota_hsms_per_cluster=3)

    def create(number: int) -> bool:
        try:
            many.create_hsm(ClusterId=clusters[number % 4], AvailabilityZone=ZONES[number % 3])
        except many.exceptions.CloudHsmInvalidRequestException:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(create, range(60))) == 7
    assert max(len(cluster["Hsms"]) for cluster in many.describe_clusters()["Clusters"]) <= 3


def test_one_hsm_is_deleted_once(many: Any, clusters: list[str]) -> None:
    hsm = many.create_hsm(ClusterId=clusters[0], AvailabilityZone=ZONES[0])["Hsm"]

    def delete(_number: int) -> bool:
        try:
            many.delete_hsm(ClusterId=clusters[0], HsmId=hsm["HsmId"])
        except many.exceptions.CloudHsmInvalidRequestException:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(delete, range(25))) == 1


def test_everything_at_once(aws: LocalAws, many: Any, clusters: list[str], subnets: list[str]) -> None:
    """Creators, deleters and lookers, while the clock jumps: no request fails, and no address is there twice."""
    # A request that is on its way while the clock jumps grows older by the jump.
    aws.set_knobs(signature_life_seconds=0)

    def work(number: int) -> None:
        chance = random.Random(number)
        cluster_id = clusters[number % 4]
        mine: list[str] = []
        for _turn in range(6):
            mine.append(many.create_hsm(ClusterId=cluster_id, AvailabilityZone=chance.choice(ZONES))["Hsm"]["HsmId"])
            present = listed(many)
            assert len({hsm["EniIp"] for hsm in present}) == len({hsm["HsmId"] for hsm in present}) == len(present)
            if chance.random() < 0.5:
                many.delete_hsm(ClusterId=cluster_id, HsmId=mine.pop(chance.randrange(len(mine))))
            aws.advance(chance.choice([0, 1, 60, 600]))
            many.describe_backups()
            many.tag_resource(ResourceId=cluster_id, TagList=[{"Key": str(number), "Value": str(len(mine))}])
        for hsm_id in mine:
            many.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    aws.advance(600)
    assert listed(many) == []
    assert {call["outcome"] for call in aws.calls()} == {"ok"}
    filters = [{"Name": "subnet-id", "Values": subnets}]
    assert aws.client("ec2").describe_network_interfaces(Filters=filters)["NetworkInterfaces"] == []
    tags = [tag["Key"] for cluster in many.describe_clusters()["Clusters"] for tag in cluster["TagList"]]
    assert sorted(tags, key=int) == [str(number) for number in range(12)]


def test_first_hsm_is_filled_in_the_moment_it_is_active(aws: LocalAws, many: Any, clusters: list[str]) -> None:
    """Nobody sees an ACTIVE HSM that holds nothing yet, however often somebody looks while the clock runs."""
    aws.set_knobs(hsm_create_seconds=1000, signature_life_seconds=0)
    many.create_hsm(ClusterId=clusters[0], AvailabilityZone=ZONES[0])
    aws.set_rate(5000)

    def look(_number: int) -> None:
        found = aws._request("GET", f"clusters/{clusters[0]}/hsms")["hsms"]
        if found:
            assert aws.users(clusters[0])

    deadline = time.monotonic() + 10
    with ThreadPoolExecutor(4) as pool:
        while listed(many)[0]["State"] != "ACTIVE":
            list(pool.map(look, range(4)))
            assert time.monotonic() < deadline
