# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Carry a step of the activity protocol out for a list of environments."""

from __future__ import annotations

import dataclasses
import secrets
import typing as t

from .api import ActivityStore
from .argument_spec import REQUIRED_IF
from .common import Limits
from .endpoint import ActivityError, find_endpoint
from .plan import (
    DAY,
    MOST_SECONDS,
    Answer,
    Judgement,
    check_duration,
    check_environment,
    check_hold_for,
    check_holder,
    check_hsm_id,
    check_token,
    explain,
    judge,
)

_Params = t.Mapping[str, t.Any]
# The most that each may be. A claim keeps everybody else out, and can be renewed.
_DURATIONS = {"record_ttl": MOST_SECONDS, "idle_after": MOST_SECONDS, "claim_for": DAY, "commit_for": DAY}
_REDIS_DURATIONS = {"redis_timeout": 3600, "redis_replica_timeout": 3600}


def open_store(params: _Params, environ: t.Mapping[str, str], dry: bool = False) -> ActivityStore:
    """Open the activity store that parameters and environment variables name. Nothing is sent yet.

    Args:
        params: The parameters of redis_argument_spec.
        environ: Environment variables.
        dry: Have no step change anything.

    Raises:
        ActivityError: It is not configured, or not so that it can be used.
    """
    return ActivityStore(find_endpoint(params, environ), make_limits(params), dry)


def run_action(params: _Params, check_mode: bool, environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Carry out the action of a hsm_activity task.

    Args:
        params: The parameters of the module.
        check_mode: Write nothing.
        environ: Environment variables.

    Returns:
        The result of the module.

    Raises:
        ActivityError: A parameter is wrong, or the store does not answer. A check is answered all the same.
    """
    _check_parameters(params)
    names, action = list(dict.fromkeys(params["env"])), params["action"]
    if action == "check":
        return _check(params, names, environ)
    store = open_store(params, environ, dry=check_mode)
    answers = _STEPS[action](store, names, params)
    described = [_describe(name, answer, params) for name, answer in zip(names, answers, strict=True)]
    return {"changed": any(answer.granted for answer in answers), "environments": described}


def _claim(store: ActivityStore, names: list[str], params: _Params) -> list[Answer]:
    token = params["token"] or secrets.token_hex(16)
    if params["phase"] == "creating":
        return store.claim_creating(names, token, params["claim_for"])
    return store.claim_retiring({names[0]: params["hsm_ids"]}, token, params["idle_after"], params["claim_for"])


_STEPS: dict[str, t.Callable[[ActivityStore, list[str], _Params], list[Answer]]] = {
    "touch": lambda store, names, params: store.touch(names, params["record_ttl"]),
    "hold": lambda store, names, params: store.hold(names, params["holder"], params["hold_for"], params["record_ttl"]),
    "release": lambda store, names, params: store.release(names, params["holder"], params["record_ttl"]),
    "claim": _claim,
    "commit": lambda store, names, params: store.commit(names, params["token"], params["commit_for"]),
    "cancel": lambda store, names, params: store.cancel(names, params["token"]),
    "finish": lambda store, names, params: store.finish(names, params["token"]),
}
# These are about one claim, and may be refused.
_OF_A_CLAIM = ("claim", "commit", "cancel", "finish")


def _check(params: _Params, names: list[str], environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    try:
        answers = open_store(params, environ).check(names)
    except ActivityError as error:
        # Whoever decides on a deletion asks here: what cannot be read is unknown, and unknown is never idle.
        unknown = [_plain(name, Judgement("unknown", str(error))) for name in names]
        return {"changed": False, "environments": unknown, "warnings": [str(error)]}
    described = [_describe(name, answer, params) for name, answer in zip(names, answers, strict=True)]
    return {"changed": False, "environments": described}


def _describe(name: str, answer: Answer, params: _Params) -> dict[str, t.Any]:
    described = _plain(name, judge(answer.snapshot, params["idle_after"]))
    if params["action"] in _OF_A_CLAIM:
        described |= {"granted": answer.granted, "refusal": answer.refusal}
        described["reason"] = explain(answer, params["idle_after"])
    return described


def _plain(name: str, judgement: Judgement) -> dict[str, t.Any]:
    """Make of a judgement what a module returns: lists, not tuples."""
    plain = {"env": name, **dataclasses.asdict(judgement), "holders": list(map(dataclasses.asdict, judgement.holders))}
    if judgement.claim:
        plain["claim"]["hsm_ids"] = list(judgement.claim.hsm_ids)
    return plain


def _check_parameters(params: _Params) -> None:
    # Ansible takes what is given as none for given.
    for option, value, needed in REQUIRED_IF:
        if params[option] == value and (missing := [name for name in needed if not params[name]]):
            raise ActivityError(f"{missing[0]}: {option}={value} needs one, and none is given.")
    if not params["env"]:
        raise ActivityError("env: no environment is named. Name one or more.")
    problems = [("env", check_environment(name)) for name in params["env"]]
    if params["holder"] is not None:
        problems.append(("holder", check_holder(params["holder"])))
    if params["token"] is not None:
        problems.append(("token", check_token(params["token"])))
    problems += [("hsm_ids", check_hsm_id(hsm_id)) for hsm_id in params["hsm_ids"] or []]
    problems.append(("hold_for", check_hold_for(params["hold_for"], params["allow_long_hold"])))
    problems += _duration_problems(params, _DURATIONS)
    for parameter, problem in problems:
        if problem:
            raise ActivityError(f"{parameter}: {problem}.")
    make_limits(params)
    if params["action"] in _OF_A_CLAIM and len(set(params["env"])) != 1:
        raise ActivityError(f"env: {params['action']} is for one environment at a time. Name one.")


def make_limits(params: _Params) -> Limits:
    """Return how long to wait for Redis, as the parameters of redis_argument_spec say.

    Raises:
        ActivityError: One is no duration, or less than 0.
    """
    for parameter, problem in _duration_problems(params, _REDIS_DURATIONS):
        if problem:
            raise ActivityError(f"{parameter}: {problem}.")
    for name, most in (("redis_min_replicas", 100), ("redis_retry_for", DAY)):
        if not 0 <= (params[name] or 0) <= most:
            raise ActivityError(f"{name}: {params[name]} is less than 0, or too much. Set it to 0 to {most}.")
    return Limits(
        params["redis_timeout"],
        params["redis_retry_for"],
        params["redis_min_replicas"],
        params["redis_replica_timeout"],
    )


def _duration_problems(params: _Params, most: t.Mapping[str, int]) -> list[tuple[str, str | None]]:
    return [(name, check_duration(params[name], most[name])) for name in most]
