# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_backup against the local AWS."""

from __future__ import annotations

import datetime
import functools
import re

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_backup
from harness.modules import run_module

ELSEWHERE = "eu-central-1"
WRITES = (
    "CopyBackupToRegion",
    "DeleteBackup",
    "ModifyBackupAttributes",
    "RestoreBackup",
    "TagResource",
    "UntagResource",
)


@pytest.fixture
def run(connection):
    return functools.partial(run_module, cloudhsm_backup, **connection)


@pytest.fixture
def cloudhsm(aws):
    return aws.client("cloudhsmv2")


@pytest.fixture
def backup_id(aws, cluster_id) -> str:
    """The only READY backup of the cluster. (That of its activation is given up.)"""
    aws.set_knobs(backup_on_add_to_empty_cluster=False)
    made = back_up(aws, cluster_id)
    give_up_others(aws, made)
    return made


def back_up(aws, cluster_id: str, wait: float = 200) -> str:
    """Have AWS make a backup of the cluster, and return its id."""
    cloudhsm = aws.client("cloudhsmv2")
    hsm_id = cloudhsm.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")["Hsm"]["HsmId"]
    aws.advance(700)
    cloudhsm.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    made = cloudhsm.describe_backups(Filters={"clusterIds": [cluster_id]})["Backups"][0]["BackupId"]
    aws.advance(wait)
    aws.clear_calls()
    return made


def give_up_others(aws, kept: str = "") -> None:
    cloudhsm = aws.client("cloudhsmv2")
    for backup in cloudhsm.describe_backups(Filters={"states": ["READY"]})["Backups"]:
        if backup["BackupId"] != kept:
            cloudhsm.delete_backup(BackupId=backup["BackupId"])
    aws.clear_calls()


def changes(aws) -> list[str]:
    return [call["operation"] for call in aws.calls() if call["operation"] in WRITES]


def copies(aws, backup_id: str, region: str = ELSEWHERE) -> list[dict]:
    cloudhsm = aws.client("cloudhsmv2", region)
    return cloudhsm.describe_backups(Filters={"sourceBackupIds": [backup_id]})["Backups"]


def now(aws, later: float = 0) -> str:
    return datetime.datetime.fromtimestamp(aws.clock.now() + later, datetime.timezone.utc).isoformat()


# One backup, named


def test_backup_as_it_is(aws, run, backup_id):
    for check in (True, False):
        aws.clear_calls()
        result = run(backup_id=backup_id, check=check)
        assert (result["changed"], result["actions"], result["copies"]) == (False, [], [])
        assert (result["backup"]["backup_id"], result["backup"]["backup_state"]) == (backup_id, "READY")
        assert [call["operation"] for call in aws.calls()] == ["DescribeBackups"]


def test_attributes_and_tags_each_in_check_mode_first_and_each_again(aws, run, cloudhsm, backup_id):
    for wish in (
        {"never_expires": True},
        {"tags": {"a": "1", "b": 2}},
        {"tags": {"b": "3"}, "purge_tags": False},
        {"tags": {"b": "3"}},
        {"tags": {}},
        {"never_expires": False},
    ):
        aws.clear_calls()
        predicted = run(backup_id=backup_id, check=True, diff=True, **wish)
        assert predicted["changed"]
        assert changes(aws) == []
        made = run(backup_id=backup_id, diff=True, **wish)
        assert made["changed"]
        for member in ("actions", "backup", "diff"):
            assert made[member] == predicted[member]
        assert made["diff"]["before"] != made["diff"]["after"]
        aws.clear_calls()
        assert not run(backup_id=backup_id, check=True, **wish)["changed"]
        assert not run(backup_id=backup_id, **wish)["changed"]
        assert changes(aws) == []

    assert run(backup_id=backup_id, tags={"b": 2})["backup"]["tags"] == {"b": "2"}
    assert not run(backup_id=backup_id)["changed"]


