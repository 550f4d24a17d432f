# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The runs as their users start them: real ansible-playbook processes against a sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import typing as t
from pathlib import Path

import pytest
import redis
from sandbox.sandbox import CHECKOUT, Sandbox

# An HSM takes a second at this rate.
RATE = 600.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox"), rate=RATE) as sandbox:
        yield sandbox


@pytest.fixture
def empty(sandbox: Sandbox) -> Sandbox:
    """The sandbox with no HSM and no record."""
    cloudhsm = sandbox.aws.client("cloudhsmv2")
    for hsm in cloudhsm.describe_clusters()["Clusters"][0]["Hsms"]:
        if hsm["State"] != "DELETE_IN_PROGRESS":
            cloudhsm.delete_hsm(ClusterId=sandbox.cluster_id, HsmId=hsm["HsmId"])
    sandbox.aws.advance(3600)
    sandbox.aws.clear_calls()
    store(sandbox).flushall()
    return sandbox


def store(sandbox: Sandbox) -> redis.Redis:
    return redis.Redis.from_url(sandbox.redis_url, decode_responses=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def play(sandbox: Sandbox, home: Path):
    """Run a playbook: its path or full name, or its text. Returns the finished process."""

    def run(playbook: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
        environment |= {
            "ANSIBLE_ASYNC_DIR": str(home / "async"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INVENTORY": str(sandbox.inventory),
            **variables,
        }
        home.mkdir(exist_ok=True)
        if "\n" in playbook:
            path = home / "playbook.yml"
            path.write_text(textwrap.dedent(playbook), encoding="utf-8")
            playbook = str(path)
        return subprocess.run(
            ["ansible-playbook", playbook, "-e", "hsm_wait_delay=0.3", "-e", "hsm_settle=0.2", *arguments],
            cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def recap(process: subprocess.CompletedProcess[str]) -> dict[str, int]:
    line = next(line for line in process.stdout.splitlines() if re.match(r"dev\s+: ok=", line))
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


def test_ensure_again_in_check_mode_and_with_diff(empty, play):
    before = play("playbooks/ensure_hsm.yml", "-e", "env=dev", "--check", "--diff")
    assert recap(before)["changed"] == 1
    assert "dev: 0 HSMs; would create an HSM in eu-west-1a" in before.stdout
    assert re.search(r'\+.*"eni_ip": "chosen by AWS"', before.stdout)
    assert not empty.aws.calls("CreateHsm")
    assert store(empty).keys() == []

    made = play("playbooks/ensure_hsm.yml", "-e", "env=dev", "--diff")
    assert recap(made)["changed"] == 1
    assert re.search(r"dev: 1 HSM: hsm-\w+ ACTIVE in eu-west-1a at 10\.42\.0\.\d+; created 1, in [\d.]+ s", made.stdout)
    assert re.search(
        r"\[dev\] hsm-\w+ \(eu-west-1a, 10\.42\.0\.\d+\) is CREATE_IN_PROGRESS; [\d.]+ s of at most 1 h", made.stderr
    )
    assert re.search(r'\+.*"state": "ACTIVE"', made.stdout)

    empty.aws.clear_calls()
    store(empty).config_resetstat()
    again = play("playbooks/ensure_hsm.yml", "-e", "env=dev")
    assert (recap(again)["changed"], recap(again)["failed"]) == (0, 0)
    assert "nothing to change, in" in again.stdout
    assert [call["operation"] for call in empty.aws.calls()] == ["DescribeClusters"]
    assert store(empty).info("commandstats")["cmdstat_evalsha"]["calls"] == 1

    assert recap(play("playbooks/ensure_hsm.yml", "-e", "env=dev", "--check"))["changed"] == 0


def test_runs_by_their_full_names_from_anywhere(empty, play):
    assert recap(play("hsmops.cloudhsm.touch_hsm", "-e", "env=dev"))["changed"] == 0
    assert 7190 <= store(empty).ttl("hsm:dev:last_access") <= 7200
    assert "dev: active, last used" in play("hsmops.cloudhsm.check_hsm", "-e", "env=all").stdout
    assert recap(play("hsmops.cloudhsm.ensure_hsm", "-e", "env=dev"))["changed"] == 1


def test_check_tells_idle_and_unknown(empty, play):
    unknown = play("playbooks/check_hsm.yml", "-e", "env=dev")
    assert "dev: unknown, there is no record" in unknown.stdout

    now = store(empty).time()[0]
    store(empty).set("hsm:dev:last_access", now - 4000)
    idle = play("playbooks/check_hsm.yml", "-e", "env=dev")
    assert re.search(r"dev: idle, last used 40\d\d s ago", idle.stdout)
    assert "dev: active" in play("playbooks/check_hsm.yml", "-e", "env=dev", "-e", "hsm_idle_after=5000").stdout


def test_status_tells_and_changes_nothing(empty, play, tmp_path):
    path = tmp_path / "cloudhsm.env"
    none = play("playbooks/status_hsm.yml", "-e", "env=dev", "-e", f"hsm_status_file={path}", "--check")
    assert (recap(none)["changed"], recap(none)["failed"]) == (0, 0)
    assert "dev: none, there is no HSM" in none.stdout
    assert path.read_text(encoding="utf-8").splitlines() == [
        "HSM_ENV=dev", "HSM_STATUS=none", "HSM_STATUS_CODE=1", "HSM_ACTIVITY=unknown",
        f"HSM_CLUSTER_ID={empty.cluster_id}", "HSM_ID=", "HSM_IP=",
    ]  # fmt: skip
    assert [call["operation"] for call in empty.aws.calls()] == ["DescribeClusters"]
    assert store(empty).keys() == []

    unknown = play("playbooks/status_hsm.yml", "-e", "env=dev", "-e", "hsm_cluster_id=cluster-aaaaaaaaaaa")
    assert unknown.returncode == 2
    assert "hsm_cluster_id: there is no cluster cluster-aaaaaaaaaaa in this account and region" in unknown.stdout


@pytest.mark.parametrize(
    "run", ["ensure", pytest.param("touch", marks=pytest.mark.slow), pytest.param("check", marks=pytest.mark.slow)]
)
def test_environment_must_be_said_and_known(play, run):
    unnamed = play(f"playbooks/{run}_hsm.yml")
    assert unnamed.returncode != 0
    assert "env: no environment is named. Say which one with -e env=NAME" in unnamed.stdout + unnamed.stderr

    for arguments in (["-e", "env=prod"], ["-e", "env=prod", "--limit", "dev"], ["-e", "env=dev,prod"]):
        unknown = play(f"playbooks/{run}_hsm.yml", *arguments)
        assert unknown.returncode != 0
        assert "env: no host or group of the inventory matches 'prod'" in unknown.stdout + unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hsm_cluster_id="], "cluster_id: '' is not a cluster id"),
        (["hsm_count=two"], "hsm_count"),
        (["hsm_count=0"], "count: is 0. With state=present it is 1 or more"),
        (['{"hsm_env": "a b"}'], "activity.env: 'a b' is no name of an environment"),
        (["hsm_holder=job", "hsm_hold_for=86401"], "activity.hold_for: 86401 is more than a day"),
        (["hsm_redis_url=redis://127.0.0.1:1"], "redis_url: Redis at 127.0.0.1:1 does not answer"),
        (["hsm_redis_username=ci", "hsm_redis_password=wrong"], "refused the user or password"),
        (['{"hsm_availability_zones": ["eu-west-1z"]}'], "availability_zones: cluster"),
    ],
)
def test_bad_input_of_ensure(empty, play, arguments, message):
    extra = [part for argument in arguments for part in ("-e", argument)]
    process = play("playbooks/ensure_hsm.yml", "-e", "env=dev", *extra)

    assert process.returncode == 2
    assert message in process.stdout
    assert "Traceback" not in process.stdout + process.stderr
    assert not empty.aws.calls("CreateHsm")


def test_no_placements_leave_the_count_in_force(empty, play):
    process = play(
        "playbooks/ensure_hsm.yml", "-e", "env=dev", "-e", '{"hsm_placements": [], "hsm_count": 2}', "--check"
    )

    assert "would create an HSM in eu-west-1a, create an HSM in eu-west-1b" in process.stdout


@pytest.mark.parametrize("group", ["hsmops.cloudhsm.all", "aws"])
def test_module_defaults_of_a_group(empty, play, group):
    connection = {
        "region": "eu-west-1", "endpoint_url": empty.aws.url, "access_key": "testing", "secret_key": "testing",
    }  # fmt: skip
    process = play(f"""\
        - hosts: localhost
          gather_facts: false
          module_defaults:
            group/{group}: {connection}
          tasks:
            - hsmops.cloudhsm.cloudhsm_cluster_info:
              register: found
            - hsmops.cloudhsm.cloudhsm_hsm:
                cluster_id: "{{{{ found.clusters[0].cluster_id }}}}"
                state: absent
            - amazon.aws.aws_caller_info:
        """)

    assert process.returncode == 0, process.stdout
    assert "ok=3" in process.stdout


def test_module_runs_asynchronously_too(empty, play):
    process = play("""\
        - hosts: dev
          gather_facts: false
          connection: local
          vars:
            ansible_python_interpreter: "{{ ansible_playbook_python }}"
          module_defaults:
            hsmops.cloudhsm.cloudhsm_hsm: "{{ hsm_aws }}"
          tasks:
            - hsmops.cloudhsm.cloudhsm_hsm:
                cluster_id: "{{ hsm_cluster_id }}"
                region: "{{ hsm_region }}"
                wait_delay: 0.3
              async: 60
              poll: 1
            - hsmops.cloudhsm.hsm_activity:
                action: touch
                env: dev
              async: 60
              poll: 1
              environment:
                REDIS_URL: "{{ hsm_redis_url }}"
            - hsmops.cloudhsm.hsm_activity:
                action: check
                env: dev
              environment:
                REDIS_HOST: 127.0.0.1
                REDIS_PORT: "{{ hsm_redis_url | urlsplit('port') }}"
              register: activity
            - ansible.builtin.assert:
                that: activity.environments[0].status == 'active'
        """)

    assert process.returncode == 0, process.stdout
    assert (recap(process)["ok"], recap(process)["changed"]) == (4, 2)


@pytest.fixture
def short_path() -> t.Iterator[Path]:
    """A folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_no_secret_is_printed_or_left_on_disk(empty, play, home, short_path, tmp_path):
    store(empty).execute_command("ACL", "SETUSER", "ci", "on", ">s3cret-password", "~*", "+@all")
    secrets = ("s3cret-password", "s3cret-access")
    arguments = ["-e", "env=dev", "-e", "hsm_redis_username=ci", "-vvvv"]
    variables = tmp_path / "variables.yml"
    connection = {"endpoint_url": empty.aws.url, "access_key": "testing", "secret_key": "s3cret-access"}
    variables.write_text(f"hsm_redis_password: s3cret-password\nhsm_aws: {connection}\n", encoding="utf-8")
    for playbook in ("ensure", "touch", "check"):
        process = play(f"playbooks/{playbook}_hsm.yml", *arguments, "-e", f"@{variables}", TMPDIR=str(short_path))
        assert process.returncode == 0, process.stdout
        assert not [secret for secret in secrets if secret in process.stdout + process.stderr]
    variables.unlink()

    left = [path for folder in (home, short_path) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in left if any(secret.encode() in path.read_bytes() for secret in secrets)]
    assert not [path for path in left if path.name.startswith("hsmops-progress-")]
