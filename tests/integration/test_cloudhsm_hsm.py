# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_hsm against the local AWS: what it does when all goes well."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_hsm
from harness.modules import run_module


@pytest.fixture
def run(connection, cluster_id):
    return functools.partial(run_module, cloudhsm_hsm, cluster_id=cluster_id, **connection)


def states(result: dict) -> list[str]:
    return [hsm["state"] for hsm in result["hsms"]]


def operations(aws) -> list[str]:
    return [call["operation"] for call in aws.calls()]


def test_create_and_delete_each_in_check_mode_first_and_each_again(aws, run):
    predicted = run(check=True)
    assert (predicted["changed"], predicted["created"], predicted["hsms"]) == (True, [], [])
    assert predicted["actions"] == ["create an HSM in eu-west-1a"]
    assert operations(aws) == ["DescribeClusters"]

    made = run()
    assert (made["changed"], states(made), len(made["created"])) == (True, ["ACTIVE"], 1)
    assert made["created"] == made["hsms"]
    assert 600 <= made["elapsed"] <= 660

    for check in (True, False):
        aws.clear_calls()
        again = run(check=check)
        assert (again["changed"], again["actions"], again["created"]) == (False, [], [])
        assert again["hsms"] == made["hsms"]
        assert operations(aws) == ["DescribeClusters"]

    predicted = run(state="absent", check=True)
    assert (predicted["changed"], predicted["deleted"], states(predicted)) == (True, made["hsms"], ["ACTIVE"])

    gone = run(state="absent")
    assert (gone["changed"], gone["hsms"], gone["deleted"]) == (True, [], made["hsms"])
    assert gone["cluster"]["state"] == "ACTIVE"

    for check in (True, False):
        aws.clear_calls()
        again = run(state="absent", check=check)
        assert (again["changed"], again["deleted"]) == (False, [])
        assert operations(aws) == ["DescribeClusters"]


def test_deletion_succeeds_only_with_a_ready_backup_at_least_that_new(aws, run):
    run()
    before = int(aws.clock.now())
    gone = run(state="absent")

    assert [backup["backup_state"] for backup in gone["backups"]] == ["READY"]
    backups = aws.client("cloudhsmv2").describe_backups()["Backups"]
    assert backups[0]["BackupId"] == gone["backups"][0]["backup_id"]
    assert backups[0]["CreateTimestamp"].timestamp() >= before


def test_hsm_comes_back_where_it_was(run):
    run()
    run(state="present", count=2)
    parked = run(state="absent")
    restored = run(placements=parked["placements"])

    assert len(restored["created"]) == 2
    assert restored["placements"] == parked["placements"]
    assert not run(placements=parked["placements"])["changed"]


def test_count_spreads_over_the_zones(run):
    made = run(count=3)

    assert sorted(hsm["availability_zone"] for hsm in made["hsms"]) == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    assert not run(count=2)["changed"]


def test_zones_are_taken_in_order_of_preference(run):
    assert run(availability_zones=["eu-west-1c", "eu-west-1a"])["hsms"][0]["availability_zone"] == "eu-west-1c"


def test_exact_brings_the_number_down(run):
    run(count=3)
    result = run(count=1, exact=True)

    assert (len(result["deleted"]), states(result)) == (2, ["ACTIVE"])
    assert not run(count=1, exact=True)["changed"]


def test_named_hsms_only_are_deleted(run):
    first, second = run(count=2)["hsms"]
    result = run(state="absent", hsm_ids=[second["hsm_id"]])

    assert result["deleted"] == [second]
    assert result["hsms"] == [first]
    assert not run(state="absent", hsm_ids=[second["hsm_id"]])["changed"]


def test_wait_false_leaves_the_waiting_to_the_next_run(aws, run):
    begun = run(wait=False)
    assert (begun["changed"], states(begun)) == (True, ["CREATE_IN_PROGRESS"])
    assert not run(wait=False)["changed"]

    adopted = run()
    assert (adopted["changed"], states(adopted)) == (False, ["ACTIVE"])
    assert adopted["hsms"][0]["hsm_id"] == begun["created"][0]["hsm_id"]

    leaving = run(state="absent", wait=False)
    assert (leaving["changed"], leaving["hsms"]) == (True, [])
    assert any("wait=false" in warning for warning in leaving["warnings"])
    assert len(aws.calls("CreateHsm")) == 1


def test_hsm_that_is_leaving_is_not_counted(aws, run):
    run()
    run(state="absent", wait=False)

    assert len(run()["created"]) == 1


def test_diff_shows_the_hsms_before_and_after(run):
    predicted = run(check=True, diff=True)["diff"]
    made = run(diff=True)

    assert predicted["before"] == made["diff"]["before"] == {"hsms": []}
    assert predicted["after"]["hsms"][0]["availability_zone"] == "eu-west-1a"
    assert made["diff"]["after"]["hsms"][0]["hsm_id"] == made["hsms"][0]["hsm_id"]
    assert run(state="absent", diff=True)["diff"]["after"] == {"hsms": []}


def test_first_hsm_of_a_cluster_that_is_not_activated(aws, run, cluster_id):
    aws.set_cluster_state(cluster_id, "UNINITIALIZED")
    assert states(run()) == ["ACTIVE"]

    refused = run(state="absent")
    assert refused["failed"]
    assert refused["msg"].startswith("force: ")
    assert not aws.calls("DeleteHsm")

    forced = run(state="absent", force=True)
    assert (len(forced["deleted"]), forced["backups"]) == (1, [])


def test_busy_cluster_is_waited_for(aws, run, cluster_id):
    aws.set_cluster_state(cluster_id, "MODIFY_IN_PROGRESS")
    refused = run(wait=False)
    assert refused["msg"].startswith("wait: ")
    assert "MODIFY_IN_PROGRESS" in refused["msg"]

    timed_out = run(wait_timeout=120)
    assert "MODIFY_IN_PROGRESS" in timed_out["msg"]
    assert not aws.calls("CreateHsm")


def test_activity_is_touched_before_while_and_after(aws, run, store, redis_url):
    run(activity={"env": "dev", "redis_url": redis_url})
    touches = store.info("commandstats")["cmdstat_evalsha"]["calls"]
    # Beside the beats: before, after, and claim and finish of the creation.
    assert 4 + 600 / 30 <= touches <= 6 + 660 / 30

    store.config_resetstat()
    aws.clear_calls()
    run(activity={"env": "dev", "redis_url": redis_url})
    assert store.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
    assert operations(aws) == ["DescribeClusters"]
    assert store.ttl("hsm:dev:last_access") == 7200


def test_activity_is_left_alone_in_check_mode(run, store, redis_url):
    assert run(activity={"env": "dev", "redis_url": redis_url}, check=True)["changed"]
    assert store.keys() == []
