# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The module cloudhsm_hsm when things go wrong: bad input, lost answers, refusals, and what AWS does by itself."""

from __future__ import annotations

import functools
import re
import socket

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api, waiters
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import AnsibleCloudHSMError
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_hsm
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from harness.modules import run_module
from sandbox.ports import free_port


@pytest.fixture
def run(connection, cluster_id):
    return functools.partial(run_module, cloudhsm_hsm, cluster_id=cluster_id, **connection)


def changes(aws) -> list[str]:
    return [call["operation"] for call in aws.calls() if call["operation"] in ("CreateHsm", "DeleteHsm")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster_id": "dev"}, "cluster_id: 'dev' is not a cluster id"),
        ({"cluster_id": "cluster-abcdefghijk"}, "cluster_id: there is no cluster cluster-abcdefghijk in this account"),
        ({"count": 0}, "count: is 0. With state=present it is 1 or more; for no HSM use state=absent"),
        ({"count": -1}, "count: is -1"),
        ({"hsm_ids": ["hsm-abcdefghijk"]}, "hsm_ids: is for state=absent only"),
        ({"hsm_ids": ["hsm-abcdefghijk"], "count": 1}, "hsm_ids: is for state=absent only"),
        ({"hsm_ids": ["hsm-abcdefghijk"], "count": 1, "state": "absent"}, "count: is for state=present only"),
        ({"hsm_ids": ["10.42.0.4"], "state": "absent"}, "hsm_ids: '10.42.0.4' is not an HSM id"),
        ({"hsm_ids": [], "state": "absent"}, "hsm_ids: is empty"),
        (
            {"availability_zones": ["eu-west-1z"]},
            "availability_zones: cluster .* has no subnet in eu-west-1z. Its zones are",
        ),
        ({"availability_zones": ["Dublin"]}, "availability_zones: 'Dublin' is not an Availability Zone"),
        ({"placements": [{"availability_zone": "eu-west-1z"}]}, "placements: cluster .* has no subnet in eu-west-1z"),
        (
            {"placements": [{"availability_zone": "eu-west-1a", "ip_address": "10.42.1.9"}]},
            "placements: 10.42.1.9 is not in 10.42.0.0/24, the subnet of eu-west-1a",
        ),
        (
            {"placements": [{"availability_zone": "eu-west-1a", "ip_address": "fe80::1"}]},
            "placements: 'fe80::1' is no IPv4 address",
        ),
        (
            {"placements": [{"availability_zone": "eu-west-1a", "ip_address": "10.42.0.9"}] * 2},
            "placements: 10.42.0.9 stands twice",
        ),
        ({"placements": [{"availability_zone": "eu-west-1a"}], "count": 1}, "count: is 1, but placements says"),
        ({"wait_timeout": 0}, "wait_timeout: 0 is no duration"),
        ({"wait_delay": -1}, "wait_delay: -1.0 is no duration"),
        ({"activity": {"env": "a b", "redis_url": "redis://h"}}, "activity.env: 'a b' is no name of an environment"),
        ({"activity": {"env": "dev"}}, "redis_url: no Redis is named"),
        ({"region": ""}, "region: none is configured"),
        ({"access_key": "", "secret_key": ""}, "No credentials: set profile"),
    ],
)
def test_bad_input_gets_one_clear_message_and_changes_nothing(aws, run, arguments, message):
    result = run(**arguments)

    assert result["failed"]
    assert re.search(message, result["msg"]), result["msg"]
    assert not result["changed"]
    assert changes(aws) == []


@pytest.mark.parametrize("code", ["CloudHsmAccessDeniedException", "AccessDeniedException"])
@pytest.mark.parametrize("operation", ["DescribeClusters", "CreateHsm"])
def test_denied(aws, run, code, operation):
    aws.fault("deny", operation, times=None, code=code)
    result = run()

    assert f"Access denied: allow {operation}" in result["msg"]
    assert (result["error"]["code"], result["changed"]) == (code, False)
    assert len(aws.calls(operation)) == 1


