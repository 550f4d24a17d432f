# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a record of activity means: unknown is never idle."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.plan import (
    REFUSALS,
    Answer,
    Claim,
    Holder,
    Snapshot,
    check_environment,
    check_holder,
    check_hsm_id,
    check_token,
    explain,
    has_hash_tag,
    judge,
)
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

NOW = 1_800_000_000.0
UNTIL = "until 2027-01-15 08:00:05 UTC"


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
        (Snapshot(NOW, "string", "1"), "unknown"),
        (Snapshot(NOW, "string", "20260118"), "unknown"),
        (Snapshot(NOW, "string", "999999999.9"), "unknown"),
        (Snapshot(NOW, "string", "1000000000"), "idle"),
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


OLD = Snapshot(NOW, "string", "1799990000")
RETIRING = Claim("retiring", "token", 7, NOW + 30, 30, ("hsm-1",))


@pytest.mark.parametrize(
    ("holders", "claim", "status", "reason"),
    [
        ((), None, "idle", "last used 10000 s ago; idle after 1800 s"),
        ((Holder("b", 5), Holder("a", None)), None, "held", f"held by b {UNTIL}, a for ever"),
        ((Holder("a", 1e300),), None, "held", "held by a for ever"),
        (tuple(Holder(name, 5) for name in "abcde"), None, "held", f"held by a {UNTIL}, b {UNTIL}, c {UNTIL}, …"),
        (None, None, "unknown", "the key of its holds is of another type than a sorted set"),
        ((), RETIRING, "retiring", "claimed (retiring) for another 30 s"),
        ((Holder("a", 5),), RETIRING, "retiring", "claimed (retiring) for another 30 s"),
        ((), Claim("unknown"), "unknown", "the keys of its claim hold what no step wrote"),
    ],
)
def test_holds_go_before_the_record_and_claims_before_both(holders, claim, status, reason):
    judgement = judge(replace(OLD, holders=holders, claim=claim), 1800)

    assert (judgement.status, judgement.reason) == (status, reason)
    assert (judgement.idle_seconds, judgement.holders, judgement.claim) == (10000, holders or (), claim)


def test_hold_counts_also_without_a_record():
    assert judge(Snapshot(NOW, "none", "", holders=(Holder("a", 5),)), 1800).status == "held"


def test_figures_of_a_record_in_the_future_are_no_figures():
    judgement = judge(Snapshot(NOW, "string", "1800000100"), 1800)

    assert (judgement.last_access, judgement.idle_seconds) == (1800000100, None)


snapshots = st.builds(
    Snapshot,
    st.just(NOW),
    st.sampled_from(["none", "string", "list", "hash", "stream"]),
    st.text(max_size=20) | st.integers(0, 2 * 10**9).map(str),
    st.none() | st.floats(0, 10**6),
    st.none() | st.lists(st.builds(Holder, st.text(max_size=3), st.none() | st.floats(0, 100)), max_size=3).map(tuple),
    st.none() | st.builds(Claim, st.sampled_from(["creating", "retiring", "committed", "unknown"])),
)


@given(snapshots, st.integers(1, 10**6))
def test_idle_is_said_only_of_a_time_that_is_long_past_and_nobody_holds_or_claims(snapshot, idle_after):
    judgement = judge(snapshot, idle_after)

    assert judgement.reason
    if judgement.status == "idle":
        assert snapshot.kind == "string"
        assert NOW - float(snapshot.value) > idle_after
        assert (snapshot.holders, snapshot.claim) == ((), None)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ("gone", REFUSALS["gone"]),
        *((refusal, f"held by a {UNTIL}") for refusal in ("held", None, "unknown")),
    ],
)
def test_refusals_are_explained(refusal, reason):
    answer = Answer(refusal, Snapshot(NOW, "none", "", holders=(Holder("a", 5),)))

    assert explain(answer, 1800) == reason
    assert answer.granted == (refusal is None)


@pytest.mark.parametrize("name", ["dev", "team-a/dev.eu_1", "{dev}", "host@example.com", "x" * 200])
def test_names_of_environments(name):
    assert check_environment(name) is None


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "a\x00", "x" * 201, "ümlaut", "*"])
def test_bad_names_of_environments(name):
    assert "environment" in check_environment(name)


@pytest.mark.parametrize("name", ["job", "pipeline-4711", "größe:1/2", "x" * 200])
def test_ids_of_holders(name):
    assert check_holder(name) is None


@pytest.mark.parametrize("name", ["", "a b", "a\n", "a\x00", "a\u00a0b", "a\u200bb", "\ud800", "x" * 201])
def test_bad_ids_of_holders(name):
    assert "is no id of a holder" in check_holder(name)


def test_tokens_and_ids_of_hsms():
    assert check_token("0123456789abcdef" * 4) is None
    assert check_hsm_id("hsm-lgavqitns2a") is None
    for bad in ("", "a b", "a/b", "x" * 65, "a\n"):
        assert "is no token" in check_token(bad)
        assert "is no id of an HSM" in check_hsm_id(bad)


@pytest.mark.parametrize(("name", "tagged"), [
    ("{dev}", True), ("a{b}c", True), ("{{a}", True), ("dev", False), ("{}", False), ("{}{a}", False), ("a}b{", False),
])  # fmt: skip
def test_hash_tags(name, tagged):
    assert has_hash_tag(name) == tagged


@given(st.text("{}ab", max_size=8))
def test_hash_tag_is_what_redis_takes_for_one(name):
    """Redis hashes what stands between the first brace and the first one that closes it, if that is not empty."""
    keys = {f"hsm:{name}:{key}".encode() for key in ("last_access", "holds")}

    assert (len({key_slot(key) for key in keys}) == 1) == has_hash_tag(name)
