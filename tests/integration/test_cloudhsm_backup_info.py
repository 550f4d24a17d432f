# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_backup_info against the local AWS."""

from __future__ import annotations

import datetime
import functools

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_backup_info
from harness.modules import run_module


@pytest.fixture
def run(connection):
    return functools.partial(run_module, cloudhsm_backup_info, **connection)


@pytest.fixture
def backup_ids(aws, cluster_id) -> list[str]:
    """Three READY backups of the cluster, newest first; each a minute apart at least."""
    cloudhsm = aws.client("cloudhsmv2")
    for _round in range(3):
        hsm_id = cloudhsm.create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")["Hsm"]["HsmId"]
        aws.advance(700)
        cloudhsm.delete_hsm(ClusterId=cluster_id, HsmId=hsm_id)
        aws.advance(200)
    made = [backup["BackupId"] for backup in cloudhsm.describe_backups()["Backups"]]
    aws.clear_calls()
    return made


def ids(result: dict) -> list[str]:
    return [backup["backup_id"] for backup in result["backups"]]


def test_nothing_is_an_empty_list(aws, run):
    assert run() == {**run(check=True), "changed": False, "backups": []}
    assert run(backup_ids=["backup-abcdefghijk"])["backups"] == []


def test_every_page_is_read_newest_first(aws, run, cluster_id):
    aws.set_knobs(backup_period_seconds=60, backup_seconds=1)
    aws.client("cloudhsmv2").create_hsm(ClusterId=cluster_id, AvailabilityZone="eu-west-1a")
    second = aws.lay_out("test")
    aws.client("cloudhsmv2").create_hsm(ClusterId=second, AvailabilityZone="eu-west-1a")
    aws.advance(600 + 61 * 60)
    aws.clear_calls()
    found = run()["backups"]

    assert len(found) > 50
    assert len(aws.calls("DescribeBackups")) == -(-len(found) // 50)
    moments = [backup["create_timestamp"] for backup in found]
    assert moments == sorted(moments, reverse=True)


def test_every_filter_must_match(aws, run, cluster_id, backup_ids):
    cloudhsm = aws.client("cloudhsmv2")
    newest, middle, oldest = backup_ids[0], backup_ids[2], backup_ids[-1]
    cloudhsm.modify_backup_attributes(BackupId=middle, NeverExpires=True)
    cloudhsm.tag_resource(ResourceId=middle, TagList=[{"Key": "keep", "Value": "1"}, {"Key": "by", "Value": "me"}])
    cloudhsm.delete_backup(BackupId=oldest)

    assert ids(run()) == backup_ids
    assert ids(run(backup_ids=[newest, "backup-abcdefghijk"])) == [newest]
    assert ids(run(cluster_ids=[cluster_id])) == backup_ids
    assert ids(run(cluster_ids=["cluster-abcdefghijk"])) == []
    assert ids(run(states=["PENDING_DELETION"])) == [oldest]
    assert ids(run(never_expires=True)) == [middle]
    assert middle not in ids(run(never_expires=False))
    assert ids(run(tags={"keep": 1})) == [middle]
    assert ids(run(tags={"keep": 1, "by": "you"})) == []
    assert ids(run(states=["READY"], never_expires=True, backup_ids=[newest])) == []
    assert ids(run(shared=True)) == []


def test_created_since_is_a_moment_in_any_time_zone(run, backup_ids):
    since = run(backup_ids=[backup_ids[1]])["backups"][0]["create_timestamp"]
    eastern = datetime.datetime.fromisoformat(since).astimezone(datetime.timezone(datetime.timedelta(hours=5)))

    assert ids(run(created_since=since)) == backup_ids[:2]
    assert ids(run(created_since=eastern.isoformat())) == backup_ids[:2]
    assert ids(run(created_since="2100-01-01T00:00:00Z")) == []


def test_copies_are_found_by_their_source(aws, run, backup_ids):
    aws.client("cloudhsmv2").copy_backup_to_region(BackupId=backup_ids[0], DestinationRegion="eu-central-1")
    found = run(region="eu-central-1", source_backup_ids=[backup_ids[0]])["backups"]

    assert [copy["source_backup"] for copy in found] == [backup_ids[0]]
    assert found[0]["source_region"] == "eu-west-1"
    assert "cluster_id" not in found[0]
    assert datetime.datetime.fromisoformat(found[0]["copy_timestamp"]).tzinfo == datetime.timezone.utc


def test_members(aws, run, cluster_id, backup_ids):
    aws.client("cloudhsmv2").tag_resource(ResourceId=backup_ids[0], TagList=[{"Key": "Some Key", "Value": "Value"}])
    backup = run()["backups"][0]

    assert backup["cluster_id"] == cluster_id
    assert (backup["backup_state"], backup["never_expires"]) == ("READY", False)
    assert backup["tags"] == {"Some Key": "Value"}
    assert backup["create_timestamp"].endswith("+00:00")
    assert "tag_list" not in backup


BAD_INPUT = [
    ({"backup_ids": ["dev"]}, "backup_ids: 'dev' is not a backup id, such as backup-abcdefghijk."),
    ({"source_backup_ids": ["dev"]}, "source_backup_ids: 'dev' is not a backup id"),
    ({"cluster_ids": ["dev"]}, "cluster_ids: 'dev' is not a cluster id"),
    ({"created_since": "yesterday"}, "created_since: 'yesterday' is no moment in ISO 8601"),
    ({"created_since": "2026-01-01T09:00:00"}, "created_since: '2026-01-01T09:00:00' is no moment"),
    ({"region": ""}, "region: none is configured"),
]


def test_bad_input(aws, run):
    for arguments, message in BAD_INPUT:
        result = run(**arguments)
        assert result["failed"], arguments
        assert message in result["msg"]
    assert aws.calls() == []


def test_denied_is_never_an_empty_list(aws, run):
    aws.fault("deny", "DescribeBackups")
    denied = run()

    assert denied["failed"]
    assert "Access denied: allow DescribeBackups" in denied["msg"]
