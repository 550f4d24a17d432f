# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The client of one actor: the part of boto3's that the real code uses. Every request is signed at one point and arrives at
another; in between, anything can happen."""

from __future__ import annotations

import datetime
import email.utils
import functools
import types
import typing as t

import botocore.exceptions

from .cloud import CLUSTER, ZONE, Refused, Request
from .programs import Operation

if t.TYPE_CHECKING:
    from .cloud import FakeHsm, Version
    from .programs import Program

TIMEOUT = "no answer"
URL = "https://cloudhsmv2.eu-west-1.amazonaws.com"


class Client:
    """A client.

    Args:
        program: The program that uses it.
        attempts: How many times a request is sent whose answer is lost.
        skew: By how much its clock is ahead.
    """

    def __init__(self, program: Program, attempts: int, skew: int) -> None:
        self._program = program
        self._attempts = attempts
        self._skew = skew
        self._checks: dict[str, list[t.Callable[..., None]]] = {}
        self._throttled = ""
        self.meta = types.SimpleNamespace(events=types.SimpleNamespace(register=self._register))

    # The names of the arguments are botocore's.

    def describe_clusters(self, Filters: object = None) -> dict[str, t.Any]:  # noqa: N803
        """DescribeClusters."""
        version: Version = self._program.do(Operation("read", "DescribeClusters"))
        cluster = {
            "ClusterId": CLUSTER,
            "State": "ACTIVE",
            "SubnetMapping": {ZONE: "subnet-1"},
            "Hsms": [_shown(hsm) for hsm in version.hsms],
            "TagList": [{"Key": key, "Value": value} for key, value in version.tags],
        }
        return {"Clusters": [cluster], "ResponseMetadata": {"HTTPHeaders": {"date": _date(int(self._program.now))}}}

    def describe_backups(self, Filters: object = None) -> dict[str, t.Any]:  # noqa: N803
        """DescribeBackups."""
        made: tuple[float, ...] = self._program.do(Operation("backups", "DescribeBackups"))
        backups = [
            {"BackupId": f"backup-{moment:.0f}", "BackupState": "READY", "CreateTimestamp": _moment(moment)}
            for moment in made
        ]
        return {"Backups": backups}

    def get_paginator(self, operation: str) -> t.Any:
        """Return what gives the only page."""
        return types.SimpleNamespace(paginate=lambda **arguments: [getattr(self, operation)(**arguments)])

    def tag_resource(self, ResourceId: str, TagList: list[dict[str, str]]) -> None:  # noqa: N803
        """TagResource."""
        self._send("TagResource", tags=tuple((tag["Key"], tag["Value"]) for tag in TagList))

    def untag_resource(self, ResourceId: str, TagKeyList: list[str]) -> None:  # noqa: N803
        """UntagResource."""
        self._send("UntagResource", keys=tuple(TagKeyList))

    def create_hsm(self, **arguments: str) -> dict[str, t.Any]:
        """CreateHsm."""
        return {"Hsm": _shown(self._send("CreateHsm", **arguments))}

    def delete_hsm(self, **arguments: str) -> None:
        """DeleteHsm."""
        self._send("DeleteHsm", **arguments)

    def _register(self, event: str, check: t.Callable[..., None]) -> None:
        assert event.startswith("before-send.cloudhsmv2."), event
        self._checks.setdefault(event.rpartition(".")[2], []).append(check)

    def _send(self, operation: str, **arguments: t.Any) -> t.Any:
        for _attempt in range(self._attempts):
            self._program.do(Operation("sign", f"{operation} is signed"))
            signed = self._program.now + self._skew
            for check in self._checks.get(operation, ()):
                check(request=types.SimpleNamespace(headers={"X-Amz-Date": _stamp(int(signed))}))
            if self._throttled == operation:
                raise _refusal("ThrottlingException", operation)
            request = Request(self._program.name, operation, tuple(sorted(arguments.items())), signed)
            answer = self._program.do(Operation("wire", f"{operation} arrives", request))
            if isinstance(answer, Refused):
                if answer.code == "ThrottlingException":
                    # AWS goes on throttling this operation.
                    self._throttled = operation
                raise _refusal(answer.code, operation, answer.status)
            if answer != TIMEOUT:
                return answer
        raise botocore.exceptions.ReadTimeoutError(endpoint_url=URL)


def _refusal(code: str, operation: str, status: int = 400) -> botocore.exceptions.ClientError:
    answer = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, operation)


def _shown(hsm: FakeHsm) -> dict[str, t.Any]:
    return {
        "HsmId": hsm.hsm_id,
        "AvailabilityZone": ZONE,
        "State": hsm.state,
        "EniId": f"eni-{hsm.eni}",
        "EniIp": f"192.0.2.{hsm.eni}",
        "SubnetId": "subnet-1",
    }


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


@functools.lru_cache(maxsize=10_000)
def _date(seconds: int) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


@functools.lru_cache(maxsize=10_000)
def _stamp(seconds: int) -> str:
    return _moment(seconds).strftime("%Y%m%dT%H%M%SZ")
