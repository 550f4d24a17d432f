# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""ModifyCluster of the HsmType: the move to hsm2m.medium, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws

A, B = "eu-west-1a", "eu-west-1b"
OLD, NEW = "hsm1.medium", "hsm2m.medium"
HOUR, DAY = 3600, 86_400


def described(hsms: Any) -> dict[str, Any]:
    [cluster] = hsms.describe_clusters()["Clusters"]
    return cluster


def move(hsms: Any, cluster_id: str, hsm_type: str = NEW) -> dict[str, Any]:
    return hsms.modify_cluster(ClusterId=cluster_id, HsmType=hsm_type)["Cluster"]


@pytest.fixture
def old(aws: LocalAws, hsms: Any, subnets: list[str]) -> str:
    """An ACTIVE cluster of hsm1.medium with two HSMs."""
    aws.set_knobs(hsm1_medium_accepted=True)
    cluster_id = hsms.create_cluster(HsmType=OLD, SubnetIds=subnets)["Cluster"]["ClusterId"]
    aws.activate(cluster_id)
    for az in (A, B):
        hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=az)
    aws.advance(700)
    return cluster_id


def test_migration_takes_half_an_hour_for_each_hsm(aws: LocalAws, hsms: Any, old: str) -> None:
    before = described(hsms)["Hsms"]
    assert {hsm["HsmType"] for hsm in before} == {OLD}
    modified = move(hsms, old)
    assert modified["State"] == "MODIFY_IN_PROGRESS"
    aws.advance(HOUR - 1)
    assert described(hsms)["State"] == "MODIFY_IN_PROGRESS"
    aws.advance(1)
    cluster = described(hsms)
    assert (cluster["State"], cluster["HsmType"]) == ("ACTIVE", NEW)
    assert [hsm["HsmType"] for hsm in cluster["Hsms"]] == [NEW, NEW]
    assert [hsm["EniIp"] for hsm in cluster["Hsms"]] == [hsm["EniIp"] for hsm in before]
    hsms.create_hsm(ClusterId=old, AvailabilityZone=A)


def test_migration_can_be_taken_back_within_a_day(aws: LocalAws, hsms: Any, old: str) -> None:
    began = aws.now()
    expires = move(hsms, old)["HsmTypeRollbackExpiration"]
    assert expires.timestamp() == pytest.approx(began + DAY, abs=0.001)
    aws.advance(DAY - 1)
    assert described(hsms)["HsmTypeRollbackExpiration"] == expires
    back = move(hsms, old, OLD)
    assert back["State"] == "ROLLBACK_IN_PROGRESS"
    assert "HsmTypeRollbackExpiration" not in back
    aws.advance(HOUR - 1)
    assert described(hsms)["State"] == "ROLLBACK_IN_PROGRESS"
    aws.advance(1)
    cluster = described(hsms)
    assert (cluster["State"], cluster["HsmType"]) == ("ACTIVE", OLD)
    assert [hsm["HsmType"] for hsm in cluster["Hsms"]] == [OLD, OLD]
    assert move(hsms, old)["State"] == "MODIFY_IN_PROGRESS"


def test_after_a_day_there_is_no_way_back(aws: LocalAws, hsms: Any, old: str) -> None:
    move(hsms, old)
    aws.advance(DAY)
    assert "HsmTypeRollbackExpiration" not in described(hsms)
    with pytest.raises(ClientError, match=f"cannot change from {NEW} to {OLD}"):
        move(hsms, old, OLD)


def test_times_are_knobs(aws: LocalAws, hsms: Any, old: str) -> None:
    aws.set_knobs(migrate_seconds_per_hsm=10, rollback_window_seconds=100)
    move(hsms, old)
    aws.advance(19)
    assert described(hsms)["State"] == "MODIFY_IN_PROGRESS"
    aws.advance(1)
    assert described(hsms)["State"] == "ACTIVE"
    aws.advance(80)
    with pytest.raises(ClientError, match="cannot change"):
        move(hsms, old, OLD)


