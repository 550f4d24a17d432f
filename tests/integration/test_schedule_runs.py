# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""One tick of the working hours, as a scheduler starts it."""

from __future__ import annotations

import re
import typing as t

import pytest
from harness.estates import Estates

ALWAYS = {"from": "00:00", "to": "24:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
OFFICE = {"from": "08:00", "to": "18:00"}
# A Friday evening, and the Monday after it.
EVENING, MORNING = "2026-11-27T18:10+00:00", "2026-11-30T07:35+00:00"
PLAIN = {"hsm_key_backup_required": False}


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estates]:
    with Estates(tmp_path_factory.mktemp("estates")) as estates:
        yield estates


def holds(estates, estate) -> dict[str, float]:
    return dict(estates.store.zrange(estate.key("holds"), 0, -1, withscores=True))


def test_a_week_end(estates):
    estate = estates.make(hsm_working_hours=OFFICE, **PLAIN)
    estate.create_hsm()
    place = estate.place()
    estate.age()

    rehearsed = estates.play("schedule_hsm", estate, arguments=["--check"], hsm_schedule_at=EVENING)
    assert f"{estate.name}: would_delete: last used 4" in rehearsed.text
    assert estate.place() == place

    evening = estates.play("schedule_hsm", estate, hsm_schedule_at=EVENING)
    assert evening.status == 0
    assert f"{estate.name}: deleted: last used 4" in evening.text
    assert estate.hsms() == []

    morning = estates.play("schedule_hsm", estate, hsm_schedule_at=MORNING)
    assert morning.status == 0
    assert (morning.recaps[estate.name]["changed"], estate.place()) == (1, place)
    assert f"{estate.name}: kept: working hours until Mon 2026-11-30 18:00 UTC" in morning.text
    [(holder, until)] = holds(estates, estate).items()
    assert holder == "working-hours"
    assert 3500 < until - estates.now() <= 3601

    # The last tick holds no longer than the hours, and a reaper that knows them needs no hold to keep the HSM.
    late = estates.play("schedule_hsm", estate, hsm_schedule_at="2026-11-30T17:50+00:00")
    assert late.recaps[estate.name]["changed"] == 0
    [until] = holds(estates, estate).values()
    assert 500 < until - estates.now() <= 601
    estate.age()
    estates.store.delete(estate.key("holds"))
    assert "kept: working hours" in estates.play("reap_hsm", estate, hsm_schedule_at=MORNING).text
    assert estate.place() == place


def test_who_holds_it_keeps_it_after_hours(estates):
    estate = estates.make(hsm_working_hours=OFFICE, **PLAIN)
    estate.create_hsm()
    estate.age()
    estates.store.zadd(estate.key("holds"), {"night-shift": estates.now() + 600})
    kept = estates.play("schedule_hsm", estate, hsm_schedule_at=EVENING)
    assert f"{estate.name}: kept: held by night-shift" in kept.text
    assert len(estate.hsms()) == 1


def test_one_that_fails_stops_no_other(estates):
    broken = estates.make(hsm_working_hours=ALWAYS, **PLAIN, hsm_cluster_id="cluster-aaaaaaaaaaa")
    working = estates.make(hsm_working_hours=ALWAYS, **PLAIN)
    resting = estates.make(**PLAIN)
    resting.create_hsm()
    resting.age()
    done = estates.play("schedule_hsm", broken, working, resting)
    assert done.status == 2
    assert len(working.hsms()) == 1
    assert resting.hsms() == []
    assert re.search(r'msg"?: "cluster_id: .*cluster-aaaaaaaaaaa', done.text)


def test_bad_hours_keep_their_own_hsm_and_no_other(estates):
    estate = estates.make(hsm_working_hours={"from": "8am", "to": "18:00"}, **PLAIN)
    resting = estates.make(**PLAIN)
    for each in (estate, resting):
        each.create_hsm()
        each.age()
    refused = estates.play("schedule_hsm", estate, resting)
    assert refused.status == 2
    assert "hsm_working_hours: from: '8am' is no time of day. Write HH:MM in quotes" in refused.text
    assert (len(estate.hsms()), len(resting.hsms())) == (1, 0)
    assert "Could not match supplied host pattern" not in refused.text
    assert estates.play("schedule_hsm", estate).status == 2
    assert len(estate.hsms()) == 1
