# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The verdict that a pipeline branches on."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.filter.hsm_status import FilterModule, hsm_status
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_000_000.0
ACTIVE = {"hsm_id": "hsm-a", "availability_zone": "eu-west-1a", "eni_ip": "192.0.2.10", "state": "ACTIVE"}
OTHER = {**ACTIVE, "hsm_id": "hsm-b", "eni_ip": "192.0.2.11"}
COMING = {**ACTIVE, "hsm_id": "hsm-c", "state": "CREATE_IN_PROGRESS"}
LEAVING = {**COMING, "state": "DELETE_IN_PROGRESS"}
DEGRADED = {**COMING, "state": "DEGRADED"}
DOOMED = {"hsmops:doomed/one/hsm-a": str(int(NOW))}
CREATING = {"hsmops:creating/one": str(int(NOW))}
VOID = 901
COMMITTED = {"phase": "committed", "hsm_ids": ["hsm-a"]}
WAIT = "cluster cluster-a is"


def verdict(*hsms, state="ACTIVE", tags=None, claim=None, later=0.0, count=1):
    cluster = {"cluster_id": "cluster-a", "state": state, "hsms": list(hsms), "tags": tags or {}}
    return hsm_status(cluster, {"status": "active", "claim": claim}, NOW + later, count=count)


def test_it_is_the_filter_of_that_name():
    assert FilterModule().filters() == {"hsm_status": hsm_status}


@pytest.mark.parametrize(
    ("found", "status", "reason"),
    [
        (verdict(), "none", "there is no HSM"),
        (verdict(ACTIVE), "active", "hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE"),
        (verdict(ACTIVE, DEGRADED), "active", "hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE"),
        (verdict(COMING), "in_progress", "hsm-c (eu-west-1a, 192.0.2.10) is CREATE_IN_PROGRESS"),
        (verdict(LEAVING), "in_progress", "hsm-c (eu-west-1a, 192.0.2.10) is DELETE_IN_PROGRESS"),
        (verdict({**LEAVING, "state": "DELETED"}), "none", "there is no HSM"),
        (verdict(DEGRADED), "none", "hsm-c (eu-west-1a, 192.0.2.10) is DEGRADED; 0 of 1 can be used"),
        (verdict(ACTIVE, tags=DOOMED), "in_progress", "hsm-a (eu-west-1a, 192.0.2.10) is about to be deleted"),
        (verdict(ACTIVE, tags=DOOMED, later=VOID), "active", "hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE"),
        (verdict(ACTIVE, tags={"hsmops:doomed/one/hsm-a": "soon"}, later=VOID), "in_progress", "hsm-a (eu-west-1a, "),
        (verdict(ACTIVE, claim=COMMITTED), "in_progress", "hsm-a (eu-west-1a, 192.0.2.10) is about to be deleted"),
        (verdict(ACTIVE, claim={**COMMITTED, "hsm_ids": []}), "in_progress", "hsm-a (eu-west-1a, 192.0.2.10) is about"),
        (verdict(ACTIVE, claim={**COMMITTED, "phase": "retiring"}), "active", "hsm-a"),
        (verdict(ACTIVE, OTHER, tags=DOOMED), "active", "hsm-b (eu-west-1a, 192.0.2.11) is ACTIVE"),
        (verdict(ACTIVE, OTHER, tags=DOOMED, count=2), "in_progress", "hsm-a (eu-west-1a, 192.0.2.10) is about to"),
        (verdict(ACTIVE, count=2), "none", "hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE; 1 of 2 can be used"),
        (verdict(ACTIVE, COMING, count=2), "in_progress", "hsm-c (eu-west-1a, 192.0.2.10) is CREATE_IN_PROGRESS"),
        (verdict(tags=CREATING), "in_progress", "somebody is about to create an HSM"),
        (verdict(tags=CREATING, later=VOID), "none", "there is no HSM"),
        (verdict(claim={"phase": "creating"}), "in_progress", "somebody is about to create an HSM"),
        (verdict(ACTIVE, claim={"phase": "creating"}), "active", "hsm-a"),
        (verdict(state="UNINITIALIZED"), "none", f"there is no HSM; {WAIT} UNINITIALIZED"),
        (verdict(ACTIVE, state="INITIALIZED"), "none", "hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE; 1 of 1 can be used; cl"),
        (verdict(state="CREATE_IN_PROGRESS"), "in_progress", f"wait for the cluster; {WAIT} CREATE_IN_PROGRESS"),
        (verdict(ACTIVE, state="MODIFY_IN_PROGRESS"), "active", "hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE; cluster"),
        (verdict(ACTIVE, state="DEGRADED"), "active", f"hsm-a (eu-west-1a, 192.0.2.10) is ACTIVE; {WAIT} DEGRADED"),
        (verdict(state="DELETED"), "none", f"there is no HSM; {WAIT} DELETED"),
    ],
)  # fmt: skip
def test_verdicts(found, status, reason):
    assert found["status"] == status
    assert found["code"] == {"active": 0, "none": 1, "in_progress": 2}[status]
    assert found["reason"].startswith(reason)
    assert bool(found["hsms"]) == (status == "active")


def test_only_what_can_be_used_is_returned():
    assert verdict(ACTIVE, OTHER, COMING, tags=DOOMED)["hsms"] == [
        {"hsm_id": "hsm-b", "availability_zone": "eu-west-1a", "eni_ip": "192.0.2.11"}
    ]


HSMS = st.lists(st.sampled_from([ACTIVE, OTHER, COMING, LEAVING, DEGRADED]), unique_by=lambda hsm: hsm["hsm_id"])
TAGS = st.sampled_from([{}, DOOMED, CREATING])
CLAIMS = st.sampled_from([None, COMMITTED, {"phase": "creating"}, {"phase": "retiring", "hsm_ids": ["hsm-a"]}])


@given(HSMS, TAGS, CLAIMS, st.integers(1, 3))
def test_active_never_names_an_hsm_that_is_about_to_go(hsms, tags, claim, count):
    found = verdict(*hsms, tags=tags, claim=claim, count=count)
    doomed = {"hsm-a"} if tags is DOOMED or claim is COMMITTED else set()
    named = {hsm["hsm_id"] for hsm in found["hsms"]}
    assert not named & doomed
    assert (found["status"] == "active") == (len(named) >= count)
    assert named <= {hsm["hsm_id"] for hsm in hsms if hsm["state"] == "ACTIVE"}
