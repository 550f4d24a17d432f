# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Signatures: how old they may be, and whether they are genuine."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import sha256
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, HTTPHeaders
from botocore.credentials import Credentials

from ..cloudhsm.errors import CloudHsmError
from .request import SignedRequest

CODE = "InvalidSignatureException"
SIGNING_NAME = "cloudhsm"
DATE = "%Y%m%dT%H%M%SZ"
PARTS = re.compile(r"SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})$")


def check_age(
    signed: str | None,
    arrived: float,
    now: float,
    at_real: Callable[[float], tuple[float, float]],
    life: float = 300.0,
    clock: str = "either",
) -> None:
    """Refuse a signature that is too old, or too far in the future.

    A client signs with its own clock, while the age counts on the virtual one. `clock` says what its clock shows:
    `real` time, which `at_real` puts on the virtual clock; `virtual` time, as SDKs do that follow the Date of the
    answers; or `either`, whichever makes the signature's age when it arrived smaller.

    Args:
        signed: `X-Amz-Date` of the request.
        arrived: Virtual time when the request arrived.
        now: Virtual time; later than `arrived` for a request that was held up on its way.
        at_real: Gives the earliest and the latest virtual time that was shown in a real second.
        life: Greatest age in seconds, and farthest future; 0 for any.
        clock: `either`, `real` or `virtual`.

    Raises:
        CloudHsmError: The signature is refused.
    """
    if not life:
        return
    wall = _read(signed)
    ages = []
    if clock != "virtual":
        # The date has whole seconds: within its second, the client gets the benefit of the doubt.
        earliest, latest = at_real(wall)
        ages.append(arrived - min(max(arrived, earliest), latest))
    if clock != "real":
        ages.append(arrived - wall)
    age = min(ages, key=abs) + now - arrived
    minutes = f"{life / 60:g} min."
    if age > life:
        raise CloudHsmError(
            CODE,
            f"Signature expired: {_written(now - age)} is now earlier than {_written(now - life)} "
            f"({_written(now)} - {minutes})",
        )
    if age < -life:
        raise CloudHsmError(
            CODE,
            f"Signature not yet current: {_written(now - age)} is still later than {_written(now + life)} "
            f"({_written(now)} + {minutes})",
        )


def is_genuine(request: SignedRequest, secret: str) -> bool:
    """True when a request was signed with a secret access key, and is as it was then."""
    parts = PARTS.search(request.headers.get("authorization", ""))
    digest = sha256(request.body).hexdigest()
    if parts is None or request.signed is None or request.headers.get("x-amz-content-sha256", digest) != digest:
        return False
    signed_headers = parts["headers"].split(";")
    again = AWSRequest(
        method=request.method,
        url=f"http://localhost{quote(request.path)}?{request.query}",
        headers={name: value for name, value in request.headers.items() if name in signed_headers},
        data=request.body,
    )
    again.context["timestamp"] = request.signed
    signer = _Resigner(Credentials(request.access_key, secret), SIGNING_NAME, request.region)
    signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    return hmac.compare_digest(signature, parts["signature"])


class _Resigner(SigV4Auth):
    """Signs the headers that a request has; botocore's own choice would leave some out and add the host."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return HTTPHeaders.from_dict(dict(request.headers.items()))


def _read(signed: str | None) -> float:
    if signed is None:
        raise CloudHsmError("IncompleteSignature", "Authorization header requires existence of an 'X-Amz-Date' header.")
    try:
        return datetime.strptime(signed, DATE).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise CloudHsmError(
            "IncompleteSignature", f"Date must be in ISO-8601 'basic format'. Got '{signed}'."
        ) from None


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime(DATE)
