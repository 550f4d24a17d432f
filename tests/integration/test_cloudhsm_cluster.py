# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_cluster against the local AWS."""

from __future__ import annotations

import functools
import types
import typing as t

import botocore
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import waiters
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_cluster, cloudhsm_cluster_info
from botocore.loaders import JSONFileLoader
from botocore.parsers import ResponseParserError
from harness.modules import run_module

WRITES = ("CreateCluster", "DeleteCluster", "ModifyCluster", "TagResource", "UntagResource")
NEW = {"hsm_type": "hsm2m.medium", "mode": "FIPS"}
ELSE = "cluster-abcdefghijk"
_LOADER = JSONFileLoader()


@pytest.fixture(scope="module", autouse=True)
def _quick(server) -> t.Iterator[None]:
    """Save what takes most of the time: every reset makes EC2 anew, and every run of the module reads botocore's files."""
    with pytest.MonkeyPatch.context() as patch:
        read = functools.lru_cache(JSONFileLoader.load_file)
        patch.setattr(JSONFileLoader, "load_file", lambda loader, path: read(_LOADER, path))
        patch.setattr(server, "reset", functools.partial(server.reset, cloudhsm_only=True))
        yield


@pytest.fixture
def run(connection):
    return functools.partial(run_module, cloudhsm_cluster, **connection)


@pytest.fixture
def cloudhsm(aws):
    return aws.client("cloudhsmv2")


@pytest.fixture
def subnets(aws) -> list[str]:
    """Two subnets of a VPC without a cluster."""
    ec2 = aws.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.43.0.0/16")["Vpc"]["VpcId"]
    return [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.43.{number}.0/24", AvailabilityZone=f"eu-west-1{letter}")[
            "Subnet"
        ]["SubnetId"]
        for number, letter in enumerate("ab")
    ]


@pytest.fixture
def create(run, subnets):
    """Run the module with what a new cluster needs."""
    return functools.partial(run, name="new", subnet_ids=subnets, **NEW)


@pytest.fixture
def backup_id(aws, cloudhsm, cluster_id) -> str:
    """A READY backup."""
    aws.advance(100)
    aws.clear_calls()
    return cloudhsm.describe_backups()["Backups"][0]["BackupId"]


def changes(aws) -> list[str]:
    return [call["operation"] for call in aws.calls() if call["operation"] in WRITES]


def at_each_pause(monkeypatch, aws, *deeds) -> None:
    """Have one of the deeds done during each pause of the module."""
    left = list(deeds)

    def sleep(seconds: float) -> None:
        aws.clock.advance(seconds)
        if left:
            left.pop(0)()

    monkeypatch.setattr(waiters, "time", types.SimpleNamespace(monotonic=aws.clock.now, sleep=sleep))


def clusters(cloudhsm) -> list[dict]:
    return [cluster for cluster in cloudhsm.describe_clusters()["Clusters"] if cluster["State"] != "DELETED"]


def tag(cloudhsm, cluster_id: str, **tags: str) -> None:
    cloudhsm.tag_resource(ResourceId=cluster_id, TagList=[{"Key": key, "Value": value} for key, value in tags.items()])


# Creation


def test_create_in_check_mode_first_and_again(aws, run, create, connection, cloudhsm, subnets):
    wish = {"backup_retention_days": 30, "tags": {"a": 1}}
    predicted = create(check=True, diff=True, **wish)
    assert (predicted["changed"], predicted["actions"], changes(aws)) == (True, ["create cluster new"], [])
    assert predicted["summary"] == "no cluster; would create cluster new"

    made = create(diff=True, **wish)
    cluster = made["cluster"]
    assert (made["changed"], made["actions"]) == (True, predicted["actions"])
    assert {key: cluster[key] for key in predicted["cluster"]} == predicted["cluster"]
    assert (cluster["state"], cluster["tags"]) == ("UNINITIALIZED", {"Name": "new", "a": "1"})
    assert cluster["backup_retention_policy"] == {"type": "DAYS", "value": "30"}
    assert cluster["subnet_mapping"] == dict(zip(("eu-west-1a", "eu-west-1b"), subnets, strict=True))
    assert made["diff"]["before"] == {}
    predicted["diff"]["after"]["cluster_id"] = cluster["cluster_id"]
    assert made["diff"] == predicted["diff"]
    assert 180 <= made["elapsed"] <= 240
    assert (
        made["summary"] == f"{cluster['cluster_id']} (new) UNINITIALIZED with 0 HSMs; create cluster new, in 3 min 00 s"
    )
    assert changes(aws) == ["CreateCluster"]

    informed = run_module(cloudhsm_cluster_info, **connection)["clusters"]
    for check in (True, False):
        aws.clear_calls()
        for again in (create(check=check, **wish), run(cluster_id=cluster["cluster_id"], check=check)):
            assert (again["changed"], again["actions"], [again["cluster"]]) == (False, [], informed)
        assert [call["operation"] for call in aws.calls()] == ["DescribeClusters"] * 2


