# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What AWX does with a job: it lays out a folder with the inventory, the variables and what credentials inject, and has
ansible-runner run the playbook in it."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import ansible_runner
import jinja2.sandbox
import yaml
from sandbox.sandbox import CHECKOUT

if t.TYPE_CHECKING:
    from .awx import Awx

# Who starts every job.
STARTED_BY = "operator"


class _Unsafe(str):
    """An answer of a person: Ansible must not take it for a template."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))


@dataclass
class Layout:
    """What a job is given.

    Attributes:
        folder: The private folder of the job.
        playbook: Path of the playbook in the project.
        check: Whether nothing is to be changed.
        environment: Environment variables, some of them secret.
        secret_files: The files in which secrets are, which the job is given and nobody else.
        extra_files: Files of further variables.
    """

    folder: Path
    playbook: str
    check: bool
    environment: dict[str, str] = field(default_factory=dict)
    secret_files: list[Path] = field(default_factory=list)
    extra_files: list[Path] = field(default_factory=list)


@dataclass
class Ended:
    """A job that has ended.

    Attributes:
        rc: Exit status of ansible-playbook.
        status: What ansible-runner says of it.
        stdout: What it printed.
        artifacts: The folder that AWX reads.
    """

    rc: int
    status: str
    stdout: str
    artifacts: Path


def lay_out(
    awx: Awx, job: int, folder: Path, environment: t.Mapping[str, str] | None = None, workflow: int | None = None
) -> Layout:
    """Prepare a job that was launched, as AWX does.

    Args:
        awx: The API.
        job: Its id.
        folder: Where it is laid out.
        environment: What the execution environment has besides.
        workflow: The id of the workflow that it is part of.
    """
    launched = awx.by_id("jobs", job)
    template = awx.by_id("job_templates", launched["job_template"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    layout = Layout(folder, template["playbook"], launched["job_type"] == "check", {**own, **(environment or {})})
    for name in ("env", "inventory", "home", "tmp"):
        (folder / name).mkdir(parents=True)
    _write_inventory(awx, template["inventory"], folder / "inventory" / "hosts")
    of_awx = {"awx_job_id": job, "awx_user_name": _Unsafe(STARTED_BY)}
    if workflow is not None:
        of_awx["awx_workflow_job_id"] = workflow
    _write_variables(template, launched, of_awx, folder / "env" / "extravars")
    for number in awx.listed("job_templates", template["name"], "credentials"):
        _inject(awx, number, layout)
    return layout


def run(layout: Layout, verbosity: int = 0) -> Ended:
    """Have ansible-runner run it, with the settings of AWX.

    Args:
        layout: What the job is given.
        verbosity: How much it says.
    """
    given = [f"-e @{path}" for path in layout.extra_files] + ["--check"] * layout.check
    done = ansible_runner.run(
        private_data_dir=str(layout.folder),
        project_dir=str(CHECKOUT),
        playbook=layout.playbook,
        inventory=str(layout.folder / "inventory"),
        envvars=layout.environment,
        cmdline=" ".join(given) or None,
        verbosity=verbosity,
        suppress_env_files=True,
        quiet=True,
    )
    artifacts = next((layout.folder / "artifacts").iterdir())
    return Ended(done.rc, done.status, (artifacts / "stdout").read_text(encoding="utf-8"), artifacts)


def _write_inventory(awx: Awx, number: int, path: Path) -> None:
    """A script that prints it, which is what AWX writes."""
    hosts = {
        host["name"]: json.loads(host["variables"] or "{}")
        for host in awx.all("hosts")
        if host["inventory"] == number and host["enabled"]
    }
    shared = json.loads(awx.by_id("inventories", number)["variables"] or "{}")
    listed = {"all": {"hosts": list(hosts), "vars": shared}, "_meta": {"hostvars": hosts}}
    path.write_text(f"#!{sys.executable}\nprint({json.dumps(listed)!r})\n", encoding="utf-8")
    path.chmod(stat.S_IRWXU)


def _write_variables(
    template: t.Mapping[str, t.Any], launched: t.Mapping[str, t.Any], of_awx: t.Mapping[str, t.Any], path: Path
) -> None:
    """The variables: only what the template itself says may hold Jinja."""
    own = json.loads(template["extra_vars"] or "{}")
    variables = {
        name: _Unsafe(value) if isinstance(value, str) and value != own.get(name) else value
        for name, value in json.loads(launched["extra_vars"]).items()
    }
    path.write_text(yaml.dump({**variables, **of_awx}, Dumper=_Dumper), encoding="utf-8")


def _inject(awx: Awx, number: int, layout: Layout) -> None:
    """Render what the type of a credential says, files first, because the rest can name them."""
    credential = awx.by_id("credentials", number)
    of = awx.by_id("credential_types", credential["credential_type"])
    injectors = of["injectors"]
    jinja = jinja2.sandbox.ImmutableSandboxedEnvironment()
    names: dict[str, t.Any] = {name: value for name, value in credential["inputs"].items() if value != ""}
    filename = SimpleNamespace()
    names["tower"] = SimpleNamespace(filename=filename)
    for label, template in injectors.get("file", {}).items():
        handle, path = tempfile.mkstemp(dir=layout.folder / "env")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(jinja.from_string(template).render(names))
        setattr(filename, label.partition(".")[2], path)
        layout.secret_files.append(Path(path))
    for name, template in injectors.get("env", {}).items():
        layout.environment[name] = jinja.from_string(template).render(names)
        # What is built into AWX sets no variable without a value.
        if of["managed"] and not layout.environment[name]:
            del layout.environment[name]
    variables = {
        name: jinja.from_string(template).render(names) for name, template in injectors.get("extra_vars", {}).items()
    }
    if variables:
        handle, path = tempfile.mkstemp(dir=layout.folder / "env")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yaml.safe_dump(variables, stream)
        layout.extra_files.append(Path(path))
        layout.secret_files.append(Path(path))
