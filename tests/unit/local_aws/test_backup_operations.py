# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What becomes of backups: retention, deletion, copies, clusters made from them, sharing, and what fills an HSM."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws

A = "eu-west-1a"
DAY = 86_400
WEEK = 7 * DAY
ELSEWHERE = "us-east-1"
OTHER_ACCOUNT = "210987654321"
PASSWORD = "Password1"
INVALID = "CloudHsmInvalidRequestException"
NOT_FOUND = "CloudHsmResourceNotFoundException"


def backups(client: Any, **more: Any) -> list[dict[str, Any]]:
    """Return all backups, newest first."""
    pages = client.get_paginator("describe_backups").paginate(**more)
    return [backup for page in pages for backup in page["Backups"]]


def states(client: Any) -> list[str]:
    return [backup["BackupState"] for backup in backups(client)]


def one(client: Any, backup_id: str) -> dict[str, Any]:
    [backup] = backups(client, Filters={"backupIds": [backup_id]})
    return backup


def ages(aws: LocalAws, hsms: Any, state: str) -> list[float]:
    """Return the ages, in days, of the backups in a state, youngest first."""
    now = aws.now()
    found = backups(hsms, Filters={"states": [state]})
    return [(now - backup["CreateTimestamp"].timestamp()) / DAY for backup in found]


def create(hsms: Any, cluster_id: str) -> str:
    return hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=A)["Hsm"]["HsmId"]


def retain(hsms: Any, cluster_id: str, days: int) -> dict[str, Any]:
    policy = {"Type": "DAYS", "Value": str(days)}
    return hsms.modify_cluster(ClusterId=cluster_id, BackupRetentionPolicy=policy)["Cluster"]


def subnets_of(aws: LocalAws, region: str = "eu-west-1", account: str = "testing") -> list[str]:
    """Return one subnet of the default VPC."""
    return [aws.client("ec2", region, account=account).describe_subnets()["Subnets"][0]["SubnetId"]]


def clone(client: Any, subnet_ids: list[str], backup: str, **more: Any) -> dict[str, Any]:
    request = {"HsmType": "hsm2m.medium", "Mode": "FIPS", "SubnetIds": subnet_ids, "SourceBackupId": backup} | more
    return client.create_cluster(**request)["Cluster"]


def described(client: Any, cluster_id: str) -> dict[str, Any]:
    return client.describe_clusters(Filters={"clusterIds": [cluster_id]})["Clusters"][0]


def names(aws: LocalAws, cluster_id: str) -> list[str]:
    return [user["name"] for user in aws.users(cluster_id)]


@pytest.fixture
def ready(aws: LocalAws, hsms: Any, cluster_id: str) -> str:
    """A READY backup, of the activation."""
    aws.advance(60)
    [backup] = backups(hsms)
    assert backup["BackupState"] == "READY"
    return backup["BackupId"]


@pytest.fixture
def served(aws: LocalAws, hsms: Any, cluster_id: str) -> str:
    """The id of the only HSM of the cluster, which is ACTIVE, like the backup of its addition."""
    hsm_id = create(hsms, cluster_id)
    aws.advance(660)
    return hsm_id


@pytest.fixture
def parked(aws: LocalAws, hsms: Any, cluster_id: str, served: str) -> str:
    """A cluster without HSM whose newest backup alone has the user `late`."""
    aws.create_user(cluster_id, "late", PASSWORD, role="admin")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=served)
    aws.advance(120)
    return cluster_id


# --- periodic backups and retention


def test_a_backup_is_made_every_day(aws: LocalAws, hsms: Any, cluster_id: str, served: str) -> None:
    aws.advance(10 * 86_520)
    times = [backup["CreateTimestamp"].timestamp() for backup in backups(hsms)]
    assert len(times) == 12
    assert [round(later - earlier) for later, earlier in zip(times, times[1:10], strict=False)] == [86_520] * 9


def test_cluster_without_hsm_has_no_periodic_backups(aws: LocalAws, hsms: Any, parked: str) -> None:
    before = len(backups(hsms))
    aws.advance(30 * DAY)
    assert len(backups(hsms)) == before


@pytest.mark.parametrize(("seconds", "made"), [(0, 0), (3600, 24)])
def test_period_is_a_knob(aws: LocalAws, hsms: Any, subnets: list[str], seconds: float, made: int) -> None:
    aws.set_knobs(backup_period_seconds=seconds, backup_on_add_to_empty_cluster=False)
    cluster = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets)["Cluster"]
    aws.activate(cluster["ClusterId"])
    create(hsms, cluster["ClusterId"])
    aws.advance(DAY)
    assert len(backups(hsms)) - 1 == made


