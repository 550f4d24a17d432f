# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m local_aws`."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from .knobs import Knobs, parse_setting
from .saved import SavedStateError
from .server import Server


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    knobs = Knobs().changed(dict(options.set))
    try:
        server = Server(options.host, options.port, options.rate, knobs, options.seed, options.state)
    except SavedStateError as error:
        raise SystemExit(f"local_aws: {error}") from error
    print(f"ready {server.url}", flush=True)
    stop.wait()
    server.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_aws", description="CloudHSM v2 with virtual time, and moto for the rest of AWS."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4566, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="virtual seconds per real second (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="seed of the ids (default: other ids at every start)")
    parser.add_argument(
        "--set",
        type=parse_setting,
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        help="set a knob, for example hsm_create_seconds=60; may be given several times",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="go on from this file if it exists, and leave everything in it at the end (load no file but your own)",
    )
    return parser


if __name__ == "__main__":
    main()
