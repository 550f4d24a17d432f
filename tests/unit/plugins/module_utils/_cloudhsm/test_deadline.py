# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Requests that are signed in time, or not sent at all: with a real client of botocore, and nobody at the other end."""

from __future__ import annotations

import time

import boto3
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.deadline import (
    DeadlineError,
    SigningDeadline,
    signed_at,
)
from botocore.awsrequest import AWSResponse
from botocore.config import Config

CLUSTER = "cluster-abcdefghijk"


class SentError(Exception):
    """A request went out."""


@pytest.fixture
def client():
    return boto3.Session().client(
        "cloudhsmv2",
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
    )


def delete(client) -> None:
    client.delete_hsm(ClusterId=CLUSTER, HsmId="hsm-abcdefghijk")


def answers(client, status: int, seen: list[str]) -> None:
    def answer(request, **_kwargs):
        seen.append(request.headers["X-Amz-Date"])
        body = b'{"__type": "CloudHsmInternalFailureException"}'
        response = AWSResponse(request.url, status, {"content-type": "application/x-amz-json-1.1"}, None)
        response._content = body
        return response

    client.meta.events.register_last("before-send.cloudhsmv2.DeleteHsm", answer)


def test_a_request_in_time_is_sent_and_counted(client):
    seen: list[str] = []
    deadline = SigningDeadline(client, "DeleteHsm", lambda: time.time() + 60)
    answers(client, 200, seen)
    delete(client)

    assert (len(seen), deadline.sent) == (1, 1)


@pytest.mark.parametrize("latest", [lambda: time.time() - 2, lambda: float("-inf")])
def test_a_request_that_is_late_never_leaves(client, latest):
    seen: list[str] = []
    deadline = SigningDeadline(client, "DeleteHsm", latest)
    answers(client, 200, seen)
    with pytest.raises(DeadlineError, match="DeleteHsm was not sent"):
        delete(client)

    assert (seen, deadline.sent) == ([], 0)


def test_every_attempt_is_checked_anew(client, monkeypatch):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    seen: list[str] = []
    latest = iter([time.time() + 60, time.time() - 60])
    deadline = SigningDeadline(client, "DeleteHsm", lambda: next(latest))
    answers(client, 500, seen)
    with pytest.raises(DeadlineError):
        delete(client)

    assert (len(seen), deadline.sent) == (1, 1)


def test_other_operations_have_no_deadline(client):
    SigningDeadline(client, "DeleteHsm", lambda: float("-inf"))

    def sent(**_kwargs):
        raise SentError

    client.meta.events.register_last("before-send.cloudhsmv2.CreateHsm", sent)
    with pytest.raises(SentError):
        client.create_hsm(ClusterId=CLUSTER, AvailabilityZone="eu-west-1a")


@pytest.mark.parametrize("date", ["20260102T030405Z", b"20260102T030405Z"])
def test_date_of_a_signature(date):
    assert signed_at({"X-Amz-Date": date}) == 1767323045


def test_a_request_without_a_date_is_never_in_time():
    assert signed_at({}) == float("inf")
