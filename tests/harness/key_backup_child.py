# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Runs backups that are killed at a step; started by `test_kills.py`.

Each line of the input is a JSON object with `kill_at`, the number of a step, or null; the run happens in a process that is
forked for it, so that what is imported is imported once. Each answer is a JSON object with the steps that were begun.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
import typing as t
from pathlib import Path

from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.apply import Wish, back_up
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.data_keys import Recipient
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.directory import DirectoryStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.hsm import open_hsm
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.plan import Selection
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.public_keys import read_public_key
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.records import KEY_CLASSES
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.refusals import Refusals


class Steps:
    """Counts steps, and kills this process when one begins.

    Args:
        kill_at: Number of that step; None for none.
        report: Where the name of each is written, and stays when the process dies.
    """

    def __init__(self, kill_at: int | None, report: t.Any) -> None:
        self._kill_at = kill_at
        self._report = report
        self._count = 0

    def begin(self, name: str) -> None:
        """Take note of a step, before it is taken."""
        self._report.write(f"{name}\n")
        self._report.flush()
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1


class Observed:
    """An HSM or a store each of whose methods is a step.

    Args:
        name: What it is called in the names of steps.
        target: The real one.
        steps: Who is told.
    """

    def __init__(self, name: str, target: t.Any, steps: Steps) -> None:
        self._name = name
        self._target = target
        self._steps = steps

    def __getattr__(self, name: str) -> t.Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def observed(*arguments: t.Any, **named: t.Any) -> t.Any:
            self._steps.begin(f"{self._name}.{name}")
            return found(*arguments, **named)

        return observed


class ObservedFiles:
    """The steps within the writing of a file.

    Args:
        steps: Who is told.
    """

    def __init__(self, steps: Steps) -> None:
        for name in ("fsync", "replace"):
            self._observe(name, getattr(os, name), steps)

    def _observe(self, name: str, real: t.Callable[..., t.Any], steps: Steps) -> None:
        def observed(*arguments: t.Any, **named: t.Any) -> t.Any:
            steps.begin(f"os.{name}")
            return real(*arguments, **named)

        setattr(os, name, observed)


def run(setting: dict[str, t.Any], kill_at: int | None, report: t.Any) -> None:
    """Back up once."""
    steps = Steps(kill_at, report)
    ObservedFiles(steps)
    store = Observed("store", DirectoryStore(setting["path"], "dev"), steps)
    now = datetime.datetime.now(datetime.timezone.utc)
    refusals = Refusals(Path(setting["path"]) / "refusals", False, now)
    opened = open_hsm(setting["library"], None, setting["token"], setting["pin"], refusals)
    recipient = Recipient("custodian", "", read_public_key(setting["public_key"], "public_key"))
    wish = Wish("dev", Selection((), (), KEY_CLASSES), prune=setting["prune"])
    hsm = Observed("hsm", opened, steps)
    back_up(t.cast(t.Any, hsm), t.cast(t.Any, store), [recipient], wish, now, dry=False)
    opened.close()


def main() -> None:
    """Serve until the input ends. The first line is the setting."""
    setting = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as report:
                run(setting, json.loads(line)["kill_at"], report)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as report:
            steps = report.read().split()
        status = os.waitpid(child, 0)[1]
        print(json.dumps({"steps": steps, "status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
