# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The runs reap and release as their users start them: real ansible-playbook processes over a fleet of environments."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import redis
import yaml
from local_aws.client import REGION
from local_aws.estate import lay_out
from local_aws.knobs import Knobs
from sandbox.sandbox import CHECKOUT, Sandbox

# An HSM takes a second at this rate.
RATE = 600.0
OTHER_REGION, OTHER_ACCOUNT = "eu-central-1", "111122223333"
HOLDER = "pipeline-7"


class Account:
    """The local AWS as another account sees it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._aws = sandbox.aws

    def client(self, service: str, region: str) -> t.Any:
        return self._aws.client(service, region, account=OTHER_ACCOUNT)

    def activate(self, cluster_id: str) -> None:
        self._aws.activate(cluster_id)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox"), rate=RATE) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def clusters(sandbox: Sandbox) -> dict[str, str]:
    """Names of environments to their clusters; the last is in another region of another account."""
    clusters = {
        "idle": sandbox.cluster_id,
        "held": sandbox.aws.lay_out("held"),
        "unknown": sandbox.aws.lay_out("unknown"),
    }
    return {**clusters, "abroad": lay_out(Account(sandbox), "abroad", OTHER_REGION, {})}


@pytest.fixture
def store(sandbox: Sandbox) -> t.Iterator[redis.Redis]:
    with redis.Redis.from_url(sandbox.redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def fleet(sandbox: Sandbox, clusters: dict[str, str], store: redis.Redis) -> dict[str, str]:
    """An HSM in every environment: the ids, by their names. Their activity is what the names say."""
    made = {}
    for name, cluster_id in clusters.items():
        hsms = client(sandbox, name)
        present = describe(sandbox, name, cluster_id)
        if not present:
            zone = (OTHER_REGION if name == "abroad" else REGION) + "a"
            present = [hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=zone)["Hsm"]]
        made[name] = present[0]["HsmId"]
    sandbox.aws.advance(3600)
    sandbox.aws.clear_calls()
    now = store.time()[0]
    for name in ("idle", "held", "abroad"):
        store.set(f"hsm:{name}:last_access", now - 4000, ex=7200)
    store.zadd("hsm:held:holds", {HOLDER: now + 600})
    return made


def client(sandbox: Sandbox, name: str) -> t.Any:
    return Account(sandbox).client("cloudhsmv2", OTHER_REGION) if name == "abroad" else sandbox.aws.client("cloudhsmv2")


def describe(sandbox: Sandbox, name: str, cluster_id: str) -> list[dict[str, t.Any]]:
    """The HSMs of a cluster that are not leaving."""
    [cluster] = client(sandbox, name).describe_clusters(Filters={"clusterIds": [cluster_id]})["Clusters"]
    return [hsm for hsm in cluster["Hsms"] if hsm["State"] != "DELETE_IN_PROGRESS"]


@pytest.fixture
def left(sandbox: Sandbox, clusters: dict[str, str]) -> t.Callable[[], set[str]]:
    """Names the environments that have an HSM."""
    return lambda: {name for name, cluster_id in clusters.items() if describe(sandbox, name, cluster_id)}


@pytest.fixture
def contents(store: redis.Redis) -> t.Callable[[], dict[str, t.Any]]:
    """Reads everything in Redis."""
    read = {"string": store.get, "zset": lambda key: store.zrange(key, 0, -1, withscores=True), "hash": store.hgetall}
    return lambda: {key: read[store.type(key)](key) for key in sorted(store.keys())}


@pytest.fixture
def play(sandbox: Sandbox, clusters: dict[str, str], tmp_path: Path):
    """Run a playbook over environments, each with further variables. Returns the finished process."""

    def run(
        playbook: str,
        *arguments: str,
        hosts: tuple[str, ...] = ("idle", "held", "unknown"),
        **variables: dict[str, t.Any],
    ) -> subprocess.CompletedProcess[str]:
        inventory = yaml.safe_load(sandbox.inventory.read_text(encoding="utf-8"))
        shared = inventory["all"]["vars"]
        known = {name: {"hsm_cluster_id": clusters.get(name, "cluster-aaaaaaaaaaa")} for name in hosts}
        if "abroad" in hosts:
            there = {**shared["hsm_aws"], "access_key": OTHER_ACCOUNT}
            known["abroad"] |= {"hsm_region": OTHER_REGION, "hsm_aws": there}
        for name, more in variables.items():
            known[name] |= copy.deepcopy(more)
        inventory["all"]["hosts"] = known
        path, home = tmp_path / "inventory.yml", tmp_path / "home"
        path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        home.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
        environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY": str(path)}
        bounds = ("-e", "env=all", "-e", "hsm_wait_delay=0.3", "-e", "hsm_settle=0.2")
        return subprocess.run(
            ["ansible-playbook", CHECKOUT / "playbooks" / f"{playbook}_hsm.yml", *bounds, *arguments],
            cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def report(process: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of the report, as they are shown, whether the run failed or not."""
    return sorted(
        set(re.findall(r'"(\w+: (?:kept|deleted|would_delete|unknown|no_hsm|failed): [^"]*)"', process.stdout))
    )


