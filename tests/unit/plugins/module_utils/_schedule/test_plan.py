# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whether people are at work: tables, and what holds for all hours."""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._schedule.plan import Hours, Window, decide
from hypothesis import given, settings
from hypothesis import strategies as st

UTC = datetime.timezone.utc
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
WEEK = frozenset(range(5))
DAYS = frozenset(range(7))


def office(begin="08:00", end="18:00", **more) -> Window:
    def minutes(text: str) -> int:
        hour, minute = text.split(":")
        return int(hour) * 60 + int(minute)

    return Window(**{"days": WEEK, "zone": BERLIN, **more}, begin=minutes(begin), end=minutes(end))


def at(text: str, zone: datetime.tzinfo = BERLIN) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def until(text: str | None, at_work: bool) -> Hours:
    return Hours(at_work, at(text).astimezone(UTC) if text else None)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # 2026-11-27 is a Friday.
        ("2026-11-27T07:59:59", until("2026-11-27T08:00", False)),
        ("2026-11-27T08:00", until("2026-11-27T18:00", True)),
        ("2026-11-27T17:59:59", until("2026-11-27T18:00", True)),
        ("2026-11-27T18:00", until("2026-11-30T08:00", False)),
        ("2026-11-28T12:00", until("2026-11-30T08:00", False)),
    ],
)
def test_a_week_of_an_office(now, expected):
    assert decide([office()], at(now)) == expected


def test_it_is_ready_when_people_are():
    window = office(warm_up=30)
    assert decide([window], at("2026-11-30T07:29")) == until("2026-11-30T07:30", False)
    assert decide([window], at("2026-11-30T07:30")) == until("2026-11-30T18:00", True)


def test_a_warm_up_can_begin_on_the_day_before():
    window = office("00:15", "06:00", days=frozenset({0}), warm_up=30)
    assert decide([window], at("2026-11-29T23:45")) == until("2026-11-30T06:00", True)


def test_the_night_belongs_to_the_day_on_which_it_begins():
    night = office("22:00", "30:00")
    assert decide([night], at("2026-11-28T05:59")) == until("2026-11-28T06:00", True)
    assert decide([night], at("2026-11-28T06:00")) == until("2026-11-30T22:00", False)
    assert decide([night], at("2026-11-30T05:00")) == until("2026-11-30T22:00", False)


@pytest.mark.parametrize(
    "off",
    [{"holidays": frozenset({datetime.date(2026, 12, 25)})}, {"yearly_holidays": frozenset({(12, 25)})}],
)
def test_nobody_is_at_work_on_a_holiday(off):
    window = office(**off)
    assert decide([window], at("2026-12-25T10:00")) == until("2026-12-28T08:00", False)
    following = decide([window], at("2031-12-25T10:00"))
    assert following.at_work == ("holidays" in off)


def test_windows_that_touch_or_overlap_are_one():
    windows = [office("13:00", "18:00"), office("08:00", "13:00"), office("17:30", "20:00", days=frozenset({4}))]
    assert decide(windows, at("2026-11-27T09:00")) == until("2026-11-27T20:00", True)
    assert decide(windows, at("2026-11-26T09:00")) == until("2026-11-26T18:00", True)


def test_without_windows_nobody_is_ever_at_work():
    assert decide([], at("2026-11-27T09:00")) == Hours(False, None)


@pytest.mark.parametrize(
    "window", [office("00:00", "24:00", days=DAYS), office("12:00", "36:00", days=DAYS, warm_up=720)]
)
def test_around_the_clock_has_no_end(window):
    assert decide([window], at("2026-11-27T09:00")) == Hours(True, None)
    tomorrow_off = [dataclasses.replace(window, holidays=frozenset({datetime.date(2026, 11, 28)}))]
    assert decide(tomorrow_off, at("2026-11-27T09:00")).until is not None