def test_create_with_all_defaults_is_predicted(create):
    predicted = create(check=True, diff=True)
    made = create(diff=True)

    assert {key: made["cluster"][key] for key in predicted["cluster"]} == predicted["cluster"]


def test_cluster_from_a_backup_becomes_active(aws, run, create, backup_id):
    predicted = create(source_backup_id=backup_id, check=True)
    made = create(source_backup_id=backup_id)
    assert predicted["cluster"]["state"] == made["cluster"]["state"] == "ACTIVE"
    assert made["cluster"]["source_backup_id"] == backup_id
    assert 300 <= made["elapsed"] <= 360

    arn = f"arn:aws:cloudhsm:eu-west-1:123456789012:backup/{backup_id}"
    for same in (backup_id, arn):
        assert not create(source_backup_id=same)["changed"]
    refused = create(source_backup_id="backup-abcdefghijk")["msg"]
    assert refused.startswith("source_backup_id: cluster cluster-")
    assert f"has {backup_id}, and backup-abcdefghijk is wanted. AWS fixes it when it creates" in refused


def test_cluster_from_a_backup_is_not_ready_when_uninitialized(aws, create, cloudhsm, backup_id, monkeypatch):
    def unready() -> None:
        aws.set_cluster_state(clusters(cloudhsm)[1]["ClusterId"], "UNINITIALIZED")

    at_each_pause(monkeypatch, aws, unready, lambda: aws.activate(clusters(cloudhsm)[1]["ClusterId"]))
    made = create(source_backup_id=backup_id)

    assert (made["cluster"]["state"], made["elapsed"]) == ("ACTIVE", 60)


def test_create_without_waiting_and_wait_in_the_next_run(aws, create):
    begun = create(wait=False, tags={"a": "1"})
    assert (begun["changed"], begun["cluster"]["state"], begun["elapsed"]) == (True, "CREATE_IN_PROGRESS", 0)
    # Tags can be changed meanwhile; what ModifyCluster changes cannot.
    assert create(wait=False, tags={"b": "1"})["cluster"]["tags"] == {"Name": "new", "b": "1"}
    impatient = create(wait=False, backup_retention_days=30)
    assert impatient["msg"].startswith(f"wait: cluster {begun['cluster']['cluster_id']} is CREATE_IN_PROGRESS")
    assert "ModifyCluster" not in changes(aws)

    waited = create(backup_retention_days=30)
    assert waited["actions"] == [f"set backup_retention_days of {begun['cluster']['cluster_id']} to 30"]
    assert waited["cluster"]["state"] == "UNINITIALIZED"


def test_cluster_that_is_not_shown_yet_is_waited_for(aws, create):
    aws.set_knobs(describe_lag_seconds=50)
    made = create()

    assert made["cluster"]["state"] == "UNINITIALIZED"
    assert 230 <= made["elapsed"] <= 270


def test_creation_that_takes_too_long(aws, create):
    aws.set_knobs(cluster_create_seconds=4000)
    late = create(wait_timeout=60)

    assert late["failed"]
    assert "Timed out after 60 s: cluster cluster-" in late["msg"]
    assert "is CREATE_IN_PROGRESS. AWS goes on by itself" in late["msg"]
    assert (late["changed"], late["cluster"]["state"]) == (True, "CREATE_IN_PROGRESS")
    assert create(wait_timeout=4000)["changed"] is False


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("DEGRADED", "is DEGRADED and will not become ACTIVE or INITIALIZED or UNINITIALIZED: AWS gives no reason"),
        ("DELETE_IN_PROGRESS", "is DELETE_IN_PROGRESS: somebody deletes it while it is waited for"),
        ("DELETED", "is DELETED: somebody deletes it while it is waited for"),
    ],
)
def test_creation_that_fails(aws, create, cloudhsm, monkeypatch, state, message):
    def fail() -> None:
        aws.set_cluster_state(clusters(cloudhsm)[0]["ClusterId"], state)

    at_each_pause(monkeypatch, aws, fail)
    failed = create()

    assert failed["failed"]
    assert message in failed["msg"]
    assert (failed["changed"], failed["elapsed"]) == (True, 30)