def test_tags_of_this_collection_and_of_aws_are_not_purged(run, cloudhsm, backup_id):
    kept = [{"Key": "hsmops:fence", "Value": "7"}, {"Key": "old", "Value": "1"}]
    cloudhsm.tag_resource(ResourceId=backup_id, TagList=kept)

    assert run(backup_id=backup_id, tags={"new": "1"})["backup"]["tags"] == {"hsmops:fence": "7", "new": "1"}


def test_delete_and_restore_each_in_check_mode_first_and_each_again(aws, run, backup_id, cluster_id):
    back_up(aws, cluster_id)
    run(backup_id=backup_id, tags={"a": "1"})
    aws.clear_calls()
    predicted = run(backup_id=backup_id, state="absent", check=True, diff=True)
    assert (predicted["changed"], changes(aws)) == (True, [])
    gone = run(backup_id=backup_id, state="absent", diff=True)
    assert (gone["changed"], gone["actions"]) == (True, [f"delete {backup_id}"])
    assert gone["backup"]["backup_state"] == predicted["backup"]["backup_state"] == "PENDING_DELETION"
    assert "delete_timestamp" in gone["backup"]
    assert gone["diff"]["before"]["backup_state"] == "READY"
    for check in (True, False):
        assert not run(backup_id=backup_id, state="absent", check=check)["changed"]

    predicted = run(backup_id=backup_id, check=True)
    assert (predicted["changed"], predicted["actions"]) == (True, [f"restore {backup_id}"])
    restored = run(backup_id=backup_id, tags={"a": "1"}, never_expires=True)
    # The tags came back with it.
    assert restored["actions"] == [f"restore {backup_id}", f"set never_expires of {backup_id} to true"]
    assert restored["backup"]["backup_state"] == "READY"
    assert not run(backup_id=backup_id)["changed"]
    assert changes(aws).count("DeleteBackup") == 1
    assert changes(aws).count("RestoreBackup") == 1


def test_backup_that_is_not_there(aws, run):
    missing = run(backup_id="backup-abcdefghijk")
    assert missing["failed"]
    assert "there is no backup backup-abcdefghijk in this account and region" in missing["msg"]
    gone = run(backup_id="backup-abcdefghijk", state="absent")
    assert (gone["changed"], "backup" in gone) == (False, False)


def test_backup_that_is_gone_for_ever(aws, run, backup_id):
    run(backup_id=backup_id, state="absent", force=True)
    aws.advance(604800)
    assert "is DELETED, and AWS restores a backup only for 7 days" in run(backup_id=backup_id)["msg"]
    assert not run(backup_id=backup_id, state="absent")["changed"]


def test_last_ready_backup_stays(aws, run, cluster_id, backup_id):
    aws.fault("stuck_backup")
    stuck = back_up(aws, cluster_id)
    for check in (True, False):
        refused = run(backup_id=backup_id, state="absent", check=check)
        assert refused["failed"]
        assert refused["msg"].startswith(f"force: {backup_id} is the last READY backup of {cluster_id}.")
    assert changes(aws) == []

    assert run(backup_id=backup_id, state="absent", force=True)["changed"]
    assert "is CREATE_IN_PROGRESS" in run(backup_id=stuck, wait_timeout=60)["msg"]


def test_last_ready_backup_is_restored_when_another_run_deleted_the_other_one(
    aws, run, cluster_id, backup_id, monkeypatch
):
    second = back_up(aws, cluster_id)
    delete = cloudhsm_backup.api.client
    asked = []

    def meanwhile(module, **connection):
        client = delete(module, **connection)
        client.meta.events.register(
            "before-send.cloudhsmv2.DeleteBackup",
            lambda **_: asked.append(aws.client("cloudhsmv2").delete_backup(BackupId=second)) and None,
        )
        return client

    monkeypatch.setattr(cloudhsm_backup.api, "client", meanwhile)
    refused = run(backup_id=backup_id, state="absent")

    assert len(asked) == 1
    assert refused["msg"].startswith("force: it was restored at once")
    assert refused["backup"]["backup_state"] == "READY"


