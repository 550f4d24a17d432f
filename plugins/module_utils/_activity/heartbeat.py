# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Keep one environment's record fresh while something else is waited for."""

from __future__ import annotations

import os
import typing as t

from .apply import open_store
from .endpoint import ActivityError
from .plan import check_duration, check_environment, check_hold_for, check_holder


class Heartbeat:
    """Says that one environment is in use: holds it for a holder, or touches it.

    Args:
        params: The parameters that name the environment, the holder, the life of record and hold, and the activity store.
        warn: Told once, when a beat fails.

    Attributes:
        store: The activity store.
        environment: Name of the environment.

    Raises:
        ActivityError: A parameter is wrong, or the store is not configured.
    """

    def __init__(self, params: t.Mapping[str, t.Any], warn: t.Callable[[str], None]) -> None:
        problems = {
            "env": check_environment(params["env"]),
            "holder": check_holder(params["holder"]) if params["holder"] else None,
            "record_ttl": check_duration(params["record_ttl"]),
            "hold_for": check_hold_for(params["hold_for"], params["allow_long_hold"]),
        }
        for parameter, problem in problems.items():
            if problem:
                raise ActivityError(f"activity.{parameter}: {problem}.")
        self.environment = params["env"]
        self.store = open_store(params, os.environ)
        self._record_ttl = params["record_ttl"]
        self._holder = params["holder"]
        self._hold_for = params["hold_for"]
        self._warn = warn
        self._failed = False

    def touch(self) -> None:
        """Say that the environment is in use.

        Raises:
            ActivityError: It could not be said.
        """
        if self._holder:
            self.store.hold([self.environment], self._holder, self._hold_for, self._record_ttl)
        else:
            self.store.touch([self.environment], self._record_ttl)

    def beat(self, _progress: object = None) -> None:
        """Touch again. A beat that fails is no reason to give up what is under way: the next one may succeed."""
        try:
            self.touch()
        except ActivityError as error:
            if not self._failed:
                self._warn(f"The environment could not be kept in use while it was waited for. {error}")
            self._failed = True
