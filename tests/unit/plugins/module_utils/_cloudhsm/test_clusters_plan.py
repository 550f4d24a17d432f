# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is done to a cluster, by tables and by rules that hold for every cluster and wish."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.clusters_plan import (
    ClusterPlan,
    Wish,
    actions,
    check_name_free,
    choose,
    creation_request,
    plan_absent,
    plan_present,
    predict,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from hypothesis import given
from hypothesis import strategies as st

ID = "cluster-abcdefghijk"
SUBNETS = ("subnet-0000000b", "subnet-0000000a")
NEW = Wish(name="dev", subnet_ids=SUBNETS, hsm_type="hsm2m.medium", mode="FIPS")


def cluster(state: str = "ACTIVE", cluster_id: str = ID, day: int = 1, **members) -> dict:
    return {
        "ClusterId": cluster_id,
        "State": state,
        "HsmType": "hsm2m.medium",
        "Mode": "FIPS",
        "NetworkType": "IPV4",
        "SubnetMapping": {"eu-west-1a": "subnet-0000000a", "eu-west-1b": "subnet-0000000b"},
        "BackupRetentionPolicy": {"Type": "DAYS", "Value": "90"},
        "CreateTimestamp": datetime.datetime(2026, 1, day, tzinfo=datetime.timezone.utc),
        "Hsms": [],
        "tags": {"Name": "dev"},
        **members,
    }


