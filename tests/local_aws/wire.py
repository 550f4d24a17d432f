# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""CloudHSM over HTTP: AWS JSON 1.1 in and out."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from .cloudhsm.errors import (
    INTERNAL_FAILURE,
    INVALID_REQUEST,
    UNKNOWN_OPERATION,
    CloudHsmError,
)
from .cloudhsm.service import CloudHsm, DroppedAnswerError, Request
from .cloudhsm.state import Context
from .cloudhsm.tags import tags_of
from .iam.guard import Guard
from .iam.request import SignedRequest, headers_of

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET_PREFIX = "BaldrApiService."
CBOR_PREFIX = "/service/BaldrApiService/operation/"
MOST_BYTES = 1_048_576
CREDENTIAL = re.compile(r"Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[a-z0-9-]+)/[a-z0-9-]+/aws4_request")
# Statuses of the documented common errors; the modelled ones are 400 but for the internal failure.
STATUSES = {
    INTERNAL_FAILURE: 500,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    UNKNOWN_OPERATION: 404,
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
}

log = logging.getLogger(__name__)


def is_cloudhsm(environ: dict[str, Any]) -> bool:
    """True for a request that is for CloudHSM, in either of its protocols."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    return target.startswith(TARGET_PREFIX) or environ.get("PATH_INFO", "").startswith(CBOR_PREFIX)


def read_body(environ: dict[str, Any]) -> bytes:
    """Return the request's body; more than a mebibyte is cut off."""
    length = environ.get("CONTENT_LENGTH") or "0"
    return environ["wsgi.input"].read(min(int(length), MOST_BYTES)) if length.isdigit() else b""


def status_line(status: int) -> str:
    """Return the code with its reason phrase."""
    return f"{status} {HTTPStatus(status).phrase}"


class CloudHsmWire:
    """WSGI application in front of the service.

    Args:
        service: The service.
        account_of: Gives the account of an access key id and an `x-moto-account-id` header.
        guard: Says who may do what.
    """

    def __init__(self, service: CloudHsm, account_of: Callable[[str, str | None], str], guard: Guard) -> None:
        self._service = service
        self._account_of = account_of
        self._guard = guard

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request.

        Raises:
            ConnectionAbortedError: The answer is to be lost; the HTTP server then closes the connection.
        """
        if environ.get("PATH_INFO", "").startswith(CBOR_PREFIX):
            return _refuse_cbor(start_response)
        headers = []
        try:
            body = self._serve(environ)
            status = 200
        except CloudHsmError as error:
            knobs = self._service.knobs
            body = {"__type": knobs.error_type_prefix + error.code, "Message": error.message}
            status = STATUSES.get(error.code, 400)
            headers = [("x-amzn-ErrorType", error.code)] if knobs.error_type_header else []
        except DroppedAnswerError as dropped:
            raise ConnectionAbortedError("answer dropped on demand") from dropped
        except Exception as error:
            log.exception("CloudHSM request failed")
            body = {"__type": "InternalFailure", "Message": f"Fault of the local AWS: {error!r}"}
            status = 500
        content = json.dumps(body).encode()
        start_response(status_line(status), _headers(CONTENT_TYPE, content) + headers)
        return [content]

    def _serve(self, environ: dict[str, Any]) -> dict[str, Any]:
        body = read_body(environ)
        request = self._decode(environ, body)
        arrived = self._service.clock.now()
        access_key = _credential(environ)["key"]

        def authorize(ctx: Context) -> None:
            signed = SignedRequest(
                method=environ["REQUEST_METHOD"],
                path=environ.get("PATH_INFO", "/"),
                query=environ.get("QUERY_STRING", ""),
                headers=headers_of(environ),
                body=body,
                operation=request.operation,
                parameters=request.parameters,
                account=request.account,
                region=request.region,
                access_key=access_key,
                arrived=arrived,
                now=ctx.now,
            )
            self._guard.check(signed, ctx.knobs, lambda arn: tags_of(ctx, arn))

        return self._service.call(request, authorize)

    def _decode(self, environ: dict[str, Any], body: bytes) -> Request:
        credential = _credential(environ)
        try:
            parameters = json.loads(body or b"{}")
        except ValueError:
            raise CloudHsmError("SerializationException", "The request is not JSON.") from None
        return Request(
            operation=environ["HTTP_X_AMZ_TARGET"].removeprefix(TARGET_PREFIX),
            parameters=parameters,
            account=self._account_of(credential["key"], environ.get("HTTP_X_MOTO_ACCOUNT_ID")),
            region=credential["region"],
            signed=environ.get("HTTP_X_AMZ_DATE"),
        )


def _credential(environ: dict[str, Any]) -> re.Match[str]:
    credential = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    if credential is None:
        raise CloudHsmError("MissingAuthenticationTokenException", "Missing Authentication Token")
    return credential


def _headers(content_type: str, content: bytes) -> list[tuple[str, str]]:
    return [
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("x-amzn-RequestId", str(uuid.uuid4())),
    ]


def _refuse_cbor(start_response: StartResponse) -> Iterable[bytes]:
    message = "This local AWS speaks AWS JSON 1.1 only, not rpc-v2-cbor."
    entries = b"".join(_cbor_text(text) for text in ("__type", INVALID_REQUEST, "Message", message))
    content = b"\xa2" + entries
    start_response(status_line(400), [*_headers("application/cbor", content), ("smithy-protocol", "rpc-v2-cbor")])
    return [content]


def _cbor_text(text: str) -> bytes:
    encoded = text.encode()
    return b"\x78" + bytes([len(encoded)]) + encoded