def test_the_last_hours_that_there_are_have_an_end():
    off = frozenset(datetime.date(2026, 11, 28) + datetime.timedelta(days=number) for number in range(500))
    assert decide([office(days=DAYS, holidays=off)], at("2026-11-27T09:00")) == until("2026-11-27T18:00", True)


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        # On 2026-03-29 the hour from 02:00 to 03:00 is left out in Berlin, at 01:00 UTC.
        (office("08:00", "18:00", days=DAYS), "2026-03-29T06:00Z", "2026-03-29T16:00Z"),
        (office("00:00", "24:00", days=frozenset({6})), "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        (office("02:30", "05:00", days=DAYS), "2026-03-29T00:30Z", "2026-03-29T03:00Z"),
        (office("01:00", "02:30", days=DAYS), "2026-03-29T00:00Z", "2026-03-29T01:30Z"),
        (office("22:00", "26:30", days=frozenset({5})), "2026-03-28T21:00Z", "2026-03-29T01:30Z"),
    ],
)
def test_a_spring_night_lacks_an_hour(window, begin, end):
    inside = at(begin) + datetime.timedelta(minutes=1)
    assert decide([window], at(begin) - datetime.timedelta(minutes=1)) == until(begin, False)
    assert decide([window], inside) == until(end, True)


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        # On 2026-10-25 the hour from 02:00 to 03:00 comes twice in Berlin, from 00:00 UTC on.
        (office("08:00", "18:00", days=DAYS), "2026-10-25T07:00Z", "2026-10-25T17:00Z"),
        (office("02:30", "05:00", days=DAYS), "2026-10-25T00:30Z", "2026-10-25T04:00Z"),
        (office("01:00", "02:30", days=DAYS), "2026-10-24T23:00Z", "2026-10-25T01:30Z"),
        (office("00:00", "24:00", days=frozenset({6})), "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
    ],
)
def test_an_autumn_night_has_an_hour_twice(window, begin, end):
    assert decide([window], at(begin) - datetime.timedelta(minutes=1)) == until(begin, False)
    assert decide([window], at(begin)) == until(end, True)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    begin = draw(st.integers(0, 1439))
    return Window(
        days=draw(st.frozensets(st.integers(0, 6), min_size=1)),
        begin=begin,
        end=begin + draw(st.integers(1, 1440)),
        zone=zoneinfo.ZoneInfo(
            draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]))
        ),
        holidays=draw(st.frozensets(st.dates(datetime.date(2026, 3, 1), datetime.date(2026, 4, 15)), max_size=3)),
        warm_up=draw(st.integers(0, 720)),
    )


MOMENTS = st.datetimes(datetime.datetime(2026, 3, 1), datetime.datetime(2026, 11, 15), timezones=st.just(UTC))
SECOND = datetime.timedelta(seconds=1)


@settings(deadline=None, max_examples=40)
@given(st.lists(windows(), max_size=3), MOMENTS)
def test_the_next_change_is_one_and_the_first(given_windows, now):
    hours = decide(given_windows, now)
    if hours.until is None:
        # None at all, or around the clock.
        for days in (0, 1, 150, 300):
            assert decide(given_windows, now + datetime.timedelta(days=days)).at_work == bool(given_windows)
        return
    assert hours.until > now
    horizon = now + datetime.timedelta(days=300)
    if hours.until < horizon:
        assert decide(given_windows, hours.until).at_work != hours.at_work
    assert decide(given_windows, min(hours.until, horizon) - SECOND).at_work == hours.at_work
    halfway = now + (min(hours.until, horizon) - now) / 2
    assert decide(given_windows, halfway).at_work == hours.at_work


@settings(deadline=None, max_examples=40)
@given(windows(), windows(), MOMENTS)
def test_another_window_only_adds(one, other, now):
    both = decide([one, other], now)
    assert both.at_work == (decide([one], now).at_work or decide([other], now).at_work)
    assert decide([other, one], now) == both


@settings(deadline=None)
@given(windows(), MOMENTS)
def test_whoever_looks_at_the_wall_clock_finds_it_so(window, now):
    """Away from the nights in which clocks are changed, it is the plain arithmetic of the wall clock."""
    plain = Window(window.days, window.begin, window.end, window.zone, window.holidays)
    wall = now.astimezone(window.zone)
    if any((wall + datetime.timedelta(days=days)).utcoffset() != wall.utcoffset() for days in (-2, 2)):
        return
    naive = wall.replace(tzinfo=None)
    expected = False
    for ago in range(3):
        day = naive.date() - datetime.timedelta(days=ago)
        midnight = datetime.datetime.combine(day, datetime.time())
        works = day.weekday() in window.days and day not in window.holidays
        minutes = (naive - midnight).total_seconds() / 60
        expected = expected or (works and window.begin <= minutes < window.end)
    assert decide([plain], now).at_work == expected
