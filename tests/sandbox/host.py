# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A folder that stands in for a host: the role `timer` installs into it, and its runs are started as cron starts them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from .sandbox import CHECKOUT

NAME = "hsmops-reap-hsm"
# Seconds; longer than any run takes.
PATIENCE = 120

# crontab(1), as far as ansible.builtin.cron uses it.
CRONTAB = """\
#!/bin/sh
case $1 in
-l) cat '{crontab}' ;;
-r) rm '{crontab}' ;;
*) cat "$1" >'{crontab}' ;;
esac
"""

METRIC = re.compile(r'^hsmops_timer_(?P<metric>\w+)\{timer="hsmops-reap-hsm"\} (?P<value>\d+)$', re.MULTILINE)


class Host:
    """The host.

    Args:
        folder: Where all of it is. It must not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.installed, self.units, self.logs = folder / "opt", folder / "units", folder / "log"
        self.crontab = folder / "crontab"
        # Of whoever it runs for; not that of whoever installs it.
        self.home = folder / "home"
        self._tools = folder / "bin"
        self._tools.mkdir(parents=True)
        (self._tools / "crontab").write_text(CRONTAB.format(crontab=self.crontab), encoding="utf-8")
        (self._tools / "crontab").chmod(0o755)

    @property
    def status_file(self) -> Path:
        """What the node exporter reads."""
        return self.logs / f"{NAME}.prom"

    @property
    def metrics(self) -> dict[str, int]:
        """The metrics in it, by their names without the prefix."""
        return {found["metric"]: int(found["value"]) for found in METRIC.finditer(self.status_file.read_text())}

    @property
    def log(self) -> str:
        """All that was logged."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.logs.glob("*.log")))

    def play(self, *arguments: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        """Run the role to its end.

        Args:
            arguments: Further arguments of ansible-playbook.
            variables: What is asked of the role.
        """
        given = {
            "timer_folder": str(self.installed),
            "timer_unit_folder": str(self.units),
            "timer_cron_folder": "",
            "timer_log_folder": str(self.logs),
            **variables,
        }
        path = os.pathsep.join((str(self._tools), str(Path(sys.executable).parent), os.environ["PATH"]))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        environment |= {"PATH": path, "HOME": str(self.folder / "installer"), "ANSIBLE_NOCOLOR": "1"}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(given, file)
            file.flush()
            return subprocess.run(
                ["ansible-playbook", "playbooks/install_timer.yml", "-e", f"@{file.name}", *arguments], cwd=CHECKOUT,
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip

    def entry(self) -> str:
        """Return the command in the crontab."""
        [line] = [line for line in self.crontab.read_text().splitlines() if str(self.installed) in line]
        return line.split(maxsplit=5)[5]

    @contextlib.contextmanager
    def start(self, command: str = "") -> t.Iterator[subprocess.Popen[str]]:
        """Start a run as cron does, with a shell and hardly any environment, and wait for its end when the context ends.

        Args:
            command: Another command than that in the crontab.
        """
        environment = {"HOME": str(self.home), "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
        with subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command or self.entry()}"], env=environment, cwd="/", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
                process.wait(PATIENCE)
            except BaseException:
                process.kill()
                raise

    def tick(self, command: str = "") -> tuple[int, str]:
        """Have a run from its start to its end, and return its status and what it said; see `start`."""
        with self.start(command) as process:
            said, _nothing = process.communicate(timeout=PATIENCE)
        return process.returncode, said