@pytest.mark.parametrize(
    ("states", "present", "absent"),
    [
        ([], None, None),
        (["ACTIVE"], 0, 0),
        (["DEGRADED"], 0, 0),
        (["SOMETHING_NEW"], 0, 0),
        (["DELETED"], None, None),
        (["DELETE_IN_PROGRESS"], None, 0),
        (["DELETE_IN_PROGRESS", "DELETE_IN_PROGRESS"], None, 1),
        (["DELETE_IN_PROGRESS", "CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "DELETED"], 1, 1),
    ],
)
def test_choice_by_name(states, present, absent):
    named = [cluster(state, f"cluster-{number}", day=number + 1) for number, state in enumerate(states)]
    others = [cluster(cluster_id="cluster-x", tags={"Name": "Dev"}), cluster(cluster_id="cluster-y", tags={})]

    for wanted, expected in ((True, present), (False, absent)):
        chosen = choose([*others, *named], "dev", wanted)
        assert chosen == (None if expected is None else named[expected])


def test_two_of_a_name():
    two = [cluster(cluster_id="cluster-a"), cluster("UNINITIALIZED", "cluster-b"), cluster("DELETED", "cluster-c")]
    for present in (True, False):
        with pytest.raises(
            PlanError, match=r"^name: 2 clusters have the tag Name 'dev': cluster-a \(ACTIVE\), cluster-b \(UNIN"
        ):
            choose(two, "dev", present)


def test_name_that_another_has():
    check_name_free([cluster("DELETE_IN_PROGRESS")], "dev")
    with pytest.raises(PlanError, match=r"^tags: cluster cluster-abcdefghijk has the tag Name 'dev' already"):
        check_name_free([cluster()], "dev")


@pytest.mark.parametrize(
    ("members", "wish", "plan"),
    [
        ({}, NEW, ClusterPlan()),
        ({}, Wish(backup_retention_days=90), ClusterPlan()),
        ({}, Wish(backup_retention_days=91), ClusterPlan(retention_days=91)),
        ({"BackupRetentionPolicy": {}}, Wish(backup_retention_days=90), ClusterPlan(retention_days=90)),
        ({"BackupRetentionPolicy": {}}, Wish(), ClusterPlan()),
        ({"HsmType": "hsm1.medium"}, Wish(hsm_type="hsm2m.medium"), ClusterPlan(hsm_type="hsm2m.medium")),
        ({"HsmTypeRollbackExpiration": 1}, Wish(hsm_type="hsm1.medium"), ClusterPlan(hsm_type="hsm1.medium")),
        # What AWS brings next is AWS's to refuse.
        ({}, Wish(hsm_type="hsm3.large"), ClusterPlan(hsm_type="hsm3.large")),
        # It may become ACTIVE, which is decided again after the wait.
        ({"State": "MODIFY_IN_PROGRESS", "HsmType": "a"}, Wish(hsm_type="b"), ClusterPlan(hsm_type="b")),
        # Clusters from before AWS showed these are of the only kind that there was.
        ({"Mode": None, "NetworkType": None}, Wish(mode="FIPS", network_type="IPV4"), ClusterPlan()),
        ({"SourceBackupId": "backup-1"}, Wish(source_backup_id="backup-1"), ClusterPlan()),
        ({"SourceBackupId": "backup-1"}, Wish(source_backup_id="arn:aws:cloudhsm:r:1:backup/backup-1"), ClusterPlan()),
        ({}, Wish(tags=None), ClusterPlan()),
        ({}, Wish(tags={}), ClusterPlan()),
        ({}, Wish(tags={"b": "1", "a": "2"}), ClusterPlan(tag=(("a", "2"), ("b", "1")))),
        ({"tags": {"a": "1", "b": "2"}}, Wish(tags={"a": "3"}), ClusterPlan(tag=(("a", "3"),), untag=("b",))),
        ({"tags": {"a": "1", "b": "2"}}, Wish(tags={"a": "1"}, purge_tags=False), ClusterPlan()),
        ({}, Wish(tags={"Name": "prod"}), ClusterPlan(tag=(("Name", "prod"),))),
    ],
)
def test_present(members, wish, plan):
    found = cluster(**members)
    assert plan_present({key: value for key, value in found.items() if value is not None}, wish) == plan


@pytest.mark.parametrize(
    ("members", "wish", "message"),
    [
        (
            {},
            Wish(subnet_ids=SUBNETS[:1]),
            "subnet_ids: .* has subnet-0000000a, subnet-0000000b, and subnet-0000000b is wanted",
        ),
        ({}, Wish(mode="NON_FIPS"), "mode: .* has FIPS, and NON_FIPS is wanted"),
        ({}, Wish(network_type="DUALSTACK"), "network_type: .* has IPV4, and DUALSTACK is wanted"),
        ({}, Wish(source_backup_id="backup-1"), "source_backup_id: .* has none, and backup-1 is wanted"),
        ({"SourceBackupId": "backup-2"}, Wish(source_backup_id="backup-1"), "source_backup_id: .* has backup-2, and"),
        (
            {},
            Wish(hsm_type="hsm1.medium"),
            "hsm_type: .* has hsm2m.medium, and hsm1.medium is wanted. AWS moves no cluster",
        ),
        ({"State": "UNINITIALIZED"}, Wish(hsm_type="hsm3.large"), "hsm_type: .* ACTIVE, and it is UNINITIALIZED"),
        ({"State": "DEGRADED"}, Wish(hsm_type="hsm3.large"), "hsm_type: .* ACTIVE, and it is DEGRADED"),
        ({"State": "DELETED"}, Wish(cluster_id=ID), "cluster_id: .* is DELETED. To make a new cluster"),
        ({"State": "DELETE_IN_PROGRESS"}, Wish(cluster_id=ID), "cluster_id: .* is DELETE_IN_PROGRESS. To make"),
    ],
)
def test_present_refused(members, wish, message):
    with pytest.raises(PlanError, match=f"^{message}"):
        plan_present(cluster(**members), wish)


def test_creation():
    assert plan_present(None, NEW) == ClusterPlan(create=True)
    assert plan_present(None, dataclasses.replace(NEW, hsm_type="hsm1.medium", mode=None)).create
    for parameter in ("subnet_ids", "hsm_type", "mode"):
        with pytest.raises(PlanError, match=f"^{parameter}: is missing"):
            plan_present(None, dataclasses.replace(NEW, **{parameter: None}))
    with pytest.raises(PlanError, match="^cluster_id: there is no cluster cluster-abcdefghijk in this account"):
        plan_present(None, dataclasses.replace(NEW, cluster_id=ID, name=""))


def test_request_to_create():
    least = {
        "SubnetIds": list(SUBNETS),
        "HsmType": "hsm2m.medium",
        "Mode": "FIPS",
        "TagList": [{"Key": "Name", "Value": "dev"}],
    }
    assert creation_request(NEW) == least
    more = dataclasses.replace(
        NEW, network_type="DUALSTACK", source_backup_id="backup-1", backup_retention_days=7, tags={"a": "1"}
    )
    assert creation_request(more) == least | {
        "NetworkType": "DUALSTACK",
        "SourceBackupId": "backup-1",
        "BackupRetentionPolicy": {"Type": "DAYS", "Value": "7"},
        "TagList": [{"Key": "Name", "Value": "dev"}, {"Key": "a", "Value": "1"}],
    }


@pytest.mark.parametrize(
    "state", ["ACTIVE", "UNINITIALIZED", "INITIALIZED", "DEGRADED", "CREATE_IN_PROGRESS", "SOMETHING_NEW"]
)
def test_absent(state):
    assert plan_absent(cluster(state), force=False) == ClusterPlan(delete=True)
    gone = [{"HsmId": "hsm-1", "State": "DELETED"}]
    assert plan_absent(cluster(state, Hsms=gone), force=False).delete


@pytest.mark.parametrize("state", ["DELETE_IN_PROGRESS", "DELETED"])
def test_absent_already(state):
    tags = {"hsmops:protected": "true"}
    assert plan_absent(None, force=False) == plan_absent(cluster(state, tags=tags), force=False) == ClusterPlan()


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("state", ["CREATE_IN_PROGRESS", "ACTIVE", "DEGRADED", "DELETE_IN_PROGRESS", None])
def test_hsms_keep_a_cluster_whatever_is_said(force, state):
    hsm = {"HsmId": "hsm-1"} | ({"State": state} if state else {})
    with pytest.raises(PlanError, match=r"^state: cluster cluster-abcdefghijk has HSMs: hsm-1 \("):
        plan_absent(cluster(Hsms=[hsm]), force)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(value, True) for value in ("true", "True", "yes", "1", "ture", "")]
    + [(value, False) for value in ("false", "False", "no", "off", "0")],
)
def test_protection(value, kept):
    protected = cluster(tags={"hsmops:protected": value}, Hsms=[])
    assert plan_absent(protected, force=True).delete
    if kept:
        with pytest.raises(PlanError, match=f"^force: .* has the tag hsmops:protected={value}"):
            plan_absent(protected, force=False)
    else:
        assert plan_absent(protected, force=False).delete


