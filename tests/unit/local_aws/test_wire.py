# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.cloudhsm.service import OPERATIONS
from local_aws.driver import LocalAws

SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/eu-west-1/cloudhsm/aws4_request, SignedHeaders=host, Signature=0"


def post(url: str, headers: dict[str, str], body: bytes = b"{}") -> tuple[int, Any, bytes]:
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def call(aws: LocalAws, operation: str, body: bytes = b"{}") -> tuple[int, Any, bytes]:
    date = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {"X-Amz-Target": f"BaldrApiService.{operation}", "Authorization": SIGNED, "X-Amz-Date": date}
    return post(aws.url, headers, body)


def test_answer_is_json_1_1_with_numbers_for_times(aws: LocalAws, cluster_id: str) -> None:
    status, headers, content = call(aws, "DescribeClusters")
    [cluster] = json.loads(content)["Clusters"]
    assert (status, headers["Content-Type"]) == (200, "application/x-amz-json-1.1")
    assert headers["x-amzn-RequestId"]
    assert isinstance(cluster["CreateTimestamp"], float)
    assert cluster["ClusterId"] == cluster_id


def test_date_is_the_virtual_clock(aws: LocalAws) -> None:
    aws.advance(1_000_000)
    headers = call(aws, "DescribeClusters")[1]
    [date] = headers.get_all("Date")
    assert parsedate_to_datetime(date).timestamp() == pytest.approx(aws.now(), abs=1)


@pytest.mark.parametrize(
    ("operation", "body", "status", "code"),
    [
        ("MakeTea", b"{}", 404, "UnknownOperationException"),
        ("DescribeClusters", b"{", 400, "SerializationException"),
        ("DescribeClusters", b"[]", 400, "CloudHsmInvalidRequestException"),
        ("RestoreBackup", b'{"BackupId": "backup-abcdefghij2"}', 400, "CloudHsmResourceNotFoundException"),
        ("RestoreBackup", b'{"BackupId": "vault-abcdefghij2"}', 400, "CloudHsmInvalidRequestException"),
    ],
)
def test_errors(aws: LocalAws, operation: str, body: bytes, status: int, code: str) -> None:
    found, _headers, content = call(aws, operation, body)
    answer = json.loads(content)
    assert (found, answer["__type"]) == (status, code)
    assert answer["Message"]


def test_every_operation_of_the_model_is_served(aws: LocalAws, hsms: Any) -> None:
    assert sorted(hsms.meta.method_to_api_mapping.values()) == sorted(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        ("copy_backup_to_region", {"BackupId": "backup-aaaaaaaaaaa", "DestinationRegion": "us-east-1"}),
        ("delete_backup", {"BackupId": "backup-aaaaaaaaaaa"}),
        ("modify_backup_attributes", {"BackupId": "backup-aaaaaaaaaaa", "NeverExpires": True}),
        ("restore_backup", {"BackupId": "backup-aaaaaaaaaaa"}),
        ("delete_cluster", {"ClusterId": "cluster-aaaaaaaaaaa"}),
        ("initialize_cluster", {"ClusterId": "cluster-aaaaaaaaaaa", "SignedCert": "x", "TrustAnchor": "x"}),
        ("modify_cluster", {"ClusterId": "cluster-aaaaaaaaaaa", "HsmType": "hsm2m.medium"}),
        ("create_hsm", {"ClusterId": "cluster-aaaaaaaaaaa", "AvailabilityZone": "eu-west-1a"}),
        ("delete_hsm", {"ClusterId": "cluster-aaaaaaaaaaa", "HsmId": "hsm-aaaaaaaaaaa"}),
        ("list_tags", {"ResourceId": "backup-aaaaaaaaaaa"}),
        *[
            (operation, {"ResourceArn": "arn:aws:cloudhsm:eu-west-1:123456789012:backup/backup-aaaaaaaaaaa"} | more)
            for operation, more in (
                ("get_resource_policy", {}),
                ("put_resource_policy", {"Policy": "{}"}),
                ("delete_resource_policy", {}),
            )
        ],
    ],
)
def test_unknown_id(aws: LocalAws, hsms: Any, operation: str, named: dict[str, Any]) -> None:
    for code in ("CloudHsmResourceNotFoundException", "CloudHsmServiceException"):
        aws.set_knobs(unknown_id_code=code)
        with pytest.raises(ClientError, match=rf"{code}.*-aaaaaaaaaaa"):
            getattr(hsms, operation)(**named)


def test_prefix_and_header_of_error_types_are_knobs(aws: LocalAws, hsms: Any) -> None:
    _status, headers, _content = call(aws, "DescribeClusters", b"[]")
    assert headers["x-amzn-ErrorType"] is None
    aws.set_knobs(error_type_prefix="com.amazonaws.cloudhsm#", error_type_header=True)
    _status, headers, content = call(aws, "DescribeClusters", b"[]")
    assert json.loads(content)["__type"] == "com.amazonaws.cloudhsm#CloudHsmInvalidRequestException"
    assert headers["x-amzn-ErrorType"] == "CloudHsmInvalidRequestException"
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException):
        hsms.describe_clusters(NextToken="garbage")


@pytest.mark.parametrize("date", [None, "yesterday", "Mon, 06 Jul 2026 12:00:00 GMT"])
def test_request_without_a_date_is_refused(aws: LocalAws, date: str | None) -> None:
    headers = {"X-Amz-Target": "BaldrApiService.DescribeClusters", "Authorization": SIGNED}
    _status, _headers, content = post(aws.url, headers | ({"X-Amz-Date": date} if date else {}))
    assert json.loads(content)["__type"] == "IncompleteSignature"


def test_unsigned_request_is_refused(aws: LocalAws) -> None:
    status, _headers, content = post(aws.url, {"X-Amz-Target": "BaldrApiService.DescribeClusters"})
    assert (status, json.loads(content)["__type"]) == (403, "MissingAuthenticationTokenException")


def test_cbor_is_refused_in_cbor(aws: LocalAws) -> None:
    path = "/service/BaldrApiService/operation/DescribeClusters"
    status, headers, content = post(aws.url + path, {"Authorization": SIGNED, "smithy-protocol": "rpc-v2-cbor"})
    assert (status, headers["Content-Type"], headers["smithy-protocol"]) == (400, "application/cbor", "rpc-v2-cbor")
    assert content.startswith(b"\xa2\x78\x06__type\x78\x1fCloudHsmInvalidRequestException")
    assert b"AWS JSON 1.1 only" in content


def test_fault_of_our_own_is_an_internal_failure(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_ctx: Any, _request: Any) -> Any:
        raise KeyError("oops")

    monkeypatch.setitem(OPERATIONS, "DescribeClusters", broken)
    status, _headers, content = call(aws, "DescribeClusters")
    assert (status, json.loads(content)["__type"]) == (500, "InternalFailure")


def test_the_rest_of_aws_answers_on_the_same_address(aws: LocalAws) -> None:
    s3 = aws.client("s3", "us-east-1")
    s3.create_bucket(Bucket="things")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["things"]
    assert aws.client("sts").get_caller_identity()["Account"] == "123456789012"
