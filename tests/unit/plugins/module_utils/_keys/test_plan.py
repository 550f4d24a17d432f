# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What to do about the keys of an HSM and those of a backup: whatever comes, no key is lost."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.documents import (
    MOST_PART_BYTES,
    DataKey,
    Manifest,
    Part,
    PartEntry,
    WrappedDataKey,
    digest_of,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.errors import KeyBackupError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.plan import (
    MOST_DATA_KEYS,
    LiveKey,
    Selection,
    Stored,
    compare,
    pack,
    plan_backup,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.records import KEY_CLASSES, KeyRef
from hypothesis import given
from hypothesis import strategies as st

ALL = Selection((), (), KEY_CLASSES)
ALICE, BOB = hashlib.sha256(b"alice").hexdigest(), hashlib.sha256(b"bob").hexdigest()
NOBODY = Stored(None, {})


def key(label="a", check="1", flags=("encrypt",), obstacle="", key_id="01"):
    return LiveKey(
        KeyRef("secret", label, key_id), "aes", 256, flags=flags, check=None if obstacle else check, obstacle=obstacle
    )


def carry_out(plan, live, stored, number, recipients=(ALICE,)):
    """What the store holds after a plan."""
    if not plan.changed:
        return stored
    run = f"run-{number}"
    records = [live[index].record(f"blob of {index} in {run}".encode()) for index in plan.wrap]
    parts = {digest_of(part.to_bytes()): part for part in (Part("dev", run, packed) for packed in pack(records))}
    entries = plan.entries + tuple(PartEntry(digest, len(part.keys), run) for digest, part in parts.items())
    needed = {entry.data_key for entry in entries}
    old = stored.manifest.data_keys if stored.manifest else ()
    fresh = DataKey(run, "", b"", tuple(WrappedDataKey("custodian", "", name, "", b"") for name in recipients))
    data_keys = tuple(data_key for data_key in old if data_key.id in needed) + (fresh,)
    manifest = Manifest("dev", number, "", {}, data_keys, entries, run)
    every = {**stored.parts, **parts}
    return Stored(manifest, {entry.digest: every[entry.digest] for entry in entries})


def make(live, stored=NOBODY, number=1, **more):
    given_ = {"selection": ALL, "recipients": frozenset({ALICE}), "prune": False, **more}
    plan = plan_backup(live, stored, **given_)
    return plan, carry_out(plan, live, stored, number, given_["recipients"])


def test_an_empty_hsm_and_no_backup_is_a_backup_of_nothing():
    plan, stored = make([])
    assert plan.changed
    assert stored.manifest.keys == 0
    assert not make([], stored)[0].changed


def test_flags_and_recipients_renew():
    live = [key("a"), key("b")]
    _plan, stored = make(live)
    changed = [replace(live[0], flags=("encrypt", "sign")), live[1]]
    assert make(changed, stored, 2)[0].renewed == (live[0].ref,)
    both, stored = make(live, stored, 2, recipients=frozenset({ALICE, BOB}))
    assert both.renewed == tuple(sorted(key.ref for key in live))
    assert not make(live, stored, 3, recipients=frozenset({BOB}))[0].changed


def test_a_key_that_cannot_be_exported_any_more_stays_as_it_was():
    live = [key("a"), key("b")]
    _plan, stored = make(live)
    plan, _stored = make([key("a", obstacle="it is not extractable"), live[1]], stored, 2)
    assert not plan.changed
    assert (plan.kept, plan.superseded) == ((), ())


def test_a_damaged_part_is_written_again():
    live = [key("a")]
    _plan, stored = make(live)
    plan, _stored = make(live, replace(stored, parts={}, damage=("cut",)), 2)
    assert (plan.changed, plan.added, plan.entries) == (True, (live[0].ref,), ())


def test_kept_keys_that_a_new_recipient_cannot_open_are_named():
    _plan, stored = make([key("a"), key("b")])
    plan, _stored = make([key("b")], stored, 2, recipients=frozenset({BOB}))
    assert plan.unopenable == plan.kept == (key("a").ref,)


KEYS = st.builds(
    key,
    label=st.sampled_from("abc"),
    check=st.sampled_from("12"),
    flags=st.sampled_from([("encrypt",), ("encrypt", "sign"), ()]),
    obstacle=st.sampled_from(["", "", "", "it is not extractable"]),
)
SELECTIONS = st.sampled_from([ALL, ALL, Selection(("a",), (), KEY_CLASSES), Selection(("b", "c"), (), KEY_CLASSES)])


@given(st.lists(st.tuples(st.lists(KEYS, max_size=5), SELECTIONS, st.booleans()), min_size=1, max_size=8))
def test_no_run_loses_a_key(runs):
    stored, ever = NOBODY, {}
    for number, (live, selection, prune) in enumerate(runs, start=1):
        before = Counter((record.ref, record.check) for record in stored.records().values())
        plan, stored = make(live, stored, number, selection=selection, prune=prune)
        held = Counter((record.ref, record.check) for record in stored.records().values())
        exported = Counter((key.ref, key.check) for key in live if not key.obstacle and selection.matches(key.ref))

        assert exported <= held
        if not prune:
            assert before <= held
        # What a key's record says is what the key is.
        wanted = Counter(
            (key.ref, key.check, key.flags) for key in live if not key.obstacle and selection.matches(key.ref)
        )
        assert wanted <= Counter((record.ref, record.check, record.flags) for record in stored.records().values())
        lost = before - held
        assert sum(lost.values()) <= len(plan.pruned)
        again, _same = make(live, stored, number + 1, selection=selection, prune=prune)
        assert not again.changed
        assert not again.wrap
        comparison = compare(live, stored, selection)
        assert not comparison.lacking
        ever |= held
        if stored.manifest:
            assert stored.manifest.keys == sum(held.values())


@given(st.integers(min_value=9, max_value=30))
def test_data_keys_are_bounded(number):
    stored = NOBODY
    live = []
    for turn in range(1, number):
        live = [*live, key(f"key-{turn}")]
        _plan, stored = make(live, stored, turn)
        assert len(stored.manifest.data_keys) <= MOST_DATA_KEYS
    assert stored.manifest.keys == len(live)


@given(
    st.lists(st.tuples(st.text(max_size=40), st.binary(min_size=8, max_size=3000)), max_size=60),
    st.integers(16_000, 61_440),
)
def test_parts_hold_every_key_and_fit(keys, most):
    records = [key(label).record(blob) for label, blob in keys]
    parts = pack(records, most)

    assert sorted((record.ref, record.blob) for part in parts for record in part) == sorted(
        (record.ref, record.blob) for record in records
    )
    assert all(parts)
    assert all(len(Part("n" * 100, "0" * 16, part, "0" * 64).to_bytes()) <= most for part in parts)


def test_a_thousand_keys_are_few_parts():
    records = [key(f"application-key-{number:04}", "aes-ecb:" + "0" * 32).record(bytes(40)) for number in range(1000)]
    assert len(pack(records)) <= 10


def test_a_record_that_fits_nowhere():
    with pytest.raises(KeyBackupError, match="Give the key a shorter label"):
        pack([key("x" * MOST_PART_BYTES).record(b"blob")])


@given(st.lists(KEYS, max_size=6), st.lists(KEYS, max_size=6))
def test_a_comparison_accounts_for_everything(old, live):
    _plan, stored = make(old)
    comparison = compare(live, stored, ALL)
    records = stored.records()
    judged = [
        *comparison.missing,
        *comparison.present,
        *comparison.unknown,
        *comparison.other_value,
        *comparison.other_flags,
        *comparison.replaced,
    ]

    assert sorted(judged) == sorted(records)
    held = {(record.ref, record.check) for record in records.values()}
    strange = {key.ref for key in live if (key.ref, key.check) not in held}
    there = {(key.ref, key.check) for key in live}
    for place in comparison.missing:
        # Nothing comes beside a key that nobody knows, and nothing twice.
        assert records[place].ref not in strange
        assert (records[place].ref, records[place].check) not in there
    assert set(comparison.lacking) == {key.ref for key in live if not key.obstacle and (key.ref, key.check) not in held}
    assert {key.ref for key in comparison.uncovered} == {key.ref for key in live if key.obstacle}


@pytest.mark.parametrize(
    ("selection", "matched"),
    [
        (ALL, True),
        (Selection(("a*",), (), KEY_CLASSES), True),
        (Selection(("A*",), (), KEY_CLASSES), False),
        (Selection((), ("01",), KEY_CLASSES), True),
        (Selection(("a*",), ("02",), KEY_CLASSES), False),
        (Selection((), (), ("private",)), False),
    ],
)
def test_selection(selection, matched):
    assert selection.matches(key("app").ref) is matched
