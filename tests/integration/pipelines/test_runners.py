# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The jobs of GitLab's template and the action of GitHub, as runners run them: to their end, failing, cancelled, lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from harness.github import Worker
from harness.gitlab import Job, find_job, read_template
from harness.redis_servers import wait_until

SHELLS = [shell for shell in (("sh",), ("bash", "-o", "pipefail"), ("busybox", "sh")) if shutil.which(shell[0])]
WORK = 'while [ ! -e "$CI_PROJECT_DIR/end" ]; do sleep 0.1; done'


@pytest.fixture
def job(redis_url, tmp_path):
    """Make a job of pipeline 7. Those that still run in the end are killed."""
    jobs = read_template()
    made = []

    def make(number, name=".cloudhsm_keepalive", shell=("sh",), variables=None, **own):
        given = {
            "HSM_ENV": "dev",
            "CI_PIPELINE_ID": "7",
            "CI_JOB_ID": str(number),
            "REDIS_URL": redis_url,
            "HSM_BEAT": "1",
        }
        made.append(Job(find_job(jobs, name, **own), tmp_path / str(number), {**given, **(variables or {})}, shell))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.mark.parametrize(
    ("shell", "status"), list(zip(SHELLS, (0, 1, 0), strict=False)), ids=[shell[0] for shell in SHELLS]
)
def test_a_job_lets_go_at_its_end(job, store, holders, running, shell, status):
    store.zadd("hsm:dev:holds", {"gitlab-7": store.time()[0] + 500, "gitlab-7-72": store.time()[0] + 500})
    this = job(71, shell=shell, script=[WORK, f"exit {status}"])
    this.start()
    wait_until(lambda: "gitlab-7-71" in holders())
    store.zadd("hsm:dev:holds", {"gitlab-7-71": store.time()[0] + 5})
    wait_until(lambda: holders()["gitlab-7-71"] > 800)
    (this.folder / "end").touch()
    step = this.finish()

    assert step.status == status
    assert "hsm: dev: held by gitlab-7-71 for 900 s" in step.output
    assert "hsm: dev: released by gitlab-7-71" in step.output
    assert set(holders()) == {"gitlab-7", "gitlab-7-72"}, "what others hold, it leaves to them"
    wait_until(lambda: not running(str(this.folder)))
    assert set(holders()) == {"gitlab-7", "gitlab-7-72"}, "its beat does not come back"


def test_a_job_that_is_cancelled(job, holders, running):
    this = job(71, script=["sleep 60"])
    this.start()
    wait_until(lambda: "gitlab-7-71" in holders())
    this.kill()
    assert 0 < holders()["gitlab-7-71"] <= 900
    # GitLab since 17.0 does this for cancelled jobs, too.
    assert "released by gitlab-7-71" in this.run_after().output
    assert holders() == {}
    assert not running(str(this.folder))


def test_a_beat_that_its_runner_has_left_behind(job, holders, running):
    """The shell alone is gone; no after_script is run."""
    this = job(71, script=["sleep 60; :"])
    this.start()
    wait_until(lambda: running(f"{this.folder}/.cloudhsm-71/hsm.sh\0beat"))
    this.lose()
    wait_until(lambda: not running(f"{this.folder}/.cloudhsm-71/hsm.sh\0beat"))
    assert 0 < holders()["gitlab-7-71"] <= 900


def test_a_late_beat_of_a_job(job, holders, running, slow_holds):
    folder, arrive = slow_holds
    jobs = read_template()
    *hold, start_beat = find_job(jobs, ".cloudhsm_keepalive")["before_script"]
    # The client is slow for the beat alone.
    this = job(
        71,
        before_script=[*hold, start_beat.replace("HSM_WATCH", f"PATH={folder}:$PATH HSM_WATCH")],
        script=[f"while [ ! -e {arrive}.awaited ]; do sleep 0.1; done"],
    )
    this.start()
    wait_until(Path(f"{arrive}.awaited").exists)
    this.finish()
    assert holders() == {}
    arrive.touch()
    wait_until(lambda: not running(f"{this.folder}/.cloudhsm-71/hsm.sh\0beat"))
    assert holders() == {}


def test_a_job_with_scripts_of_its_own(job, holders):
    jobs = read_template()
    before, after = jobs[".cloudhsm_keepalive"]["before_script"], jobs[".cloudhsm_keepalive"]["after_script"]
    step = job(71, before_script=[before, "echo mine"], after_script=["echo also mine", after], script=["true"]).run()
    assert step.status == 0
    assert step.output.index("held by") < step.output.index("mine") < step.output.index("also mine")
    assert step.output.index("also mine") < step.output.index("released by")
    assert holders() == {}


