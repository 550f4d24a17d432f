# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Where the real code meets the explored world: the one connection to Redis, the clocks, and what is made by chance."""

from __future__ import annotations

import contextlib
import types
import typing as t
from unittest import mock

from ansible_collections.amazon.aws.plugins.module_utils import cloud as aws_cloud
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity import common
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle import ensuring, fleet, reaping

from . import programs
from .programs import Operation

NO_ANSWER = "no answer"


class _Inline:
    """Runs what is submitted at once: the actor waits for its only environment anyway."""

    def __init__(self, max_workers: int) -> None:
        """Take no workers."""

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing is left to wait for."""

    def submit(self, function: t.Callable[..., None], *arguments: t.Any) -> None:
        """Run it."""
        function(*arguments)


def _run_script(
    _connection: common.Connection, script: str, calls: t.Sequence[common.Call], confirm: bool = False
) -> tuple[list[t.Any], int]:
    return [redis_step(script, call, confirm) for call in calls], 9


def redis_step(script: str, call: common.Call, confirm: bool = False) -> t.Any:
    """Take a step in Redis.

    Args:
        script: The script.
        call: Its keys and arguments.
        confirm: Wait until the replica has it, and with it all that was written before.

    Raises:
        ActivityError: It does not answer.
    """
    answer = programs.current().do(Operation("redis", "Redis", (script, call, confirm)))
    if answer == NO_ANSWER:
        raise ActivityError("redis_url: Redis does not answer")
    return answer


def sleep(seconds: float) -> None:
    """Sleep."""
    programs.current().do(Operation("sleep", "wakes up", seconds))


def _chance(_low: float, high: float) -> float:
    # Another pause for each actor.
    return high * (programs.current().number % 3) / 2


@contextlib.contextmanager
def installed() -> t.Iterator[None]:
    """Have the real code run in the explored world."""
    tokens = types.SimpleNamespace(token_hex=lambda _size: programs.current().token())
    pause = types.SimpleNamespace(sleep=sleep)
    pools = types.SimpleNamespace(futures=types.SimpleNamespace(ThreadPoolExecutor=_Inline))
    seams: list[tuple[t.Any, str, t.Any]] = [
        (common.Connection, "run", _run_script),
        (ensuring, "secrets", tokens),
        (reaping, "secrets", tokens),
        (ensuring, "random", types.SimpleNamespace(uniform=_chance)),
        (fleet, "concurrent", pools),
        (aws_cloud, "time", pause),
        (aws_cloud, "random", types.SimpleNamespace(uniform=lambda _low, _high: 1.0)),
    ]
    with contextlib.ExitStack() as stack:
        for where, name, what in seams:
            stack.enter_context(mock.patch.object(where, name, what))
        yield
