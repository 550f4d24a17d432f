# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The role timer: what it installs, and the script that it installs, as cron starts it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import secrets
import select
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import typing as t
from pathlib import Path

import pytest
import yaml
from local_aws.client import REGION
from sandbox.host import NAME, PATIENCE, Host
from sandbox.sandbox import CHECKOUT, Sandbox

# An HSM takes a second at this rate.
RATE = 600.0
TOOLS = Path(sys.executable).parent
# What none of sh, crontab(5) and systemd may take for anything but letters.
AWKWARD = {
    "QUOTES": """it's "quoted" \\" \\""",
    "DOLLARS": "$HOME ${HOME} $(touch pwned) `touch pwned` $$",
    "PERCENT": "100%s %h %%",
    "SPACES": "  two  spaces, and a # and a ; and an = ",
    "SLASHES": "\\ \\\\ \\n \\$ C:\\",
    "EMPTY": "",
    "NUMBER": 7,
    "LETTERS": "äöü*?[a]~",
}
SECRET = secrets.token_hex(16)

# systemctl(1), as far as ansible.builtin.systemd_service uses it. It knows the units of a folder, and forgets nothing.
SYSTEMCTL = """\
#!/bin/sh
state='{folder}/state'
for unit; do :; done
case $1 in
show)
    [ -e '{units}'/"$unit" ] && echo LoadState=loaded || echo LoadState=not-found
    [ -e "$state.start" ] && echo ActiveState=active || echo ActiveState=inactive ;;
is-enabled) [ -e "$state.enable" ] ;;
start | restart) touch "$state.start" ;;
stop) rm "$state.start" ;;
enable) touch "$state.enable" ;;
disable) rm "$state.enable" ;;
esac
"""
# A Python that makes virtual environments of itself.
PYTHON = """\
#!/bin/sh
echo "$@" >>'{folder}/calls'
case $1$2 in
-c*) cat '{folder}/version' ;;
-mvenv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp /bin/true "$3/bin/ansible-galaxy" ;;
-mpip) exit "$(cat '{folder}/pip')" ;;
esac
"""

# The stand-in for ansible-playbook: it notes how it was called, and does what a test wants.
STUB = """\
#!/bin/sh
printf '%s\\n' "$@" >'{folder}/arguments'
env -0 >'{folder}/environment'
cat >'{folder}/stdin'
cd '{folder}'
. ./behaviour
"""


