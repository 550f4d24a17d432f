# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws


def backups(hsms: Any, **more: Any) -> list[dict[str, Any]]:
    return hsms.describe_backups(**more)["Backups"]


def create(hsms: Any, cluster_id: str) -> str:
    return hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")["Hsm"]["HsmId"]


def test_activation_makes_one_backup(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    [backup] = backups(hsms)
    assert backup["BackupState"] == "CREATE_IN_PROGRESS"
    assert backup["BackupArn"] == f"arn:aws:cloudhsm:eu-west-1:123456789012:backup/{backup['BackupId']}"
    assert (backup["ClusterId"], backup["NeverExpires"], backup["TagList"]) == (cluster_id, False, [])
    aws.advance(60)
    assert backups(hsms)[0]["BackupState"] == "READY"
    aws.activate(cluster_id)
    assert len(backups(hsms)) == 1


def test_first_hsm_is_backed_up_when_it_is_active(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    create(hsms, cluster_id)
    aws.advance(599)
    assert len(backups(hsms)) == 1
    aws.advance(1)
    assert [backup["BackupState"] for backup in backups(hsms)] == ["CREATE_IN_PROGRESS", "READY"]


def test_second_hsm_brings_a_backup_at_once(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(backup_on_add_to_empty_cluster=False)
    create(hsms, cluster_id)
    aws.advance(600)
    assert len(backups(hsms)) == 1
    create(hsms, cluster_id)
    assert len(backups(hsms)) == 2


def test_removal_makes_a_backup_as_new_as_the_removal(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    hsm_id = create(hsms, cluster_id)
    aws.advance(1000)
    before = len(backups(hsms))
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    newest, *rest = backups(hsms)
    assert len(rest) == before
    assert newest["BackupState"] == "CREATE_IN_PROGRESS"
    assert newest["CreateTimestamp"].timestamp() == pytest.approx(aws.now(), abs=0.001)
    aws.advance(60)
    assert backups(hsms)[0]["BackupState"] == "READY"


def test_hsm_deleted_before_it_was_active_leaves_none(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=create(hsms, cluster_id))
    aws.advance(3600)
    assert len(backups(hsms)) == 1


@pytest.mark.parametrize(("knob", "made"), [(False, 0), (True, 1)])
def test_degraded_hsm_is_backed_up_by_knob_only(
    aws: LocalAws, hsms: Any, cluster_id: str, knob: bool, made: int
) -> None:
    aws.set_knobs(backup_of_unusable_hsm=knob)
    hsm_id = create(hsms, cluster_id)
    aws.degrade(hsm_id)
    before = len(backups(hsms))
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    assert len(backups(hsms)) - before == made


@pytest.mark.parametrize(("knob", "made"), [(False, 0), (True, 1)])
def test_cluster_that_was_never_active_is_not_backed_up(
    aws: LocalAws, hsms: Any, cluster_id: str, knob: bool, made: int
) -> None:
    aws.set_knobs(backup_of_initialized_cluster=knob)
    hsm_id = create(hsms, cluster_id)
    aws.advance(600)
    aws.set_cluster_state(cluster_id, "INITIALIZED")
    before = len(backups(hsms))
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    assert len(backups(hsms)) - before == made


def test_no_backup_and_stuck_backup_on_demand(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(backup_period_seconds=0)
    first, second, third = (create(hsms, cluster_id) for _turn in range(3))
    aws.advance(3600)
    before = len(backups(hsms))
    aws.fault("no_backup")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=first)
    assert len(backups(hsms)) == before
    aws.fault("stuck_backup")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=second)
    aws.advance(100_000)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=third)
    aws.advance(60)
    assert [backup["BackupState"] for backup in backups(hsms)[:2]] == ["READY", "CREATE_IN_PROGRESS"]


def test_first_hsms_that_come_together_bring_one_backup(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    for _turn in range(3):
        create(hsms, cluster_id)
    aws.advance(700)
    assert len(backups(hsms)) == 2


def test_replacement_of_one_that_is_still_coming_brings_one_backup(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    hsm_id = create(hsms, cluster_id)
    aws.advance(100)
    aws.replace(hsm_id, seconds=50)
    aws.advance(1000)
    assert len(backups(hsms)) == 2


def test_fault_and_knob_strike_nothing_that_was_due_before(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    hsm_id = create(hsms, cluster_id)
    aws.advance(600)
    aws.set_knobs(backup_on_add_to_empty_cluster=False)
    assert len(backups(hsms)) == 2
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    aws.set_knobs(backup_on_add_to_empty_cluster=True, backup_period_seconds=0)
    create(hsms, cluster_id)
    aws.advance(600)
    aws.fault("stuck_backup")
    aws.advance(1000)
    assert {backup["BackupState"] for backup in backups(hsms)} == {"READY"}
    assert len(backups(hsms)) == 4


def test_time_until_ready_is_a_knob(aws: LocalAws, hsms: Any, subnets: list[str]) -> None:
    aws.set_knobs(backup_seconds=7)
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets[:1])["Cluster"]
    aws.activate(made["ClusterId"])
    aws.advance(6)
    assert backups(hsms)[0]["BackupState"] == "CREATE_IN_PROGRESS"
    aws.advance(1)
    assert backups(hsms)[0]["BackupState"] == "READY"


def test_backup_of_a_removal_begins_when_the_hsm_is_gone_by_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(backup_begins_when_hsm_gone=True)
    hsm_id = create(hsms, cluster_id)
    aws.advance(1000)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    aws.advance(119.5)
    assert len(backups(hsms)) == 2
    aws.advance(0.5)
    newest = backups(hsms)[0]
    assert newest["BackupState"] == "CREATE_IN_PROGRESS"
    assert newest["CreateTimestamp"].timestamp() == pytest.approx(aws.now(), abs=0.001)
    aws.advance(60)
    assert [backup["BackupState"] for backup in backups(hsms)] == ["READY"] * 3


def test_filters_order_and_pages(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    other = aws.lay_out("other")
    hsm_id = create(hsms, cluster_id)
    aws.advance(3600)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
    newest_first = [backup["BackupId"] for backup in backups(hsms)]
    assert len(newest_first) == 4

    def found(**filters: list[str]) -> list[str]:
        return [backup["BackupId"] for backup in backups(hsms, Filters=filters)]

    assert [backup["BackupId"] for backup in backups(hsms, SortAscending=True)] == newest_first[::-1]
    pages = list(hsms.get_paginator("describe_backups").paginate(PaginationConfig={"PageSize": 3}))
    assert [[backup["BackupId"] for backup in page["Backups"]] for page in pages] == [
        newest_first[:3],
        newest_first[3:],
    ]
    assert len(found(clusterIds=[cluster_id])) == 3
    assert len(found(clusterIds=[other])) == 1
    assert found(backupIds=newest_first[1:2]) == newest_first[1:2]
    assert found(states=["CREATE_IN_PROGRESS"]) == newest_first[:1]
    assert found(neverExpires=["False"]) == newest_first
    assert found(neverExpires=["true"]) == []
    assert found(sourceBackupIds=newest_first) == []
    assert backups(hsms, Shared=True) == []
    for wrong in ({"neverExpires": ["maybe"]}, {"color": ["red"]}):
        with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*Filters"):
            found(**wrong)
