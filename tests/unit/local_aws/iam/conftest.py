# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A door with the guard in front of nothing: whoever may pass gets an empty answer."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from local_aws.cloudhsm.errors import CloudHsmError
from local_aws.iam.guard import Guard
from local_aws.iam.request import SignedRequest, headers_of
from local_aws.knobs import Knobs
from local_aws.moto_bridge import MotoIdentities, account_of, moto_application
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-west-1"
PLAIN = Config(proxies={}, retries={"total_max_attempts": 1})
CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/")
NUMBERS = itertools.count(1)


class JumpingClock:
    """Runs as real time does, but for the jumps that it is told to make."""

    def __init__(self) -> None:
        self._jumps: list[tuple[float, float]] = []

    def now(self) -> float:
        """Return the virtual time."""
        return time.time() + sum(seconds for _wall, seconds in self._jumps)

    def at_real(self, wall: float) -> tuple[float, float]:
        """Return the earliest and the latest virtual time of a real second."""
        before = sum(seconds for jumped, seconds in self._jumps if jumped <= wall)
        within = sum(seconds for jumped, seconds in self._jumps if jumped < wall + 1)
        return wall + before, wall + 1 + within

    def jump(self, seconds: float) -> None:
        """Go forward at once."""
        self._jumps.append((time.time(), seconds))


class Door:
    """WSGI application: the guard for CloudHSM, moto for the rest.

    Attributes:
        knobs: Settings in force.
        tags: Tags by ARN.
        held: How long requests are on the wire, in virtual seconds.
    """

    def __init__(self) -> None:
        self._moto = moto_application()
        self.open()

    def open(self) -> None:
        """Begin anew."""
        self.clock = JumpingClock()
        self.knobs = Knobs(iam_enforced=True)
        self.tags: dict[str, dict[str, str]] = {}
        self.held = 0.0
        self._guard = Guard(MotoIdentities(), self.clock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        credential = CREDENTIAL.search(environ["HTTP_AUTHORIZATION"])
        assert credential
        if "HTTP_X_AMZ_TARGET" not in environ:
            if credential["key"].isdigit():
                environ["HTTP_X_MOTO_ACCOUNT_ID"] = credential["key"]
            return self._moto(environ, start_response)
        answer, status = {}, "200 OK"
        try:
            self._guard.check(
                self._request(environ, **credential.groupdict()), self.knobs, lambda arn: self.tags.get(arn, {})
            )
        except CloudHsmError as error:
            answer = {"__type": error.code, "Message": error.message}
            status = "400 Bad Request" if error.code.startswith("CloudHsm") else "403 Forbidden"
        content = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(content)))])
        return [content]

    def _request(self, environ: dict[str, Any], key: str, region: str) -> SignedRequest:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        arrived = self.clock.now()
        return SignedRequest(
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            query=environ.get("QUERY_STRING", ""),
            headers=headers_of(environ),
            body=body,
            operation=environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2],
            parameters=json.loads(body),
            account=key if key.isdigit() else account_of(key, None),
            region=region,
            access_key=key,
            arrived=arrived,
            now=arrived + self.held,
        )


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_request(self, *_args: Any) -> None:
        """Keep quiet."""


class Aws:
    """The door over HTTP, and moto's IAM and STS beside it."""

    def __init__(self, door: Door, url: str) -> None:
        self.door = door
        self._url = url
        self._session = boto3.Session()
        self.iam = self.client("iam", "testing", "testing")

    def client(self, service: str, key: str, secret: str, token: str | None = None, region: str = REGION) -> Any:
        """Return a boto3 client that does not retry."""
        return self._session.client(  # type: ignore[call-overload]
            service,
            region_name=region,
            endpoint_url=self._url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=PLAIN,
        )

    def user(self, *statements: dict[str, Any]) -> tuple[str, str, str]:
        """Make a user with an inline policy and return its name, access key id and secret."""
        name = f"user-{next(NUMBERS)}"
        self.iam.create_user(UserName=name)
        self.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=self.document(*statements))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return name, key["AccessKeyId"], key["SecretAccessKey"]

    def hsms(self, *statements: dict[str, Any], region: str = REGION) -> Any:
        """Return a CloudHSM client of a new user."""
        _name, key, secret = self.user(*statements)
        return self.client("cloudhsmv2", key, secret, region=region)

    def role(self, *statements: dict[str, Any], **options: Any) -> str:
        """Make a role with an inline policy and return its ARN."""
        name = f"role-{next(NUMBERS)}"
        made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=self.document(), **options)["Role"]
        self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=self.document(*statements))
        return made["Arn"]

    def assume(self, role_arn: str, **options: Any) -> dict[str, Any]:
        """Begin a session of a role and return its credentials."""
        sts = self.client("sts", "testing", "testing")
        return sts.assume_role(RoleArn=role_arn, RoleSessionName="night", **options)["Credentials"]

    def session(self, credentials: dict[str, Any]) -> Any:
        """Return a CloudHSM client of a session."""
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        return self.client("cloudhsmv2", *(credentials[name] for name in names))

    def document(self, *statements: dict[str, Any]) -> str:
        """Return a policy document."""
        return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})

    def managed_policy(self, *statements: dict[str, Any]) -> str:
        """Make a managed policy and return its ARN."""
        name = f"policy-{next(NUMBERS)}"
        return self.iam.create_policy(PolicyName=name, PolicyDocument=self.document(*statements))["Policy"]["Arn"]


@pytest.fixture(scope="session")
def served() -> Iterator[Aws]:
    """One server for all tests."""
    door = Door()
    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield Aws(door, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def aws(served: Aws) -> Aws:
    """The server, with its own settings and clock."""
    served.door.open()
    return served