def test_ninety_days_are_kept_by_default(aws: LocalAws, hsms: Any, cluster_id: str, served: str) -> None:
    aws.advance(200 * DAY)
    kept, leaving, gone = (ages(aws, hsms, state) for state in ("READY", "PENDING_DELETION", "DELETED"))
    assert len(kept) == 90
    assert max(kept) < 90
    assert 90 <= min(leaving) <= max(leaving) < 97
    assert len(leaving) == 7
    assert all(97 <= age <= 98 for age in gone)
    assert described(hsms, cluster_id)["BackupRetentionPolicy"] == {"Type": "DAYS", "Value": "90"}


def test_shorter_retention_counts_at_once(aws: LocalAws, hsms: Any, cluster_id: str, served: str) -> None:
    aws.advance(60 * DAY)
    modified = retain(hsms, cluster_id, 7)
    assert (modified["State"], modified["BackupRetentionPolicy"]["Value"]) == ("ACTIVE", "7")
    assert max(ages(aws, hsms, "READY")) < 7
    assert len(ages(aws, hsms, "PENDING_DELETION")) > 50
    aws.advance(100 * DAY)
    assert max(ages(aws, hsms, "READY")) < 7


def test_longer_retention_keeps_what_is_there(aws: LocalAws, hsms: Any, cluster_id: str, served: str) -> None:
    aws.advance(80 * DAY)
    retain(hsms, cluster_id, 379)
    aws.advance(290 * DAY)
    assert set(states(hsms)) == {"READY"}
    aws.advance(100 * DAY)
    assert 378 < max(ages(aws, hsms, "READY")) < 379
    assert min(ages(aws, hsms, "PENDING_DELETION")) >= 379


def test_shorter_retention_of_a_parked_cluster(aws: LocalAws, hsms: Any, parked: str) -> None:
    retain(hsms, parked, 7)
    assert states(hsms) == ["READY"] * 3
    aws.advance(WEEK)
    assert states(hsms) == ["READY", "PENDING_DELETION", "PENDING_DELETION"]


@pytest.mark.parametrize("days", ["6", "380", "1000", "x", "-7"])
def test_retention_that_cannot_be(hsms: Any, cluster_id: str, days: str) -> None:
    with pytest.raises(ClientError, match=INVALID):
        hsms.modify_cluster(ClusterId=cluster_id, BackupRetentionPolicy={"Type": "DAYS", "Value": days})
    assert described(hsms, cluster_id)["BackupRetentionPolicy"]["Value"] == "90"


def test_retention_is_given_at_creation_too(aws: LocalAws, hsms: Any, subnets: list[str]) -> None:
    policy = {"Type": "DAYS", "Value": "7"}
    request = {"HsmType": "hsm2m.medium", "Mode": "FIPS", "SubnetIds": subnets, "BackupRetentionPolicy": policy}
    cluster = hsms.create_cluster(**request)["Cluster"]
    aws.activate(cluster["ClusterId"])
    create(hsms, cluster["ClusterId"])
    aws.advance(30 * DAY)
    assert cluster["BackupRetentionPolicy"] == policy
    assert max(ages(aws, hsms, "READY")) < 7


def test_last_backup_of_a_parked_cluster_stays(aws: LocalAws, hsms: Any, parked: str) -> None:
    newest = backups(hsms)[0]["BackupId"]
    aws.advance(90 * DAY - 200)
    assert states(hsms)[0] == "READY"
    aws.advance(1000 * DAY)
    [kept] = backups(hsms)
    assert (kept["BackupId"], kept["BackupState"]) == (newest, "READY")


def test_spared_backup_expires_when_a_newer_one_is_ready(aws: LocalAws, hsms: Any, parked: str) -> None:
    newest = backups(hsms)[0]["BackupId"]
    aws.advance(100 * DAY)
    create(hsms, parked)
    aws.advance(659)
    assert one(hsms, newest)["BackupState"] == "READY"
    aws.advance(1)
    assert one(hsms, newest)["BackupState"] == "PENDING_DELETION"


def test_backup_that_never_expires(aws: LocalAws, hsms: Any, ready: str, served: str) -> None:
    answer = hsms.modify_backup_attributes(BackupId=ready, NeverExpires=True)["Backup"]
    assert (answer["BackupId"], answer["NeverExpires"]) == (ready, True)
    aws.advance(200 * DAY)
    assert one(hsms, ready)["BackupState"] == "READY"
    assert [backup["BackupId"] for backup in backups(hsms, Filters={"neverExpires": ["true"]})] == [ready]
    assert hsms.modify_backup_attributes(BackupId=ready, NeverExpires=False)["Backup"]["NeverExpires"] is False
    assert one(hsms, ready)["BackupState"] == "PENDING_DELETION"


