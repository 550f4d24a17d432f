# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Take a step of the activity protocol in the controller's own process, where the connection is local."""

from __future__ import annotations

import importlib.util
import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.apply import run_action
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.argument_spec import (
    REQUIRED_IF,
    activity_argument_spec,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        here = self._connection.transport == "local" and not self._task.async_val
        # The interpreter of the host may have the library where the controller's own does not.
        if not here or importlib.util.find_spec("redis") is None:
            return {**result, **self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)}
        _validation, params = self.validate_argument_spec(activity_argument_spec(), required_if=REQUIRED_IF)
        of_task: dict[str, t.Any] = {}
        self._compute_environment_string(of_task)
        environ = {**os.environ, **{name: str(value) for name, value in of_task.items()}}
        try:
            return {**result, **run_action(params, self._task.check_mode, environ)}
        except ActivityError as error:
            return {**result, "failed": True, "msg": str(error)}