def test_creation_that_is_rolled_back_is_waited_for(aws, create, cloudhsm, monkeypatch):
    def put(state: str) -> None:
        aws.set_cluster_state(clusters(cloudhsm)[0]["ClusterId"], state)

    at_each_pause(
        monkeypatch,
        aws,
        lambda: put("ROLLBACK_IN_PROGRESS"),
        lambda: put("UPDATE_IN_PROGRESS"),
        lambda: put("DEGRADED"),
    )
    failed = create()

    assert "is DEGRADED and will not become" in failed["msg"]
    assert failed["elapsed"] == 90


@pytest.mark.parametrize("fault", ["drop_answer", "error_after"])
@pytest.mark.parametrize("wait", [True, False])
def test_lost_answer_makes_one_cluster(aws, create, cloudhsm, fault, wait):
    aws.set_knobs(describe_lag_seconds=50)
    aws.fault(fault, "CreateCluster")
    result = create(wait=wait)

    assert len(aws.calls("CreateCluster")) == 1
    assert (result["changed"], result["actions"]) == (True, ["create cluster new"])
    assert result["cluster"]["state"] == ("UNINITIALIZED" if wait else "CREATE_IN_PROGRESS")
    assert any(f"was adopted: {result['cluster']['cluster_id']}" in warning for warning in result["warnings"])
    aws.advance(300)
    assert len(clusters(cloudhsm)) == 1


def test_failure_without_a_cluster_is_not_repeated(aws, create, cloudhsm):
    aws.fault("error_before", "CreateCluster")
    result = create()

    assert "none of the name 'new' was seen within 120 s. It was not asked for again" in result["msg"]
    assert (result["error"]["code"], result["changed"]) == ("CloudHsmInternalFailureException", False)
    assert len(aws.calls("CreateCluster")) == 1
    assert 120 <= result["elapsed"] < 125
    assert clusters(cloudhsm) == []


@pytest.mark.parametrize("error", [None, ResponseParserError("cut")])
def test_answer_that_cannot_be_read_is_a_lost_one(aws, create, cloudhsm, monkeypatch, error):
    def answer(**request):
        cloudhsm.create_cluster(**request)
        if error:
            raise error
        return {}

    unreadable = types.SimpleNamespace(create_cluster=answer)
    monkeypatch.setattr(cloudhsm_cluster.api, "unrepeated_client", lambda module: unreadable)
    made = create()

    assert any("The answer to CreateCluster cannot be read" in warning for warning in made["warnings"])
    assert (made["cluster"]["state"], len(clusters(cloudhsm))) == ("UNINITIALIZED", 1)


def test_lost_answer_and_no_look(aws, create):
    aws.fault("drop_answer", "CreateCluster")
    aws.fault("throttle", "DescribeClusters", times=1)
    assert create(wait=False)["changed"]

    aws.reset(cloudhsm_only=True)
    aws.clear_calls()
    aws.fault("drop_answer", "CreateCluster")
    result = None

    def deny(*_arguments, **_rest):
        aws.fault("deny", "DescribeClusters", times=None)
        return original(*_arguments, **_rest)

    original = cloudhsm_cluster.api.unrepeated_client
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloudhsm_cluster.api, "unrepeated_client", deny)
        result = create()
    assert "AWS may or may not have made the cluster" in result["msg"]
    assert "Access denied: allow DescribeClusters" in result["msg"]
    assert len(aws.calls("CreateCluster")) == 1


