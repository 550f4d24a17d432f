# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Show on the controller how far a module's wait has come while it runs."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import typing as t

from ansible import constants
from ansible.utils.display import Display
from ansible_collections.hsmops.cloudhsm.plugins.plugin_utils.aws_action import AwsActionBase

display = Display()

_SECONDS_BETWEEN_READS = 0.5


class ProgressActionBase(AwsActionBase):
    """Runs the module of the same name, which appends to the file in its parameter progress_path."""

    def _run_module(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        shown = self._connection.transport == "local" and not self._task.async_val and not self._task.check_mode
        if not shown or arguments.get("progress_path"):
            return super()._run_module(arguments, task_vars)
        with _shown_progress(task_vars.get("inventory_hostname", "")) as path:
            return super()._run_module({**arguments, "progress_path": path}, task_vars)


@contextlib.contextmanager
def _shown_progress(host: str) -> t.Iterator[str]:
    """Show each line that is appended to a file, for as long as the context lasts. Gives the path of the file."""
    # Ansible removes this folder of its own whichever way the run ends.
    # It sets its constants at run time, so that mypy does not know them.
    folder = constants.DEFAULT_LOCAL_TMP  # type: ignore[attr-defined]
    descriptor, path = tempfile.mkstemp(prefix="hsmops-progress-", dir=folder)
    finished = threading.Event()

    def read_along() -> None:
        with open(descriptor, encoding="utf-8") as lines:
            while True:
                last = finished.wait(_SECONDS_BETWEEN_READS)
                for line in lines:
                    # Standard output may be buffered until the task ends, as in a CI job; standard error never is.
                    display.display(f"    [{host}] {line.rstrip()}", stderr=True)
                if last:
                    return

    reader = threading.Thread(target=read_along, daemon=True)
    reader.start()
    try:
        yield path
    finally:
        finished.set()
        reader.join()
        with contextlib.suppress(OSError):
            os.unlink(path)