def test_throttled_call_is_repeated_within_a_bound(aws, run):
    aws.fault("throttle", "DescribeClusters", times=None)
    begun = aws.clock.now()
    result = run()

    assert "throttled the call in each of 6 rounds" in result["msg"]
    assert aws.clock.now() - begun <= 60

    aws.clear_faults()
    aws.fault("throttle", "CreateHsm", times=3)
    assert len(run()["created"]) == 1


def test_endpoint_that_does_not_answer(run):
    result = run(endpoint_url=f"http://127.0.0.1:{free_port()}")

    assert "No connection: check region and endpoint_url" in result["msg"]
    assert result["summary"] == "AWS has not shown the cluster, and nothing was changed"


@pytest.mark.parametrize("fault", ["drop_answer", "error_after"])
def test_lost_answer_to_create_hsm_makes_one_hsm_which_is_adopted(aws, run, fault):
    aws.fault(fault, "CreateHsm")
    result = run()

    assert len(aws.calls("CreateHsm")) == 1
    assert [hsm["state"] for hsm in result["created"]] == ["ACTIVE"]
    assert result["created"] == result["hsms"]
    assert any("was adopted" in warning for warning in result["warnings"])


def test_lost_answer_is_adopted_although_describe_clusters_lags(aws, run):
    aws.advance(45)
    aws.set_knobs(describe_lag_seconds=45)
    aws.fault("drop_answer", "CreateHsm")
    result = run()

    assert (len(aws.calls("CreateHsm")), len(result["hsms"])) == (1, 1)


def test_failed_create_hsm_that_had_no_effect_is_not_sent_again(aws, run):
    aws.fault("error_before", "CreateHsm")
    result = run()

    assert "may or may not have made the HSM" in result["msg"]
    assert "Run again" in result["msg"]
    assert (changes(aws), result["changed"]) == (["CreateHsm"], False)
    assert len(run()["created"]) == 1


def test_stale_describe_clusters_does_not_double_an_hsm_of_the_same_run(aws, run):
    aws.advance(60)
    aws.set_knobs(describe_lag_seconds=60)
    result = run(count=2)

    assert (len(aws.calls("CreateHsm")), len(result["hsms"])) == (2, 2)


@pytest.fixture
def after_create_hsm(monkeypatch):
    """Have something happen when CreateHsm was sent, whatever became of it; what it raises is raised in its place."""
    create_hsm = api.create_hsm

    def install(happen):
        def send(*arguments):
            try:
                answer = create_hsm(*arguments)
            finally:
                happen()
            return answer

        monkeypatch.setattr(api, "create_hsm", send)

    return install


def client_error(code: str, status: int, text: str = "") -> ClientError:
    answer = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "CreateHsm")


PLACEMENT = [{"availability_zone": "eu-west-1a", "ip_address": "10.42.0.9"}]


@pytest.mark.parametrize("arguments", [{"az_fallback": True}, {"placements": PLACEMENT, "ip_conflict": "any"}])
def test_lost_answer_whose_hsm_cannot_be_looked_for_is_asked_for_nowhere_else(aws, run, after_create_hsm, arguments):
    aws.fault("drop_answer", "CreateHsm")
    after_create_hsm(lambda: aws.fault("fail", "DescribeClusters", code="CloudHsmServiceException", message="address"))
    result = run(**arguments)

    assert "may or may not have made the HSM" in result["msg"]
    assert changes(aws) == ["CreateHsm"]


@pytest.mark.parametrize("arguments", [{"az_fallback": True}, {"placements": PLACEMENT, "ip_conflict": "any"}])
def test_unclear_answer_with_the_code_of_a_refusal_is_asked_for_nowhere_else(aws, run, after_create_hsm, arguments):
    def fail():
        error = client_error("CloudHsmServiceException", 500, "The IP address")
        raise AnsibleCloudHSMError(message="Failed to create an HSM", exception=error)

    aws.advance(300)
    aws.set_knobs(describe_lag_seconds=300)
    after_create_hsm(fail)
    result = run(**arguments)

    assert "may or may not have made the HSM" in result["msg"]
    assert changes(aws) == ["CreateHsm"]