def test_what_is_adopted_is_held_to_the_wish(aws, run, create, cloudhsm, subnets, monkeypatch):
    """Another run made a cluster of that name, and ours was never made."""

    def meanwhile() -> None:
        cloudhsm.create_cluster(
            HsmType="hsm2m.medium", Mode="NON_FIPS", SubnetIds=subnets, TagList=[{"Key": "Name", "Value": "new"}]
        )

    aws.fault("error_before", "CreateCluster")
    at_each_pause(monkeypatch, aws, meanwhile)
    assert "has NON_FIPS, and FIPS is wanted" in create()["msg"]


def test_two_runs_that_create_at_the_same_moment_both_fail(aws, create, cloudhsm, subnets, monkeypatch):
    def meanwhile() -> None:
        cloudhsm.create_cluster(
            HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets, TagList=[{"Key": "Name", "Value": "new"}]
        )

    at_each_pause(monkeypatch, aws, meanwhile)
    result = create()

    assert result["msg"].startswith("name: 2 clusters have the tag Name 'new': cluster-")
    assert all(cluster["ClusterId"] in result["msg"] for cluster in clusters(cloudhsm))
    assert result["changed"]


def test_throttled_creation_is_repeated(aws, create, cloudhsm):
    aws.fault("throttle", "CreateCluster", times=3)

    assert create()["changed"]
    assert len(clusters(cloudhsm)) == 1


def test_creation_that_is_refused(aws, create, subnets):
    aws.set_knobs(quota_clusters=0)
    refused = create()
    assert "would exceed the limit of 0 clusters" in refused["msg"]
    assert (refused["error"]["code"], refused["changed"]) == ("CloudHsmInvalidRequestException", False)


def test_creation_that_lacks_a_parameter(aws, run, subnets):
    wish = {"name": "new", "subnet_ids": subnets, **NEW}
    for missing in ("subnet_ids", "hsm_type", "mode"):
        for check in (True, False):
            result = run(check=check, **{key: value for key, value in wish.items() if key != missing})
            assert result["msg"].startswith(f"{missing}: is missing. There is no cluster of the name 'new'")
    unknown = run(cluster_id=ELSE, subnet_ids=subnets, **NEW)
    assert unknown["msg"].startswith(f"cluster_id: there is no cluster {ELSE} in this account and region")
    assert changes(aws) == []


# Changes


def test_changes_each_in_check_mode_first_and_each_again(aws, run, cluster_id):
    for wish in (
        {"backup_retention_days": 379},
        {"backup_retention_days": 7, "tags": {"a": "1", "b": 2}},
        {"tags": {"b": "3"}, "purge_tags": False},
        {"tags": {"b": "3", "Name": "dev"}},
        {"tags": {"hsmops:protected": True}},
        {"tags": {}},
    ):
        for named in ({"cluster_id": cluster_id}, {"name": "dev"}):
            first = named != {"name": "dev"}
            aws.clear_calls()
            predicted = run(check=True, diff=True, **named, **wish)
            assert (predicted["changed"], changes(aws)) == (first and wish != {"tags": {}}, [])
            made = run(diff=True, **named, **wish)
            for member in ("actions", "changed", "cluster", "diff"):
                assert made[member] == predicted[member]
            assert made["cluster"]["tags"]["Name"] == "dev"
            assert (made["diff"]["before"] != made["diff"]["after"]) == made["changed"]
            assert made["elapsed"] == 0
    assert made["cluster"]["tags"] == {"Name": "dev", "hsmops:protected": "True"}


def test_tags_of_this_collection_are_not_purged(run, cloudhsm, cluster_id):
    tag(cloudhsm, cluster_id, **{"hsmops:creating/x": "1", "old": "1"})

    kept = run(name="dev", tags={"new": "1"})["cluster"]["tags"]
    assert kept == {"Name": "dev", "hsmops:creating/x": "1", "new": "1"}


def test_rename(aws, run, cluster_id):
    assert run(cluster_id=cluster_id, tags={"Name": "prod"})["cluster"]["tags"] == {"Name": "prod"}
    assert run(name="prod")["cluster"]["cluster_id"] == cluster_id

    aws.lay_out("dev")
    aws.clear_calls()
    for check in (True, False):
        taken = run(cluster_id=cluster_id, tags={"Name": "dev"}, check=check)
        assert "has the tag Name 'dev' already" in taken["msg"]
    assert changes(aws) == []