def test_what_a_script_releases_does_not_end_the_beat_of_its_job(job, store, holders):
    this = job(71, script=['sh "$HSM_FOLDER/hsm.sh" release dev other', WORK])
    this.start()
    wait_until(lambda: store.exists("hsm:dev:last_access") and "gitlab-7-71" in holders())
    for _look in range(2):
        store.zadd("hsm:dev:holds", {"gitlab-7-71": store.time()[0] + 5})
        wait_until(lambda: holders()["gitlab-7-71"] > 800)
    (this.folder / "end").touch()
    assert "released by other" in this.finish().output


def test_a_release_that_fails_does_not_keep_the_log_of_the_beat(job):
    this = job(71, variables={"REDIS_URL": "redis://127.0.0.1:1"})
    (folder := this.folder / ".cloudhsm-71").mkdir()
    (folder / "beat.log").write_text("what the beat said\n", encoding="utf-8")
    assert "what the beat said" in this.run().output


def test_a_job_of_another_environment(job, store):
    store.hset("hsm:other:claim", mapping={"phase": "creating"})
    assert "hsm: other: held by gitlab-7-71" in job(71, script="true", variables={"HSM_ENV": "other"}).run().output
    assert store.exists("hsm:other:last_access")
    assert not store.exists("hsm:dev:last_access")


@pytest.mark.parametrize(
    ("claim", "variables", "status"),
    [
        ({"phase": "committed", "deadline": "4000000000"}, {}, 2),
        ({}, {"REDIS_URL": "redis://127.0.0.1:1"}, 3),
        ({}, {"REDIS_URL": ""}, 4),
    ],
)
def test_a_job_that_cannot_rely_on_the_hsm_does_not_begin(job, store, holders, claim, variables, status):
    if claim:
        whole = {"token": "one", "fence": "1", "hsm_ids": "hsm-1", "record": "1767258000", "server": "x", **claim}
        store.hset("hsm:dev:claim", mapping=whole)
    step = job(71, script=["echo begun"], variables=variables).run()

    assert step.status == status
    assert "begun" not in step.output
    assert holders() == {}


def test_the_folder_of_a_job_is_not_seen_by_git(job):
    this = job(71, script=["git init -q .; git status --porcelain; git clean -nffdx"])
    assert "?? " not in (output := this.run().output)
    assert "Would remove .cloudhsm-71/" in output


def test_the_last_job_lets_go_what_the_pipeline_holds(job, store, holders):
    store.zadd("hsm:dev:holds", {"gitlab-7": store.time()[0] + 500, "gitlab-7-72": store.time()[0] + 500})
    assert job(79, "cloudhsm_release").run().status == 0
    assert set(holders()) == {"gitlab-7-72"}
    assert store.exists("hsm:dev:last_access")


@pytest.fixture
def worker(redis_url, tmp_path):
    worker = Worker(tmp_path / "worker", REDIS_URL=redis_url, HSM_BEAT="1", RUNNER_NAME=f"GitHub Actions {os.getpid()}")
    yield worker
    worker.close()


def test_github_holds_from_one_step_to_another(worker, store, holders, running):
    holder = f"github-8-1-sign-GitHub_Actions_{os.getpid()}"
    status, said, _outputs = worker.use(mode="hold", env="dev")
    assert status == 0, said
    assert f"held by {holder} for 900 s" in said
    store.zadd("hsm:dev:holds", {holder: store.time()[0] + 5, "github-8": store.time()[0] + 500})
    wait_until(lambda: holders()[holder] > 800)

    status, said, _outputs = worker.use(mode="release", env="dev")
    assert (status, f"released by {holder}" in said) == (0, True)
    assert set(holders()) == {"github-8"}
    wait_until(lambda: not running(holder))
    assert set(holders()) == {"github-8"}


def test_github_releases_what_the_run_holds(worker, store, holders):
    store.zadd("hsm:dev:holds", {"github-8": store.time()[0] + 500, "github-9": store.time()[0] + 500})
    status, said, _outputs = worker.use(mode="release", env="dev")
    assert (status, "released by github-8" in said) == (0, True)
    assert set(holders()) == {"github-9"}


def test_github_loses_its_runner(worker, holders, running):
    worker.use(mode="hold", env="dev")
    [holder] = holders()
    wait_until(lambda: running(holder))
    worker.lose()
    wait_until(lambda: not running(holder))
    assert 0 < holders()[holder] <= 900


def test_github_refuses_what_is_no_mode(worker, store):
    status, said, _outputs = worker.use(mode="delete", env="dev")
    assert (status, "mode: 'delete' is none" in said) == (4, True)
    assert store.keys() == []


@pytest.mark.parametrize("env", ["dev; touch owned", "{{lookup('pipe','touch owned')}}", "{{hsm_redis_password}}", ""])
@pytest.mark.parametrize("mode", ["status", "ensure", "hold", "release"])
def test_github_takes_no_input_for_shell_or_template(worker, store, mode, env):
    status, said, _outputs = worker.use(mode=mode, env=env)
    assert (status, "is no name of an environment" in said) == (4, True)
    assert store.keys() == []