def test_copy_is_not_kept_from_deletion(aws, run, backup_id):
    copy_id = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])["copies"][0]["backup_id"]

    assert run(backup_id=copy_id, state="absent", region=ELSEWHERE)["changed"]


# The newest one of a cluster


def test_newest_ready_backup_of_a_cluster(aws, run, cluster_id, backup_id):
    newer = back_up(aws, cluster_id)
    assert run(cluster_id=cluster_id)["backup"]["backup_id"] == newer

    aws.fault("stuck_backup")
    back_up(aws, cluster_id)
    assert run(cluster_id=cluster_id)["backup"]["backup_id"] == newer


def test_backup_that_is_new_enough_is_waited_for(aws, run, cluster_id, backup_id):
    since = now(aws)
    aws.set_knobs(backup_seconds=400)
    newer = back_up(aws, cluster_id, wait=0)
    begun = aws.clock.now()

    predicted = run(cluster_id=cluster_id, created_since=since, check=True, never_expires=True)
    assert (predicted["changed"], "backup" in predicted) == (True, False)
    assert any(f"{newer} of " in warning for warning in predicted["warnings"])
    assert not run(cluster_id=cluster_id, created_since=since, check=True)["changed"]
    impatient = run(cluster_id=cluster_id, created_since=since, wait=False)
    assert impatient["msg"].startswith("wait: no READY backup made since")
    assert aws.clock.now() == begun

    made = run(cluster_id=cluster_id, created_since=since, never_expires=True)
    assert (made["backup"]["backup_id"], made["backup"]["backup_state"]) == (newer, "READY")
    assert made["backup"]["never_expires"]
    assert 390 <= made["elapsed"] <= 440


def test_backup_that_never_comes(aws, run, cluster_id, backup_id):
    begun = aws.clock.now()
    result = run(cluster_id=cluster_id, created_since=now(aws, later=1), wait_timeout=300)

    assert result["failed"]
    assert "Timed out after 300 s: no READY backup made since" in result["msg"]
    assert f"of 2, the newest are {backup_id} of" in result["msg"]
    assert 300 <= aws.clock.now() - begun <= 330


def test_backup_that_stays_in_the_making(aws, run, cluster_id, backup_id):
    since = now(aws)
    aws.fault("stuck_backup")
    stuck = back_up(aws, cluster_id)

    assert re.search(
        f"{stuck} of [^;]* is CREATE_IN_PROGRESS",
        run(cluster_id=cluster_id, created_since=since, wait_timeout=60)["msg"],
    )
    named = run(backup_id=stuck, wait_timeout=60, never_expires=True)
    assert f"Timed out after 60 s: backup {stuck} is CREATE_IN_PROGRESS" in named["msg"]
    assert named["backup"]["backup_id"] == stuck
    assert run(backup_id=stuck, wait=False)["backup"]["backup_state"] == "CREATE_IN_PROGRESS"
    assert "must be made before it can be changed" in run(backup_id=stuck, wait=False, never_expires=True)["msg"]
    assert changes(aws) == []


def test_cluster_without_a_backup(aws, run, cluster_id):
    aws.advance(100)
    give_up_others(aws)
    given_up = run(cluster_id=cluster_id)["msg"]
    assert "cluster_id: it has no READY backup, and none is being made: the newest is backup-" in given_up
    assert "is PENDING_DELETION. AWS makes one when" in given_up
    assert "AWS shows no backup at all" in run(cluster_id="cluster-abcdefghijk")["msg"]


# Copies


