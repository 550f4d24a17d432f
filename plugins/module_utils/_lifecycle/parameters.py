# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The parameters of hsm_reap, and what a run of it returns. Pure."""

from __future__ import annotations

import math
import typing as t

from .._activity.argument_spec import IDLE_AFTER, RECORD_TTL, SETTLE, redis_argument_spec
from .._activity.plan import check_duration, check_environment
from .._cloudhsm.parameters import check_cluster_id, check_durations, waiting_argument_spec
from .._cloudhsm.plan import PlanError
from .._cloudhsm.transformations import hsm_result, resource_result
from .._placements.saved import saved_placements_argument_spec
from .plan import Environment, Place, check_settle

if t.TYPE_CHECKING:
    from .fleet import Report


# Connection parameters of one environment, to what amazon.aws calls them where it makes a client.
_CONNECTION = {
    "access_key": "aws_access_key_id",
    "endpoint_url": "endpoint",
    "profile": "profile_name",
    "region": "region",
    "secret_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


def reap_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of hsm_reap."""
    connection: dict[str, t.Any] = {name: {"type": "str"} for name in _CONNECTION}
    # The id of a key is no secret, and tells whose it is.
    connection["access_key"]["no_log"] = False
    for name in ("secret_key", "session_token"):
        connection[name]["no_log"] = True
    environment = {
        "env": {"type": "str", "required": True},
        "cluster_id": {"type": "str", "required": True},
        "region": {"type": "str"},
        "idle_after": {"type": "int", "default": IDLE_AFTER},
        "protected": {"type": "bool", "default": False},
        "keep": {"type": "str", "default": ""},
        "key_stores": {"type": "str", "choices": ["refuse", "ignore"], "default": "refuse"},
        "prepared": {"type": "bool", "default": True},
        "unused_since": {"type": "float"},
        "aws": {"type": "dict", "options": connection},
    }
    return {
        "environments": {"type": "list", "elements": "dict", "required": True, "options": environment},
        "max_deletions": {"type": "int", "default": 5},
        "record_ttl": {"type": "int", "default": RECORD_TTL},
        "saved_placements": saved_placements_argument_spec(),
        "settle": {"type": "float", "default": SETTLE},
        **waiting_argument_spec(),
        **redis_argument_spec(),
    }


def make_environments(params: t.Mapping[str, t.Any], region: str | None) -> dict[Place, list[Environment]]:
    """Return the environments by account and region.

    Args:
        params: The parameters of hsm_reap.
        region: The region of those that name none.

    Raises:
        PlanError: A parameter is malformed.
    """
    check_durations(params, "wait_timeout", "wait_delay", "record_ttl")
    if problem := check_settle(params["settle"]):
        raise PlanError("settle", f"{problem}.")
    if params["max_deletions"] < 0:
        raise PlanError("max_deletions", f"{params['max_deletions']} is less than 0.")
    by_place: dict[Place, list[Environment]] = {}
    seen: set[str] = set()
    for given in params["environments"]:
        environment = _make_environment(given)
        for name in (environment.name, environment.cluster_id):
            if name in seen:
                raise PlanError("environments", f"{name} stands twice: one could not be told from the other.")
            seen.add(name)
        by_place.setdefault(_make_place(given, region), []).append(environment)
    return by_place


def report_result(report: Report) -> dict[str, t.Any]:
    """Make what hsm_reap returns of one environment."""
    deleted = report.outcome.deleted
    return {
        "env": report.environment.name,
        "cluster_id": report.environment.cluster_id,
        "status": report.status,
        "reason": report.reason,
        "idle_seconds": report.idle_seconds,
        "checked_at": report.checked_at,
        "hsms": [hsm_result(hsm) for hsm in report.hsms],
        "deleted": [hsm_result(hsm) for hsm in deleted],
        "placements": [{"availability_zone": hsm.availability_zone, "ip_address": hsm.eni_ip} for hsm in deleted],
        "backups": [resource_result(backup) for backup in report.outcome.backups],
        "warnings": report.outcome.warnings,
    }


def _make_place(given: t.Mapping[str, t.Any], region: str | None) -> Place:
    aws = {name: value for name, value in (given["aws"] or {}).items() if value is not None}
    region = given["region"] or aws.pop("region", None) or region
    if not region:
        raise PlanError("environments", f"region of {given['env']}: none is named. Set it there, or for the task.")
    aws.pop("region", None)
    # As in amazon.aws, an empty value says that there is none, whatever the environment variables have.
    return Place(region, tuple(sorted((_CONNECTION[name], value or None) for name, value in aws.items())))


def _make_environment(given: t.Mapping[str, t.Any]) -> Environment:
    if problem := check_environment(given["env"]):
        raise PlanError("environments", f"env: {problem}.")
    check_cluster_id(f"environments: cluster_id of {given['env']}", given["cluster_id"])
    if problem := check_duration(given["idle_after"]):
        raise PlanError("environments", f"idle_after of {given['env']}: {problem}.")
    # What is no number would not be less than anything.
    if given["unused_since"] is not None and not math.isfinite(given["unused_since"]):
        raise PlanError("environments", f"unused_since of {given['env']}: {given['unused_since']} is no moment.")
    kept = ("cluster_id", "idle_after", "protected", "keep", "key_stores", "prepared", "unused_since")
    return Environment(given["env"], **{name: given[name] for name in kept})
