# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from local_aws.driver import LocalAws

A, B = "eu-west-1a", "eu-west-1b"


def listed(hsms: Any) -> list[dict[str, Any]]:
    return [hsm for cluster in hsms.describe_clusters()["Clusters"] for hsm in cluster["Hsms"]]


def create(hsms: Any, cluster_id: str, az: str = A, **more: str) -> dict[str, Any]:
    return hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=az, **more)["Hsm"]


def test_life_of_an_hsm(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    made = create(hsms, cluster_id)
    assert made["State"] == "CREATE_IN_PROGRESS"
    assert "StateMessage" not in made
    assert set(made) >= {"HsmId", "EniId", "EniIp", "SubnetId", "AvailabilityZone", "ClusterId", "HsmType"}
    aws.advance(599)
    assert listed(hsms)[0]["State"] == "CREATE_IN_PROGRESS"
    aws.advance(1)
    assert listed(hsms) == [made | {"State": "ACTIVE", "StateMessage": "HSM created."}]
    answer = hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    assert answer["HsmId"] == made["HsmId"]
    assert set(answer) == {"HsmId", "ResponseMetadata"}
    assert listed(hsms)[0]["State"] == "DELETE_IN_PROGRESS"
    aws.advance(120)
    [cluster] = hsms.describe_clusters()["Clusters"]
    assert (cluster["State"], cluster["Hsms"]) == ("ACTIVE", [])


def test_second_hsm_before_activation_is_refused_with_the_known_text(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    text = f"Cluster '{cluster_id}' already contains an HSM but has not yet been fully activated$"
    aws.set_cluster_state(cluster_id, "UNINITIALIZED")
    create(hsms, cluster_id)
    for state in ("UNINITIALIZED", "INITIALIZED"):
        aws.set_cluster_state(cluster_id, state)
        with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match=text):
            create(hsms, cluster_id, B)
    aws.activate(cluster_id)
    create(hsms, cluster_id, B)


@pytest.mark.parametrize("state", ["CREATE_IN_PROGRESS", "INITIALIZED", "MODIFY_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_states_in_which_none_can_be_created(aws: LocalAws, hsms: Any, cluster_id: str, state: str) -> None:
    aws.set_cluster_state(cluster_id, state)
    with pytest.raises(ClientError, match=f"in state {state}"):
        create(hsms, cluster_id)


def test_lowest_free_address_is_taken(aws: LocalAws, hsms: Any) -> None:
    cluster_id = aws.lay_out()
    subnet = hsms.describe_clusters()["Clusters"][0]["SubnetMapping"][A]
    aws.client("ec2").create_network_interface(SubnetId=subnet, PrivateIpAddress="10.42.0.5")
    assert [create(hsms, cluster_id)["EniIp"] for _turn in range(3)] == ["10.42.0.4", "10.42.0.6", "10.42.0.7"]
    with pytest.raises(ClientError, match=f"10.42.0.5 is not available in subnet {subnet}"):
        create(hsms, cluster_id, IpAddress="10.42.0.5")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("10.42.1.9", "not within the CIDR"),
        ("999.42.0.9", "not an IPv4 address"),
        *[(f"10.42.0.{last}", "reserved") for last in (0, 1, 2, 3, 255)],
    ],
)
def test_addresses_that_cannot_be(hsms: Any, cluster_id: str, address: str, text: str) -> None:
    with pytest.raises(ClientError, match=f"CloudHsmInvalidRequestException.*{text}"):
        create(hsms, cluster_id, IpAddress=address)
    assert listed(hsms) == []


def test_address_comes_back_when_its_interface_is_released(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(eni_release_seconds=30, address_busy_code="CloudHsmServiceException", address_busy_message="busy!")
    made = create(hsms, cluster_id, IpAddress="10.42.0.77")
    hsms.delete_hsm(ClusterId=cluster_id, EniIp="10.42.0.77")
    aws.advance(149)
    assert listed(hsms) == []
    with pytest.raises(ClientError, match=r"CloudHsmServiceException.*busy!$"):
        create(hsms, cluster_id, IpAddress="10.42.0.77")
    aws.advance(1)
    again = create(hsms, cluster_id, IpAddress="10.42.0.77")
    assert (again["EniIp"], again["AvailabilityZone"]) == (made["EniIp"], made["AvailabilityZone"])
    assert again["HsmId"] != made["HsmId"]
    assert again["EniId"] != made["EniId"]


def test_only_mapped_zones_and_known_clusters(hsms: Any, cluster_id: str) -> None:
    with pytest.raises(ClientError, match="no subnet in Availability Zone eu-west-1d"):
        create(hsms, cluster_id, "eu-west-1d")
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        create(hsms, "cluster-aaaaaaaaaaa")


def test_quotas(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    other = aws.lay_out("other")
    made = [create(hsms, cluster) for cluster in (cluster_id, other) for _turn in range(3)]
    with pytest.raises(ClientError, match="limit of 6 HSMs"):
        create(hsms, cluster_id)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=made[0]["HsmId"])
    with pytest.raises(ClientError, match="limit of 6 HSMs"):
        create(hsms, cluster_id)
    aws.set_knobs(quota_counts_leaving=False)
    create(hsms, cluster_id)
    aws.set_knobs(quota_hsms=100, quota_hsms_per_cluster=3, quota_error_code="CloudHsmServiceException")
    with pytest.raises(ClientError, match="CloudHsmServiceException.*limit of 3 HSMs per cluster"):
        create(hsms, other)


def test_delete_takes_exactly_one_selector(hsms: Any, cluster_id: str) -> None:
    first, second = create(hsms, cluster_id), create(hsms, cluster_id, B)
    for selectors in ({}, {"HsmId": first["HsmId"], "EniId": first["EniId"]}):
        with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*exactly one"):
            hsms.delete_hsm(ClusterId=cluster_id, **selectors)
    hsms.delete_hsm(ClusterId=cluster_id, EniId=second["EniId"])
    assert {hsm["HsmId"]: hsm["State"] for hsm in listed(hsms)} == {
        first["HsmId"]: "CREATE_IN_PROGRESS",
        second["HsmId"]: "DELETE_IN_PROGRESS",
    }
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        hsms.delete_hsm(ClusterId=cluster_id, HsmId="hsm-aaaaaaaaaaa")


def test_delete_twice(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    name = {"ClusterId": cluster_id, "HsmId": create(hsms, cluster_id)["HsmId"]}
    hsms.delete_hsm(**name)
    with pytest.raises(ClientError, match="already being deleted"):
        hsms.delete_hsm(**name)
    aws.set_knobs(delete_hsm_again_accepted=True)
    assert hsms.delete_hsm(**name)["HsmId"] == name["HsmId"]
    aws.advance(120)
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        hsms.delete_hsm(**name)


def test_cluster_with_an_hsm_cannot_be_deleted(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    made = create(hsms, cluster_id)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*still contains HSMs"):
        hsms.delete_cluster(ClusterId=cluster_id)
    aws.advance(120)
    assert hsms.delete_cluster(ClusterId=cluster_id)["Cluster"]["State"] == "DELETE_IN_PROGRESS"


def test_replacement_keeps_the_interface(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    made = create(hsms, cluster_id)
    aws.advance(600)
    new_id = aws.replace(made["HsmId"], seconds=60)
    assert new_id != made["HsmId"]
    [hsm] = listed(hsms)
    assert (hsm["HsmId"], hsm["State"]) == (new_id, "CREATE_IN_PROGRESS")
    assert (hsm["EniId"], hsm["EniIp"]) == (made["EniId"], made["EniIp"])
    aws.advance(60)
    assert listed(hsms)[0]["State"] == "ACTIVE"
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    hsms.delete_hsm(ClusterId=cluster_id, EniId=made["EniId"])


def test_degraded_never_heals(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    made = create(hsms, cluster_id)
    aws.degrade(made["HsmId"])
    aws.advance(100_000)
    [hsm] = listed(hsms)
    assert hsm["State"] == "DEGRADED"
    assert hsm["StateMessage"] == "HSM creation failed. Please delete this HSM and try again."


@pytest.mark.parametrize(
    ("request_", "text", "knob"),
    [
        ({"AvailabilityZone": "eu-west-1d"}, "has no subnet", "az_not_mapped_code"),
        ({"AvailabilityZone": B}, f"not available in Availability Zone {B}", "unsupported_az_code"),
        ({"AvailabilityZone": A, "IpAddress": "10.99.0.9"}, "not within the CIDR", "address_outside_code"),
    ],
)
def test_codes_of_refusals_are_knobs(
    aws: LocalAws, hsms: Any, cluster_id: str, request_: dict[str, str], text: str, knob: str
) -> None:
    aws.set_knobs(unsupported_azs=f"us-east-1e, {B}")
    for code in ("CloudHsmInvalidRequestException", "CloudHsmServiceException"):
        aws.set_knobs(**{knob: code})
        with pytest.raises(ClientError, match=rf"{code}.*{text}"):
            hsms.create_hsm(ClusterId=cluster_id, **request_)
    create(hsms, cluster_id)


def test_unsupported_zone_is_found_out_at_create_hsm(aws: LocalAws, hsms: Any, subnets: list[str]) -> None:
    aws.set_knobs(unsupported_azs=B)
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets)["Cluster"]
    assert B in made["SubnetMapping"]


def test_code_of_wrong_selectors_is_a_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(delete_hsm_selector_code="CloudHsmResourceNotFoundException")
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException, match="exactly one"):
        hsms.delete_hsm(ClusterId=cluster_id)


def test_error_without_capacity_is_a_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(no_capacity_code="CloudHsmInvalidRequestException", no_capacity_message="full: {az}")
    aws.fault("no_capacity")
    with pytest.raises(ClientError, match=rf"CloudHsmInvalidRequestException.*: full: {A}$"):
        create(hsms, cluster_id)


def test_answer_without_network_by_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(create_hsm_shows_network=False)
    made = create(hsms, cluster_id)
    assert set(made) == {"AvailabilityZone", "ClusterId", "HsmId", "HsmType", "State"}
    assert set(listed(hsms)[0]) - set(made) == {"SubnetId", "EniId", "EniIp"}


def test_deleted_hsm_stays_listed_by_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(deleted_hsm_listed_seconds=50, hsm_delete_seconds=10)
    address = {"IpAddress": "10.42.0.60"}
    made = create(hsms, cluster_id, **address)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    aws.advance(10)
    assert [hsm["State"] for hsm in listed(hsms)] == ["DELETED"]
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    create(hsms, cluster_id, **address)
    aws.advance(49)
    assert [hsm["State"] for hsm in listed(hsms)] == ["DELETED", "CREATE_IN_PROGRESS"]
    aws.advance(1)
    assert [hsm["State"] for hsm in listed(hsms)] == ["CREATE_IN_PROGRESS"]


def test_cluster_is_updating_while_hsms_come_and_go_by_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(cluster_updates_with_hsms=True)

    def state() -> str:
        return hsms.describe_clusters()["Clusters"][0]["State"]

    def found(state: str) -> int:
        return len(hsms.describe_clusters(Filters={"states": [state]})["Clusters"])

    assert state() == "ACTIVE"
    made = create(hsms, cluster_id)
    assert state() == "UPDATE_IN_PROGRESS"
    assert (found("UPDATE_IN_PROGRESS"), found("ACTIVE")) == (1, 0)
    aws.advance(600)
    assert state() == "ACTIVE"
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    assert state() == "UPDATE_IN_PROGRESS"
    aws.advance(120)
    assert state() == "ACTIVE"


def test_time_until_an_hsm_is_gone_is_a_knob(aws: LocalAws, hsms: Any, cluster_id: str) -> None:
    aws.set_knobs(hsm_delete_seconds=5)
    made = create(hsms, cluster_id)
    hsms.delete_hsm(ClusterId=cluster_id, HsmId=made["HsmId"])
    aws.advance(4)
    assert len(listed(hsms)) == 1
    aws.advance(1)
    assert listed(hsms) == []
