# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The way from a tool to the control API of the local AWS."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from .settings import Settings


class ToolError(Exception):
    """A tool cannot do as asked; the text says why, and holds no secret."""


class Control:
    """Speaks to the control API.

    Args:
        endpoint: URL of the local AWS.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        # Whatever proxy the environment names is not for a server on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method: str, *path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make a request and return the answer.

        Args:
            method: HTTP method.
            path: Parts of the path below the prefix of the control API.
            body: What to send; None for nothing.

        Raises:
            ToolError: It is refused, or nothing answers.
        """
        url = f"{self._endpoint}/_local/{'/'.join(quote(part, safe='') for part in path)}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with self._opener.open(urllib.request.Request(url, data=data, method=method), timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ToolError(_text_of(error)) from None
        except (OSError, ValueError) as error:
            raise ToolError(f"Nothing that is a local AWS answers at {self._endpoint}: {error}") from None


class Cluster:
    """The cluster that a tool is configured for, reached through an HSM that is there.

    Args:
        settings: What the configure tool was told.

    Raises:
        ToolError: Nothing is configured, or none of the HSMs is there any more.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.addresses:
            raise ToolError("No HSM is configured: run the configure tool with -a or --cluster-id first.")
        self._control = Control(settings.endpoint)
        self._id = settings.cluster_id or self._find(settings.addresses)
        self.hsms: list[dict[str, Any]] = self.ask("GET", "hsms")["hsms"]
        if not {hsm["EniIp"] for hsm in self.hsms} & set(settings.addresses):
            raise _unreachable(settings.addresses, "none of them belongs to an ACTIVE HSM of the cluster.")

    def ask(self, method: str, *path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make a request about the cluster, as `Control.ask`."""
        return self._control.ask(method, "clusters", self._id, *path, body=body)

    def _find(self, addresses: list[str]) -> str:
        reasons = []
        for address in addresses:
            try:
                return self._control.ask("GET", "hsms", address)["ClusterId"]
            except ToolError as error:
                reasons.append(str(error))
        raise _unreachable(addresses, " ".join(reasons))


def _unreachable(addresses: list[str], reason: str) -> ToolError:
    return ToolError(f"No HSM answers at {', '.join(addresses)}: {reason} Run the configure tool with a live address.")


def _text_of(error: urllib.error.HTTPError) -> str:
    try:
        return json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{error.url} answered with {error.code} {error.reason}"