def test_copy_in_check_mode_first_and_again(aws, run, backup_id):
    predicted = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE], check=True, diff=True)
    assert (predicted["changed"], predicted["actions"]) == (True, [f"copy {backup_id} to {ELSEWHERE}"])
    assert predicted["diff"]["after"]["copied_to"] == [ELSEWHERE]
    assert copies(aws, backup_id) == []

    made = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE, "us-east-1"], tags={"a": "1"}, diff=True)
    assert [(copy["region"], copy["backup_state"]) for copy in made["copies"]] == [
        (ELSEWHERE, "READY"),
        ("us-east-1", "READY"),
    ]
    assert made["copies"][0]["tags"] == {"a": "1"}
    assert made["diff"]["before"]["copied_to"] == []
    assert 300 <= made["elapsed"] <= 360

    for check in (True, False):
        aws.clear_calls()
        again = run(backup_id=backup_id, copy_to_regions=["us-east-1", ELSEWHERE, ELSEWHERE], check=check)
        assert (again["changed"], again["copies"]) == (False, made["copies"])
        assert changes(aws) == []


def test_copy_that_is_being_made_counts_and_is_waited_for(aws, run, backup_id):
    begun = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE], wait=False)
    assert (begun["changed"], begun["copies"][0]["backup_state"]) == (True, "CREATE_IN_PROGRESS")
    assert not run(backup_id=backup_id, copy_to_regions=[ELSEWHERE], wait=False)["changed"]

    adopted = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])
    assert (adopted["changed"], adopted["copies"][0]["backup_state"]) == (False, "READY")
    assert len(copies(aws, backup_id)) == 1


def test_copy_that_is_given_up_does_not_count(aws, run, backup_id):
    first = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])["copies"][0]["backup_id"]
    aws.client("cloudhsmv2", ELSEWHERE).delete_backup(BackupId=first)
    second = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])

    assert second["changed"]
    assert second["copies"][0]["backup_id"] != first


def test_copy_that_fails(aws, run, backup_id):
    aws.fault("failed_copy")
    failed = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])
    assert failed["failed"]
    assert f"in {ELSEWHERE} ended DELETED: AWS could not make it" in failed["msg"]
    assert failed["actions"] == [f"copy {backup_id} to {ELSEWHERE}"]

    assert run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])["copies"][0]["backup_state"] == "READY"


def test_copy_that_takes_too_long(aws, run, backup_id):
    aws.set_knobs(backup_copy_seconds=4000)
    late = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE], wait_timeout=60)

    assert f"in {ELSEWHERE} is CREATE_IN_PROGRESS" in late["msg"]
    assert (late["changed"], len(late["copies"])) == (True, 1)


@pytest.mark.parametrize("fault", ["drop_answer", "error_after"])
@pytest.mark.parametrize("wait", [True, False])
def test_lost_answer_makes_one_copy(aws, run, backup_id, fault, wait):
    aws.fault(fault, "CopyBackupToRegion")
    result = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE], wait=wait)

    assert len(aws.calls("CopyBackupToRegion")) == len(copies(aws, backup_id)) == 1
    assert result["changed"]
    assert any("was taken" in warning for warning in result["warnings"])


def test_failure_without_a_copy_is_not_repeated(aws, run, backup_id):
    aws.fault("error_before", "CopyBackupToRegion")
    result = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])

    assert "no new copy of" in result["msg"]
    assert "Run again" in result["msg"]
    assert (result["error"]["code"], result["changed"]) == ("CloudHsmInternalFailureException", False)
    assert len(aws.calls("CopyBackupToRegion")) == 1


def test_lost_answer_does_not_take_an_older_copy(aws, run, backup_id):
    aws.fault("failed_copy")
    run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])
    aws.fault("error_before", "CopyBackupToRegion")

    assert "no new copy of" in run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])["msg"]


def test_throttled_copy_is_repeated(aws, run, backup_id):
    aws.fault("throttle", "CopyBackupToRegion", times=3)

    assert run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])["changed"]
    assert len(copies(aws, backup_id)) == 1


# What goes wrong


