# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Run a module in this process, from its arguments to the JSON that it prints."""

from __future__ import annotations

import contextlib
import io
import json
import typing as t
from unittest import mock

from ansible.module_utils import basic
from ansible.module_utils.common import warnings

if t.TYPE_CHECKING:
    import types


@contextlib.contextmanager
def _on_a_managed_host() -> t.Iterator[None]:
    """Since ansible-core 2.20 a warning goes to the terminal where anything of the controller was imported."""
    try:
        from ansible.module_utils import _internal
    except ImportError:  # before ansible-core 2.19
        yield
    else:
        with mock.patch.object(_internal, "is_controller", False):
            yield


@contextlib.contextmanager
def _module_arguments(arguments: dict[str, t.Any]) -> t.Iterator[None]:
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:  # before ansible-core 2.19
        encoded = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        with mock.patch.object(basic, "_ANSIBLE_ARGS", encoded):
            yield
    else:
        with patch_module_args(arguments):
            yield


def run_module(
    module: types.ModuleType, check: bool = False, diff: bool = False, **arguments: t.Any
) -> dict[str, t.Any]:
    """Run a module and return its result, with warnings as texts.

    Args:
        module: The Python module with main().
        check: Check mode.
        diff: Diff mode.
        arguments: The arguments of the task.
    """
    printed = io.StringIO()
    # Warnings are the whole process's, which is one module's elsewhere.
    warnings._global_warnings = type(warnings._global_warnings)()
    internal = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
    with (
        _on_a_managed_host(),
        _module_arguments({**arguments, **internal}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    result: dict[str, t.Any] = json.loads(printed.getvalue())
    if "warnings" in result:
        # Since ansible-core 2.19 a warning is a structure.
        result["warnings"] = [text if isinstance(text, str) else text["event"]["msg"] for text in result["warnings"]]
    return result