@pytest.mark.parametrize("unreadable", [ResponseParserError("cut short"), KeyError("Hsm")])
def test_answer_that_cannot_be_read_is_adopted(aws, run, monkeypatch, unreadable):
    creating_client = api.creating_client

    class Unreadable:
        def __init__(self, module, deadline):
            self._client = creating_client(module, deadline)

        def create_hsm(self, **parameters):
            self._client.create_hsm(**parameters)
            raise unreadable

    monkeypatch.setattr(api, "creating_client", Unreadable)
    result = run()

    assert (changes(aws), len(result["created"]), len(result["hsms"])) == (["CreateHsm"], 1, 1)


def test_created_hsm_that_is_not_shown_yet_counts_when_another_degrades(aws, run):
    adopted = run(wait=False)["created"][0]["hsm_id"]
    aws.advance(60)
    aws.set_knobs(describe_lag_seconds=60)
    aws.degrade(adopted)
    # So that the run learns that the adopted one is DEGRADED before it is shown the one that it creates.
    aws.advance(35)
    result = run(count=2, replace_degraded=True)

    assert [hsm["state"] for hsm in result["hsms"]] == ["ACTIVE", "ACTIVE"]
    assert changes(aws).count("CreateHsm") == 3


def test_exact_on_a_stale_answer_does_not_end_without_an_hsm(aws, run):
    run(count=2)
    aws.advance(60)
    aws.set_knobs(describe_lag_seconds=60)
    run(exact=True, wait=False)
    result = run(exact=True, availability_zones=["eu-west-1b", "eu-west-1a"])

    assert "ACTIVE" in [hsm["state"] for hsm in result["hsms"]]


def test_timeout_returns_what_was_begun_and_the_next_run_adopts_it(aws, run):
    result = run(wait_timeout=300)

    assert result["failed"]
    assert "Timed out after 300 s" in result["msg"]
    assert result["created"][0]["hsm_id"] in result["msg"]
    assert result["changed"]

    again = run()
    assert (again["changed"], again["hsms"][0]["hsm_id"]) == (False, result["created"][0]["hsm_id"])
    assert len(aws.calls("CreateHsm")) == 1


def test_what_comes_during_the_last_pause_is_seen(run):
    assert not run(wait_timeout=601, wait_delay=599).get("failed")


def test_aws_replaces_the_hsm_while_it_is_waited_for(aws, run):
    begun = run(wait=False)
    replacement = aws.replace(begun["created"][0]["hsm_id"], seconds=300)
    result = run()

    assert (result["changed"], result["hsms"][0]["hsm_id"]) == (False, replacement)
    assert len(aws.calls("CreateHsm")) == 1


def test_hsm_that_becomes_degraded_fails_at_once(aws, run):
    aws.fault("degraded_hsm")
    result = run()

    assert "is DEGRADED and will not become usable: HSM creation failed" in result["msg"]
    assert result["created"][0]["state"] == "DEGRADED"

    reported = run()
    assert any("is DEGRADED" in warning for warning in reported["warnings"])
    assert [hsm["state"] for hsm in reported["hsms"]] == ["DEGRADED", "ACTIVE"]


def test_degraded_hsm_is_replaced_once(aws, run):
    aws.fault("degraded_hsm")
    result = run(replace_degraded=True)

    assert [hsm["state"] for hsm in result["hsms"]] == ["ACTIVE"]
    assert changes(aws) == ["CreateHsm", "CreateHsm", "DeleteHsm"]

    run(state="absent")
    aws.fault("degraded_hsm", times=2)
    assert "DEGRADED" in run(replace_degraded=True)["msg"]


