# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The guard and the check of signatures without a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, HTTPHeaders
from botocore.credentials import Credentials
from local_aws.cloudhsm.errors import CloudHsmError
from local_aws.iam.guard import Guard
from local_aws.iam.policies import PolicyError
from local_aws.iam.principals import Principal
from local_aws.iam.request import SignedRequest, headers_of
from local_aws.iam.signature import is_genuine
from local_aws.knobs import Knobs

KEY, SECRET, REGION = "AKIAEXAMPLE", "secret", "eu-west-1"
USER = "arn:aws:iam::123456789012:user/eve"


class Thorough(SigV4Auth):
    """Signs the User-Agent too, which botocore never does."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers = super().headers_to_sign(request)
        headers["user-agent"] = request.headers["User-Agent"]
        return headers


def signed(path: str = "/", query: str = "", by: type[SigV4Auth] = SigV4Auth, **more: str) -> SignedRequest:
    headers = {"X-Amz-Target": "BaldrApiService.DescribeClusters", "User-Agent": "boto", **more}
    url = f"http://127.0.0.1:4566{quote(path)}" + (f"?{query}" if query else "")
    request = AWSRequest("POST", url, headers, data=b"{}")
    by(Credentials(KEY, SECRET), "cloudhsm", REGION).add_auth(request)
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in request.headers.items()}
    environ |= {"HTTP_HOST": "127.0.0.1:4566", "CONTENT_TYPE": "application/x-amz-json-1.1", "PATH_INFO": path}
    return SignedRequest(
        "POST", path, query, headers_of(environ), b"{}", "DescribeClusters", {}, "123456789012", REGION, KEY, 0, 0
    )


@pytest.mark.parametrize("request_", [signed(), signed("/a/b"), signed("/a b"), signed(query="b=2&a=1")])
def test_genuine(request_: SignedRequest) -> None:
    assert is_genuine(request_, SECRET)
    assert not is_genuine(request_, "another")


def test_header_that_was_not_signed_may_change() -> None:
    request = signed()
    assert is_genuine(replace(request, headers={**request.headers, "user-agent": "proxy", "via": "proxy"}), SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"path": "/other"},
        {"query": "a=1"},
        {"body": b"{ }"},
        {"region": "us-east-1"},
        {"headers": {"host": "elsewhere"}},
        {"headers": {"x-amz-target": "BaldrApiService.DeleteCluster"}},
        {"headers": {"x-amz-date": "20200101T000000Z"}},
        {"headers": {"x-amz-content-sha256": "0" * 64}},
        {"headers": {"authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host"}},
    ],
)
def test_changed_on_the_way(change: dict[str, Any]) -> None:
    request = signed()
    if "headers" in change:
        change = {"headers": {**request.headers, **change["headers"]}}
    assert not is_genuine(replace(request, **change), SECRET)


def test_every_signed_header_counts() -> None:
    request = signed(by=Thorough)
    assert is_genuine(request, SECRET)
    assert not is_genuine(replace(request, headers={**request.headers, "user-agent": "proxy"}), SECRET)


def test_digest_in_a_header_is_that_of_the_body() -> None:
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    request = signed(**{"X-Amz-Content-SHA256": digest})
    assert is_genuine(request, SECRET)
    assert not is_genuine(replace(request, body=b"other"), SECRET)


@pytest.mark.parametrize("missing", ["x-amz-date", "authorization", "host"])
def test_header_that_is_missing(missing: str) -> None:
    request = signed()
    headers = {name: value for name, value in request.headers.items() if name != missing}
    assert not is_genuine(replace(request, headers=headers), SECRET)


class Known:
    """One user, with one policy."""

    def __init__(self, policy: str) -> None:
        self._policy = policy

    def find(self, access_key: str) -> Principal | None:
        return Principal(USER, USER, SECRET, (self._policy,))

    def has_service_linked_role(self, account: str, service: str) -> bool:
        return False


class Stopped:
    """A clock."""

    def at_real(self, wall: float) -> tuple[float, float]:
        return 0.0, 0.0


def check(policy: str, request: SignedRequest, asked: list[str]) -> None:
    def tags(arn: str) -> dict[str, str]:
        asked.append(arn)
        return {}

    Guard(Known(policy), Stopped()).check(request, Knobs(iam_enforced=True), tags)


def test_operation_that_does_not_exist_is_left_to_the_service() -> None:
    check("{}", replace(signed(), operation="MakeTea"), [])


def test_tags_are_asked_of_resources_only() -> None:
    asked: list[str] = []
    everything = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
    check(everything, signed(), asked)
    check(everything, replace(signed(), operation="ListTags", parameters={"ResourceId": "cluster-a"}), asked)
    assert asked == ["arn:aws:cloudhsm:eu-west-1:123456789012:cluster/cluster-a"]


def test_key_of_moto_comes_before_the_root() -> None:
    with pytest.raises(CloudHsmError, match="^AccessDeniedException"):
        check("{}", replace(signed(), access_key="123456789012", region=REGION), [])


def test_policy_that_cannot_be_evaluated_is_no_denial() -> None:
    odd = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"a": "b"}}}}'
    with pytest.raises(PolicyError, match="IpAddress"):
        check(odd, signed(), [])
