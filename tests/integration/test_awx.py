# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""AWX as code, against what stands in for its API; and what AWX would run then, run as AWX runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import typing as t
from pathlib import Path

import pytest
import yaml
from harness import awx_jobs
from harness.awx import Awx
from harness.awx_rules import RefusalError
from harness.estates import FEW_KINDS, PIN, Estate, Estates, Run, Started
from harness.leaks import files, leaks
from harness.pkcs11 import need_softhsm
from sandbox.sandbox import CHECKOUT

ORGANIZATION = "Platform"
SECRETS = {
    "redis": b"Redis-Passw0rd-of-AWX",
    "pin": PIN.partition(":")[2].encode(),
    "aws": b"AWS-secret-key-of-AWX",
    "notice": b"Webhook-Passw0rd-of-AWX",
    "token": b"",
    "password": Awx.password.encode(),
}
ALWAYS = {"from": "00:00", "to": "24:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}


def variables(**changed: t.Any) -> dict[str, t.Any]:
    return {
        "awx_organization": ORGANIZATION,
        "awx_image": "registry.example.com/hsm:1",
        "awx_environments": {"dev": {"hsm_cluster_id": "cluster-aaaaaaaaaaa"}},
        "awx_redis": {"url": "rediss://redis.example.com:6379/0", "password": SECRETS["redis"].decode()},
        "awx_pkcs11": {"pin": PIN},
        "awx_aws": {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": SECRETS["aws"].decode()},
        **changed,
    }


NOTICE = {
    "name": "operations",
    "type": "webhook",
    "configuration": {
        "url": "https://hooks.example.com/hsm", "http_method": "POST", "headers": {}, "username": "awx",
        "password": SECRETS["notice"].decode(),
    },
}  # fmt: skip


class Configurer:
    """Runs the playbook against an API, and looks whether a secret is in what it says."""

    def __init__(self, awx: Awx, folder: Path) -> None:
        self.awx, self._folder, self._runs = awx, folder, 0

    def run(self, *arguments: str, by_password: bool = False, **given: t.Any) -> Run:
        self._runs += 1
        folder = self._folder / f"run{self._runs}"
        (folder / "home").mkdir(parents=True)
        given_in = self._folder / f"variables{self._runs}.json"
        given_in.write_text(json.dumps(given), encoding="utf-8")
        login = {"CONTROLLER_OAUTH_TOKEN": self.awx.token}
        if by_password:
            login = {"CONTROLLER_USERNAME": self.awx.username, "CONTROLLER_PASSWORD": self.awx.password}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ,
            **login,
            "CONTROLLER_HOST": self.awx.url,
            "PATH": path,
            "HOME": str(folder / "home"),
        }
        command = ["ansible-playbook", "playbooks/configure_awx.yml", "-e", f"@{given_in}", *arguments]
        self.awx.writes.clear()
        run = Started(command, folder, {**environment, "ANSIBLE_NOCOLOR": "1"}).wait()
        assert leaks({**SECRETS, "token": self.awx.token.encode()}, files(folder)) == []
        return run


@pytest.fixture
def awx() -> t.Iterator[Awx]:
    """One that others use, too: some of what they have bears the names of ours."""
    with Awx() as awx:
        theirs = awx.add("organizations", {"name": "Others"})["id"]
        project = awx.add("projects", {"name": "HSM playbooks", "organization": theirs})["id"]
        for name in ("Deploy", "HSM reap"):
            awx.add("job_templates", {"name": name, "project": project, "playbook": "site.yml"})
        yield awx


def changed(run: Run) -> int:
    assert run.status == 0, run.text
    return run.recaps["localhost"]["changed"]


def test_awx_has_what_is_asked_for_and_nothing_else_is_touched(awx, tmp_path):
    configurer = Configurer(awx, tmp_path)
    before = awx.names()
    # Less than everything: what else there can be is seen below.
    few = {"awx_runs": ["reap", "working_hours"], "awx_workflow_job": "Deploy", "awx_schedule_env": "nightly"}
    asked = variables(awx_notifications=[NOTICE], awx_inventory_path="inventories/hsm.yml", **few)
    del asked["awx_pkcs11"], asked["awx_aws"]

    foretold = configurer.run("--check", **asked)
    assert (changed(foretold), awx.writes) == (1, [])
    assert '"HSM reap"' in foretold.text

    assert changed(configurer.run("-vvv", by_password=True, **asked)) > 0
    assert [job["name"] for job in awx.all("job_templates")][2:] == [
        "HSM ensure", "HSM release", "HSM workflow failed", "HSM reap", "HSM working hours",
    ]  # fmt: skip
    assert {job["timeout"] for job in awx.all("job_templates")[2:]} == {7200}
    assert awx.get("credentials", "HSM Redis")["inputs"] == asked["awx_redis"]
    assert awx.get("schedules", "HSM reap")["rrule"].endswith("FREQ=MINUTELY;INTERVAL=10")
    told = [awx.get("notification_templates", "HSM operations")["id"]]
    for template in ("HSM reap", "HSM working hours"):
        assert awx.listed("job_templates", template, "notification_templates_error") == told
    assert awx.listed("job_templates", "HSM ensure", "notification_templates_error") == []
    assert_workflow(awx)

    # What the project has is not known here.
    assert [question["type"] for question in awx.survey("HSM reap")] == ["text"]

    # Another environment in the place of the first, none from the project, and another password.
    assert {"hosts/dev", "inventory_sources/HSM environments"} <= awx.names()
    asked["awx_environments"] = {"prod": {"hsm_cluster_id": "cluster-bbbbbbbbbbb"}}
    del asked["awx_inventory_path"]
    asked["awx_redis"]["password"] = "Rotated-Passw0rd-of-AWX"
    assert changed(configurer.run(awx_update_secrets=True, **asked)) > 0
    assert [question["choices"] for question in awx.survey("HSM reap")] == [["prod", "all", "nightly"]]
    assert [host["name"] for host in awx.all("hosts")] == ["prod"]
    assert awx.all("inventory_sources") == []
    assert awx.get("credentials", "HSM Redis")["inputs"] == asked["awx_redis"]

    assert (changed(configurer.run(**asked)), awx.writes) == (0, [])

    # Somebody has a credential of our type, and a job template with our project and with a name that could be ours.
    redis, project = awx.get("credential_types", "HSM Redis")["id"], awx.get("projects", "HSM playbooks")["id"]
    awx.add("credentials", {"name": "Their Redis", "credential_type": redis, "inputs": {"url": "redis://theirs"}})
    awx.add("job_templates", {"name": "HSM drill", "project": project, "playbook": "site.yml"})
    assert changed(configurer.run(awx_state="absent", awx_organization=ORGANIZATION)) > 0
    stays = {"credential_types/HSM Redis", "credentials/Their Redis", "job_templates/HSM drill"}
    assert awx.names() == before | stays | {f"organizations/{ORGANIZATION}"}
    awx.delete("job_templates", awx.get("job_templates", "HSM drill")["id"])
    awx.delete("credentials", awx.get("credentials", "Their Redis")["id"])
    # Somebody belongs to the organization.
    organization = awx.get("organizations", ORGANIZATION)["id"]
    awx.link("organizations", organization, "users", [1])
    assert changed(configurer.run(awx_state="absent", awx_organization=ORGANIZATION)) > 0
    assert awx.names() == before | {f"organizations/{ORGANIZATION}"}
    awx.link("organizations", organization, "users", [])
    assert changed(configurer.run(awx_state="absent", awx_organization=ORGANIZATION)) > 0
    assert awx.names() == before


def assert_workflow(awx: Awx) -> None:
    """Whatever becomes of it, the HSM is released; where ensure or job fails, something fails on which nothing follows."""
    nodes = {node["identifier"]: node for node in awx.all("workflow_job_template_nodes")}
    run = {name: awx.by_id("job_templates", node["unified_job_template"])["name"] for name, node in nodes.items()}
    assert run == {"ensure": "HSM ensure", "job": "Deploy", "release": "HSM release", "failed": "HSM workflow failed"}
    for node, which, following in (
        ("ensure", "success_nodes", ["job"]), ("ensure", "failure_nodes", ["release", "failed"]),
        ("job", "always_nodes", ["release"]), ("job", "failure_nodes", ["failed"]), ("failed", "always_nodes", []),
    ):  # fmt: skip
        linked = awx.linked("workflow_job_template_nodes", nodes[node]["id"], which)
        assert sorted(linked) == sorted(nodes[name]["id"] for name in following)


def test_what_somebody_else_has_made_is_not_taken_over(awx, tmp_path):
    awx.add("execution_environments", {"name": "HSM execution environment", "image": "theirs"})
    before = awx.names()
    run = Configurer(awx, tmp_path).run(**variables())
    assert run.status == 2
    assert "awx_prefix: AWX has HSM execution environment already, and not from here." in run.text
    assert (awx.names(), awx.writes) == (before, [])


@pytest.fixture
def estates(tmp_path: Path) -> t.Iterator[Estates]:
    need_softhsm()
    with Estates(tmp_path / "estates") as estates:
        yield estates


@pytest.fixture
def estate(estates: Estates) -> Estate:
    """An environment with keys, and a Redis that wants a password."""
    estates.store.execute_command("ACL", "SETUSER", "awx", "on", f">{SECRETS['redis'].decode()}", "~*", "&*", "+@all")
    estate = estates.make().furnish(FEW_KINDS)
    estate.rehearse()
    return estate


def configured(awx: Awx, estates: Estates, estate: Estate, folder: Path) -> None:
    """Have AWX run that environment; what is secret comes from credentials alone."""
    inventory = estates.inventory(estate)["all"]
    shared, host = inventory["vars"], inventory["hosts"][estate.name]
    url = shared.pop("hsm_redis_url").replace("redis://", "redis://awx@")
    shared["hsm_aws"] = {"endpoint_url": shared["hsm_aws"]["endpoint_url"]}
    del host["hsm_key_backup"]["pin"]
    asked = variables(awx_environments={estate.name: host}, awx_inventory_variables=shared)
    asked["awx_redis"]["url"] = url
    run = Configurer(awx, folder).run(**asked)
    assert run.status == 0, run.text


class Launcher:
    """Launches job templates, runs them, and looks whether a secret is in what is left."""

    def __init__(self, awx: Awx, estate: Estate, folder: Path) -> None:
        self.awx, self._estate, self._folder = awx, estate, folder

    def run(self, template: str, workflow: int | None = None, **answers: t.Any) -> str:
        """Return what it printed."""
        number = self.awx.get("job_templates", template)["id"]
        job = self.awx.launch(number, {"extra_vars": {"env": self._estate.name, **answers}})["id"]
        environment = {"SOFTHSM2_CONF": str(self._estate.conf)}
        layout = awx_jobs.lay_out(self.awx, job, self._folder / f"job{job}", environment, workflow)
        ended = awx_jobs.run(layout, verbosity=3)
        assert (ended.status, ended.rc) == ("successful", 0), ended.stdout
        secrets = {name: SECRETS[name] for name in ("redis", "pin", "aws")}
        given = [path.name for path in layout.secret_files]
        assert {leak.split()[0] for leak in leaks(secrets, files(layout.folder / "env"))} == {"redis", "pin"}
        # AWX's own type of AWS sets variables of the environment. AWX deletes that file with the folder.
        assert leaks(secrets, files(layout.folder, given)) == [
            f"aws in {ended.artifacts.relative_to(layout.folder)}/command"
        ]
        assert (ended.artifacts / "rc").read_text() == "0"
        return ended.stdout


@pytest.mark.slow
def test_each_job_template_does_its_work_and_tells_no_secret(awx, estates, estate, tmp_path):
    configured(awx, estates, estate, tmp_path / "configured")
    assert {job["name"] for job in awx.all("job_templates")} - {"Deploy"} == {f"HSM {name}" for name in (
        "ensure", "touch", "release", "reap", "backup then delete", "restore", "drill", "working hours",
    )}  # fmt: skip
    assert len(awx.all("schedules")) == 2
    shown = awx.answer("GET", "/api/v2/credentials/", {}, f"Bearer {awx.token}")[1]["results"]
    assert [each["inputs"].get("pin") for each in shown if each["name"] == "HSM PKCS#11"] == ["$encrypted$"]
    sure = {"env": estate.name, "hsm_idle_after": 1800}
    for unsure in (sure, {**sure, "hsm_confirmed": "no"}):
        with pytest.raises(RefusalError, match="hsm_confirmed"):
            awx.launch(awx.get("job_templates", "HSM backup then delete")["id"], {"extra_vars": unsure})
    jobs = Launcher(awx, estate, tmp_path / "jobs")
    place = estate.place()

    def holders() -> list[str]:
        return estates.store.zrange(estate.key("holds"), 0, -1)

    # A workflow has it, and gives it back.
    jobs.run("HSM ensure", workflow=7, hsm_hold_for=600)
    estate.age()
    assert "kept: held by awx-workflow-7" in jobs.run("HSM reap")
    jobs.run("HSM release", workflow=7)
    assert holders() == []

    estate.age()
    jobs.run("HSM backup then delete", hsm_idle_after=1800, hsm_confirmed="delete them")
    assert estate.hsms() == []
    assert estate.missing_parts() == set(), "there is a backup of the keys"
    # Then a person has it.
    mine = f"awx-user-{awx_jobs.STARTED_BY}"
    jobs.run("HSM restore", hsm_hold_for=600)
    assert (estate.place(), estate.unusable()) == (place, [])
    assert f"held for {mine} for another 900 s" in jobs.run("HSM touch", hsm_hold_for=900)
    assert "was there after" in jobs.run("HSM drill")
    host = awx.get("hosts", estate.name)
    described = json.dumps({**json.loads(host["variables"]), "hsm_working_hours": ALWAYS})
    awx.amend("hosts", host["id"], {"variables": described})
    jobs.run("HSM working hours")
    assert set(holders()) == {mine, "working-hours"}


def test_the_image_is_built_of_what_the_runs_need(tmp_path):
    """As far as it can be without a registry: the definition, and what the collections say that they need."""
    builder = Path(sys.executable).with_name("ansible-builder")
    definition = CHECKOUT / "execution-environment.yml"
    subprocess.run([builder, "create", "-f", definition, "-c", tmp_path], check=True, capture_output=True)
    collections = yaml.safe_load((tmp_path / "_build" / "requirements.yml").read_text())["collections"]
    assert {each["name"].rpartition("/")[2] for each in collections} == {"hsmops.cloudhsm.git", "amazon.aws"}
    site = Path(sysconfig.get_path("purelib"))
    needs = subprocess.run([builder, "introspect", site], check=True, capture_output=True, text=True).stdout
    ours = {re.split("[>=]", line)[0] for line in re.findall(r"'(\S+)  # from collection hsmops.cloudhsm'", needs)}
    assert ours == {"boto3", "botocore", "redis", "cryptography", "python-pkcs11"}


def test_without_a_login_nothing_is_shown(awx):
    assert awx.answer("GET", "/api/v2/projects/", {}, "")[0] == 401