def test_what_aws_fixes_is_refused(aws, run, subnets, cluster_id):
    for wish, message in (
        ({"subnet_ids": subnets}, f", and {', '.join(sorted(subnets))} is wanted"),
        ({"mode": "NON_FIPS"}, "has FIPS, and NON_FIPS is wanted"),
        ({"network_type": "DUALSTACK"}, "has IPV4, and DUALSTACK is wanted"),
        ({"source_backup_id": "backup-abcdefghijk"}, "has none, and backup-abcdefghijk is wanted"),
        (
            {"hsm_type": "hsm1.medium"},
            "has hsm2m.medium, and hsm1.medium is wanted. AWS moves no cluster to hsm1.medium",
        ),
    ):
        for check in (True, False):
            result = run(name="dev", check=check, backup_retention_days=30, **wish)
            assert result["failed"]
            assert result["msg"].startswith(f"{next(iter(wish))}: cluster {cluster_id} has ")
            assert message in result["msg"]
            assert not result["changed"]
    assert changes(aws) == []


def test_two_clusters_of_one_name(aws, run, cluster_id):
    other = aws.lay_out("dev")
    aws.clear_calls()
    for state in ("present", "absent"):
        refused = run(name="dev", state=state)
        assert refused["msg"].startswith("name: 2 clusters have the tag Name 'dev': ")
        assert f"{cluster_id} (ACTIVE)" in refused["msg"]
        assert f"{other} (ACTIVE)" in refused["msg"]
    assert changes(aws) == []
    assert run(cluster_id=other, state="absent", wait=False)["changed"]
    assert run(name="dev")["cluster"]["cluster_id"] == cluster_id


def test_degraded_cluster_is_reported_and_no_failure(aws, run, cluster_id):
    aws.set_cluster_state(cluster_id, "DEGRADED")
    result = run(cluster_id=cluster_id, tags={"a": "1"})

    assert result["changed"]
    assert f"Cluster {cluster_id} is DEGRADED: AWS gives no reason." in result["warnings"]


# Another type of HSM


@pytest.fixture
def old(aws, cloudhsm, subnets) -> str:
    """An ACTIVE cluster of hsm1.medium with an HSM."""
    aws.set_knobs(hsm1_medium_accepted=True)
    tags = [{"Key": "Name", "Value": "old"}]
    made = cloudhsm.create_cluster(HsmType="hsm1.medium", SubnetIds=subnets, TagList=tags)["Cluster"]["ClusterId"]
    aws.activate(made)
    cloudhsm.create_hsm(ClusterId=made, AvailabilityZone="eu-west-1a")
    aws.advance(700)
    aws.clear_calls()
    return made


@pytest.mark.parametrize("lag", [0, 50])
def test_move_to_another_type_and_back(aws, run, old, lag):
    aws.set_knobs(describe_lag_seconds=lag)
    for wanted in ("hsm2m.medium", "hsm1.medium"):
        predicted = run(name="old", hsm_type=wanted, check=True)
        assert (predicted["actions"], predicted["cluster"]["hsm_type"]) == (
            [f"set hsm_type of {old} to {wanted}"],
            wanted,
        )
        moved = run(name="old", hsm_type=wanted)
        assert (moved["actions"], moved["cluster"]["state"]) == (predicted["actions"], "ACTIVE")
        assert moved["cluster"]["hsm_type"] == wanted
        assert 1800 + lag <= moved["elapsed"] <= 1860 + lag
        assert not run(name="old", hsm_type=wanted)["changed"]


def test_move_of_a_cluster_without_an_hsm_takes_no_time(aws, run, cloudhsm, cluster_id, subnets):
    aws.set_knobs(hsm1_medium_accepted=True)
    made = cloudhsm.create_cluster(HsmType="hsm1.medium", SubnetIds=subnets)["Cluster"]["ClusterId"]
    refused = run(cluster_id=made, hsm_type="hsm2m.medium", wait=False)
    assert refused["msg"].startswith(f"wait: cluster {made} is CREATE_IN_PROGRESS")
    refused = run(cluster_id=made, hsm_type="hsm2m.medium")
    assert "AWS moves only a cluster that is ACTIVE, and it is UNINITIALIZED" in refused["msg"]
    aws.activate(made)

    moved = run(cluster_id=made, hsm_type="hsm2m.medium")
    assert (moved["changed"], moved["elapsed"]) == (True, 0)