def test_zone_without_capacity(aws, run):
    aws.fault("no_capacity", az="eu-west-1a", times=None)
    refused = run()
    assert "create an HSM in eu-west-1a" in refused["msg"]
    assert "capacity" in refused["msg"]

    result = run(az_fallback=True)
    assert result["hsms"][0]["availability_zone"] == "eu-west-1b"
    assert any("Trying eu-west-1b instead" in warning for warning in result["warnings"])


def test_address_that_the_old_interface_keeps_for_a_while_is_asked_for_again(aws, run):
    aws.set_knobs(eni_release_seconds=600)
    run()
    parked = run(state="absent")
    aws.clear_calls()
    restored = run(placements=parked["placements"], ip_conflict_timeout=600)

    assert restored["placements"] == parked["placements"]
    assert len(aws.calls("CreateHsm")) > 1
    assert len(restored["hsms"]) == 1


def test_address_that_stays_taken(aws, run, cluster_id):
    subnet_id = aws.client("cloudhsmv2").describe_clusters()["Clusters"][0]["SubnetMapping"]["eu-west-1a"]
    aws.client("ec2").create_network_interface(SubnetId=subnet_id, PrivateIpAddress="10.42.0.9")
    placements = [{"availability_zone": "eu-west-1a", "ip_address": "10.42.0.9"}]
    begun = aws.clock.now()

    refused = run(placements=placements)
    assert "10.42.0.9" in refused["msg"]
    assert 300 <= aws.clock.now() - begun < 330
    assert not refused["changed"]

    result = run(placements=placements, ip_conflict="any")
    assert result["hsms"][0]["availability_zone"] == "eu-west-1a"
    assert result["hsms"][0]["eni_ip"] != "10.42.0.9"


def test_address_that_is_taken_is_no_reason_to_go_elsewhere(aws, run):
    subnet_id = aws.client("cloudhsmv2").describe_clusters()["Clusters"][0]["SubnetMapping"]["eu-west-1a"]
    aws.client("ec2").create_network_interface(SubnetId=subnet_id, PrivateIpAddress="10.42.0.9")

    refused = run(placements=PLACEMENT, az_fallback=True, ip_conflict_timeout=30)
    assert (refused["failed"], refused["changed"]) == (True, False)

    late = run(placements=PLACEMENT, ip_conflict="any", wait_timeout=300)
    assert len(late["created"]) == 1


def test_fallback_goes_to_the_emptiest_zone(aws, run):
    aws.fault("no_capacity", az="eu-west-1a", times=None)
    result = run(count=2, availability_zones=["eu-west-1a", "eu-west-1b", "eu-west-1c"], az_fallback=True)

    assert sorted(hsm["availability_zone"] for hsm in result["hsms"]) == ["eu-west-1b", "eu-west-1c"]


def test_check_mode_refuses_what_a_run_would(aws, run, cluster_id):
    outside = [{"availability_zone": "eu-west-1a", "ip_address": "10.42.1.9"}]
    assert "is not in 10.42.0.0/24" in run(placements=outside, check=True)["msg"]

    aws.set_cluster_state(cluster_id, "UPDATE_IN_PROGRESS")
    busy = run(count=2, check=True)
    assert not busy.get("failed")
    assert any("a run would wait, and decide then" in warning for warning in busy["warnings"])


def test_deletion_without_a_backup_fails_loudly(aws, run):
    run()
    aws.fault("no_backup", times=None)
    result = run(state="absent", wait_timeout=900)

    assert "no READY backup made since" in result["msg"]
    assert "ask AWS support" in result["msg"]
    assert (result["changed"], len(result["deleted"])) == (True, 1)


def test_backup_that_stays_in_progress_is_no_proof(aws, run):
    run()
    aws.fault("stuck_backup", times=None)

    assert "is CREATE_IN_PROGRESS" in run(state="absent", wait_timeout=900)["msg"]


def test_lost_answer_to_delete_hsm(aws, run):
    run()
    aws.fault("drop_answer", "DeleteHsm")
    result = run(state="absent")

    assert not result.get("failed"), result["msg"]
    assert (len(result["deleted"]), result["hsms"]) == (1, [])


