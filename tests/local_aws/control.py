# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The control API under `/_local/`: time, knobs, faults, calls and what no AWS API can do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from .cloudhsm import initialization, sidedoor
from .cloudhsm.certificates import aws_root, manufacturer_root
from .cloudhsm.errors import CloudHsmError
from .cloudhsm.lookup import live_cluster
from .cloudhsm.service import CloudHsm
from .cloudhsm.state import HSM_FAILED, Context
from .cloudhsm.views import hsm_view
from .contents.errors import RefusedError
from .contents.routes import ClusterNow, routes
from .contents.vault import Vault
from .wire import StartResponse, read_body, status_line

PREFIX = "/_local/"


@dataclass(frozen=True)
class FoundCluster:
    """A cluster as those see it who reach into its HSMs."""

    cluster_id: str
    state: str
    hsms: list[dict[str, Any]]


class Control:
    """WSGI application of the control API.

    Args:
        service: The CloudHSM service that is controlled.
        vault: What is inside its HSMs.
        reset_others: Resets every other service.

    Attributes:
        save: Writes the state to its file; None when there is none.
    """

    def __init__(self, service: CloudHsm, vault: Vault, reset_others: Callable[[], None]) -> None:
        self._service = service
        self._vault = vault
        self._reset_others = reset_others
        self.save: Callable[[], None] | None = None
        self._routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "health", self._health),
            ("GET", "clock", self._read_clock),
            ("POST", "clock", self._set_clock),
            ("GET", "knobs", self._read_knobs),
            ("POST", "knobs", self._set_knobs),
            ("GET", "faults", self._read_faults),
            ("POST", "faults", self._add_fault),
            ("DELETE", "faults", self._clear_faults),
            ("GET", "calls", self._read_calls),
            ("DELETE", "calls", self._clear_calls),
            ("GET", "held", self._read_held),
            ("GET", "roots", self._read_roots),
            ("GET", "clusters/([^/]+)/trust-anchor", self._read_trust_anchor),
            ("POST", "clusters/([^/]+)/state", self._set_cluster_state),
            ("POST", "hsms/([^/]+)/replace", self._replace_hsm),
            ("POST", "hsms/([^/]+)/degrade", self._degrade_hsm),
            ("POST", "reset", self._reset),
            ("POST", "save", self._save),
            *((method, path, partial(self._inside, handler)) for method, path, handler in routes(self._activated)),
        ]

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request with JSON."""
        try:
            answer = self._serve(environ)
            status = 200
        except RefusedError as refused:
            answer, status = {"error": str(refused)}, refused.status
        except ValueError as error:
            answer, status = {"error": str(error)}, 400
        except CloudHsmError as error:
            answer, status = {"error": error.message}, 404
        content = json.dumps(answer).encode()
        start_response(
            status_line(status), [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        )
        return [content]

    def _serve(self, environ: dict[str, Any]) -> Any:
        path = environ["PATH_INFO"].removeprefix(PREFIX)
        handlers = {
            method: (handler, found.groups())
            for method, pattern, handler in self._routes
            if (found := re.fullmatch(pattern, path))
        }
        if not handlers:
            raise RefusedError(404, f"no such path: {PREFIX}{path}")
        method = environ["REQUEST_METHOD"]
        if method not in handlers:
            raise RefusedError(405, f"{PREFIX}{path} takes {', '.join(handlers)}, not {method}")
        handler, names = handlers[method]
        query = {name: values[-1] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        return handler(*names, query if method == "GET" else _json_object(read_body(environ)))

    def _health(self, _query: dict[str, str]) -> dict[str, Any]:
        return {"status": "ok"} | self._clock()

    def _clock(self) -> dict[str, float]:
        return {"now": self._service.clock.now(), "rate": self._service.clock.rate}

    def _read_clock(self, _query: dict[str, str]) -> dict[str, float]:
        return self._clock()

    def _set_clock(self, body: dict[str, Any]) -> dict[str, float]:
        _only(body, "advance", "rate")
        if "rate" in body:
            self._service.clock.set_rate(body["rate"])
        if "advance" in body:
            self._service.clock.advance(body["advance"])
        return self._clock()

    def _read_knobs(self, _query: dict[str, str]) -> dict[str, Any]:
        return self._service.knobs.as_dict()

    def _set_knobs(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._service.set_knobs(body).as_dict()

    def _read_faults(self, _query: dict[str, str]) -> dict[str, Any]:
        return {"faults": self._service.faults.waiting()}

    def _add_fault(self, body: dict[str, Any]) -> dict[str, int]:
        operations = ["*", *self._service.model.operations]
        if body.get("operation", "*") not in operations:
            raise ValueError(f"operation must be one of {', '.join(operations)}, not {body['operation']!r}")
        return {"fault": self._service.faults.add(body)}

    def _clear_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body)
        self._service.faults.clear()
        return {}

    def _read_calls(self, query: dict[str, str]) -> dict[str, Any]:
        _only(query, "operation")
        return {"calls": self._service.calls.read(query.get("operation"))}

    def _clear_calls(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body)
        self._service.calls.clear()
        return {}

    def _read_held(self, _query: dict[str, str]) -> dict[str, int]:
        return {"held": self._service.held}

    def _read_roots(self, _query: dict[str, str]) -> dict[str, str]:
        return {"aws": aws_root().pem, "manufacturer": manufacturer_root().pem}

    def _read_trust_anchor(self, cluster_id: str, _query: dict[str, str]) -> dict[str, str]:
        claim = self._service.where_it_is(cluster_id, lambda ctx, found: live_cluster(ctx, found).claim)
        if claim is None:
            raise RefusedError(409, f"cluster {cluster_id} is not initialized")
        return {"TrustAnchor": claim.trust_anchor}

    def _set_cluster_state(self, cluster_id: str, body: dict[str, Any]) -> dict[str, str]:
        _only(body, "state")
        state = body.get("state")
        if state not in self._service.model.cluster_states:
            raise ValueError(f"state must be one of {', '.join(self._service.model.cluster_states)}, not {state!r}")
        self._service.where_it_is(cluster_id, lambda ctx, found: sidedoor.set_cluster_state(ctx, found, state))
        return {"ClusterId": cluster_id, "State": state}

    def _replace_hsm(self, hsm_id: str, body: dict[str, Any]) -> dict[str, str]:
        _only(body, "seconds")
        seconds = body.get("seconds", 0)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise ValueError(f"seconds must be a number, 0 or more, not {seconds!r}")
        return {
            "HsmId": self._service.where_it_is(hsm_id, lambda ctx, found: sidedoor.replace_hsm(ctx, found, seconds))
        }

    def _degrade_hsm(self, hsm_id: str, body: dict[str, Any]) -> dict[str, str]:
        _only(body, "message")
        message = body.get("message", HSM_FAILED)
        if not isinstance(message, str):
            raise ValueError(f"message must be a text, not {message!r}")
        self._service.where_it_is(hsm_id, lambda ctx, found: sidedoor.degrade_hsm(ctx, found, message))
        return {"HsmId": hsm_id}

    def _inside(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        """Reach into the HSMs; the last argument is the body, and nothing else happens meanwhile."""
        *groups, body = arguments
        with self._service.settled():
            return handler(self._vault, self._find, *groups, body=body)

    def _find(self, cluster_id_or_address: str) -> ClusterNow:
        found = self._service.everywhere(lambda ctx: _clusters_at(ctx, cluster_id_or_address))
        if not found:
            raise RefusedError(
                404, f"there is no cluster {cluster_id_or_address}, and no ACTIVE HSM at such an address"
            )
        if len(found) > 1:
            raise RefusedError(409, f"several clusters have an HSM at {cluster_id_or_address}: name the cluster")
        return found[0]

    def _activated(self, cluster_id: str) -> None:
        self._service.where_it_is(
            cluster_id, lambda ctx, found: initialization.activated(ctx, live_cluster(ctx, found))
        )

    def _save(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body)
        if self.save is None:
            raise RefusedError(409, "no file to save to: start the local AWS with --state FILE")
        self.save()
        return {}

    def _reset(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, "cloudhsm_only")
        cloudhsm_only = body.get("cloudhsm_only", False)
        if not isinstance(cloudhsm_only, bool):
            raise ValueError(f"cloudhsm_only must be true or false, not {cloudhsm_only!r}")
        self._service.reset()
        if not cloudhsm_only:
            self._reset_others()
        return {}


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content or b"{}")
    except ValueError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body


def _only(body: dict[str, Any], *names: str) -> None:
    unknown = sorted(set(body) - set(names))
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known here: {', '.join(names) or 'nothing'}")


def _clusters_at(ctx: Context, cluster_id_or_address: str) -> list[ClusterNow]:
    found: list[ClusterNow] = []
    for cluster in ctx.store.clusters.values():
        hsms = [hsm_view(hsm, ctx.now) for hsm in cluster.active_hsms(ctx.now)]
        if cluster_id_or_address in (cluster.cluster_id, *(hsm["EniIp"] for hsm in hsms)):
            found.append(FoundCluster(cluster.cluster_id, cluster.state(ctx.now) or "", hsms))
    return found