def effects(sandbox: Sandbox) -> list[str]:
    return [call["operation"] for call in sandbox.aws.calls() if not call["operation"].startswith("Describe")]


def test_reap_of_a_fleet_in_one_play(sandbox, fleet, play, store, contents, left):
    before = contents()
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(store.zscore("hsm:held:holds", HOLDER)))
    predicted = play("reap", "--check", "--diff")
    assert predicted.returncode == 0, predicted.stdout
    assert [re.sub(r"\b40\d\d s", "4000 s", line) for line in report(predicted)] == [
        f"held: kept: held by {HOLDER} until {until}",
        "idle: would_delete: last used 4000 s ago; idle after 1800 s",
        "unknown: unknown: there is no record: nobody has touched it, or the record has expired or was lost",
    ]
    assert re.search(r"changed=1 .*failed=0", predicted.stdout)
    assert (effects(sandbox), contents()) == ([], before)
    assert len(sandbox.aws.calls("DescribeClusters")) == 1, "one page for all"

    # So long that it is seen to be under way, also on a machine that has other things to do.
    sandbox.aws.set_knobs(hsm_delete_seconds=5 * RATE)
    reaped = play("reap")
    sandbox.aws.set_knobs(hsm_delete_seconds=Knobs().hsm_delete_seconds)
    assert reaped.returncode == 0, reaped.stdout
    assert [re.sub(r"\b40\d\d s", "4000 s", line) for line in report(reaped)] == [
        f"held: kept: held by {HOLDER} until {until}",
        "idle: deleted: last used 4000 s ago; idle after 1800 s",
        "unknown: unknown: there was no record; its time begins to count now",
    ]
    assert re.search(r"changed=1 .*failed=0", reaped.stdout)
    assert effects(sandbox) == ["TagResource", "DeleteHsm", "UntagResource"]
    assert sandbox.aws.calls("DeleteHsm")[0]["parameters"]["HsmId"] == fleet["idle"]
    assert left() == {"held", "unknown", "abroad"}
    assert 7100 < store.ttl("hsm:unknown:last_access") <= 7200
    assert not store.keys("*:claim")
    assert re.search(r"\[\w+\] idle: .* of at most 1 h 00 min", reaped.stderr), "it shows how far it has come"

    again = play("reap")
    assert "idle: no_hsm: no HSM" in report(again)
    assert re.search(r"changed=0 .*failed=0", again.stdout)


@pytest.mark.parametrize("holder", ["", HOLDER])
def test_release(sandbox, fleet, play, store, contents, holder):
    before, now = contents(), store.time()[0]
    arguments = ("-e", f"hsm_holder={holder}")
    checked = play("release", "--check", *arguments, hosts=("held",))
    assert (checked.returncode, contents()) == (0, before), checked.stdout

    released = play("release", *arguments, hosts=("held",))
    assert released.returncode == 0, released.stdout
    told = f"held: released by {holder}" if holder else "held: used until now; nobody held it"
    assert told in released.stdout
    assert re.search(r"changed=0 .*failed=0", released.stdout)
    assert int(store.get("hsm:held:last_access")) >= now
    assert store.exists("hsm:held:holds") == (0 if holder else 1)
    assert sandbox.aws.calls() == []


def test_a_use_that_has_failed_is_released_before_it_is_told(sandbox, fleet, play, store):
    released = play("release", "-e", f"hsm_holder={HOLDER}", "-e", "hsm_use_failed=true", hosts=("held",))

    assert released.returncode == 2, released.stdout
    assert "held: what it was held for has failed." in released.stdout
    assert not store.exists("hsm:held:holds")


def test_reap_that_fails_for_one_environment_ends_with_failure_and_sees_to_the_others(sandbox, fleet, play, left):
    process = play("reap", hosts=("gone", "idle", "held"))

    assert process.returncode == 2
    assert "1 of 3 environments failed: gone. The report says why." in process.stdout
    assert [line.partition(": ")[2].partition(":")[0] for line in report(process)] == ["failed", "kept", "deleted"]
    assert f"there is no cluster cluster-aaaaaaaaaaa in {REGION}" in process.stdout
    assert left() == {"held", "unknown", "abroad"}
    assert "Traceback" not in process.stdout + process.stderr


def test_reap_of_none_at_all(sandbox, fleet, play, left):
    process = play("reap", "-e", "hsm_reap_max=0")

    assert process.returncode == 0, process.stdout
    assert re.search(r"changed=0 .*failed=0", process.stdout)
    assert [line for line in report(process) if line.startswith("idle: kept: last used")]
    assert (effects(sandbox), left()) == ([], set(fleet))


def test_reap_spares_what_the_inventory_protects(sandbox, fleet, play, left):
    process = play("reap", idle={"hsm_protected": True})

    assert process.returncode == 0, process.stdout
    assert "idle: kept: protected" in report(process)
    assert (effects(sandbox), left()) == ([], set(fleet))


