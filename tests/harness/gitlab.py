# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Jobs of GitLab's template, and the processes that a runner makes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
TOOL = PIPELINES / "hsm.sh"
TEMPLATE = PIPELINES / "gitlab" / "cloudhsm.yml"
# A deletion that nobody can stop any more, as Redis has it.
CLAIM = {
    "token": "one", "fence": "1", "phase": "committed", "hsm_ids": "hsm-1", "deadline": "4000000000", "record": "1767258000",
    "server": "x",
}  # fmt: skip


def read_template() -> dict[str, t.Any]:
    """Return what the template has, by name."""
    found: dict[str, t.Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    return found


def find_job(jobs: dict[str, t.Any], name: str, **own: t.Any) -> dict[str, t.Any]:
    """Return a job of the template as GitLab would run it.

    Args:
        jobs: The jobs of the template.
        name: Its name, or that of a job to extend.
        own: The keywords of the job that extends it.
    """
    job = {**jobs[name], **own}
    if base := job.pop("extends", None):
        job = {**jobs[base], **job}
    job["variables"] = {**jobs["variables"], **job.get("variables", {})}
    for keyword in ("before_script", "script", "after_script"):
        job[keyword] = _flat(job.get(keyword, []))
    return job


def _flat(lines: t.Any) -> list[str]:
    if isinstance(lines, str):
        return [lines]
    return [line for each in lines for line in _flat(each)]


@dataclass
class Step:
    """A step of a job that has ended.

    Attributes:
        status: Its exit status.
        output: What it said.
    """

    status: int
    output: str


class Job:
    """A job on a runner: before_script and script in one shell, after_script in another one.

    Args:
        job: The job, with its keywords.
        folder: The checkout.
        variables: The variables that GitLab and the project set.
        shell: The shell and its options.
    """

    def __init__(
        self, job: dict[str, t.Any], folder: Path, variables: dict[str, str], shell: tuple[str, ...] = ("sh",)
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._job = job
        self.folder = folder
        self._shell = shell
        own = {**job["variables"], **variables, "CI_PROJECT_DIR": str(folder)}
        self._variables = {**inherited(), **{name: str(value) for name, value in own.items()}}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin with before_script and script."""
        lines = [*self._job["before_script"], *self._job["script"]]
        self._process = self._open(lines)

    def finish(self) -> Step:
        """Wait for the end of the script, then run after_script, whatever became of the script."""
        step = self.wait()
        after = self.run_after()
        return Step(step.status, step.output + after.output)

    def wait(self) -> Step:
        """Wait for the end of the script. A runner, too, reads until nobody has the output open."""
        assert self._process
        output, _nothing = self._process.communicate(timeout=120)
        return Step(self._process.returncode, output)

    def run_after(self) -> Step:
        """Run after_script in a shell of its own. What becomes of it changes nothing for the job."""
        process = self._open(self._job["after_script"])
        output, _nothing = process.communicate(timeout=120)
        return Step(process.returncode, output)

    def run(self) -> Step:
        """Run it from its beginning to its end."""
        self.start()
        return self.finish()

    def kill(self) -> None:
        """End its shell and all that it has started, as a runner does that cancels it, or a machine that is lost."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=120)

    def lose(self) -> None:
        """End its shell, and nothing of what that has started."""
        assert self._process
        self._process.kill()
        self._process.wait(10)

    def _open(self, lines: list[str]) -> subprocess.Popen[str]:
        script = "\n".join(["set -e", *lines])
        return subprocess.Popen(
            [*self._shell, "-c", script], cwd=self.folder, env=self._variables, start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


def inherited() -> dict[str, str]:
    """What an image has: no variable that names a pipeline, a Redis or an account. A beat that a test leaves ends by itself."""
    foreign = ("CI_", "GITHUB_", "BUILD_", "AWS_", "REDIS_", "HSM_", "ANSIBLE_", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "HSM_BEAT_MAX": "60"}