def test_lost_answer_to_delete_hsm_although_describe_clusters_lags(aws, run):
    run()
    aws.advance(45)
    aws.set_knobs(describe_lag_seconds=45)
    aws.fault("drop_answer", "DeleteHsm")
    result = run(state="absent")

    assert not result.get("failed"), result["msg"]
    assert (len(result["deleted"]), len(result["backups"])) == (1, 1)


def test_denied_deletion_is_not_looked_for(aws, run):
    run()
    aws.fault("deny", "DeleteHsm", code="AccessDeniedException")
    begun = aws.clock.now()
    result = run(state="absent")

    assert "Access denied: allow DeleteHsm" in result["msg"]
    assert (result["changed"], aws.clock.now()) == (False, begun)


def test_deletion_that_another_run_began_proves_nothing_by_itself(run):
    run()
    begun = run(state="absent", wait=False)
    finished = run(state="absent")

    assert (finished["changed"], finished["placements"]) == (False, begun["placements"])
    assert any("was being deleted already" in warning for warning in finished["warnings"])
    assert [backup["backup_state"] for backup in finished["backups"]] == ["READY"]


def test_hsm_that_ends_degraded_is_deleted_without_waiting_for_a_backup(aws, run):
    aws.fault("degraded_hsm")
    run(wait=False)
    begun = aws.clock.now()
    result = run(state="absent")

    assert len(result["deleted"]) == 1
    assert aws.clock.now() - begun < 1200
    assert any("does not document a backup" in warning for warning in result["warnings"])


def test_hsm_that_replaced_the_one_to_delete_is_never_deleted(aws, run, monkeypatch):
    run()
    hsm_id = run()["hsms"][0]["hsm_id"]
    delete_hsm = api.delete_hsm

    def replaced_just_before(client, cluster_id, hsm_id):
        aws.replace(hsm_id)
        return delete_hsm(client, cluster_id, hsm_id)

    monkeypatch.setattr(api, "delete_hsm", replaced_just_before)
    result = run(state="absent", hsm_ids=[hsm_id])

    assert "AWS has replaced it" in result["msg"]
    assert [hsm["state"] for hsm in result["hsms"]] == ["ACTIVE"]


def test_hsm_that_is_being_created_is_deleted_only_when_it_is_finished(aws, run):
    run(wait=False)
    assert run(state="absent", wait=False)["msg"].startswith("wait: ")
    assert changes(aws) == ["CreateHsm"]

    assert len(run(state="absent")["deleted"]) == 1


def test_activity_store_that_does_not_answer_stops_the_run_before_aws_is_asked(aws, run):
    result = run(activity={"env": "dev", "redis_url": f"redis://127.0.0.1:{free_port()}"})

    assert result["msg"].startswith("redis_url: Redis at 127.0.0.1:")
    assert aws.calls() == []


def test_activity_store_that_is_lost_during_the_wait_fails_the_run_at_its_end(aws, run, store, redis_url, monkeypatch):
    advance = aws.clock.advance

    def lose_the_store(seconds):
        store.config_set("maxmemory", 1)
        return advance(seconds)

    monkeypatch.setattr(waiters.time, "sleep", lose_the_store)
    try:
        result = run(activity={"env": "dev", "redis_url": redis_url})
    finally:
        store.config_set("maxmemory", 0)

    assert "maxmemory" in result["msg"]
    assert [hsm["state"] for hsm in result["hsms"]] == ["ACTIVE"]
    assert len([warning for warning in result["warnings"] if "could not be kept in use" in warning]) == 1


def test_no_secret_is_in_a_result(run):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"redis://user:s3cret-one@127.0.0.1:{silent.getsockname()[1]}/0"
        result = run(
            activity={"env": "dev", "redis_url": url, "redis_password": "s3cret-two"}, secret_key="s3cret-three"
        )

    assert result["failed"]
    assert "s3cret" not in str(result)
