# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A wire to the local AWS that is listened to: every request to every service, and its answer, passes through it.

The local AWS logs the calls to CloudHSM only. What a run does to Secrets Manager, S3 and KMS shows here, and here a test
steps in: before a request reaches AWS, or between its effect and its answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
import typing as t
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if t.TYPE_CHECKING:
    from types import TracebackType

_CREDENTIAL = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/")
# What changes nothing that lasts, in whatever service.
_READS = ("Describe", "List", "Get", "Head", "BatchGet", "Decrypt", "Encrypt", "Verify", "Query", "Scan")
# Headers that are about one connection, not about the message.
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_PROMPT = 120


@dataclass
class Exchange:
    """One request, and its answer when there is one.

    Attributes:
        service: As the signature has it, for example `kms`.
        operation: Its name; of services without one, the method and the path.
        body: What was sent, status: what was answered, answer: its body.
    """

    service: str
    operation: str
    region: str
    body: bytes
    status: int | None = None
    answer: bytes = b""

    @property
    def writes(self) -> bool:
        """Whether it may change something that lasts."""
        return not self.operation.startswith(_READS) and not self.operation.startswith("GET ")

    @property
    def parameters(self) -> dict[str, t.Any]:
        """What was sent, of a service that takes JSON."""
        return t.cast("dict[str, t.Any]", json.loads(self.body or b"{}"))

    @property
    def name(self) -> str:
        """Service and operation."""
        return f"{self.service}:{self.operation}"


# Answers in AWS's place when it returns (status, error code, text); None lets things take their course.
Hook = t.Callable[[Exchange], "tuple[int, str, str] | None"]


@dataclass
class _Hooks:
    before: list[Hook] = field(default_factory=list)
    after: list[Hook] = field(default_factory=list)


class Wiretap:
    """Passes requests on to a local AWS, as long as the context lasts.

    Args:
        upstream: URL of the local AWS.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urllib.parse.urlsplit(upstream)
        self._exchanges: list[Exchange] = []
        self._hooks = _Hooks()
        self._lock = threading.Lock()

    def __enter__(self) -> Wiretap:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def exchanges(self, name: str | None = None) -> list[Exchange]:
        """Return what was exchanged so far, of one `service:operation` or all."""
        with self._lock:
            return [exchange for exchange in self._exchanges if name in (None, exchange.name)]

    def writes(self) -> list[str]:
        """Return the names of the requests that may have changed something and were not refused."""
        return [exchange.name for exchange in self.exchanges() if exchange.writes and (exchange.status or 0) < 300]

    def clear(self) -> None:
        """Forget every exchange."""
        with self._lock:
            self._exchanges.clear()

    @contextlib.contextmanager
    def hooked(self, before: Hook | None = None, after: Hook | None = None) -> t.Iterator[None]:
        """Step in, as long as the context lasts.

        Args:
            before: Called before a request reaches AWS.
            after: Called when AWS has answered, before the caller knows.
        """
        pairs = [(self._hooks.before, before), (self._hooks.after, after)]
        for hooks, hook in pairs:
            hooks.extend([hook] if hook else [])
        try:
            yield
        finally:
            for hooks, hook in pairs:
                if hook:
                    hooks.remove(hook)

    def pass_on(self, method: str, path: str, headers: t.Mapping[str, str], body: bytes) -> _Answer:
        """Pass a request on, and return the answer."""
        exchange = _exchange(method, path, headers, body)
        with self._lock:
            self._exchanges.append(exchange)
        for hook in tuple(self._hooks.before):
            if instead := hook(exchange):
                return self._refuse(exchange, *instead)
        connection = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port, timeout=_PROMPT)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            found = connection.getresponse()
            answer = _Answer(found.status, list(found.getheaders()), found.read())
        exchange.status, exchange.answer = answer.status, answer.body
        for hook in tuple(self._hooks.after):
            if instead := hook(exchange):
                return self._refuse(exchange, *instead)
        return answer

    def _refuse(self, exchange: Exchange, status: int, code: str, text: str) -> _Answer:
        exchange.status = status
        exchange.answer = json.dumps({"__type": code, "message": text}).encode()
        return _Answer(status, [("Content-Type", "application/x-amz-json-1.1")], exchange.answer)


class _Answer(t.NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def _exchange(method: str, path: str, headers: t.Mapping[str, str], body: bytes) -> Exchange:
    credential = _CREDENTIAL.search(headers.get("Authorization", ""))
    operation = headers.get("X-Amz-Target", "").rpartition(".")[2]
    if not operation and headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        operation = urllib.parse.parse_qs(body.decode()).get("Action", [""])[0]
    region, service = (credential["region"], credential["service"]) if credential else ("", "")
    return Exchange(service, operation or f"{method} {path}", region, body)


def _handler(tap: Wiretap) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = {key: value for key, value in self.headers.items() if key.lower() not in _HOP}
            try:
                answer = tap.pass_on(self.command, self.path, sent, body)
            except (http.client.HTTPException, OSError):
                # What AWS does not answer is not answered here.
                self.close_connection = True
                return
            # The caller may have been killed meanwhile; that is what some tests are about.
            with contextlib.suppress(OSError):
                self.send_response_only(answer.status)
                for key, value in answer.headers:
                    if key.lower() not in _HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names that http.server has

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

        def log_message(self, *_arguments: t.Any) -> None:
            """Keep quiet."""

    return Handler