def test_move_that_somebody_takes_back(aws, run, cloudhsm, old, monkeypatch):
    def take_back() -> None:
        aws.set_cluster_state(old, "ACTIVE")
        cloudhsm.modify_cluster(ClusterId=old, HsmType="hsm1.medium")

    at_each_pause(monkeypatch, aws, take_back)
    failed = run(name="old", hsm_type="hsm2m.medium")

    assert f"cluster {old} is ACTIVE with hsm1.medium again: AWS gave its move to hsm2m.medium up" in failed["msg"]
    assert failed["changed"]


def test_move_without_waiting_and_too_long(aws, run, old):
    late = run(name="old", hsm_type="hsm2m.medium", wait_timeout=60)
    assert f"Timed out after 60 s: cluster {old} is MODIFY_IN_PROGRESS" in late["msg"]
    assert run(name="old", hsm_type="hsm2m.medium", wait=False)["changed"] is False
    aws.advance(1800)
    begun = run(name="old", hsm_type="hsm1.medium", wait=False)
    assert (begun["changed"], begun["cluster"]["state"]) == (True, "ROLLBACK_IN_PROGRESS")


def test_lost_answers_to_what_is_repeated(aws, run, old, cluster_id):
    """A repeated ModifyCluster or DeleteCluster is refused, because the first had its effect."""
    for wish in ({"hsm_type": "hsm2m.medium"}, {"backup_retention_days": 30}):
        aws.clear_calls()
        aws.fault("drop_answer", "ModifyCluster")
        changed = run(name="old", **wish)
        assert (len(changed["actions"]), changed["cluster"]["state"]) == (1, "ACTIVE")
        assert len(aws.calls("ModifyCluster")) == 2

    aws.fault("drop_answer", "DeleteCluster")
    gone = run(cluster_id=cluster_id, state="absent")
    assert (gone["changed"], gone["cluster"]["state"]) == (True, "DELETED")
    assert len(aws.calls("DeleteCluster")) == 2


# Deletion


def test_delete_in_check_mode_first_and_again(aws, run, create, cluster_id):
    predicted = run(name="dev", state="absent", check=True, diff=True)
    assert (predicted["actions"], changes(aws)) == ([f"delete cluster {cluster_id}"], [])
    gone = run(name="dev", state="absent", diff=True)
    assert (gone["changed"], gone["actions"], gone["diff"]) == (True, predicted["actions"], predicted["diff"])
    assert gone["diff"]["before"]["state"] == "ACTIVE"
    assert gone["diff"]["after"] == {}
    assert gone["cluster"]["state"] == predicted["cluster"]["state"] == "DELETED"
    assert 120 <= gone["elapsed"] <= 150

    for check in (True, False):
        for named in ({"name": "dev"}, {"cluster_id": cluster_id}, {"cluster_id": ELSE}):
            again = run(state="absent", check=check, **named)
            assert (again["changed"], again["actions"], again.get("failed")) == (False, [], None)
    assert changes(aws) == ["DeleteCluster"]

    assert f"{cluster_id} is DELETED. To make a new cluster" in run(cluster_id=cluster_id)["msg"]
    assert create(name="dev")["cluster"]["cluster_id"] != cluster_id


def test_delete_without_waiting_and_wait_in_the_next_run(aws, run, create, cluster_id):
    begun = run(name="dev", state="absent", wait=False)
    assert (begun["changed"], begun["cluster"]["state"], begun["elapsed"]) == (True, "DELETE_IN_PROGRESS", 0)
    assert f"{cluster_id} is DELETE_IN_PROGRESS. To make a new cluster" in run(cluster_id=cluster_id)["msg"]

    waited = run(name="dev", state="absent")
    assert (waited["changed"], waited["cluster"]["state"]) == (False, "DELETED")
    assert waited["elapsed"] >= 120


def test_one_that_is_being_deleted_does_not_have_the_name(run, create, cluster_id):
    run(name="dev", state="absent", wait=False)
    made = create(name="dev")
    assert made["cluster"]["cluster_id"] != cluster_id

    gone = run(name="dev", state="absent")
    assert gone["actions"] == [f"delete cluster {made['cluster']['cluster_id']}"]


