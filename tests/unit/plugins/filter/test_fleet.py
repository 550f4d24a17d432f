# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.hsmops.cloudhsm.plugins.filter.fleet import fleet

KNOWN = {"hsm_cluster_id": "cluster-a", "hsm_redis_url": "redis://one"}


def test_each_host_is_an_environment():
    known = {"dev": KNOWN, "test": {**KNOWN, "hsm_env": "{test}", "hsm_idle_after": "60", "hsm_region": None}}

    assert fleet(["test", "dev"], known) == [
        {"env": "{test}", "cluster_id": "cluster-a", "idle_after": "60"},
        {"env": "dev", "cluster_id": "cluster-a"},
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hsm_protected": "maybe"}, "hsm_protected: that of test is not true or false"),
        ({"hsm_idle_after": "soon"}, "hsm_idle_after: that of test is not a number of seconds"),
        (
            {"hsm_key_stores": "drop"},
            "hsm_key_stores: that of test is 'drop'. Set it to one of refuse, disconnect, ignore",
        ),
        ({"hsm_key_backup_required": "maybe"}, "hsm_key_backup_required: that of test is not true or false"),
        ({"hsm_aws": "s3cret"}, "hsm_aws: that of test is not a dictionary"),
        ({"hsm_redis_url": "redis://two"}, "hsm_redis_url: the 2 environments of this play have 2 different ones"),
        ({"hsm_working_hours": {"from": "8"}}, "hsm_working_hours: from: '8' is no time of day.* This is that of test"),
        ({"hsm_redis_username": "ci"}, "hsm_redis_username: the 2 environments of this play have 2 different ones"),
        (
            {"hsm_saved_placements": {"store": "dynamodb"}},
            "hsm_saved_placements: the 2 environments of this play have 2",
        ),
        ({"hsm_settle": 30}, "hsm_settle: the 2 environments of this play have 2 different ones. Set the same for all"),
        ({"hsm_record_ttl": 86400}, "hsm_record_ttl: the 2 environments of this play have 2 different ones"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_host(more, message):
    with pytest.raises(AnsibleFilterError, match=message) as refused:
        fleet(["dev", "test"], {"dev": KNOWN, "test": {**KNOWN, **more}})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, {}),
        ({"hsm_key_backup_required": "false", "hsm_backup_copy_to": []}, {}),
        ({"hsm_key_backup_required": "yes"}, {"prepared": False}),
        ({"hsm_backup_never_expires": True}, {"prepared": False}),
        ({"hsm_backup_copy_to": ["eu-central-1"]}, {"prepared": False}),
        ({"hsm_key_stores": "ignore"}, {"key_stores": "ignore"}),
        ({"hsm_key_stores": "disconnect"}, {"key_stores": "ignore", "prepared": False}),
    ],
)
def test_what_has_to_be_done_before_is_said(more, said):
    [environment] = fleet(["dev"], {"dev": {**KNOWN, **more}})
    assert environment == {"env": "dev", "cluster_id": "cluster-a", **said}


def test_in_working_hours_an_environment_is_kept():
    hours = {"from": "08:00", "to": "18:00"}
    known = {**KNOWN, "hsm_working_hours": hours, "hsm_schedule_at": "2026-11-27T07:31"}
    reason = "working hours until Fri 2026-11-27 18:00 UTC"
    assert fleet(["dev"], {"dev": known}) == [{"env": "dev", "cluster_id": "cluster-a", "keep": reason}]
    known["hsm_schedule_at"] = "2026-11-27T18:00"
    assert fleet(["dev"], {"dev": known}) == [{"env": "dev", "cluster_id": "cluster-a"}]


def test_what_the_hosts_share_may_be_a_dictionary():
    one = {**KNOWN, "hsm_saved_placements": {"store": "dynamodb", "table": "places"}}
    other = {**KNOWN, "hsm_saved_placements": {"table": "places", "store": "dynamodb"}}
    assert len(fleet(["dev", "test"], {"dev": one, "test": other})) == 2


def test_a_host_without_a_cluster_is_refused():
    with pytest.raises(AnsibleFilterError, match="hsm_cluster_id: test has none"):
        fleet(["test"], {"test": {}})