def test_reap_by_the_variables_of_each_environment(sandbox, fleet, play, store, left):
    store.rename("hsm:idle:last_access", "hsm:team/{one}:last_access")
    process = play("reap", idle={"hsm_env": "team/{one}", "hsm_idle_after": 5000}, held={"hsm_idle_after": 1})

    assert process.returncode == 0, process.stdout
    assert re.search(r'"team/\{one\}: kept: last used 40\d\d s ago; idle after 5000 s"', process.stdout)
    assert (effects(sandbox), left()) == ([], set(fleet))


def test_reap_in_two_regions_of_two_accounts(sandbox, fleet, clusters, play, left):
    process = play("reap", hosts=("idle", "abroad", "held"))

    assert process.returncode == 0, process.stdout
    assert left() == {"held", "unknown"}
    where = {(call["account"], call["region"], call["parameters"]["HsmId"]) for call in sandbox.aws.calls("DeleteHsm")}
    assert where == {("123456789012", REGION, fleet["idle"]), (OTHER_ACCOUNT, OTHER_REGION, fleet["abroad"])}
    looks = [call for call in sandbox.aws.calls("DescribeClusters") if not call["parameters"].get("Filters")]
    assert len(looks) == 2, "one page for each account and region"


def test_reap_with_a_cluster_of_another_account_fails_for_that_one(sandbox, fleet, clusters, play, left):
    shared = yaml.safe_load(sandbox.inventory.read_text(encoding="utf-8"))["all"]["vars"]["hsm_aws"]
    elsewhere = {"hsm_aws": {**shared, "access_key": "444455556666"}}
    process = play("reap", hosts=("idle", "abroad"), abroad=elsewhere)

    assert process.returncode == 2
    assert "1 of 2 environments failed: abroad" in process.stdout
    assert left() == {"held", "unknown", "abroad"}


@pytest.mark.parametrize(
    ("run", "arguments", "message"),
    [
        ("reap", ["hsm_idle_after=0"], "environments: idle_after of idle: 0 is no duration"),
        ("reap", ["hsm_reap_max=-1"], "max_deletions: -1 is less than 0."),
        ("reap", ["hsm_reap_max=many"], "argument 'hsm_reap_max' is of type str"),
        ("touch", ["hsm_holder=job", "hsm_hold_for=86401"], "hold_for: 86401 is more than a day (86400 seconds)"),
        ("release", ['{"hsm_holder": "a b"}'], "holder: 'a b' is no id of a holder"),
    ],
)
def test_bad_input_of_the_runs(sandbox, fleet, play, contents, left, run, arguments, message):
    before = contents()
    process = play(run, *(part for argument in arguments for part in ("-e", argument)), hosts=("idle",))

    assert process.returncode == 2
    assert message in process.stdout
    assert not [text for text in ("Traceback", "is undefined") if text in process.stdout + process.stderr]
    assert (effects(sandbox), left(), contents()) == ([], set(fleet), before)


@pytest.mark.parametrize("run", ["ensure", "touch", "reap"])
def test_further_options_of_the_activity_store(sandbox, fleet, play, left, run):
    options = {"hsm_redis_options": {"redis_min_replicas": 1, "redis_replica_timeout": 0.1}}
    process = play(run, "-e", f"hsm_holder={HOLDER}", hosts=("idle",), idle=options)

    assert process.returncode == 2
    assert "redis_min_replicas: 0 of 1 replicas" in process.stdout
    assert (effects(sandbox), left()) == ([], set(fleet))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        pytest.param(["-e", "hsm_settle=-1"], marks=pytest.mark.slow),
        pytest.param(["-e", "hsm_redis_username=nobody"], marks=pytest.mark.slow),
    ],
)
def test_no_secret_is_printed(sandbox, fleet, play, store, tmp_path, arguments):
    store.execute_command("ACL", "SETUSER", "ci", "on", ">s3cret-password", "~*", "+@all")
    secrets = {"s3cret-password", "s3cret-access"}
    shared = yaml.safe_load(sandbox.inventory.read_text(encoding="utf-8"))["all"]["vars"]
    account = {"hsm_aws": {**shared["hsm_aws"], "secret_key": "s3cret-access"}}
    variables = tmp_path / "variables.yml"
    variables.write_text("hsm_redis_username: ci\nhsm_redis_password: s3cret-password\n", encoding="utf-8")
    words = ["-vvv", "-e", f"@{variables}", *arguments]
    reaped = play("reap", *words, hosts=("idle", "held"), idle=account, held=account)
    released = play("release", *words, "-e", f"hsm_holder={HOLDER}", hosts=("held",), held=account)

    assert [process.returncode for process in (reaped, released)] in ([0, 0], [2, 0], [2, 2])
    shown = "".join(process.stdout + process.stderr for process in (reaped, released))
    assert not {secret for secret in secrets if secret in shown}
