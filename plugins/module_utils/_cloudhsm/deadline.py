# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Requests that are signed in time, or not sent at all.

AWS refuses a signature that is older than a few minutes, by its own clock. So a request whose signature is dated before a
deadline on AWS's clock cannot have its effect long after it, however long it was held up: here, or on the way. Every
attempt is signed anew, and every attempt is checked.
"""

from __future__ import annotations

import datetime
import math
import typing as t

from .common import AnsibleCloudHSMError

_FORMAT = "%Y%m%dT%H%M%SZ"


class DeadlineError(AnsibleCloudHSMError):
    """A request was not sent, because it was signed too late."""


class SigningDeadline:
    """Sees to it that a client sends no request of an operation that was signed after its deadline.

    Args:
        client: The client.
        operation: Name of the operation.
        deadline: Gives the deadline in unix seconds of AWS's clock.

    Attributes:
        sent: How many requests were signed in time, and sent.
    """

    def __init__(self, client: t.Any, operation: str, deadline: t.Callable[[], float]) -> None:
        self.sent = 0
        self._operation = operation
        self._deadline = deadline
        client.meta.events.register(f"before-send.cloudhsmv2.{operation}", self._check)

    def _check(self, request: t.Any, **_kwargs: t.Any) -> None:
        latest = self._deadline()
        signed = signed_at(request.headers)
        if signed > latest:
            raise DeadlineError(
                message=f"{self._operation} was not sent: it was signed at {_text(signed)}, and announced to be asked for "
                f"until {_text(latest)} only. This host was held up, or its clock is ahead. Run again"
            )
        self.sent += 1


def signed_at(headers: t.Mapping[str, t.Any]) -> float:
    """Return when a request was signed, in unix seconds of the signer's clock; without a signature, never in time."""
    value = headers.get("X-Amz-Date")
    if value is None:
        return math.inf
    text = value.decode() if isinstance(value, bytes) else value
    return datetime.datetime.strptime(text, _FORMAT).replace(tzinfo=datetime.timezone.utc).timestamp()


def _text(moment: float) -> str:
    if math.isinf(moment):
        return "no time at all"
    return f"{datetime.datetime.fromtimestamp(moment, datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
