# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from local_aws.driver import LocalAws

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