@pytest.mark.parametrize(("knob", "left"), [(False, 3), (True, 1)])
def test_backups_of_a_deleted_cluster(aws: LocalAws, hsms: Any, parked: str, knob: bool, left: int) -> None:
    aws.set_knobs(deleted_cluster_backups_expire=knob)
    hsms.delete_cluster(ClusterId=parked)
    aws.advance(400 * DAY)
    assert states(hsms) == ["READY"] * left


# --- deletion


def test_deleted_backup_can_be_restored_for_a_week(aws: LocalAws, hsms: Any, ready: str) -> None:
    answer = hsms.delete_backup(BackupId=ready)["Backup"]
    assert answer["BackupState"] == "PENDING_DELETION"
    assert answer["DeleteTimestamp"].timestamp() == pytest.approx(aws.now() + WEEK, abs=0.001)
    assert one(hsms, ready) == answer
    aws.advance(WEEK - 1)
    answer = hsms.restore_backup(BackupId=ready)["Backup"]
    assert answer["BackupState"] == "READY"
    assert "DeleteTimestamp" not in answer
    aws.advance(30 * DAY)
    assert states(hsms) == ["READY"]


def test_deleted_backup_is_listed_for_a_while_and_then_gone(aws: LocalAws, hsms: Any, ready: str) -> None:
    hsms.delete_backup(BackupId=ready)
    aws.advance(WEEK)
    assert states(hsms) == ["DELETED"]
    for call in (hsms.restore_backup, hsms.delete_backup):
        with pytest.raises(ClientError, match=NOT_FOUND):
            call(BackupId=ready)
    aws.advance(DAY)
    assert states(hsms) == ["DELETED"]
    aws.advance(1)
    assert backups(hsms) == []


def test_times_of_deletion_are_knobs(aws: LocalAws, hsms: Any, ready: str) -> None:
    aws.set_knobs(backup_pending_deletion_seconds=100, deleted_backup_listed_seconds=50)
    hsms.delete_backup(BackupId=ready)
    found = []
    for seconds in (99, 1, 50, 1):
        aws.advance(seconds)
        found.append(states(hsms))
    assert found == [["PENDING_DELETION"], ["DELETED"], ["DELETED"], []]


def test_second_deletion_begins_a_week_of_its_own(aws: LocalAws, hsms: Any, ready: str) -> None:
    hsms.delete_backup(BackupId=ready)
    aws.advance(6 * DAY)
    hsms.restore_backup(BackupId=ready)
    hsms.delete_backup(BackupId=ready)
    aws.advance(6 * DAY)
    assert states(hsms) == ["PENDING_DELETION"]
    hsms.restore_backup(BackupId=ready)


def test_restored_backup_still_fills_an_hsm(aws: LocalAws, hsms: Any, parked: str) -> None:
    newest = backups(hsms)[0]["BackupId"]
    hsms.delete_backup(BackupId=newest)
    hsms.restore_backup(BackupId=newest)
    aws.advance(WEEK)
    create(hsms, parked)
    aws.advance(600)
    assert "late" in names(aws, parked)


