# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: working_hours
author: hsmops.cloudhsm contributors (@hsmops)
version_added: 0.3.0
short_description: Say whether it is in working hours
description:
  - Say whether a moment is in working hours, and until when that is so.
  - Where clocks are changed in between, a stretch is the longer one of those that its times can mean.
positional: at
options:
  _input:
    description:
      - The working hours, or a list of them, of which each one counts. Where it is empty, it is never in working hours.
    type: list
    elements: dict
    required: true
    suboptions:
      from:
        description:
          - When they begin, as V(HH:MM), by the clock of O(_input[].time_zone).
        type: str
        required: true
      to:
        description:
          - When they end, at most V(24:00). What is before O(_input[].from) is on the next day.
        type: str
        required: true
      days:
        description:
          - Days of the week on which they begin.
        type: list
        elements: str
        choices: [mon, tue, wed, thu, fri, sat, sun]
        default: [mon, tue, wed, thu, fri]
      time_zone:
        description:
          - Name of a zone, such as V(Europe/Berlin).
        type: str
        default: UTC
      holidays:
        description:
          - Dates on which they do not begin, as V(YYYY-MM-DD), or V(MM-DD) for every year.
        type: list
        elements: str
        default: []
      warm_up_minutes:
        description:
          - How many minutes earlier the HSM is wanted, so that it is ready when people are. AWS takes 10 to 20 minutes.
        type: int
        default: 30
  at:
    description:
      - The moment, in ISO 8601; without an offset, by the clock of the first O(_input[].time_zone). Default is now.
    type: str
"""

EXAMPLES = r"""
- name: Say whether people are at work
  ansible.builtin.debug:
    msg: "{{ hours | hsmops.cloudhsm.working_hours }}"
  vars:
    hours:
      from: "08:00"
      to: "18:00"
      time_zone: Europe/Berlin
      holidays: ["12-25", "2027-03-26"]
"""

RETURN = r"""
_value:
  description: How it stands.
  type: dict
  contains:
    at_work:
      description: Whether it is in working hours, or in the minutes before them.
      type: bool
    until:
      description: When that changes, in ISO 8601; none where it does not within 400 days.
      type: str
    seconds_left:
      description: How many seconds that is; none where it does not change.
      type: int
    reason:
      description: The same in words.
      type: str
"""

import datetime
import math
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._schedule.parameters import (
    HoursError,
    explain,
    read_moment,
    read_windows,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._schedule.plan import decide


def working_hours(given: t.Any, at: str | None = None) -> dict[str, t.Any]:
    """Say whether a moment is in working hours.

    Args:
        given: The working hours.
        at: The moment in ISO 8601; now without it.

    Raises:
        AnsibleFilterError: Either cannot be read.
    """
    try:
        windows = read_windows(given)
    except HoursError as error:
        raise AnsibleFilterError(f"hsm_working_hours: {error}") from error
    zone = windows[0].zone if windows else datetime.timezone.utc
    try:
        now = read_moment(at, zone) if at else datetime.datetime.now(datetime.timezone.utc)
    except HoursError as error:
        raise AnsibleFilterError(f"hsm_schedule_at: {error}") from error
    hours = decide(windows, now)
    return {
        "at_work": hours.at_work,
        "until": hours.until.astimezone(zone).isoformat() if hours.until else None,
        "seconds_left": math.ceil((hours.until - now).total_seconds()) if hours.until else None,
        "reason": explain(hours, zone),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return them by name."""
        return {"working_hours": working_hours}