KEYS = st.sampled_from(["Name", "a", "b", "aws:x", "hsmops:protected", "hsmops:creating/t"])
TAGS = st.dictionaries(KEYS, st.sampled_from(["1", "2"]))
WISHES = st.builds(
    Wish,
    backup_retention_days=st.sampled_from([None, 7, 90]),
    hsm_type=st.sampled_from([None, "hsm2m.medium", "hsm3.large"]),
    tags=st.none() | TAGS,
    purge_tags=st.booleans(),
)


@given(tags=TAGS, wish=WISHES)
def test_once_is_enough_and_what_is_kept_stays(tags, wish):
    found = cluster(tags=tags)
    plan = plan_present(found, wish)
    after = predict(found, plan, wish)

    assert not plan_present(after, wish).changes
    assert plan.changes == (after != found) == bool(actions(ID, plan))
    assert not [key for key in plan.untag if key == "Name" or key.startswith(("aws:", "hsmops:"))]
    if wish.tags is not None:
        assert after["tags"].items() >= dict(wish.tags).items()


def test_lines_are_in_the_order_of_what_is_done():
    plan = ClusterPlan(True, 7, (("a", "1"), ("b", "2")), ("c",), "hsm3.large", True)
    assert actions("x", plan) == [
        "create cluster x",
        "set backup_retention_days of x to 7",
        "tag x: a, b",
        "untag x: c",
        "set hsm_type of x to hsm3.large",
        "delete cluster x",
    ]