def test_wrong_states_for_an_operation(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    [backup] = backups(hsms)
    name = {"BackupId": backup["BackupId"]}
    never, copy = {"NeverExpires": True}, {"DestinationRegion": ELSEWHERE}

    def refused(state: str, **calls: dict[str, Any]) -> None:
        for call, more in calls.items():
            with pytest.raises(ClientError, match=f"{INVALID}.*in state {state}"):
                getattr(hsms, call)(**name, **more)

    refused(
        "CREATE_IN_PROGRESS",
        delete_backup={},
        restore_backup={},
        modify_backup_attributes=never,
        copy_backup_to_region=copy,
    )
    aws.advance(60)
    refused("READY", restore_backup={})
    hsms.delete_backup(**name)
    refused("PENDING_DELETION", delete_backup={}, modify_backup_attributes=never, copy_backup_to_region=copy)


def test_tags_do_not_show_while_deletion_is_pending(hsms: Any, ready: str) -> None:
    tags = [{"Key": "keep", "Value": "1"}]
    hsms.tag_resource(ResourceId=ready, TagList=tags)
    assert one(hsms, ready)["TagList"] == tags
    assert hsms.delete_backup(BackupId=ready)["Backup"]["TagList"] == []
    assert one(hsms, ready)["TagList"] == []


# --- copies


def copy_there(hsms: Any, backup_id: str, **more: Any) -> dict[str, Any]:
    return hsms.copy_backup_to_region(BackupId=backup_id, DestinationRegion=ELSEWHERE, **more)["DestinationBackup"]


@pytest.fixture
def there(aws: LocalAws) -> Any:
    """A CloudHSM client in the other Region."""
    return aws.client("cloudhsmv2", ELSEWHERE)


def test_copy_is_found_by_its_source_only(aws: LocalAws, hsms: Any, cluster_id: str, ready: str, there: Any) -> None:
    aws.advance(1000)
    answer = copy_there(hsms, ready)
    source = one(hsms, ready)
    assert answer == {
        "CreateTimestamp": source["CreateTimestamp"],
        "SourceRegion": "eu-west-1",
        "SourceBackup": ready,
        "SourceCluster": cluster_id,
    }
    [copy] = backups(there, Filters={"sourceBackupIds": [ready]})
    assert copy["BackupId"] != ready
    assert copy["BackupArn"] == f"arn:aws:cloudhsm:{ELSEWHERE}:123456789012:backup/{copy['BackupId']}"
    assert copy["BackupState"] == "CREATE_IN_PROGRESS"
    assert copy["CreateTimestamp"] == source["CreateTimestamp"]
    assert copy["CopyTimestamp"].timestamp() == pytest.approx(aws.now(), abs=0.001)
    assert (copy["HsmType"], copy["Mode"], copy["NeverExpires"]) == ("hsm2m.medium", "FIPS", False)
    assert copy.items() >= {"SourceRegion": "eu-west-1", "SourceBackup": ready, "SourceCluster": cluster_id}.items()
    assert len(backups(hsms)) == 1
    assert backups(there, Filters={"sourceBackupIds": ["backup-aaaaaaaaaaa"]}) == []
    aws.advance(299)
    assert states(there) == ["CREATE_IN_PROGRESS"]
    aws.advance(1)
    assert states(there) == ["READY"]


@pytest.mark.parametrize("knob", [False, True])
def test_copy_belongs_to_a_cluster_by_knob_only(
    aws: LocalAws, hsms: Any, cluster_id: str, ready: str, there: Any, knob: bool
) -> None:
    aws.set_knobs(copied_backup_shows_cluster=knob)
    copy_there(hsms, ready)
    assert [backup.get("ClusterId") for backup in backups(there)] == [cluster_id if knob else None]
    assert len(backups(there, Filters={"clusterIds": [cluster_id]})) == knob


def test_time_of_copying_is_a_knob(aws: LocalAws, hsms: Any, ready: str, there: Any) -> None:
    aws.set_knobs(backup_copy_seconds=5)
    copy_there(hsms, ready)
    aws.advance(4)
    assert states(there) == ["CREATE_IN_PROGRESS"]
    aws.advance(1)
    assert states(there) == ["READY"]


def test_second_call_makes_a_second_copy(hsms: Any, ready: str, there: Any) -> None:
    copy_there(hsms, ready)
    copy_there(hsms, ready)
    first, second = backups(there, Filters={"sourceBackupIds": [ready]})
    assert first["BackupId"] != second["BackupId"]


def test_tags_are_copied_or_replaced(hsms: Any, ready: str, there: Any) -> None:
    own, others = [{"Key": "a", "Value": "1"}], [{"Key": "b", "Value": "2"}]
    hsms.tag_resource(ResourceId=ready, TagList=own)
    copy_there(hsms, ready)
    copy_there(hsms, ready, TagList=others)
    assert [backup["TagList"] for backup in backups(there, SortAscending=True)] == [own, others]
    there.tag_resource(ResourceId=backups(there)[1]["BackupId"], TagList=others)
    assert one(hsms, ready)["TagList"] == own


def test_copy_has_no_retention_and_outlives_its_source(aws: LocalAws, hsms: Any, served: str, there: Any) -> None:
    oldest = backups(hsms)[-1]["BackupId"]
    copy_there(hsms, oldest)
    aws.advance(500 * DAY)
    assert backups(hsms, Filters={"backupIds": [oldest]}) == []
    assert states(there) == ["READY"]


def test_copy_that_comes_back_is_no_backup_of_the_cluster(aws: LocalAws, hsms: Any, parked: str, there: Any) -> None:
    newest, older, *_rest = [backup["BackupId"] for backup in backups(hsms)]
    copy_there(hsms, newest)
    aws.advance(300)
    there.copy_backup_to_region(BackupId=backups(there)[0]["BackupId"], DestinationRegion="eu-west-1")
    aws.advance(300)
    assert len(backups(hsms)) == 4
    assert len(backups(hsms, Filters={"clusterIds": [parked]})) == 3
    hsms.delete_backup(BackupId=newest)
    aws.advance(100 * DAY)
    assert one(hsms, older)["BackupState"] == "READY"
    create(hsms, parked)
    aws.advance(600)
    assert "late" not in names(aws, parked)


def test_failed_copy_ends_deleted(aws: LocalAws, hsms: Any, ready: str, there: Any) -> None:
    aws.fault("failed_copy")
    copy_there(hsms, ready)
    copy_there(hsms, ready)
    assert states(there) == ["CREATE_IN_PROGRESS"] * 2
    aws.advance(300)
    assert sorted(states(there)) == ["DELETED", "READY"]
    assert states(hsms) == ["READY"]


def test_refused_copy_does_not_use_up_the_fault(aws: LocalAws, hsms: Any, ready: str) -> None:
    aws.fault("failed_copy")
    with pytest.raises(ClientError, match="CloudHsmTagException"):
        copy_there(hsms, ready, TagList=[{"Key": "aws:x", "Value": "1"}])
    assert len(aws.faults()) == 1


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-west-1", "Ireland"])
def test_copy_goes_to_another_region_of_the_partition(hsms: Any, ready: str, region: str) -> None:
    with pytest.raises(ClientError, match=f"{INVALID}.*DestinationRegion"):
        hsms.copy_backup_to_region(BackupId=ready, DestinationRegion=region)


# --- clusters from backups


def test_cluster_from_a_backup_is_active_by_itself(
    aws: LocalAws, hsms: Any, cluster_id: str, ready: str, subnets: list[str]
) -> None:
    made = clone(hsms, subnets, ready)
    assert made["ClusterId"] != cluster_id
    assert (made["State"], made["SourceBackupId"]) == ("CREATE_IN_PROGRESS", ready)
    assert made["Certificates"] == described(hsms, cluster_id)["Certificates"]
    assert set(made["Certificates"]) == {"ClusterCertificate"}
    seen = []
    for _turn in range(6):
        seen.append(described(hsms, made["ClusterId"])["State"])
        aws.advance(60)
    assert list(Counter(seen)) == ["CREATE_IN_PROGRESS", "INITIALIZE_IN_PROGRESS", "ACTIVE"]
    cluster = described(hsms, made["ClusterId"])
    assert (cluster["Hsms"], cluster["SourceBackupId"]) == ([], ready)
    assert "SourceBackupId" not in described(hsms, cluster_id)
    assert aws.trust_anchor(made["ClusterId"]) == aws.trust_anchor(cluster_id)


def test_cluster_from_a_backup_is_activated_already(aws: LocalAws, hsms: Any, ready: str, subnets: list[str]) -> None:
    made = clone(hsms, subnets, ready)
    aws.advance(300)
    aws.activate(made["ClusterId"])
    assert len(backups(hsms)) == 1


def test_time_until_a_cluster_from_a_backup_is_active_is_a_knob(
    aws: LocalAws, hsms: Any, ready: str, subnets: list[str]
) -> None:
    aws.set_knobs(cluster_from_backup_seconds=10)
    made = clone(hsms, subnets, ready)
    aws.advance(9)
    with pytest.raises(ClientError, match="in state INITIALIZE_IN_PROGRESS"):
        create(hsms, made["ClusterId"])
    aws.advance(1)
    create(hsms, made["ClusterId"])


def test_cluster_from_a_backup_has_its_users(aws: LocalAws, hsms: Any, parked: str, subnets: list[str]) -> None:
    newest, older, *_rest = [backup["BackupId"] for backup in backups(hsms)]
    clones = [clone(hsms, subnets, backup)["ClusterId"] for backup in (newest, older)]
    for backup in (newest, older):
        hsms.delete_backup(BackupId=backup)
    aws.advance(WEEK)
    for cluster in clones:
        create(hsms, cluster)
    aws.advance(600)
    assert ["late" in names(aws, cluster) for cluster in clones] == [True, False]
    assert len(backups(hsms, Filters={"clusterIds": clones})) == 2


def test_cluster_from_a_copy_in_the_other_region(aws: LocalAws, hsms: Any, parked: str, there: Any) -> None:
    copy_there(hsms, backups(hsms)[0]["BackupId"])
    [copy] = backups(there)
    subnet_ids = subnets_of(aws, ELSEWHERE)
    with pytest.raises(ClientError, match="in state CREATE_IN_PROGRESS, not READY"):
        clone(there, subnet_ids, copy["BackupId"])
    aws.advance(300)
    made = clone(there, subnet_ids, copy["BackupId"])
    assert made["Certificates"] == described(hsms, parked)["Certificates"]
    aws.advance(300)
    [az] = made["SubnetMapping"]
    there.create_hsm(ClusterId=made["ClusterId"], AvailabilityZone=az)
    aws.advance(600)
    assert "late" in names(aws, made["ClusterId"])


def test_backup_of_another_region_makes_no_cluster(aws: LocalAws, hsms: Any, ready: str, there: Any) -> None:
    arn, subnet_ids = one(hsms, ready)["BackupArn"], subnets_of(aws, ELSEWHERE)
    with pytest.raises(ClientError, match=NOT_FOUND):
        clone(there, subnet_ids, ready)
    with pytest.raises(ClientError, match=f"{INVALID}.*the backup is in eu-west-1"):
        clone(there, subnet_ids, arn)


def test_backup_must_be_ready_for_a_cluster(hsms: Any, ready: str, subnets: list[str]) -> None:
    hsms.delete_backup(BackupId=ready)
    with pytest.raises(ClientError, match=f"{INVALID}.*PENDING_DELETION, not READY"):
        clone(hsms, subnets, ready)


@pytest.mark.parametrize(
    ("source", "wanted", "text"),
    [
        (("hsm1.medium", "FIPS"), ("hsm1.medium", "FIPS"), None),
        (("hsm1.medium", "FIPS"), ("hsm2m.medium", "FIPS"), None),
        (("hsm1.medium", "FIPS"), ("hsm2m.medium", "NON_FIPS"), "Mode"),
        (("hsm2m.medium", "FIPS"), ("hsm1.medium", "FIPS"), "HsmType"),
        (("hsm2m.medium", "FIPS"), ("hsm2m.medium", "NON_FIPS"), "Mode"),
        (("hsm2m.medium", "NON_FIPS"), ("hsm2m.medium", "NON_FIPS"), None),
        (("hsm2m.medium", "NON_FIPS"), ("hsm2m.medium", "FIPS"), "Mode"),
    ],
)
def test_type_and_mode_must_fit_the_backup(
    aws: LocalAws, hsms: Any, subnets: list[str], source: tuple[str, str], wanted: tuple[str, str], text: str | None
) -> None:
    aws.set_knobs(hsm1_medium_accepted=True)
    made = hsms.create_cluster(HsmType=source[0], Mode=source[1], SubnetIds=subnets)["Cluster"]
    aws.activate(made["ClusterId"])
    aws.advance(60)
    [backup] = backups(hsms)
    assert (backup["HsmType"], backup["Mode"]) == source
    request = {"HsmType": wanted[0], "Mode": wanted[1]}
    if text is None:
        made = clone(hsms, subnets, backup["BackupId"], **request)
        assert (made["HsmType"], made["Mode"]) == wanted
    else:
        with pytest.raises(ClientError, match=f"{INVALID}.*: {text}: "):
            clone(hsms, subnets, backup["BackupId"], **request)


# --- sharing


def policy(*actions: str, account: str = OTHER_ACCOUNT) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": [f"cloudhsm:{name}" for name in actions]}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | {"Resource": "*"}]})


@pytest.fixture
def arn(hsms: Any, ready: str) -> str:
    """The ARN of the READY backup."""
    return one(hsms, ready)["BackupArn"]


@pytest.fixture
def other(aws: LocalAws) -> Any:
    """A CloudHSM client of another account."""
    return aws.client("cloudhsmv2", account=OTHER_ACCOUNT)


def test_policy_is_empty_set_read_and_taken_off(hsms: Any, arn: str) -> None:
    name = {"ResourceArn": arn}
    text = policy("CreateCluster")
    assert hsms.get_resource_policy(**name)["Policy"] == "{}"
    assert hsms.delete_resource_policy(**name)["Policy"] == "{}"
    put = hsms.put_resource_policy(Policy=text, **name)
    assert (put["ResourceArn"], put["Policy"]) == (arn, text)
    assert hsms.get_resource_policy(**name)["Policy"] == text
    deleted = hsms.delete_resource_policy(**name)
    assert (deleted["ResourceArn"], deleted["Policy"]) == (arn, text)
    assert hsms.get_resource_policy(**name)["Policy"] == "{}"


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '"Statement"'])
def test_policy_must_be_a_policy(hsms: Any, arn: str, text: str) -> None:
    with pytest.raises(ClientError, match=f"{INVALID}.*Policy"):
        hsms.put_resource_policy(ResourceArn=arn, Policy=text)


