# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Marks: what is written can be read, and when they mean nothing any more."""

from __future__ import annotations

import re

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.marks import (
    SIGNATURE_LIFE,
    check_room,
    creating_tags,
    doomed_tags,
    read_marks,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError
from hypothesis import given
from hypothesis import strategies as st

TOKEN = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
HSM_ID = st.from_regex(r"hsm-[a-z2-7]{11}", fullmatch=True)
MOMENT = st.integers(0, 10**12)
# Letters that AWS takes in tags.
KEY = re.compile(r"[\w .:/=+@-]{1,128}")


@given(token=TOKEN, hsm_ids=st.lists(HSM_ID, min_size=1, max_size=28, unique=True), deadline=MOMENT)
def test_what_is_written_is_read(token, hsm_ids, deadline):
    tags = doomed_tags(token, hsm_ids, deadline) | creating_tags(token, deadline)
    marks = read_marks({**tags, "Name": "dev", "hsmops:protected": "true"})

    assert {(mark.token, mark.hsm_id, mark.deadline) for mark in marks} == {
        (token, hsm_id, deadline) for hsm_id in (*hsm_ids, "")
    }
    assert {mark.key for mark in marks} == set(tags)
    assert all(KEY.fullmatch(key) and value.isdecimal() for key, value in tags.items())


@given(deadline=MOMENT, now=MOMENT)
def test_a_mark_is_void_only_after_its_deadline_and_the_life_of_a_signature(deadline, now):
    [mark] = read_marks(creating_tags("t", deadline))

    assert mark.is_void(now) == (now - deadline > SIGNATURE_LIFE)


@pytest.mark.parametrize("value", ["", "soon", "-1", "1e9", "12 ", "1" * 16])
def test_a_mark_that_cannot_be_read_is_never_void(value):
    [mark] = read_marks({"hsmops:doomed/t/hsm-a": value})

    assert not mark.is_void(10**15)


def test_room_is_for_fifty_tags():
    tags = {f"k{number}": "" for number in range(49)}
    check_room("cluster-a", tags, {"new": ""})
    check_room("cluster-a", {**tags, "new": ""}, {"new": "other"})
    with pytest.raises(PlanError, match="49 tags, and AWS allows 50: there is no room for the 2"):
        check_room("cluster-a", tags, {"new": "", "newer": ""})