@pytest.mark.parametrize(
    ("operation", "arguments", "first"),
    [
        ("DeleteBackup", {"state": "absent", "force": True}, None),
        ("RestoreBackup", {}, "delete"),
    ],
)
def test_lost_answer_to_what_is_repeated(aws, run, cloudhsm, backup_id, operation, arguments, first):
    if first:
        cloudhsm.delete_backup(BackupId=backup_id)
    aws.fault("drop_answer", operation)
    result = run(backup_id=backup_id, **arguments)

    assert (result["changed"], result.get("failed")) == (True, None)
    assert len(aws.calls(operation)) == 2


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("DescribeBackups", {}),
        ("ModifyBackupAttributes", {"never_expires": True}),
        ("TagResource", {"tags": {"a": "1"}}),
        ("CopyBackupToRegion", {"copy_to_regions": [ELSEWHERE]}),
        ("DeleteBackup", {"state": "absent", "force": True}),
    ],
)
def test_denied(aws, run, backup_id, operation, arguments):
    code = "CloudHsmAccessDeniedException"
    aws.fault("deny", operation, times=None, code=code)
    result = run(backup_id=backup_id, **arguments)

    assert f"Access denied: allow {operation}" in result["msg"]
    assert (result["error"]["code"], result["changed"]) == (code, False)


def test_denied_in_the_other_region_is_no_absence(aws, run, backup_id):
    aws.fault("deny", "DescribeBackups", region=ELSEWHERE)
    result = run(backup_id=backup_id, copy_to_regions=[ELSEWHERE])

    assert result["error"]["code"] == "CloudHsmAccessDeniedException"
    assert changes(aws) == []


BAD_INPUT = [
    ({}, "one of the following is required: backup_id, cluster_id"),
    (
        {"backup_id": "backup-abcdefghijk", "cluster_id": "cluster-abcdefghijk"},
        "mutually exclusive: backup_id|cluster_id",
    ),
    ({"backup_id": "dev"}, "backup_id: 'dev' is not a backup id"),
    ({"cluster_id": "dev"}, "cluster_id: 'dev' is not a cluster id"),
    ({"cluster_id": "cluster-abcdefghijk", "state": "absent"}, "backup_id: is missing. With state=absent"),
    ({"cluster_id": "cluster-abcdefghijk", "created_since": "now"}, "created_since: 'now' is no moment"),
    (
        {"backup_id": "backup-abcdefghijk", "created_since": "2026-01-01T09:00:00Z"},
        "created_since: goes with cluster_id",
    ),
    (
        {"backup_id": "backup-abcdefghijk", "copy_to_regions": ["Frankfurt"]},
        "copy_to_regions: 'Frankfurt' is not a region",
    ),
    (
        {"backup_id": "backup-abcdefghijk", "copy_to_regions": ["eu-west-1"]},
        "copy_to_regions: the backup is in eu-west-1",
    ),
    (
        {"backup_id": "backup-abcdefghijk", "tags": {"hsmops:a": "1"}},
        "tags: 'hsmops:a' begins with aws: or hsmops:",
    ),
    ({"backup_id": "backup-abcdefghijk", "tags": {}, "state": "absent"}, "tags: is for state=present only"),
    ({"backup_id": "backup-abcdefghijk", "wait_timeout": 0}, "wait_timeout: 0 is no duration"),
    ({"backup_id": "backup-abcdefghijk", "wait_delay": -1}, "wait_delay: -1.0 is no duration"),
    ({"backup_id": "backup-abcdefghijk", "region": ""}, "region: none is configured"),
]


def test_bad_input_gets_one_clear_message_and_asks_nobody(aws, run):
    for arguments, message in BAD_INPUT:
        result = run(**arguments)
        assert result["failed"], arguments
        assert message in result["msg"]
    assert aws.calls() == []


def test_progress_is_written(aws, run, cluster_id, backup_id, tmp_path):
    path = tmp_path / "progress"
    path.touch()
    run(backup_id=backup_id, copy_to_regions=[ELSEWHERE], progress_path=str(path))

    assert "the copy backup-" in path.read_text()
    assert f"in {ELSEWHERE} is CREATE_IN_PROGRESS" in path.read_text()
