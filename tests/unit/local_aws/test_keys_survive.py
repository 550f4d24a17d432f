# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the whole arrangement is for: keys outlive their HSMs, and only those in a backup do."""

from __future__ import annotations

from typing import Any

import pytest
from harness.pkcs11 import Pkcs11Application, Pkcs11Error, need_softhsm, use_keys
from local_aws.client import ControlError
from local_aws.driver import LocalAws

PIN = "alice:Passw0rd!"
AZ = "eu-west-1a"
TEXT = "attack at dawn, "


@pytest.fixture(autouse=True)
def softhsm() -> None:
    need_softhsm()


def add_hsm(aws: LocalAws, hsms: Any, cluster_id: str, **more: str) -> dict[str, str]:
    made = hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=AZ, **more)["Hsm"]
    aws.advance(600)
    return made


@pytest.fixture
def first(aws: LocalAws, hsms: Any, cluster_id: str) -> dict[str, str]:
    """The first HSM, with a crypto user."""
    made = add_hsm(aws, hsms, cluster_id)
    aws.create_user(cluster_id, *PIN.split(":"))
    return made


def backups(hsms: Any) -> list[str]:
    return [backup["BackupId"] for backup in hsms.describe_backups()["Backups"]]


def test_encrypt_delete_the_last_hsm_create_it_again_and_decrypt(
    aws: LocalAws, hsms: Any, cluster_id: str, first: dict[str, str]
) -> None:
    with Pkcs11Application(aws.token(cluster_id), PIN) as application:
        application.call("generate", label="kept")
        application.call("generate", label="session", store=False)
        ciphertext = application.call("encrypt", label="kept", text=TEXT)

    before = backups(hsms)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=first["HsmId"])
    with pytest.raises(ControlError, match="no ACTIVE HSM"):
        aws.token(cluster_id)
    aws.advance(120)
    [backup] = [found for found in backups(hsms) if found not in before]
    [found] = hsms.describe_backups(Filters={"backupIds": [backup]})["Backups"]
    assert found["BackupState"] == "READY"
    assert hsms.describe_clusters()["Clusters"][0]["Hsms"] == []

    second = add_hsm(aws, hsms, cluster_id, IpAddress=first["EniIp"])
    assert second["EniIp"] == first["EniIp"]
    assert second["HsmId"] != first["HsmId"]
    with Pkcs11Application(aws.token(cluster_id), PIN) as application:
        assert application.call("labels") == ["kept"]
        assert application.call("decrypt", label="kept", encrypted=ciphertext) == TEXT


def test_a_key_that_no_backup_has_is_lost_with_its_hsm(
    aws: LocalAws, hsms: Any, cluster_id: str, first: dict[str, str]
) -> None:
    use_keys(aws.token(cluster_id), PIN, "generate", label="lost")
    aws.fault("no_backup")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=first["HsmId"])
    aws.advance(120)
    add_hsm(aws, hsms, cluster_id)
    # Back at what the addition of the first HSM kept, when there was no crypto user either.
    with pytest.raises(Pkcs11Error):
        use_keys(aws.token(cluster_id), PIN, "labels")


def test_an_hsm_created_before_its_backup_is_ready_is_restored_from_the_one_before(
    aws: LocalAws, hsms: Any, cluster_id: str, first: dict[str, str]
) -> None:
    aws.set_knobs(restore_chosen_at_creation=True, backup_seconds=300)
    use_keys(aws.token(cluster_id), PIN, "generate", label="late")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=first["HsmId"])
    aws.advance(120)
    add_hsm(aws, hsms, cluster_id)
    assert "alice" not in [user["name"] for user in aws.users(cluster_id)]


def test_a_second_hsm_keeps_what_the_first_held(
    aws: LocalAws, hsms: Any, cluster_id: str, first: dict[str, str]
) -> None:
    use_keys(aws.token(cluster_id), PIN, "generate", label="shared")
    add_hsm(aws, hsms, cluster_id)
    aws.fault("no_backup")
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=first["HsmId"])
    aws.advance(120)
    assert use_keys(aws.token(cluster_id), PIN, "labels") == ["shared"]


def test_a_replaced_only_hsm_is_back_at_the_last_backup(
    aws: LocalAws, hsms: Any, cluster_id: str, first: dict[str, str]
) -> None:
    use_keys(aws.token(cluster_id), PIN, "generate", label="daily")
    aws.advance(86_520 + 60)
    use_keys(aws.token(cluster_id), PIN, "generate", label="since")
    aws.replace(first["HsmId"], seconds=300)
    aws.advance(300)
    assert use_keys(aws.token(cluster_id), PIN, "labels") == ["daily"]


def test_keys_come_with_a_copy_of_the_backup_in_another_region(
    aws: LocalAws, hsms: Any, cluster_id: str, first: dict[str, str]
) -> None:
    with Pkcs11Application(aws.token(cluster_id), PIN) as application:
        application.call("generate", label="travels")
        ciphertext = application.call("encrypt", label="travels", text=TEXT)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=first["HsmId"])
    aws.advance(120)
    hsms.copy_backup_to_region(DestinationRegion="eu-central-1", BackupId=backups(hsms)[0])
    aws.advance(300)
    there = aws.client("cloudhsmv2", "eu-central-1")
    [copy] = there.describe_backups(Filters={"sourceBackupIds": [backups(hsms)[0]]})["Backups"]
    ec2 = aws.client("ec2", "eu-central-1")
    vpc_id = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.7.0.0/24", AvailabilityZone="eu-central-1a")["Subnet"]
    clone = there.create_cluster(
        HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=[subnet["SubnetId"]], SourceBackupId=copy["BackupId"]
    )["Cluster"]["ClusterId"]
    aws.advance(300)
    there.create_hsm(ClusterId=clone, AvailabilityZone="eu-central-1a")
    aws.advance(600)
    assert use_keys(aws.token(clone), PIN, "decrypt", label="travels", encrypted=ciphertext) == TEXT
