# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the modules on AWS have in common on the controller."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

# Under this name ansible-core keeps the module_defaults of group/aws, which it reserves for amazon.aws and community.aws.
_AWS_GROUP = "group/ansible.builtin.aws"

_CONNECTION_PARAMETERS = frozenset(
    (
        "access_key",
        "aws_access_key",
        "aws_access_key_id",
        "aws_ca_bundle",
        "aws_config",
        "aws_endpoint_url",
        "aws_profile",
        "aws_region",
        "aws_secret_access_key",
        "aws_secret_key",
        "aws_session_token",
        "debug_botocore_endpoint_logs",
        "endpoint_url",
        "profile",
        "region",
        "secret_key",
        "session_token",
        "validate_certs",
    )
)


class AwsActionBase(ActionBase):
    """Runs the module of the same name, with the connection parameters that group/aws sets."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        arguments = {**self._group_defaults(), **self._task.args}
        return {**result, **self._run_module(arguments, task_vars or {})}

    def _run_module(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        module_result: dict[str, t.Any] = self._execute_module(
            module_args=arguments, task_vars=task_vars, wrap_async=self._task.async_val
        )
        return module_result

    def _group_defaults(self) -> dict[str, t.Any]:
        defaults: dict[str, t.Any] = {}
        for layer in self._task.module_defaults or []:
            defaults.update(self._templar.template(layer.get(_AWS_GROUP) or {}))
        return {key: value for key, value in defaults.items() if key in _CONNECTION_PARAMETERS}