def test_only_a_ready_backup_is_shared(aws: LocalAws, hsms: Any, ready: str, arn: str) -> None:
    hsms.delete_backup(BackupId=ready)
    with pytest.raises(ClientError, match=f"{INVALID}.*PENDING_DELETION"):
        hsms.put_resource_policy(ResourceArn=arn, Policy=policy("CreateCluster"))


def test_only_own_backups_have_policies(hsms: Any, cluster_id: str, arn: str, other: Any) -> None:
    with pytest.raises(ClientError, match="CloudHsmAccessDeniedException"):
        other.put_resource_policy(ResourceArn=arn, Policy=policy("CreateCluster"))
    cluster_arn = f"arn:aws:cloudhsm:eu-west-1:123456789012:cluster/{cluster_id}"
    with pytest.raises(ClientError, match=f"{INVALID}.*only backups"):
        hsms.get_resource_policy(ResourceArn=cluster_arn)
    with pytest.raises(ClientError, match=f"{INVALID}.*ResourceArn is required"):
        hsms.get_resource_policy()


def test_own_backup_may_be_named_by_its_arn(hsms: Any, ready: str, arn: str, subnets: list[str]) -> None:
    assert clone(hsms, subnets, arn)["SourceBackupId"] == ready


def test_other_account_makes_a_cluster_if_it_may(aws: LocalAws, hsms: Any, ready: str, arn: str, other: Any) -> None:
    subnet_ids = subnets_of(aws, account=OTHER_ACCOUNT)

    def denied() -> None:
        with pytest.raises(ClientError, match="CloudHsmAccessDeniedException"):
            clone(other, subnet_ids, arn)

    denied()
    for text in (policy("DescribeBackups"), policy("CreateCluster", account="111111111111")):
        hsms.put_resource_policy(ResourceArn=arn, Policy=text)
        denied()
    hsms.put_resource_policy(ResourceArn=arn, Policy=policy("CreateCluster"))
    with pytest.raises(ClientError, match=NOT_FOUND):
        clone(other, subnet_ids, ready)
    made = clone(other, subnet_ids, arn)
    hsms.delete_resource_policy(ResourceArn=arn)
    denied()
    aws.advance(300)
    cluster = described(other, made["ClusterId"])
    assert (cluster["State"], cluster["SourceBackupId"]) == ("ACTIVE", ready)
    assert cluster["Certificates"] == described(hsms, one(hsms, ready)["ClusterId"])["Certificates"]
    [az] = cluster["SubnetMapping"]
    other.create_hsm(ClusterId=made["ClusterId"], AvailabilityZone=az)
    aws.advance(660)
    assert "admin" in [user["role"] for user in aws.users(made["ClusterId"])]
    [own] = backups(other)
    assert own["BackupArn"].split(":")[4] == OTHER_ACCOUNT
    assert len(hsms.describe_clusters()["Clusters"]) == 1


