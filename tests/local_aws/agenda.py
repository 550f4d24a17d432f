# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is to happen at which virtual time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens by itself.

    Attributes:
        at: When, virtual time in seconds since the epoch.
        number: Position among the events of one moment: first in, first out.
        kind: What, a name that whoever carries it out knows.
        account: AWS account id.
        region: AWS Region.
        subjects: The ids it is about.
    """

    at: float
    number: int
    kind: str
    account: str
    region: str
    subjects: tuple[str, ...]


class Agenda:
    """The events to come. An event that has lost its reason finds that out when it is carried out."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._count = 0

    def add(self, at: float, kind: str, account: str, region: str, *subjects: str) -> None:
        """Put an event down."""
        self._count += 1
        heapq.heappush(self._events, Event(at, self._count, kind, account, region, subjects))

    def pop_due(self, now: float) -> Event | None:
        """Take out the next event that is due, None when there is none."""
        return heapq.heappop(self._events) if self._events and self._events[0].at <= now else None

    def clear(self) -> None:
        """Forget every event."""
        self._events.clear()