class Stubbed(Host):
    """A host with a virtual environment in which ansible-playbook does what a test wants."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stub = folder / "stub"
        (self.stub / "bin").mkdir(parents=True)
        (self.stub / "bin" / "ansible-playbook").write_text(STUB.format(folder=self.stub))
        (self.stub / "bin" / "ansible-playbook").chmod(0o755)
        self._fifos = {}
        for name in ("told", "go"):
            os.mkfifo(self.stub / name)
            # Open at both ends: nobody waits for the other one to open it.
            self._fifos[name] = os.open(self.stub / name, os.O_RDWR)
        self.behave("exit 0")

    def behave(self, script: str) -> None:
        (self.stub / "behaviour").write_text(script)

    def wait_for_it(self) -> None:
        """Return when the stand-in has written to the FIFO `told`."""
        ready, _writable, _failed = select.select([self._fifos["told"]], [], [], PATIENCE)
        assert ready
        os.read(self._fifos["told"], 100)

    def let_it_go(self) -> None:
        """Have the stand-in read a line from the FIFO `go`."""
        os.write(self._fifos["go"], b"go\n")

    def play(self, *arguments: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        return super().play(*arguments, timer_venv=str(self.stub), timer_manage_venv=False, **variables)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    host = Stubbed(tmp_path_factory.mktemp("timer") / "host")
    done = host.play(
        timer_inventory_content="all: {}\n", timer_env="dev:!prod", timer_environment=AWKWARD,
        timer_arguments=["--limit", "it's"],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return host


@pytest.fixture
def host(once: Stubbed) -> Stubbed:
    """A host with a timer that has not run yet."""
    shutil.rmtree(once.logs)
    once.logs.mkdir()
    once.behave("exit 0")
    return once


def changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.findall(r"changed=(\d+)", done.stdout)[-1])


def holding(folder: Path, secret: str) -> set[str]:
    """The files in a folder in which there is a text."""
    found = [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    return {str(path.relative_to(folder)) for path in found}


@pytest.mark.slow
def test_it_reaps_in_an_environment_of_its_own(tmp_path: Path) -> None:
    built = subprocess.run(
        [TOOLS / "ansible-galaxy", "collection", "build", "--output-path", tmp_path], cwd=CHECKOUT, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    [archive] = tmp_path.glob("hsmops-cloudhsm-*.tar.gz")
    amazon = Path(sysconfig.get_path("purelib"), "ansible_collections", "amazon", "aws")
    with Sandbox(tmp_path / "sandbox", rate=RATE) as sandbox:
        inventory = yaml.safe_load(sandbox.inventory.read_text())
        shared = inventory["all"]["vars"]
        shared |= {"hsm_wait_delay": 0.3, "hsm_settle": 0.2, "hsm_aws": {"endpoint_url": sandbox.aws.url}}
        shared["hsm_redis_url"] = "{{ lookup('ansible.builtin.env', 'REDIS_OF_THE_RUN') }}"
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
        given = {name: sandbox.variables[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        wanted = {
            "timer_packages": [
                f"{name}=={importlib.metadata.version(name)}" for name in ("ansible-core", "boto3", "redis")
            ],
            "timer_pip_arguments": ["--no-compile"],
            "timer_collections": [str(archive), str(amazon)],
            "timer_galaxy_arguments": ["--offline"],
            "timer_inventory_content": f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/inventory.yml') }}}}",
            "timer_environment": {**given, "REDIS_OF_THE_RUN": sandbox.redis_url, "TOKEN": SECRET},
        }
        host = Host(tmp_path / "host")
        assert changed(host.play(**wanted)) > 0
        cloudhsm = sandbox.aws.client("cloudhsmv2")
        cloudhsm.create_hsm(ClusterId=sandbox.cluster_id, AvailabilityZone=f"{REGION}a")
        sandbox.aws.advance(3600)
        sandbox.put_record_back(4000)

        status, said = host.tick()

        assert (status, said) == (0, ""), said + host.log
        [cluster] = cloudhsm.describe_clusters(Filters={"clusterIds": [sandbox.cluster_id]})["Clusters"]
        assert [hsm for hsm in cluster["Hsms"] if hsm["State"] != "DELETE_IN_PROGRESS"] == []
        assert host.metrics["last_exit_status"] == 0
        assert not host.home.exists()
        assert changed(host.play(**wanted)) == 0
        assert holding(host.folder, SECRET) == {"opt/environment"}
        assert stat.S_IMODE((host.installed / "environment").stat().st_mode) == 0o600
        assert stat.S_IMODE((host.installed / "inventory.yml").stat().st_mode) == 0o600

        assert changed(host.play(timer_state="absent")) > 0

    assert not host.installed.exists()
    assert str(host.installed) not in host.crontab.read_text()
    assert {path.suffix for path in host.logs.iterdir()} == {".log"}


def test_the_environment_is_as_it_was_given(host: Stubbed) -> None:
    assert host.tick() == (0, "")

    seen = dict(pair.split("=", 1) for pair in (host.stub / "environment").read_text().split("\0") if pair)
    assert {name: seen[name] for name in AWKWARD} == {name: str(value) for name, value in AWKWARD.items()}
    assert seen["LC_ALL"] == "C.UTF-8"
    assert not Path(seen["ANSIBLE_HOME"]).exists()
    assert (host.stub / "arguments").read_text().splitlines() == [
        "-i", f"{host.installed}/inventory.yml", "-e", '{"env": "dev:!prod"}', "--limit", "it's",
        "hsmops.cloudhsm.reap_hsm",
    ]  # fmt: skip
    assert (host.stub / "stdin").read_text() == ""
    assert not (host.stub / "pwned").exists()


@pytest.mark.skipif(not shutil.which("systemd-tmpfiles"), reason="no systemd")
def test_systemd_reads_the_same_from_the_environment_file(host: Stubbed, tmp_path: Path) -> None:
    """Its parser of such files is at hand where it reads the name of the operating system."""
    lines = [line for line in (host.installed / "environment").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(AWKWARD)
    for line in lines:
        name, _equals, value = line.partition("=")
        read, release, wanted = tmp_path / name, tmp_path / "os-release", tmp_path / "tmpfiles.conf"
        release.write_text(f"BUILD_ID={value}\n")
        wanted.write_text(f"f {read} - - - - <%B>\n")
        subprocess.run(
            ["systemd-tmpfiles", "--create", wanted], env={**os.environ, "SYSTEMD_OS_RELEASE": str(release)}, check=True
        )
        assert read.read_text() == f"<{AWKWARD[name]}>"


def test_the_status_is_that_of_the_playbook_and_a_success_is_remembered(host: Stubbed) -> None:
    assert host.tick()[0] == 0
    first = host.metrics
    host.behave("echo what is wrong; exit 4")

    status, said = host.tick()

    assert status == 4
    assert "what is wrong" in said
    assert "status 4" in said
    assert str(host.logs) in said
    assert host.metrics["last_exit_status"] == 4
    assert host.metrics["last_success_timestamp_seconds"] == first["last_success_timestamp_seconds"]
    assert host.metrics["last_run_timestamp_seconds"] >= first["last_run_timestamp_seconds"]
    assert set(host.metrics) == {
        "last_exit_status", "last_run_timestamp_seconds", "last_success_timestamp_seconds", "last_duration_seconds",
        "skipped_total",
    }  # fmt: skip
    assert stat.S_IMODE(host.status_file.stat().st_mode) == 0o644
    assert {path.name for path in host.logs.iterdir()} == {
        host.status_file.name,
        *(path.name for path in host.logs.glob("*.log")),
    }


def test_of_two_at_once_one_is_skipped(host: Stubbed) -> None:
    host.behave("echo >told; read -r line <go; exit 0")
    with host.start() as first:
        host.wait_for_it()

        assert host.tick() == (75, f"{NAME}: skipped, because another run is at work\n")
        assert host.tick()[0] == 75
        assert host.metrics == {"skipped_total": 2}

        host.let_it_go()
    assert first.returncode == 0
    assert host.metrics["last_exit_status"] == 0
    assert host.metrics["skipped_total"] == 2
    assert host.log.count("begins") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_and_is_told(host: Stubbed, number: signal.Signals) -> None:
    host.behave("trap 'echo asked to end; exit 0' TERM; sh -c 'echo >told; exec sleep 600' & wait")
    with host.start() as run:
        host.wait_for_it()
        run.send_signal(number)

    assert run.returncode == 143
    assert host.metrics["last_exit_status"] == 143
    assert "asked to end" in host.log
    # All that it had started ends too, and with it the lock.
    subprocess.run(["flock", host.logs, "true"], check=True, timeout=PATIENCE)


def test_a_run_that_hangs_is_stopped(host: Stubbed) -> None:
    host.behave("sleep 600")
    impatient = host.folder / "impatient"
    impatient.write_text((host.installed / "run").read_text().replace(" 7200 ", " 0.2 "))
    impatient.chmod(0o755)

    assert host.tick(str(impatient))[0] == 124

    assert host.metrics["last_exit_status"] == 124


def test_what_outlives_the_script_keeps_the_lock(host: Stubbed) -> None:
    host.behave("echo >told; read -r line <go; echo >told")
    with host.start() as run:
        host.wait_for_it()
        run.kill()
        run.wait()

        assert host.tick()[0] == 75

        host.let_it_go()
        host.wait_for_it()


def test_logs_are_kept_for_a_fortnight(host: Stubbed) -> None:
    now = host.logs.stat().st_mtime
    for name, days in (("2020-01-01.log", 14.1), ("2020-01-02.log", 13.9), ("notes.log", 99)):
        (host.logs / name).touch()
        os.utime(host.logs / name, (now - days * 86400,) * 2)

    assert host.tick()[0] == 0

    names = {path.name for path in host.logs.glob("*.log")}
    assert {"2020-01-02.log", "notes.log"} < names
    assert "2020-01-01.log" not in names


def test_the_script_is_clean(host: Stubbed) -> None:
    checked = subprocess.run(
        [TOOLS / "shellcheck", host.installed / "run"], capture_output=True, text=True, check=False
    )
    assert checked.stdout == ""


@pytest.mark.slow
def test_systemd_takes_over_from_cron(tmp_path: Path) -> None:
    host = Stubbed(tmp_path / "host")
    host.crontab.write_text(f"0 5 * * * somebody-elses\n#Ansible: {NAME}\n*/10 * * * * {host.installed}/run\n")
    assert changed(host.play(
        timer_inventory_content="all: {}\n", timer_environment={"TOKEN": SECRET}, timer_scheduler="systemd",
        timer_enabled=False, timer_on_calendar="Mon..Fri 07:30",
    )) > 0  # fmt: skip

    assert host.crontab.read_text() == "0 5 * * * somebody-elses\n"
    service, timer = (host.units / f"{NAME}.service", host.units / f"{NAME}.timer")
    assert {f"ExecStart={host.installed}/run", f"EnvironmentFile={host.installed}/environment"} < set(
        service.read_text().splitlines()
    )
    assert "OnCalendar=Mon..Fri 07:30" in timer.read_text()
    if shutil.which("systemd-analyze"):
        verified = subprocess.run(
            ["systemd-analyze", "verify", service, timer], capture_output=True, text=True, check=False
        )
        assert (verified.returncode, verified.stderr) == (0, "")

    assert changed(host.play(timer_state="absent", timer_purge=True)) > 0

    assert not any(folder.exists() for folder in (host.installed, host.logs, service, timer))
    assert (host.stub / "bin" / "ansible-playbook").exists()
    assert host.crontab.read_text() == "0 5 * * * somebody-elses\n"


@pytest.mark.slow
def test_systemd_does_what_is_said(tmp_path: Path) -> None:
    host = Stubbed(tmp_path / "host")
    (host.folder / "bin" / "systemctl").write_text(SYSTEMCTL.format(folder=tmp_path, units=host.units))
    (host.folder / "bin" / "systemctl").chmod(0o755)

    def state() -> set[str]:
        return {path.suffix[1:] for path in tmp_path.glob("state.*")}

    stamp = tmp_path / "stamp"
    stamp.touch()
    # There is no systemd where this is tested: what the role finds is said beforehand.
    found = {
        "uid": "0", "folder": str(host.installed), "log_folder": str(host.logs), "unit_folder": str(host.units),
        "cron_folder": "", "venv": str(host.stub), "metrics_folder": str(host.logs), "flock": "there", "timeout": "there",
        "find": "there", "crontab": "", "git": "", "systemd": "runs", "units": "", "cron": "there", "metrics": "there",
        "inventory": "", "user": "", "playbook": "there", "python": "", "made_of": "", "venv_of": "others", "calendar": "",
        "stamp": str(stamp),
    }  # fmt: skip
    asked = {"timer_inventory_content": "all: {}\n", "timer_found": found}

    assert changed(host.play("--check", **asked)) > 0
    assert changed(host.play(**asked)) > 0
    assert state() == {"start", "enable"}
    found["units"] = "there"
    assert changed(host.play(**asked)) == 0

    assert changed(host.play(timer_enabled=False, **asked)) == 1
    assert state() == set()
    assert changed(host.play(timer_enabled=False, **asked)) == 0

    assert changed(host.play(**asked)) == 1
    assert changed(host.play(timer_enabled=False, timer_state="absent", **asked)) > 0
    assert state() == set()
    assert not stamp.exists()


@pytest.mark.slow
def test_a_virtual_environment_is_of_one_python_and_goes_if_it_was_begun_only(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(PYTHON.format(folder=tmp_path))
    python.chmod(0o755)
    venv = host.installed / "venv"
    wanted = {
        "timer_inventory_content": "all: {}\n", "timer_python": str(python), "timer_collections": ["one.two"],
        "timer_scheduler": "cron",
    }  # fmt: skip
    (tmp_path / "version").write_text("3.11")
    (tmp_path / "pip").write_text("1")

    assert host.play(**wanted).returncode == 2
    assert (venv / "bin" / "python").exists()
    assert changed(host.play(timer_state="absent")) > 0
    assert not host.installed.exists()

    (tmp_path / "pip").write_text("0")
    assert changed(host.play(**wanted)) > 0
    (venv / "lib").mkdir()
    calls.unlink()
    assert changed(host.play(timer_upgrade=True, **wanted)) == 2
    assert "--upgrade" in calls.read_text()
    assert (venv / "lib").exists()

    (tmp_path / "version").write_text("3.12")
    assert changed(host.play(**wanted)) > 0
    assert not (venv / "lib").exists()
    assert changed(host.play(**wanted)) == 0

    (venv / ".hsmops-timer").unlink()
    done = host.play(**wanted)
    assert done.returncode == 2
    assert f"timer_venv: in {venv} is something that this role has not made." in done.stdout


def test_what_cannot_work_is_refused_by_the_name_of_the_parameter(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    done = host.play(
        timer_scheduler="systemd", timer_enabled=False, timer_name="two words", timer_cron="hourly", timer_log_folder="log",
        timer_inventory="/nowhere", timer_metrics_folder="/nowhere", timer_user="nobody-here", timer_python="no-python",
        timer_environment={"A NAME": SECRET, "LINES": "two\nlines"}, timer_on_calendar="hourlyx",
        timer_write_paths=["/srv/two words"],
    )  # fmt: skip

    assert done.returncode == 2
    said = done.stdout + done.stderr
    wrong = (
        "name", "cron", "log_folder", "inventory", "metrics_folder", "user", "python", "environment", "write_paths",
    )  # fmt: skip
    assert [name for name in wrong if f"timer_{name}: " not in said] == []
    assert ("timer_on_calendar: " in said) == bool(shutil.which("systemd-analyze"))
    assert SECRET not in said
    assert not host.installed.exists()


def test_the_packages_are_those_that_the_modules_need() -> None:
    defaults = yaml.safe_load((CHECKOUT / "roles/timer/defaults/main.yml").read_text())
    needed = (CHECKOUT / "requirements.txt").read_text().split("# For hsm_key_backup.")[0].splitlines()
    assert [line for line in needed if not line.startswith("#")] == defaults["timer_packages"][1:]