@pytest.mark.parametrize(("knob", "actions"), [(False, ["DescribeBackups"]), (True, ["CreateCluster"])])
def test_shared_backup_is_not_listed(
    aws: LocalAws, hsms: Any, arn: str, other: Any, knob: bool, actions: list[str]
) -> None:
    aws.set_knobs(policy_shares_are_promoted=knob)
    hsms.put_resource_policy(ResourceArn=arn, Policy=policy(*actions))
    assert backups(other, Shared=True) == backups(other) == []


def test_promoted_share_is_listed(aws: LocalAws, hsms: Any, ready: str, arn: str, other: Any) -> None:
    aws.set_knobs(policy_shares_are_promoted=True)
    hsms.put_resource_policy(ResourceArn=arn, Policy=policy("DescribeBackups"))
    assert backups(other, Shared=True) == [one(hsms, ready)]
    assert backups(other) == backups(hsms, Shared=True) == []
    assert backups(aws.client("cloudhsmv2", account="111111111111"), Shared=True) == []
    assert backups(aws.client("cloudhsmv2", ELSEWHERE, account=OTHER_ACCOUNT), Shared=True) == []


def test_shared_backup_is_not_the_other_accounts_to_change(hsms: Any, ready: str, arn: str, other: Any) -> None:
    hsms.put_resource_policy(ResourceArn=arn, Policy=policy("*"))
    with pytest.raises(ClientError, match=NOT_FOUND):
        other.delete_backup(BackupId=ready)
    with pytest.raises(ClientError, match=NOT_FOUND):
        other.copy_backup_to_region(BackupId=ready, DestinationRegion=ELSEWHERE)