def test_deletion_that_is_shown_late_or_takes_too_long(aws, run, cluster_id):
    aws.advance(100)
    aws.set_knobs(describe_lag_seconds=50, cluster_delete_seconds=100)
    late = run(cluster_id=cluster_id, state="absent", wait_timeout=60)
    assert f"Timed out after 60 s: cluster {cluster_id} is DELETE_IN_PROGRESS" in late["msg"]
    assert late["changed"]
    assert not run(cluster_id=cluster_id, state="absent")["changed"]
    aws.advance(90000)
    assert "cluster" not in run(cluster_id=cluster_id, state="absent")


def test_hsms_are_named_and_keep_a_cluster(aws, run, cloudhsm, cluster_id, hsm):
    for check in (True, False):
        refused = run(name="dev", state="absent", check=check)
        assert f"state: cluster {cluster_id} has HSMs: {hsm} (ACTIVE). AWS deletes only" in refused["msg"]
        assert f"cloudhsm_hsm with cluster_id={cluster_id} and state=absent first" in refused["msg"]
    cloudhsm.delete_hsm(ClusterId=cluster_id, HsmId=hsm)
    assert f"{hsm} (DELETE_IN_PROGRESS)" in run(name="dev", state="absent", force=True)["msg"]
    assert changes(aws) == []
    # One that is gone may be listed for a while.
    aws.set_knobs(deleted_hsm_listed_seconds=3600)
    aws.advance(200)
    assert run(name="dev", state="absent")["changed"]


def test_protected_cluster_stays_unless_forced(aws, run, cloudhsm, cluster_id):
    tag(cloudhsm, cluster_id, **{"hsmops:protected": "true"})
    aws.clear_calls()
    for check in (True, False):
        refused = run(name="dev", state="absent", check=check)
        assert refused["msg"].startswith(f"force: cluster {cluster_id} has the tag hsmops:protected=true.")
    assert changes(aws) == []
    run(name="dev", tags={"hsmops:protected": False})
    assert run(name="dev", state="absent", check=True)["changed"]
    run(name="dev", tags={"hsmops:protected": True})
    assert run(name="dev", state="absent", force=True)["changed"]


def test_busy_cluster_is_waited_for_before_it_is_deleted(aws, run, create, cloudhsm):
    made = create(wait=False)["cluster"]["cluster_id"]
    refused = run(name="new", state="absent", wait=False)
    assert refused["msg"].startswith(f"wait: cluster {made} is CREATE_IN_PROGRESS, and can be deleted after that")
    gone = run(name="new", state="absent")
    assert (gone["changed"], gone["cluster"]["state"]) == (True, "DELETED")
    assert gone["elapsed"] >= 300


def test_hsm_that_comes_before_the_deletion_keeps_the_cluster(aws, run, cloudhsm, cluster_id, monkeypatch):
    aws.set_cluster_state(cluster_id, "UPDATE_IN_PROGRESS")

    def add() -> None:
        aws.activate(cluster_id)
        cloudhsm.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")

    at_each_pause(monkeypatch, aws, add)
    assert f"cluster {cluster_id} has HSMs: hsm-" in run(name="dev", state="absent")["msg"]
    assert changes(aws) == []


def test_cluster_that_somebody_else_deletes_at_the_same_moment(aws, run, cluster_id):
    aws.fault("fail", "DeleteCluster", code="CloudHsmResourceNotFoundException", message="gone")
    aws.set_knobs(describe_lag_seconds=0)
    result = run(name="dev", state="absent", wait=False)
    assert (result["changed"], result["actions"]) == (False, [])


def test_deletion_that_is_refused(aws, run, cluster_id):
    aws.fault("fail", "DeleteCluster", code="CloudHsmInvalidRequestException", message="not now")
    result = run(name="dev", state="absent")
    assert "not now" in result["msg"]
    assert not result["changed"]


# What else goes wrong


