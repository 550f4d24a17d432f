# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from local_aws.client import ControlError
from local_aws.driver import LocalAws


def test_clock(aws: LocalAws) -> None:
    before = aws.now()
    assert aws.advance(60) == pytest.approx(before + 60)
    assert aws.clock.now() == pytest.approx(before + 60)
    assert aws.health() == {"status": "ok", "now": pytest.approx(before + 60), "rate": 0}
    aws.set_rate(1_000_000)
    assert aws.clock.rate == 1_000_000
    aws.set_rate(0)
    assert aws.now() == aws.now() > before + 60


def test_knobs_count_for_what_begins_later(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")
    assert aws.set_knobs(hsm_create_seconds=10)["hsm_create_seconds"] == 10
    assert aws.read_knobs() == aws.knobs.as_dict()
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1b")
    aws.advance(10)
    states = [hsm["State"] for hsm in hsms.describe_clusters()["Clusters"][0]["Hsms"]]
    assert states == ["CREATE_IN_PROGRESS", "ACTIVE"]


def test_calls_are_counted(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.clear_calls()
    hsms.describe_clusters(MaxResults=5)
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException):
        hsms.describe_clusters(NextToken="x")
    hsms.list_tags(ResourceId=cluster_id)
    first, second = aws.calls("DescribeClusters")
    assert len(aws.calls()) == 3
    assert first["signed"]
    del first["signed"]
    assert first == {
        "operation": "DescribeClusters",
        "parameters": {"MaxResults": 5},
        "time": aws.now(),
        "account": "123456789012",
        "region": "eu-west-1",
        "outcome": "ok",
    }
    assert second["outcome"] == "CloudHsmInvalidRequestException"


def test_reset_forgets_everything_but_the_time(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(quota_hsms=1)
    aws.fault("throttle", "DeleteHsm")
    before = aws.advance(1000)
    aws.reset()
    assert aws.calls() == aws.faults() == []
    assert aws.knobs.quota_hsms == 6
    assert hsms.describe_clusters()["Clusters"] == []
    assert all(vpc["IsDefault"] for vpc in aws.client("ec2").describe_vpcs()["Vpcs"])
    assert aws.now() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "nothing", None, 404, "no such path"),
        ("DELETE", "clock", None, 405, "takes GET, POST"),
        ("POST", "clock", {"advance": -1}, 400, "advance must be"),
        ("POST", "clock", {"back": 1}, 400, "unknown: back"),
        ("POST", "knobs", {"hsm_create_seconds": "x"}, 400, "hsm_create_seconds"),
        ("POST", "faults", {}, 400, "needs a kind"),
        ("POST", "faults", {"kind": "sulk"}, 400, "kind must be"),
        ("POST", "faults", {"kind": "fail"}, 400, "needs a code"),
        ("POST", "faults", {"kind": "throttle", "times": 0}, 400, "times must be"),
        ("POST", "faults", {"kind": "throttle", "operation": "CreateHSM"}, 400, "operation must be"),
        ("POST", "faults", {"kind": "throttle", "color": "red"}, 400, "color"),
        ("POST", "clusters/cluster-aaaaaaaaaaa/state", {"state": "ACTIVE"}, 404, "cluster-aaaaaaaaaaa"),
        ("POST", "clusters/cluster-aaaaaaaaaaa/state", {"state": "GREAT"}, 400, "state must be"),
        ("POST", "hsms/hsm-aaaaaaaaaaa/replace", {}, 404, "hsm-aaaaaaaaaaa"),
        ("POST", "hsms/hsm-aaaaaaaaaaa/replace", {"seconds": -1}, 400, "seconds must be"),
        ("POST", "hsms/hsm-aaaaaaaaaaa/degrade", {"message": 1}, 400, "message must be"),
        ("GET", "calls?op=x", None, 400, "unknown: op"),
    ],
)
def test_bad_requests_are_told_why(aws: LocalAws, method: str, path: str, body: Any, status: int, text: str) -> None:
    with pytest.raises(ControlError, match=text) as caught:
        aws._request(method, path, body)
    assert caught.value.status == status