# --- which backup fills an HSM


def test_new_hsm_holds_what_the_last_one_held(aws: LocalAws, hsms: Any, parked: str) -> None:
    create(hsms, parked)
    aws.advance(600)
    assert "late" in names(aws, parked)


@pytest.mark.parametrize(("knob", "late"), [(False, False), (True, True)])
def test_backup_that_is_to_be_deleted_fills_an_hsm_by_knob_only(
    aws: LocalAws, hsms: Any, parked: str, knob: bool, late: bool
) -> None:
    aws.set_knobs(restore_from_pending_deletion=knob)
    hsms.delete_backup(BackupId=backups(hsms)[0]["BackupId"])
    create(hsms, parked)
    aws.advance(600)
    assert ("late" in names(aws, parked)) is late


@pytest.mark.parametrize(("knob", "late"), [(False, True), (True, False)])
def test_backup_is_chosen_when_the_hsm_is_active_or_by_knob_at_its_creation(
    aws: LocalAws, hsms: Any, cluster_id: str, served: str, knob: bool, late: bool
) -> None:
    aws.set_knobs(restore_chosen_at_creation=knob)
    aws.create_user(cluster_id, "late", PASSWORD, role="admin")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=served)
    # The backup of the removal is not READY yet.
    create(hsms, cluster_id)
    aws.advance(600)
    assert ("late" in names(aws, cluster_id)) is late