def test_github_lets_one_environment_go_and_keeps_another(worker, store):
    def holders(env):
        return store.zrange(f"hsm:{env}:holds", 0, -1)

    for env in ("dev", "team/dev"):
        assert worker.use(mode="hold", env=env)[0] == 0
    assert worker.use(mode="release", env="team/dev")[0] == 0
    assert holders("team/dev") == []
    [holder] = holders("dev")
    for _look in range(2):
        store.zadd("hsm:dev:holds", {holder: store.time()[0] + 5})
        wait_until(lambda: store.zscore("hsm:dev:holds", holder) > store.time()[0] + 800)
    assert worker.use(mode="release", env="dev")[0] == 0
    assert holders("dev") == []


def test_github_shows_the_log_of_a_beat_after_a_release_that_fails(tmp_path):
    worker = Worker(tmp_path / "worker", REDIS_URL="redis://127.0.0.1:1")
    (folder := worker.temporary / "cloudhsm-dev").mkdir()
    (folder / "holder").write_text("me\n", encoding="utf-8")
    (folder / "beat.log").write_text("what the beat said\n", encoding="utf-8")
    status, said, _outputs = worker.use(mode="release", env="dev")
    worker.close()
    assert (status, "what the beat said" in said) == (3, True)


@pytest.fixture
def playbooks(tmp_path):
    """A path with an ansible-playbook that notes its arguments, and tells of an HSM of dev; where it notes them."""
    folder = tmp_path / "playbooks"
    folder.mkdir()
    program = folder / "ansible-playbook"
    program.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >>{tmp_path}/called\necho >>{tmp_path}/called\nfor word; do case $word in\n'
        "hsm_status_file=*) printf '%s\\n' HSM_ENV=dev HSM_STATUS=active HSM_STATUS_CODE=0 HSM_IP=192.0.2.10 "
        '>"${word#*=}" ;;\n'
        "esac; done\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}", tmp_path / "called"


@pytest.mark.parametrize("mode", ["status", "ensure"])
def test_github_runs_playbooks(tmp_path, playbooks, mode):
    path, called = playbooks
    worker = Worker(tmp_path / "worker", PATH=path)
    arguments = "-e hsm_hold_for=600 -e hsm_count=1"
    status, said, outputs = worker.use(mode=mode, env="dev", inventory="my hosts.yml", arguments=arguments)
    worker.close()

    assert (status, outputs) == (0, {"status": "active", "ip": "192.0.2.10"}), said
    lines = called.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("-i|my hosts.yml|hsmops.cloudhsm.") for line in lines)
    assert all(line.endswith("-e|hsm_hold_for=600|-e|hsm_count=1|") for line in lines)
    runs = ["ensure_hsm", "status_hsm"] if mode == "ensure" else ["status_hsm"]
    assert [line.split("|")[2] for line in lines] == [f"hsmops.cloudhsm.{run}" for run in runs]


def test_github_has_one_name_of_an_environment(tmp_path, playbooks):
    worker = Worker(tmp_path / "worker", PATH=playbooks[0])
    status, said, _outputs = worker.use(mode="status", env="other")
    worker.close()
    assert (status, "env: the inventory has another name for 'other'" in said) == (4, True)


def test_gitlab_runs_playbooks(job, playbooks):
    path, called = playbooks
    own = {"before_script": [], "variables": {"PATH": path, "HSM_INVENTORY": "my hosts.yml"}}
    assert job(71, "cloudhsm_status", **own).run().status == 0
    this = job(72, "cloudhsm_ensure", **own)
    assert this.run().status == 0
    # What is in it goes before the variables of the jobs that follow; one may name another environment.
    report = (this.folder / "cloudhsm.report.env").read_text(encoding="utf-8").splitlines()
    assert report == ["HSM_STATUS=active", "HSM_STATUS_CODE=0", "HSM_IP=192.0.2.10"]
    lines = called.read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[2].split(".")[2] for line in lines] == ["status_hsm", "ensure_hsm", "status_hsm"]
    assert all(line.startswith("-i|my hosts.yml|hsmops.cloudhsm.") for line in lines)


@pytest.mark.parametrize("name", ["cloudhsm_status", "cloudhsm_ensure"])
def test_gitlab_has_one_name_of_an_environment(job, playbooks, name):
    own = {"before_script": [], "variables": {"PATH": playbooks[0], "HSM_ENV": "other"}}
    step = job(71, name, **own).run()
    assert (step.status, "HSM_ENV: the inventory has another name for 'other'" in step.output) == (3, True)


@pytest.mark.parametrize("name", ["cloudhsm_status", "cloudhsm_ensure"])
@pytest.mark.parametrize(
    "env", ["{{lookup('pipe','touch owned')}}", "{{hsm_redis_password}}", "dev hsm_protected=false", ""]
)
def test_gitlab_takes_no_variable_for_a_template(job, playbooks, name, env):
    path, called = playbooks
    step = job(71, name, before_script=[], variables={"PATH": path, "HSM_ENV": env}).run()
    assert (step.status, "is no name of an environment" in step.output) == (3, True)
    assert not called.exists()
