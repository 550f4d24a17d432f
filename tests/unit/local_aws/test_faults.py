# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from local_aws.client import ControlError
from local_aws.driver import LocalAws
from local_aws.faults import CONDITION_KINDS, REQUEST_KINDS

A, B = "eu-west-1a", "eu-west-1b"


def count(hsms: Any) -> int:
    return len(hsms.describe_clusters()["Clusters"][0]["Hsms"])


def create(hsms: Any, cluster_id: str, az: str = A) -> Any:
    return hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=az)


@pytest.mark.parametrize(
    ("kind", "attributes", "code", "status", "effect"),
    [
        ("throttle", {}, "ThrottlingException", 400, 0),
        ("error_before", {}, "CloudHsmInternalFailureException", 500, 0),
        ("error_after", {}, "CloudHsmInternalFailureException", 500, 1),
        ("deny", {}, "CloudHsmAccessDeniedException", 400, 0),
        ("deny", {"code": "AccessDeniedException"}, "AccessDeniedException", 403, 0),
        ("fail", {"code": "CloudHsmServiceException", "message": "odd"}, "CloudHsmServiceException", 400, 0),
    ],
)
def test_error_and_its_effect(
    aws: LocalAws,
    hsms: Any,
    cluster_id: str,
    kind: str,
    attributes: dict[str, Any],
    code: str,
    status: int,
    effect: int,
) -> None:
    aws.fault(kind, "CreateHsm", **attributes)
    with pytest.raises(ClientError) as caught:
        create(hsms, cluster_id)
    assert caught.value.response["Error"]["Code"] == code
    assert attributes.get("message", "") in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert count(hsms) == effect
    create(hsms, cluster_id)
    assert count(hsms) == effect + 1


