# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Pages of a list, with tokens that say where the next one begins."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .errors import invalid
from .state import Context

T = TypeVar("T")


def page(
    ctx: Context,
    items: Sequence[T],
    key: Callable[[T], tuple[float, ...]],
    request: dict[str, Any],
    default: int,
    descending: bool = False,
) -> tuple[list[T], str | None]:
    """Cut the page out of a list that a request asks for.

    The token names the last item shown, not a count, so that items which come or go between two pages are neither
    shown twice nor skipped.

    Args:
        ctx: The request's context.
        items: All items of the answer, in any order.
        key: What they are sorted by; numbers that never change.
        request: The request, with `NextToken`, `MaxResults` and whatever the list depends on.
        default: Page length without `MaxResults`.
        descending: Largest key first.

    Returns:
        The items of the page and the token of the next one, None after the last.

    Raises:
        CloudHsmError: The token is not one of ours, belongs to another request, or is too old (a knob; unknown).
    """
    scope = _scope(request)
    rest = sorted(items, key=key, reverse=descending)
    if request.get("NextToken"):
        last, issued = _read(request["NextToken"], scope)
        if ctx.knobs.page_token_seconds and ctx.now - issued > ctx.knobs.page_token_seconds:
            raise invalid("The value of NextToken has expired.")
        rest = [item for item in rest if (key(item) < last if descending else key(item) > last)]
    limit = request.get("MaxResults") or default
    shown = rest[:limit]
    return shown, _write(key(shown[-1]), scope, ctx.now) if len(rest) > limit else None


def _scope(request: dict[str, Any]) -> str:
    what = {name: value for name, value in request.items() if name not in ("NextToken", "MaxResults")}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _write(last: tuple[float, ...], scope: str, issued: float) -> str:
    return base64.urlsafe_b64encode(json.dumps([scope, issued, *last]).encode()).decode()


def _read(token: str, scope: str) -> tuple[tuple[float, ...], float]:
    try:
        found, issued, *last = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error):
        raise invalid("The value of NextToken is not valid.") from None
    if found != scope or not all(isinstance(number, (int, float)) for number in (issued, *last)):
        raise invalid("The value of NextToken does not belong to this request.")
    return tuple(last), issued
