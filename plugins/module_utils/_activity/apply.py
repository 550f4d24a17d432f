# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Carry a step of the activity protocol out for a list of environments."""

from __future__ import annotations

import dataclasses
import typing as t

from .api import ActivityStore
from .endpoint import ActivityError, find_endpoint
from .plan import Judgement, check_environment, judge


def open_store(params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> ActivityStore:
    """Open the activity store that parameters and environment variables name. Nothing is sent yet.

    Raises:
        ActivityError: It is not configured, or not so that it can be used.
    """
    return ActivityStore(find_endpoint(params, environ), params["redis_timeout"])


def run_action(params: t.Mapping[str, t.Any], check_mode: bool, environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Carry out the action of a hsm_activity task.

    Args:
        params: The parameters of the module.
        check_mode: Write nothing.
        environ: Environment variables.

    Returns:
        The result of the module.

    Raises:
        ActivityError: A parameter is wrong, or the store does not answer a touch.
    """
    names = params["env"]
    for name in names:
        if problem := check_environment(name):
            raise ActivityError(f"env: {problem}.")
    for parameter in ("record_ttl", "idle_after", "redis_timeout"):
        if params[parameter] <= 0:
            raise ActivityError(f"{parameter}: {params[parameter]} is no duration. Set it to more than 0 seconds.")
    if params["action"] == "check":
        return _check(params, names, environ)
    return _touch(params, names, check_mode, environ)


def _touch(
    params: t.Mapping[str, t.Any], names: list[str], check_mode: bool, environ: t.Mapping[str, str]
) -> dict[str, t.Any]:
    store = open_store(params, environ)
    if check_mode:
        touched: list[dict[str, t.Any]] = [{"env": name} for name in names]
    else:
        moments = store.touch(names, params["record_ttl"])
        touched = [
            {"env": name, "last_access": moment, "expires_in": params["record_ttl"]}
            for name, moment in zip(names, moments, strict=True)
        ]
    return {"changed": bool(names), "environments": touched}


def _check(params: t.Mapping[str, t.Any], names: list[str], environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    warnings = []
    try:
        judgements = [judge(record, params["idle_after"]) for record in open_store(params, environ).read(names)]
    except ActivityError as error:
        # Whoever decides on a deletion asks here: what cannot be read is unknown, and unknown is never idle.
        judgements = [Judgement("unknown", str(error)) for _name in names]
        warnings.append(str(error))
    environments = [
        {"env": name, **dataclasses.asdict(judgement)} for name, judgement in zip(names, judgements, strict=True)
    ]
    return {"changed": False, "environments": environments, "warnings": warnings}