def test_denied(aws, run, create, cluster_id):
    for operation, call in (
        ("DescribeClusters", functools.partial(run, name="dev")),
        ("DescribeClusters", functools.partial(run, cluster_id=cluster_id, state="absent")),
        ("CreateCluster", create),
        ("ModifyCluster", functools.partial(run, name="dev", backup_retention_days=30)),
        ("TagResource", functools.partial(run, name="dev", tags={"a": "1"})),
        ("DeleteCluster", functools.partial(run, name="dev", state="absent")),
    ):
        aws.clear_faults()
        aws.fault("deny", operation, times=None)
        result = call()
        assert f"Access denied: allow {operation}" in result["msg"]
        assert (result["error"]["code"], result["changed"]) == ("CloudHsmAccessDeniedException", False)


def test_throttled(aws, run, cluster_id):
    for operation in ("DescribeClusters", "ModifyCluster", "TagResource", "UntagResource"):
        aws.fault("throttle", operation, times=3)
    assert run(name="dev", backup_retention_days=30, tags={"a": "1"})["changed"]
    aws.fault("throttle", "DeleteCluster", times=3)
    assert run(name="dev", state="absent")["changed"]


BAD_INPUT = [
    ({}, "one of the following is required: cluster_id, name"),
    ({"cluster_id": ELSE, "name": "dev"}, "mutually exclusive: cluster_id|name"),
    ({"cluster_id": "dev"}, "cluster_id: 'dev' is not a cluster id"),
    ({"name": ""}, "name: '' is not a value of a tag"),
    ({"name": "a,b"}, "name: 'a,b' is not a value of a tag"),
    ({"name": "dev", "subnet_ids": []}, "subnet_ids: are 0. AWS takes 1 to 10"),
    ({"name": "dev", "subnet_ids": ["subnet-0123abcd"] * 11}, "subnet_ids: are 11. AWS takes 1 to 10"),
    ({"name": "dev", "subnet_ids": ["subnet-0123abcd"] * 2}, "subnet_ids: subnet-0123abcd stands twice"),
    ({"name": "dev", "subnet_ids": ["10.0.0.0/24"]}, "subnet_ids: '10.0.0.0/24' is not a subnet id"),
    ({"name": "dev", "hsm_type": "big"}, "hsm_type: 'big' is not a type of HSM"),
    ({"name": "dev", "source_backup_id": "latest"}, "source_backup_id: 'latest' is not the id or the ARN of a backup"),
    ({"name": "dev", "backup_retention_days": 6}, "backup_retention_days: is 6. AWS keeps backups for 7 to 379 days"),
    ({"name": "dev", "backup_retention_days": 380}, "backup_retention_days: is 380."),
    ({"name": "dev", "tags": {"aws:a": "1"}}, "tags: 'aws:a' begins with aws: or hsmops:"),
    ({"name": "dev", "tags": {"hsmops:doomed/a": "1"}}, "tags: 'hsmops:doomed/a' begins with aws: or hsmops:"),
    ({"name": "dev", "tags": {"Name": "prod"}}, "tags: Name is 'prod', and name is 'dev'. To rename"),
    ({"cluster_id": ELSE, "tags": {"Name": ""}}, "tags: '' is not a Name"),
    ({"name": "dev", "tags": {}, "state": "absent"}, "tags: is for state=present only"),
    ({"name": "dev", "subnet_ids": [], "state": "absent"}, "subnet_ids: is for state=present only"),
    ({"name": "dev", "wait_timeout": 0}, "wait_timeout: 0 is no duration"),
    ({"name": "dev", "wait_delay": -1}, "wait_delay: -1.0 is no duration"),
    ({"name": "dev", "region": ""}, "region: none is configured"),
]


def test_bad_input_gets_one_clear_message_and_asks_nobody(aws, run):
    for arguments, message in BAD_INPUT:
        result = run(**arguments)
        assert result["failed"], arguments
        assert message in result["msg"]
    assert aws.calls() == []


def test_botocore_that_does_not_know_of_network_types(aws, run, cluster_id, monkeypatch):
    monkeypatch.setattr(botocore, "__version__", "1.35.80")
    refused = run(name="dev", network_type="IPV4")["msg"]
    assert "(botocore>=1.35.81)" in refused
    assert "to know the network_type of a cluster" in refused
    assert not run(name="dev")["changed"]


def test_progress_is_written(create, tmp_path):
    path = tmp_path / "progress"
    path.touch()
    create(progress_path=str(path))

    assert "is CREATE_IN_PROGRESS; 30 s of at most 1 h 00 min" in path.read_text()
