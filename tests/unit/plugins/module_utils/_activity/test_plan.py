# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a record of activity means: unknown is never idle."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.plan import Snapshot, check_environment, judge
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (Snapshot(NOW, "string", "1800000000"), "active"),
        (Snapshot(NOW, "string", "1799998200"), "active"),
        (Snapshot(NOW, "string", "1799998199"), "idle"),
        (Snapshot(NOW, "string", "1799999999.5"), "active"),
        (Snapshot(NOW, "string", "1800000005"), "active"),
        (Snapshot(NOW, "string", "1800000006"), "unknown"),
        (Snapshot(NOW, "string", "1800000000000"), "unknown"),
        (Snapshot(NOW, "string", ""), "unknown"),
        (Snapshot(NOW, "string", "yesterday"), "unknown"),
        (Snapshot(NOW, "string", "-1"), "unknown"),
        (Snapshot(NOW, "string", "1e9"), "unknown"),
        (Snapshot(NOW, "string", "1799990000\n"), "unknown"),
        (Snapshot(NOW, "none", ""), "unknown"),
        (Snapshot(NOW, "list", ""), "unknown"),
    ],
)
def test_judgement(record, status):
    assert judge(record, 1800).status == status


def test_figures():
    judgement = judge(Snapshot(NOW, "string", "1799999958", 7158.0), 1800)

    assert (judgement.last_access, judgement.idle_seconds, judgement.expires_in) == (1799999958.0, 42.0, 7158.0)
    assert judgement.reason == "last used 42 s ago; idle after 1800 s"


@given(st.sampled_from(["none", "string", "list", "hash", "stream"]), st.text(max_size=20), st.integers(1, 10**6))
def test_idle_is_said_only_of_a_time_that_is_long_past(kind, value, idle_after):
    if judge(Snapshot(NOW, kind, value), idle_after).status == "idle":
        assert kind == "string"
        assert NOW - float(value) > idle_after


@pytest.mark.parametrize("name", ["dev", "team-a/dev.eu_1", "{dev}", "host@example.com", "x" * 200])
def test_names_of_environments(name):
    assert check_environment(name) is None


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "a\x00", "x" * 201, "ümlaut", "*"])
def test_bad_names_of_environments(name):
    assert "environment" in check_environment(name)