@pytest.mark.parametrize("rolling_back", [False, True])
def test_no_hsm_comes_or_goes_meanwhile(aws: LocalAws, hsms: Any, old: str, rolling_back: bool) -> None:
    move(hsms, old)
    if rolling_back:
        aws.advance(HOUR)
        move(hsms, old, OLD)
    state = "ROLLBACK_IN_PROGRESS" if rolling_back else "MODIFY_IN_PROGRESS"
    hsm_id = described(hsms)["Hsms"][0]["HsmId"]
    for call in (
        lambda: hsms.create_hsm(ClusterId=old, AvailabilityZone=A),
        lambda: hsms.delete_hsm(ClusterId=old, HsmId=hsm_id),
        lambda: move(hsms, old, OLD),
    ):
        with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match=f"in state {state}"):
            call()
    assert len(described(hsms)["Hsms"]) == 2
    aws.advance(HOUR)
    hsms.delete_hsm(ClusterId=old, HsmId=hsm_id)


def test_no_backup_is_made_meanwhile(aws: LocalAws, hsms: Any, old: str) -> None:
    aws.set_knobs(backup_period_seconds=600)
    aws.advance(DAY + 120)
    before = len(hsms.describe_backups(MaxResults=50)["Backups"])
    move(hsms, old)
    aws.advance(HOUR - 1)
    assert len(hsms.describe_backups(MaxResults=50)["Backups"]) == before
    aws.advance(600)
    newest = hsms.describe_backups(MaxResults=50)["Backups"][0]
    assert newest["HsmType"] == NEW


def test_contents_survive(aws: LocalAws, hsms: Any, old: str) -> None:
    aws.create_user(old, "kept", "Password1", role="admin")
    move(hsms, old)
    aws.advance(HOUR)
    assert "kept" in [user["name"] for user in aws.users(old)]


@pytest.mark.parametrize("hsm_type", [OLD, NEW, "hsm3.large"])
def test_only_the_old_type_can_be_left(hsms: Any, cluster_id: str, hsm_type: str) -> None:
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match="cannot change"):
        move(hsms, cluster_id, hsm_type)
    assert described(hsms)["HsmType"] == NEW


def test_only_an_active_cluster_is_moved(aws: LocalAws, hsms: Any, subnets: list[str]) -> None:
    aws.set_knobs(hsm1_medium_accepted=True)
    cluster_id = hsms.create_cluster(HsmType=OLD, SubnetIds=subnets)["Cluster"]["ClusterId"]
    aws.advance(180)
    with pytest.raises(ClientError, match="in state UNINITIALIZED; only ACTIVE"):
        move(hsms, cluster_id)


def test_more_hsms_than_can_be_moved(aws: LocalAws, hsms: Any, old: str) -> None:
    aws.set_knobs(quota_hsms=28)
    for _turn in range(26):
        hsms.create_hsm(ClusterId=old, AvailabilityZone=A)
    with pytest.raises(ClientError, match="more than 27 HSMs"):
        move(hsms, old)


def test_refused_move_does_not_change_the_retention(hsms: Any, cluster_id: str) -> None:
    policy = {"Type": "DAYS", "Value": "7"}
    with pytest.raises(ClientError, match="cannot change"):
        hsms.modify_cluster(ClusterId=cluster_id, HsmType=OLD, BackupRetentionPolicy=policy)
    assert described(hsms)["BackupRetentionPolicy"]["Value"] == "90"


def test_both_at_once(hsms: Any, old: str) -> None:
    policy = {"Type": "DAYS", "Value": "7"}
    modified = hsms.modify_cluster(ClusterId=old, HsmType=NEW, BackupRetentionPolicy=policy)["Cluster"]
    assert (modified["HsmType"], modified["BackupRetentionPolicy"]) == (NEW, policy)


def test_something_must_be_modified(hsms: Any, cluster_id: str) -> None:
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match="BackupRetentionPolicy or HsmType"):
        hsms.modify_cluster(ClusterId=cluster_id)


def test_leaving_cluster_is_not_modified(hsms: Any, cluster_id: str) -> None:
    hsms.delete_cluster(ClusterId=cluster_id)
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match="being deleted"):
        hsms.modify_cluster(ClusterId=cluster_id, BackupRetentionPolicy={"Type": "DAYS", "Value": "7"})
