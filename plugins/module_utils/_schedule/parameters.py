# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Read working hours as an inventory has them, and say what they come to. Pure."""

from __future__ import annotations

import datetime
import re
import typing as t
import zoneinfo

from .plan import Hours, Window

WARM_UP_MINUTES = 30

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_KEYS = {"days", "from", "to", "time_zone", "holidays", "warm_up_minutes"}
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_YEARLY = re.compile(r"\d\d-\d\d")
# Has every day that a year can have.
_LEAP_YEAR = "2000"
_LONGEST_WARM_UP = 12 * 60


class HoursError(ValueError):
    """Working hours that cannot be read; the text says which part, what was found and what to do."""


def read_windows(given: t.Any) -> list[Window]:
    """Return the windows of a value: a mapping is one window, a list is several, and nothing is none.

    Raises:
        HoursError: A part of it cannot be read.
    """
    if not given:
        return []
    windows = [given] if isinstance(given, t.Mapping) else given
    if not isinstance(windows, (list, tuple)) or not all(isinstance(window, t.Mapping) for window in windows):
        raise HoursError(f"{given!r} are no working hours. Give a mapping with from and to, or a list of such.")
    return [_read_window(window) for window in windows]


def _read_window(given: t.Mapping[str, t.Any]) -> Window:
    if unknown := sorted(set(map(str, given)) - _KEYS):
        raise HoursError(f"{', '.join(unknown)}: unknown. There are {', '.join(sorted(_KEYS))}.")
    begin, end = _read_time("from", given.get("from")), _read_time("to", given.get("to"))
    if begin == end or begin == 24 * 60:
        raise HoursError(
            f"from and to: from {_shown(begin)} to {_shown(end)} is no time. A whole day is 00:00 to 24:00."
        )
    holidays, yearly = _read_holidays(_as_list("holidays", given.get("holidays")))
    days = given.get("days")
    return Window(
        days=_read_days(_DAYS[:5] if days is None else _as_list("days", days)),
        begin=begin,
        # What ends before it begins ends on the next day.
        end=end if end > begin else end + 24 * 60,
        zone=_read_zone(given.get("time_zone") or "UTC"),
        holidays=holidays,
        yearly_holidays=yearly,
        warm_up=_read_warm_up(given.get("warm_up_minutes")),
    )


def _read_time(name: str, given: t.Any) -> int:
    if given is None:
        raise HoursError(f"{name}: missing. Write the time of day as HH:MM.")
    # YAML reads 18:00 without quotes as a number to the base of 60: as minutes, which is what is meant. Not so a bare hour.
    if isinstance(given, int) and not isinstance(given, bool) and 60 <= given <= 24 * 60:
        return given
    match = _TIME.fullmatch(str(given).strip())
    if not match:
        raise HoursError(f'{name}: {given!r} is no time of day. Write HH:MM in quotes, such as "08:30".')
    hour, minute = (int(part) for part in match.groups() if part)
    return hour * 60 + minute


def _shown(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _as_list(name: str, given: t.Any) -> list[t.Any]:
    if isinstance(given, (list, tuple)):
        return list(given)
    if given is None:
        return []
    raise HoursError(f"{name}: {given!r} is no list.")


def _read_days(given: t.Iterable[t.Any]) -> frozenset[int]:
    numbers = set()
    for name in given:
        found = [number for number, day in enumerate(_DAYS) if str(name).strip().lower() in (day, day[:3])]
        if not found:
            raise HoursError(f"days: {name!r} is no day of the week. There are mon, tue, wed, thu, fri, sat and sun.")
        numbers.update(found)
    if not numbers:
        raise HoursError("days: none is named. Leave it out for mon to fri.")
    return frozenset(numbers)


def _read_holidays(given: t.Iterable[t.Any]) -> tuple[frozenset[datetime.date], frozenset[tuple[int, int]]]:
    dates, yearly = set(), set()
    for holiday in given:
        text = str(holiday).strip()
        try:
            if _YEARLY.fullmatch(text):
                day = datetime.date.fromisoformat(f"{_LEAP_YEAR}-{text}")
                yearly.add((day.month, day.day))
            else:
                dates.add(datetime.date.fromisoformat(text))
        except ValueError as error:
            wanted = "Write YYYY-MM-DD, or MM-DD for every year."
            raise HoursError(f"holidays: {holiday!r} is no date. {wanted}") from error
    return frozenset(dates), frozenset(yearly)


def _read_zone(name: t.Any) -> datetime.tzinfo:
    if name == "UTC":
        # The default needs no database of zones.
        return datetime.timezone.utc
    try:
        return zoneinfo.ZoneInfo(str(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise HoursError(
            f"time_zone: {name!r} is not known here. Write it as Europe/Berlin; where no name is known, install the Python "
            "package tzdata."
        ) from error


def _read_warm_up(given: t.Any) -> int:
    try:
        minutes = WARM_UP_MINUTES if given is None else int(str(given))
    except ValueError as error:
        raise HoursError(f"warm_up_minutes: {given!r} is no number of minutes.") from error
    if not 0 <= minutes <= _LONGEST_WARM_UP:
        raise HoursError(f"warm_up_minutes: {minutes} is not from 0 to {_LONGEST_WARM_UP}.")
    return minutes


def read_moment(given: t.Any, zone: datetime.tzinfo) -> datetime.datetime:
    """Return a moment that is written as ISO 8601; without an offset, it is one of the zone.

    Raises:
        HoursError: It cannot be read.
    """
    try:
        moment = datetime.datetime.fromisoformat(str(given).strip())
    except ValueError as error:
        raise HoursError(f"{given!r} is no moment. Write it as 2026-12-24T07:40, or with an offset.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def explain(hours: Hours, zone: datetime.tzinfo) -> str:
    """Say in words how it stands, in the time of a zone."""
    where = "working hours" if hours.at_work else "outside of working hours"
    if hours.until is None:
        return where
    return f"{where} until {hours.until.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"
