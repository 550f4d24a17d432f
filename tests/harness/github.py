# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The composite action of GitHub, and the processes that a runner makes of its steps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import typing as t
from pathlib import Path

import yaml

from .gitlab import PIPELINES, inherited

ACTION = PIPELINES / "github" / "action.yml"
_EXPRESSION = re.compile(r"\$\{\{ *(.+?) *\}\}")


class Worker:
    """A job on a runner: each step of an action is a shell of its own, started by one process, the runner's worker.

    Args:
        folder: Where its temporary files go.
        variables: The environment of the job.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.temporary = folder / "temp"
        self.temporary.mkdir(parents=True)
        self._variables = {
            **inherited(),
            "GITHUB_ACTION_PATH": str(ACTION.parent),
            "GITHUB_JOB": "sign",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "8",
            "RUNNER_NAME": "GitHub Actions 2",
            "RUNNER_TEMP": str(self.temporary),
            **variables,
        }
        self._steps = 0
        # It takes the script of one step after the other.
        self._process = subprocess.Popen(
            ["sh", "-c", 'while read -r line; do . "$line"; done'],
            env=self._variables, cwd=folder, stdin=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def use(self, **inputs: str) -> tuple[int, str, dict[str, str]]:
        """Use the action.

        Returns:
            The exit status of the step that ended it, what was said, and the outputs.
        """
        action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
        values = {name: inputs.get(name, described.get("default", "")) for name, described in action["inputs"].items()}
        outputs = self.temporary / "outputs"
        outputs.write_text("", encoding="utf-8")
        status, said = 0, ""
        for step in action["runs"]["steps"]:
            if status or not _holds(step.get("if", "true"), values):
                continue
            given = {name: _filled(value, values) for name, value in step.get("env", {}).items()}
            status, told = self._run(step["run"], {**given, "GITHUB_OUTPUT": str(outputs)}, step["shell"])
            said += told
        lines = outputs.read_text(encoding="utf-8").splitlines()
        return status, said, dict(line.split("=", 1) for line in lines)

    def lose(self) -> None:
        """End the worker, and nothing but it, as when a runner is lost."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the job."""
        t.cast("t.TextIO", self._process.stdin).close()
        self._process.wait(10)

    def _run(self, script: str, variables: dict[str, str], shell: str) -> tuple[int, str]:
        self._steps += 1
        folder = self.folder / str(self._steps)
        folder.mkdir()
        script_file, line, said, status = (folder / name for name in ("script", "line", "said", "status"))
        script_file.write_text(script, encoding="utf-8")
        given = shlex.join(f"{name}={value}" for name, value in variables.items())
        line.write_text(f"env {given} {shell} -e {script_file} >{said} 2>&1; echo $? >{status}\n", encoding="utf-8")
        os.mkfifo(status)
        stdin = t.cast("t.TextIO", self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()
        ended = int(status.read_text(encoding="utf-8"))
        return ended, said.read_text(encoding="utf-8")


def _filled(value: str, inputs: dict[str, str]) -> str:
    return _EXPRESSION.sub(lambda match: inputs[match[1].removeprefix("inputs.")], value)


def _holds(condition: str, inputs: dict[str, str]) -> bool:
    """Whether a condition holds: comparisons of inputs, of which one is to be true."""
    if condition == "true":
        return True
    found = [re.fullmatch(r"inputs\.(\w+) == '(\w+)'", part) for part in condition.split(" || ")]
    assert all(found), condition
    return any(inputs[match[1]] == match[2] for match in found if match)
