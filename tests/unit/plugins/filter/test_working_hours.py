# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import zoneinfo

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.hsmops.cloudhsm.plugins.filter.working_hours import working_hours

OFFICE = {"from": "08:00", "to": "18:00", "time_zone": "Europe/Berlin"}


def test_how_it_stands():
    assert working_hours(OFFICE, "2026-11-27T17:00") == {
        "at_work": True,
        "until": "2026-11-27T18:00:00+01:00",
        "seconds_left": 3600,
        "reason": "working hours until Fri 2026-11-27 18:00 CET",
    }
    assert working_hours([OFFICE], "2026-11-27T17:00+00:00") == {
        "at_work": False,
        "until": "2026-11-30T07:30:00+01:00",
        "seconds_left": 221400,
        "reason": "outside of working hours until Mon 2026-11-30 07:30 CET",
    }


def test_around_the_clock_has_no_end():
    around = {"from": "00:00", "to": "24:00", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
    expected = {"at_work": True, "until": None, "seconds_left": None, "reason": "working hours"}
    assert working_hours(around, "2026-11-27T17:00") == expected


def test_a_second_that_has_begun_is_left():
    assert working_hours(OFFICE, "2026-11-27T17:59:59.5")["seconds_left"] == 1


def test_utc_needs_no_database_of_zones(monkeypatch):
    def without_database(name):
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", without_database)
    hours = {"from": "08:00", "to": "18:00"}
    assert working_hours(hours, "2026-11-27T17:00")["reason"] == "working hours until Fri 2026-11-27 18:00 UTC"
    with pytest.raises(AnsibleFilterError, match="install the Python package tzdata"):
        working_hours({**hours, "time_zone": "Europe/Berlin"})


@pytest.mark.parametrize("none", [None, {}, [], ""])
def test_without_hours_nobody_is_at_work(none):
    assert working_hours(none)["reason"] == "outside of working hours"


def test_hours_as_yaml_reads_them():
    read = yaml.safe_load(
        "{from: 09:30, to: 18:00, days: [Mon, TUESDAY], holidays: [2026-12-01, 12-24], warm_up_minutes: '0'}"
    )
    assert read["to"] == 1080
    assert working_hours(read, "2026-11-30T09:30")["until"] == "2026-11-30T18:00:00+00:00"
    assert working_hours(read, "2026-11-30T18:00")["until"] == "2026-12-07T09:30:00+00:00"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"from": None}, "from: missing"),
        ({"from": 8}, "from: 8 is no time of day. Write HH:MM in quotes"),
        ({"to": "25:00"}, "to: '25:00' is no time of day"),
        ({"to": "6pm"}, "to: '6pm' is no time of day"),
        ({"to": True}, "to: True is no time of day"),
        ({"from": "24:00"}, "from and to: from 24:00 to 18:00 is no time"),
        ({"from": "18:00"}, "from and to: from 18:00 to 18:00 is no time. A whole day is 00:00 to 24:00"),
        ({"days": ["mon", "noday"]}, "days: 'noday' is no day of the week"),
        ({"days": []}, "days: none is named"),
        ({"days": "mon"}, "days: 'mon' is no list"),
        ({"holidays": ["Christmas"]}, "holidays: 'Christmas' is no date. Write YYYY-MM-DD"),
        ({"holidays": ["13-01"]}, "holidays: '13-01' is no date"),
        ({"holidays": ["02-30"]}, "holidays: '02-30' is no date"),
        ({"time_zone": "Berlin"}, "time_zone: 'Berlin' is not known here"),
        ({"time_zone": "../etc/passwd"}, "time_zone: '../etc/passwd' is not known here"),
        ({"warm_up_minutes": "soon"}, "warm_up_minutes: 'soon' is no number of minutes"),
        ({"warm_up_minutes": -1}, "warm_up_minutes: -1 is not from 0 to 720"),
        ({"until": "18:00"}, "until: unknown. There are days, from, holidays"),
    ],
)
def test_what_cannot_be_read_is_said(more, message):
    with pytest.raises(AnsibleFilterError, match=f"hsm_working_hours: {message}"):
        working_hours({**OFFICE, **more})


@pytest.mark.parametrize("given", ["08:00-18:00", ["08:00"], 8])
def test_hours_must_be_a_mapping_or_a_list_of_such(given):
    with pytest.raises(AnsibleFilterError, match="are no working hours"):
        working_hours(given)


def test_the_moment_must_be_one():
    with pytest.raises(AnsibleFilterError, match="hsm_schedule_at: 'soon' is no moment"):
        working_hours(OFFICE, "soon")
