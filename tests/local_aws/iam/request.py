# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""One signed request, as far as its caller and its permissions matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PLAIN_HEADERS = ("CONTENT_TYPE", "CONTENT_LENGTH")


@dataclass(frozen=True)
class SignedRequest:
    """What arrived over HTTP, and what the wire made of it.

    Attributes:
        method: HTTP method.
        path: Path, decoded (`PATH_INFO`).
        query: Query string as it came.
        headers: Headers by lower-case name, see `headers_of`.
        body: The whole body.
        operation: Name of the CloudHSM operation.
        parameters: The decoded body; need not be valid.
        account: Account that the request works in.
        region: Region of the signature.
        access_key: Access key id of the signature.
        arrived: Virtual time when it arrived, seconds since the epoch.
        now: Virtual time.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    operation: str
    parameters: Any
    account: str
    region: str
    access_key: str
    arrived: float
    now: float

    @property
    def signed(self) -> str | None:
        """When it was signed, as the client wrote it."""
        return self.headers.get("x-amz-date")

    @property
    def session_token(self) -> str | None:
        """Token of temporary credentials."""
        return self.headers.get("x-amz-security-token")


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a WSGI request by lower-case name."""
    named = {name.removeprefix("HTTP_"): value for name, value in environ.items() if name.startswith("HTTP_")}
    named |= {name: environ[name] for name in PLAIN_HEADERS if name in environ}
    return {name.replace("_", "-").lower(): value for name, value in named.items()}