def test_dropped_answer_has_its_effect(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.fault("drop_answer", "CreateHsm")
    with pytest.raises(ConnectionClosedError):
        create(hsms, cluster_id)
    assert count(hsms) == 1
    assert [call["outcome"] for call in aws.calls("CreateHsm")] == ["dropped"]


def test_ordinary_retries_create_twice_after_an_error(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    retrying = aws.client("cloudhsmv2", config=Config(retries={"total_max_attempts": 2, "mode": "standard"}))
    aws.fault("error_after", "CreateHsm")
    create(retrying, cluster_id)
    assert count(hsms) == 2
    outcomes = [call["outcome"] for call in aws.calls("CreateHsm")]
    assert outcomes == ["CloudHsmInternalFailureException", "ok"]


def test_fault_strikes_its_operation_as_often_as_said(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.fault("throttle", "CreateHsm", times=2)
    assert count(hsms) == 0
    for left in (1, 0):
        with pytest.raises(ClientError, match="ThrottlingException"):
            create(hsms, cluster_id)
        assert sum(fault["times"] for fault in aws.faults()) == left
    create(hsms, cluster_id)


def test_fault_without_end_is_cleared(aws: LocalAws, hsms: Any) -> None:
    aws.fault("throttle", times=None)
    for _turn in range(3):
        with pytest.raises(ClientError, match="ThrottlingException"):
            hsms.describe_clusters()
    aws.clear_faults()
    hsms.describe_clusters()


def test_zone_without_capacity(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.fault("no_capacity", times=None, az=A)
    for _turn in range(2):
        with pytest.raises(ClientError, match=f"CloudHsmServiceException.*capacity in Availability Zone {A}"):
            create(hsms, cluster_id)
    assert create(hsms, cluster_id, B)["Hsm"]["EniIp"] == "10.42.1.4"


def test_next_hsm_ends_degraded(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.fault("degraded_hsm")
    assert create(hsms, cluster_id)["Hsm"]["State"] == "CREATE_IN_PROGRESS"
    create(hsms, cluster_id, B)
    aws.advance(600)
    failed, fine = hsms.describe_clusters()["Clusters"][0]["Hsms"]
    assert (failed["State"], fine["State"]) == ("DEGRADED", "ACTIVE")
    assert failed["StateMessage"] == "HSM creation failed. Please delete this HSM and try again."


# --- requests and answers that are held


Begin = Callable[..., Future[Any]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Send a request from a thread of its own, so that the test can go on while it is held."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_held_request_is_not_seen_until_its_time(aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin) -> None:
    aws.fault("hold", "CreateHsm", seconds=100)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    assert aws.faults() == []
    aws.advance(99)
    assert (count(hsms), aws.held(), request.done()) == (0, 1, False)
    assert aws.calls("CreateHsm") == []
    aws.advance(1)
    made = request.result(20)["Hsm"]
    assert (count(hsms), aws.held()) == (1, 0)
    assert aws.calls("CreateHsm")[0]["time"] == aws.now()
    aws.advance(600)
    [hsm] = hsms.describe_clusters()["Clusters"][0]["Hsms"]
    assert (hsm["HsmId"], hsm["State"]) == (made["HsmId"], "ACTIVE")


def test_held_answer_comes_after_its_effect(aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin) -> None:
    aws.fault("hold_answer", "CreateHsm", seconds=1000)
    sent = aws.now()
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    assert (count(hsms), request.done()) == (1, False)
    aws.advance(999)
    assert not request.done()
    aws.advance(1)
    assert request.result(20)["Hsm"]["State"] == "CREATE_IN_PROGRESS"
    assert [call["time"] for call in aws.calls("CreateHsm")] == [sent]


def test_error_is_held_too(aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin) -> None:
    aws.fault("hold_answer", "CreateHsm", seconds=10)
    aws.fault("throttle", "CreateHsm")
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    aws.advance(10)
    with pytest.raises(ClientError, match="ThrottlingException"):
        request.result(20)


def test_both_ways_can_be_slow(aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin) -> None:
    aws.fault("hold", "CreateHsm", seconds=10)
    aws.fault("hold_answer", "CreateHsm", seconds=10)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    assert count(hsms) == 0
    aws.advance(10)
    wait_until(lambda: count(hsms) == 1)
    wait_until(lambda: aws.held() == 1)
    aws.advance(10)
    request.result(20)


def test_several_are_held_and_arrive_in_the_order_of_their_times(
    aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin
) -> None:
    aws.fault("hold", "CreateHsm", seconds=20)
    slow = begin(create, hsms, cluster_id, A)
    wait_until(lambda: aws.held() == 1)
    aws.fault("hold", "CreateHsm", seconds=10)
    quick = begin(create, hsms, cluster_id, B)
    wait_until(lambda: aws.held() == 2)
    aws.advance(10)
    quick.result(20)
    assert [hsm["AvailabilityZone"] for hsm in hsms.describe_clusters()["Clusters"][0]["Hsms"]] == [B]
    aws.advance(10)
    slow.result(20)
    assert count(hsms) == 2


def test_held_request_is_judged_by_what_is_true_when_it_arrives(
    aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin
) -> None:
    aws.fault("hold", "CreateHsm", seconds=10)
    request = begin(hsms.create_hsm, ClusterId=cluster_id, AvailabilityZone=A, IpAddress="10.42.0.9")
    wait_until(lambda: aws.held() == 1)
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=A, IpAddress="10.42.0.9")
    aws.advance(10)
    with pytest.raises(ClientError, match="10.42.0.9 is not available"):
        request.result(20)


def test_hold_goes_by_the_rate_of_the_clock(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(signature_life_seconds=0)
    aws.fault("hold", "CreateHsm", seconds=100)
    began = aws.now()
    aws.set_rate(1000)
    create(hsms, cluster_id)
    assert aws.now() - began >= 100


def test_hold_starts_to_run_with_the_clock(aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin) -> None:
    aws.set_knobs(signature_life_seconds=0)
    aws.fault("hold", "CreateHsm", seconds=100)
    aws.set_rate(1e-300)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    aws.set_rate(10_000)
    request.result(20)


@pytest.mark.parametrize(("seconds", "life"), [(299, 300), (301, 400)])
def test_signature_survives_a_short_hold(
    aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin, seconds: float, life: float
) -> None:
    aws.set_knobs(signature_life_seconds=life)
    aws.advance(5000)
    aws.fault("hold", "CreateHsm", seconds=seconds)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    aws.advance(seconds)
    request.result(20)


def test_signature_grows_too_old_while_its_request_is_held(
    aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin
) -> None:
    aws.fault("hold", "CreateHsm", seconds=302)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    aws.advance(302)
    with pytest.raises(ClientError) as caught:
        request.result(20)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert answer["Error"]["Code"] == "InvalidSignatureException"
    now = datetime.fromtimestamp(aws.now()).astimezone().timestamp()
    stamps = [time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now - age)) for age in (302, 300, 0)]
    text = f"Signature expired: {stamps[0]} is now earlier than {stamps[1]} ({stamps[2]} - 5 min.)"
    assert answer["Error"]["Message"] == text
    assert count(hsms) == 0
    assert [call["outcome"] for call in aws.calls("CreateHsm")] == ["InvalidSignatureException"]


def test_signature_does_not_age_while_its_answer_is_held(
    aws: LocalAws, hsms: Any, cluster_id: str, begin: Begin
) -> None:
    aws.fault("hold_answer", "CreateHsm", seconds=10_000)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    aws.advance(10_000)
    request.result(20)


@pytest.mark.parametrize(("kind", "effect"), [("hold", 0), ("hold_answer", 1)])
def test_stopping_the_server_lets_go_of_what_is_held(begin: Begin, kind: str, effect: int) -> None:
    with LocalAws(rate=0, seed=2) as own:
        cluster_id = own.lay_out("stopped")
        client = own.client("cloudhsmv2", config=Config(retries={"total_max_attempts": 1}))
        own.fault(kind, "CreateHsm", seconds=1_000_000)
        request = begin(create, client, cluster_id)
        wait_until(lambda: own.held() == 1)
        assert count(client) == effect
    with pytest.raises(ConnectionClosedError):
        request.result(20)


# --- conditions


def test_busy_address_is_one_that_is_named(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    wanted = {"ClusterId": cluster_id, "AvailabilityZone": A, "IpAddress": "10.42.0.20"}
    aws.fault("busy_address")
    create(hsms, cluster_id)
    with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*10.42.0.20 is not available in subnet"):
        hsms.create_hsm(**wanted)
    assert hsms.create_hsm(**wanted)["Hsm"]["EniIp"] == "10.42.0.20"


def hsm_states(hsms: Any, cluster_id: str) -> list[str]:
    [cluster] = hsms.describe_clusters(Filters={"clusterIds": [cluster_id]})["Clusters"]
    return [hsm["State"] for hsm in cluster["Hsms"]]


@pytest.fixture
def other(aws: LocalAws, hsms: Any, cluster_id: str, subnets: list[str]) -> str:
    """A second ACTIVE cluster over the same subnets."""
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets)["Cluster"]
    aws.activate(made["ClusterId"])
    return made["ClusterId"]


@pytest.mark.parametrize("kind", ["throttle", "error_before", "deny"])
def test_request_fault_keeps_to_its_cluster(aws: LocalAws, hsms: Any, cluster_id: str, other: str, kind: str) -> None:
    aws.fault(kind, cluster_id=cluster_id, times=None)
    create(hsms, other)
    hsms.tag_resource(ResourceId=other, TagList=[{"Key": "a", "Value": "b"}])
    hsms.describe_clusters()
    with pytest.raises(ClientError):
        create(hsms, cluster_id)
    with pytest.raises(ClientError):
        hsms.tag_resource(ResourceId=cluster_id, TagList=[{"Key": "a", "Value": "b"}])


def test_hold_keeps_to_its_cluster(aws: LocalAws, hsms: Any, cluster_id: str, other: str, begin: Begin) -> None:
    aws.fault("hold", seconds=10, cluster_id=cluster_id)
    create(hsms, other)
    request = begin(create, hsms, cluster_id)
    wait_until(lambda: aws.held() == 1)
    aws.advance(10)
    request.result(20)


@pytest.mark.parametrize("kind", ["throttle", "error_before", "deny"])
def test_request_fault_keeps_to_its_region(aws: LocalAws, hsms: Any, kind: str) -> None:
    there = aws.client("cloudhsmv2", "us-east-1", config=Config(retries={"total_max_attempts": 1}))
    aws.fault(kind, region="us-east-1")
    hsms.describe_clusters()
    with pytest.raises(ClientError):
        there.describe_clusters()
    there.describe_clusters()


def test_hold_keeps_to_its_region(aws: LocalAws, hsms: Any, begin: Begin) -> None:
    there = aws.client("cloudhsmv2", "us-east-1")
    aws.fault("hold", seconds=10, region="us-east-1")
    hsms.describe_clusters()
    request = begin(there.describe_clusters)
    wait_until(lambda: aws.held() == 1)
    aws.advance(10)
    request.result(20)


@pytest.mark.parametrize(
    "restriction", [{"az": B}, {"region": "us-east-1"}, {"cluster_id": "cluster-aaaaaaaaaaa"}], ids=str
)
def test_condition_does_not_strike_elsewhere(
    aws: LocalAws, hsms: Any, cluster_id: str, restriction: dict[str, Any]
) -> None:
    kinds = ("no_capacity", "degraded_hsm", "busy_address")
    for kind in kinds:
        aws.fault(kind, **restriction)
    hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=A, IpAddress="10.42.0.9")
    aws.advance(600)
    assert hsm_states(hsms, cluster_id) == ["ACTIVE"]
    assert [fault["kind"] for fault in aws.faults()] == list(kinds)


@pytest.mark.parametrize("restriction", [{"az": A}, {"region": "eu-west-1"}, {}], ids=str)
def test_condition_strikes_where_it_is_told(
    aws: LocalAws, hsms: Any, cluster_id: str, restriction: dict[str, Any]
) -> None:
    restriction = restriction or {"cluster_id": cluster_id}
    request = {"ClusterId": cluster_id, "AvailabilityZone": A, "IpAddress": "10.42.0.9"}
    for kind, text in (("busy_address", "is not available in subnet"), ("no_capacity", "capacity")):
        aws.fault(kind, **restriction)
        with pytest.raises(ClientError, match=text):
            hsms.create_hsm(**request)
    aws.fault("degraded_hsm", **restriction)
    hsms.create_hsm(**request)
    aws.advance(600)
    assert hsm_states(hsms, cluster_id) == ["DEGRADED"]


@pytest.mark.parametrize("kind", ["no_backup", "stuck_backup"])
def test_fault_of_a_backup_keeps_to_its_cluster(
    aws: LocalAws, hsms: Any, cluster_id: str, other: str, kind: str
) -> None:
    made = {found: create(hsms, found)["Hsm"]["HsmId"] for found in (cluster_id, other)}
    aws.advance(700)
    aws.fault(kind, region="us-east-1")
    aws.fault(kind, cluster_id=cluster_id)
    states = {}
    for found in (other, cluster_id):
        hsms.delete_hsm(ClusterId=found, HsmId=made[found])
        aws.advance(60)
        backups = hsms.describe_backups(Filters={"clusterIds": [found]})["Backups"]
        states[found] = [backup["BackupState"] for backup in backups]
    assert states[other] == ["READY"] * 3
    assert states[cluster_id] == (["READY"] * 2 if kind == "no_backup" else ["CREATE_IN_PROGRESS", "READY", "READY"])
    assert len(aws.faults()) == 1


def test_failed_copy_keeps_to_its_cluster(aws: LocalAws, hsms: Any, cluster_id: str, other: str) -> None:
    aws.advance(60)
    aws.fault("failed_copy", region="us-east-1")
    aws.fault("failed_copy", cluster_id=cluster_id)
    for backup in hsms.describe_backups()["Backups"]:
        hsms.copy_backup_to_region(BackupId=backup["BackupId"], DestinationRegion="us-east-1")
    aws.advance(300)
    copies = aws.client("cloudhsmv2", "us-east-1").describe_backups()["Backups"]
    assert {copy["SourceCluster"]: copy["BackupState"] for copy in copies} == {cluster_id: "DELETED", other: "READY"}


def test_backup_that_is_stuck_fills_no_hsm_and_can_be_seen_for_ever(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(backup_period_seconds=0)
    hsm_id = create(hsms, cluster_id)["Hsm"]["HsmId"]
    aws.advance(700)
    aws.create_user(cluster_id, "late", "Password1", role="admin")
    aws.fault("stuck_backup")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    aws.advance(10_000_000)
    assert hsms.describe_backups()["Backups"][0]["BackupState"] == "CREATE_IN_PROGRESS"
    create(hsms, cluster_id)
    aws.advance(600)
    assert "late" not in [user["name"] for user in aws.users(cluster_id)]


def test_faults_are_listed_until_they_have_struck(aws: LocalAws, hsms: Any) -> None:
    number = aws.fault("throttle", "DescribeClusters", times=2, message="slow down", region="eu-west-1")
    [fault] = aws.faults()
    assert fault == {
        "fault": number,
        "kind": "throttle",
        "operation": "DescribeClusters",
        "times": 2,
        "code": None,
        "message": "slow down",
        "az": None,
        "seconds": None,
        "region": "eu-west-1",
        "cluster_id": None,
    }
    for left in (1, None):
        with pytest.raises(ClientError, match="slow down"):
            hsms.describe_clusters()
        assert [fault["times"] for fault in aws.faults()] == ([left] if left else [])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"kind": ["throttle"]}, "kind must be"),
        ({"kind": "hold"}, "seconds"),
        ({"kind": "hold", "seconds": 0}, "seconds"),
        ({"kind": "hold", "seconds": True}, "seconds"),
        ({"kind": "hold", "seconds": float("inf")}, "seconds"),
        ({"kind": "hold", "seconds": float("nan")}, "seconds"),
        ({"kind": "throttle", "seconds": 5}, "seconds"),
        ({"kind": "throttle", "times": True}, "times"),
        ({"kind": "throttle", "times": 1.5}, "times"),
        ({"kind": "throttle", "operation": None}, "operation"),
        ({"kind": "throttle", "cluster_id": 7}, "cluster_id"),
        ({"kind": "throttle", "region": ["eu-west-1"]}, "region"),
    ],
)
def test_faults_that_cannot_be(aws: LocalAws, values: dict[str, Any], text: str) -> None:
    with pytest.raises(ControlError, match=text) as caught:
        aws._request("POST", "faults", values)
    assert caught.value.status == 400
    assert aws.faults() == []


@pytest.mark.parametrize("kind", [*REQUEST_KINDS, *CONDITION_KINDS])
def test_every_kind_can_be_injected_and_cleared(aws: LocalAws, kind: str) -> None:
    more: dict[str, Any] = {"seconds": 1} if kind.startswith("hold") else {}
    aws.fault(kind, code="CloudHsmServiceException", **more)
    assert [fault["kind"] for fault in aws.faults()] == [kind]
    aws.clear_faults()
    assert aws.faults() == []
