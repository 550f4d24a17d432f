# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Decide whether people are at work. Plain values in, a decision out: the moment is a parameter.

Where a day has an hour twice or lacks one, a stretch is the longer one of those that its times can mean: an HSM that is there an
hour too long costs a dollar, and one that is missing costs people their time.
"""

from __future__ import annotations

import datetime
import heapq
import typing as t
from dataclasses import dataclass

# How many days are looked at for the next change.
HORIZON_DAYS = 400

_MINUTES_OF_DAY = 24 * 60
_ONE_DAY = datetime.timedelta(days=1)
# Hours that go on for as long as is looked do not end. The last day that is looked at is three days before the horizon, and its
# stretch may end before it does.
_ENDLESS = (HORIZON_DAYS - 5) * _ONE_DAY


@dataclass(frozen=True)
class Window:
    """A stretch of every working day.

    Attributes:
        days: Days of the week on which it begins; Monday is 0.
        begin: Minutes after midnight.
        end: Minutes after midnight of the day on which it begins; more than begin, and at most a day later.
        zone: Whose midnight that is.
        holidays: Dates on which it does not begin.
        yearly_holidays: Months and days on which it does not begin, in every year.
        warm_up: Minutes that it begins earlier, so that an HSM is there when people are.
    """

    days: frozenset[int]
    begin: int
    end: int
    zone: datetime.tzinfo
    holidays: frozenset[datetime.date] = frozenset()
    yearly_holidays: frozenset[tuple[int, int]] = frozenset()
    warm_up: int = 0


@dataclass(frozen=True)
class Hours:
    """Whether people are at work.

    Attributes:
        at_work: They are, or will be when an HSM that is made now is ready.
        until: When that changes, in UTC; None where it does not within HORIZON_DAYS.
    """

    at_work: bool
    until: datetime.datetime | None


def decide(windows: t.Iterable[Window], now: datetime.datetime) -> Hours:
    """Say whether a moment is in one of the windows, and when that changes.

    Args:
        windows: The windows; those that touch or overlap are one.
        now: The moment, in any zone.
    """
    now = now.astimezone(datetime.timezone.utc)
    reached = now
    for begin, end in heapq.merge(*(_stretches(window, now) for window in windows)):
        if begin > reached:
            return Hours(True, reached) if reached > now else Hours(False, begin)
        reached = max(reached, end)
    return Hours(reached > now, reached if now < reached < now + _ENDLESS else None)


def _stretches(window: Window, now: datetime.datetime) -> t.Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """Yield the stretches of a window in their order, from one that has surely ended on."""
    day = now.astimezone(window.zone).date() - 2 * _ONE_DAY
    for _number in range(HORIZON_DAYS):
        if _is_working_day(window, day):
            begin = min(_moments(day, window.begin, window.zone))
            yield begin - datetime.timedelta(minutes=window.warm_up), max(_moments(day, window.end, window.zone))
        day += _ONE_DAY


def _is_working_day(window: Window, day: datetime.date) -> bool:
    holiday = day in window.holidays or (day.month, day.day) in window.yearly_holidays
    return day.weekday() in window.days and not holiday


def _moments(day: datetime.date, minutes: int, zone: datetime.tzinfo) -> list[datetime.datetime]:
    """Return what a time of the wall clock can mean, in UTC: two moments where clocks are changed, else one twice."""
    days, minute = divmod(minutes, _MINUTES_OF_DAY)
    wall = datetime.datetime.combine(day + days * _ONE_DAY, datetime.time(minute // 60, minute % 60), zone)
    return [wall.replace(fold=fold).astimezone(datetime.timezone.utc) for fold in (0, 1)]
