# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_cluster_info against the local AWS."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_cluster_info
from harness.modules import run_module


@pytest.fixture
def run(connection):
    return functools.partial(run_module, cloudhsm_cluster_info, **connection)


def ids(result: dict) -> list[str]:
    return [cluster["cluster_id"] for cluster in result["clusters"]]


def test_nothing_is_an_empty_list(aws, run):
    assert run() == {**run(check=True), "changed": False, "clusters": []}


def test_every_page_is_read_and_every_filter_must_match(aws, run):
    aws.set_knobs(quota_clusters=60)
    environments = [aws.lay_out(f"env-{number}", tags={"parity": str(number % 2)}) for number in range(26)]
    aws.set_cluster_state(environments[1], "UNINITIALIZED")
    made = sorted(environments)
    vpc_ids = {cluster["cluster_id"]: cluster["vpc_id"] for cluster in run()["clusters"]}
    aws.clear_calls()

    assert ids(run()) == made
    assert len(aws.calls("DescribeClusters")) == 2
    assert ids(run(cluster_ids=[made[3], "cluster-abcdefghijk"])) == [made[3]]
    assert ids(run(states=["UNINITIALIZED"])) == [environments[1]]
    assert ids(run(vpc_ids=[vpc_ids[made[4]]])) == [made[4]]
    assert len(ids(run(tags={"parity": 0}))) == 13
    assert ids(run(tags={"parity": 0, "Name": "env-2"}, states=["ACTIVE"], cluster_ids=made)) == [environments[2]]
    assert ids(run(tags={"parity": 1, "Name": "env-2"})) == []
    assert ids(run(states=["ACTIVE"], cluster_ids=[environments[1]])) == []


def test_moment_is_that_of_the_clock_of_aws(aws, run):
    aws.advance(86400)
    assert run()["moment"] == int(aws.clock.now())


def test_members(aws, run, cluster_id):
    aws.client("cloudhsmv2").create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1b")
    cluster = run()["clusters"][0]

    assert set(cluster["subnet_mapping"]) == {"eu-west-1a", "eu-west-1b", "eu-west-1c"}
    assert cluster["tags"] == {"Name": "dev"}
    assert cluster["backup_retention_policy"] == {"type": "DAYS", "value": "90"}
    assert cluster["hsms"][0]["state"] == "CREATE_IN_PROGRESS"
    assert cluster["hsms"][0]["eni_ip"].startswith("10.42.1.")
    assert "pre_co_password" not in cluster


def test_bad_input(aws, run):
    assert run(cluster_ids=["dev"])["msg"] == "cluster_ids: 'dev' is not a cluster id, such as cluster-abcdefghijk."
    assert "region: none is configured" in run(region="")["msg"]
    aws.fault("deny", "DescribeClusters", code="AccessDeniedException")
    denied = run()
    assert denied["failed"]
    assert "Access denied: allow DescribeClusters" in denied["msg"]
