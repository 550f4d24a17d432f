# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The local AWS as an HTTP server on one address."""

from __future__ import annotations

import tempfile
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from . import saved
from .app import LocalAwsApplication
from .clock import VirtualClock
from .knobs import Knobs
from .moto_bridge import MotoRequestHandler


class Server:
    """Serves from a thread of this process until it is closed.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        rate: Virtual seconds per real second.
        knobs: Settings at start.
        seed: Seed of CloudHSM's ids, None for others at every start.
        state: File to go on from, if it exists, and to leave the state in at the end and on demand. What it holds goes
            before `knobs` and `seed`.

    Raises:
        SavedStateError: The file cannot be loaded.
    """

    def __init__(
        self, host: str, port: int, rate: float, knobs: Knobs, seed: int | None = None, state: Path | None = None
    ) -> None:
        self._state = state
        before = saved.read(state) if state and state.exists() else None
        # Never behind real time: those who sign and compare by their own clocks would take AWS's for wrong.
        self.clock = VirtualClock(rate, start=max(before["now"], time.time()) if before else None)
        self._folder = tempfile.TemporaryDirectory(prefix="local-aws-")
        self._application = application = LocalAwsApplication(self.clock, knobs, seed, Path(self._folder.name))
        self.service = application.service
        if before:
            application.load(before)
        if state:
            application.control.save = self.save
        self._http = make_server(host, port, application, threaded=True, request_handler=_handler(self.clock))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._http.server_port}"

    def save(self) -> None:
        """Write the state to its file, if there is one."""
        if self._state:
            saved.write(self._state, self._application.dump())

    def close(self) -> None:
        """Stop serving and let go of the port, and of the requests that are held."""
        self.clock.close()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self.save()
        self._folder.cleanup()


def _handler(clock: VirtualClock) -> type[MotoRequestHandler]:
    class Handler(MotoRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(clock.now() if timestamp is None else timestamp, usegmt=True)

        def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
            """Close the connection, or a client whose answer was dropped would wait for it until its own timeout."""
            self.close_connection = True

        def log_request(self, *_args: Any) -> None:
            """Keep quiet: a test run makes thousands of requests."""

    return Handler