def test_backup_that_was_chosen_and_deleted_gives_way_to_the_next(aws: LocalAws, hsms: Any, parked: str) -> None:
    aws.set_knobs(restore_chosen_at_creation=True, backup_pending_deletion_seconds=0)
    create(hsms, parked)
    hsms.delete_backup(BackupId=backups(hsms)[0]["BackupId"])
    aws.advance(600)
    assert "late" not in names(aws, parked)
    assert described(hsms, parked)["Hsms"][0]["State"] == "ACTIVE"


@pytest.mark.parametrize("knob", [False, True])
def test_replaced_hsm_is_back_at_the_last_backup(aws: LocalAws, hsms: Any, cluster_id: str, knob: bool) -> None:
    aws.set_knobs(restore_chosen_at_creation=knob)
    aws.advance(60)
    hsm_id = create(hsms, cluster_id)
    aws.advance(660)
    aws.create_user(cluster_id, "early", PASSWORD, role="admin")
    aws.advance(2 * DAY)
    aws.create_user(cluster_id, "unsaved", PASSWORD, role="admin")
    aws.replace(hsm_id)
    assert {"early", "unsaved"} & set(names(aws, cluster_id)) == {"early"}


def test_replaced_hsm_beside_another_loses_nothing(aws: LocalAws, hsms: Any, cluster_id: str, served: str) -> None:
    create(hsms, cluster_id)
    aws.advance(600)
    aws.create_user(cluster_id, "unsaved", PASSWORD, role="admin")
    aws.replace(served)
    assert "unsaved" in names(aws, cluster_id)


def delete_all(hsms: Any) -> None:
    for backup in backups(hsms, Filters={"states": ["READY"]}):
        hsms.delete_backup(BackupId=backup["BackupId"])


@pytest.mark.parametrize(("knob", "state"), [("empty", "ACTIVE"), ("degraded", "DEGRADED")])
def test_hsm_of_a_cluster_without_backups(aws: LocalAws, hsms: Any, parked: str, knob: str, state: str) -> None:
    aws.set_knobs(restore_without_backup=knob)
    delete_all(hsms)
    create(hsms, parked)
    aws.advance(600)
    [hsm] = described(hsms, parked)["Hsms"]
    assert hsm["State"] == state
    if knob == "empty":
        assert "unactivated-admin" in [user["role"] for user in aws.users(parked)]
    else:
        assert hsm["StateMessage"] == "HSM creation failed. Please delete this HSM and try again."


def test_hsm_of_a_cluster_without_backups_is_refused_by_knob(aws: LocalAws, hsms: Any, parked: str) -> None:
    aws.set_knobs(restore_without_backup="refused")
    newest = backups(hsms)[0]["BackupId"]
    delete_all(hsms)
    with pytest.raises(ClientError, match=f"{INVALID}.*no backup to restore"):
        create(hsms, parked)
    hsms.restore_backup(BackupId=newest)
    create(hsms, parked)


@pytest.mark.parametrize(("knob", "state"), [("empty", "ACTIVE"), ("degraded", "DEGRADED"), ("refused", "DEGRADED")])
def test_hsm_whose_last_backup_goes_while_it_comes(
    aws: LocalAws, hsms: Any, parked: str, knob: str, state: str
) -> None:
    aws.set_knobs(restore_without_backup=knob)
    create(hsms, parked)
    delete_all(hsms)
    aws.advance(600)
    assert described(hsms, parked)["Hsms"][0]["State"] == state


@pytest.mark.parametrize("knob", ["degraded", "refused"])
def test_hsm_beside_another_needs_no_backup(aws: LocalAws, hsms: Any, cluster_id: str, served: str, knob: str) -> None:
    aws.set_knobs(restore_without_backup=knob)
    delete_all(hsms)
    create(hsms, cluster_id)
    aws.advance(600)
    assert [hsm["State"] for hsm in described(hsms, cluster_id)["Hsms"]] == ["ACTIVE", "ACTIVE"]


def test_timestamps_are_of_the_virtual_clock(aws: LocalAws, hsms: Any, ready: str) -> None:
    aws.advance(365 * DAY)
    deleted = hsms.delete_backup(BackupId=ready)["Backup"]["DeleteTimestamp"]
    assert isinstance(deleted, datetime)
    assert deleted.timestamp() == pytest.approx(aws.now() + WEEK, abs=0.001)
