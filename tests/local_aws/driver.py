# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A local AWS for the length of a `with` block, for tests."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from .client import Client
from .clock import VirtualClock
from .knobs import Knobs
from .moto_bridge import reset_moto
from .server import Server


class LocalAws(Client):
    """Starts a local AWS on a free port of 127.0.0.1 in this process, and stops it at the end of the block.

    Several may run at once. What moto keeps is one state for the whole process: they share it, and it is forgotten
    when the last one stops.

    Args:
        rate: Virtual seconds per real second; 0, the default, moves only by `advance`.
        seed: Seed of CloudHSM's ids, None for others at every start.
        knobs: Settings, see `Knobs`.
    """

    _running = 0
    _count_lock = threading.Lock()

    def __init__(self, rate: float = 0, seed: int | None = None, **knobs: Any) -> None:
        self._server = Server("127.0.0.1", 0, rate, Knobs().changed(knobs), seed)
        super().__init__(self._server.url)
        with LocalAws._count_lock:
            LocalAws._running += 1

    @property
    def clock(self) -> VirtualClock:
        """The server's clock itself."""
        return self._server.clock

    @property
    def knobs(self) -> Knobs:
        """The settings in force."""
        return self._server.service.knobs

    def close(self) -> None:
        """Stop the server."""
        self._server.close()
        with LocalAws._count_lock:
            LocalAws._running -= 1
            if LocalAws._running == 0:
                reset_moto()

    def __enter__(self) -> LocalAws:
        """Return the running local AWS."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.close()
