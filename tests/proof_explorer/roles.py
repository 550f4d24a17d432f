# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the actors do: the modules' way of putting the real code together, without Ansible."""

from __future__ import annotations

import functools
import types
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.apply import open_store
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.argument_spec import (
    heartbeat_argument_spec,
    redis_argument_spec,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.common import Call
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.endpoint import ActivityError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.heartbeat import Heartbeat
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import api, apply
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.creation import CreateOptions, Creator
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.plan import PlanError, Present, make_plan
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.view import ClusterView, Outcome
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.waiters import Wait, WaitError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle import fleet
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.ensuring import make_guard
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.plan import Environment

from . import seams
from .client import Client
from .cloud import CLUSTER
from .programs import Operation, Program
from .store import ENVIRONMENT, PLAIN_SET, RECORD

if t.TYPE_CHECKING:
    from .scenario import Part, Scenario

FAILURES = (ActivityError, PlanError, WaitError, AnsibleAWSError)


def make_program(scenario: Scenario, part: Part, number: int) -> Program:
    """Make the program of one actor."""
    kind, name, given = part
    bodies = {"job": job, "reaper": reaper, "writer": writer}
    return Program(name, lambda program: bodies[kind](scenario, program, given), number)


def job(scenario: Scenario, program: Program, holder: str | None) -> Operation:
    """A CI job: see to it that there is an HSM, as cloudhsm_hsm does, then use it and beat."""
    params = _activity_params(scenario, holder)
    observers: list[t.Any] = []
    skew = scenario.skew.get(program.name, 0)
    wait = Wait(scenario.patience, scenario.delay, observers, lambda: program.now, seams.sleep)
    module = types.SimpleNamespace(
        params={}, client=lambda _service, aws_config: Client(program, aws_config.retries["total_max_attempts"], skew)
    )
    view = ClusterView(Client(program, scenario.attempts, skew), CLUSTER, Outcome())
    guard = make_guard({"activity": params, "wait": True}, view, wait, observers)
    make_client = functools.partial(api.creating_client, t.cast("t.Any", module), guard.deadline)
    creator = Creator(view, make_client, lambda: None, CreateOptions(), wait, guard)
    try:
        apply.converge(
            view, functools.partial(make_plan, Present(count=scenario.count)), creator, guard, wait, True, False
        )
    except FAILURES as error:
        return Operation("done", f"fails: {error}")
    used = tuple((hsm.hsm_id, hsm.eni_id.removeprefix("eni-")) for hsm in view.cluster.hsms if hsm.usable)
    beat = program.capture(Heartbeat(params, lambda _text: None).touch)
    return Operation("use", f"is told to use {', '.join(hsm_id for hsm_id, _eni in used)}", (used, beat.arguments))


def reaper(scenario: Scenario, program: Program, _given: None) -> Operation:
    """One tick of the reaper, as hsm_reap does it."""
    skew = scenario.skew.get(program.name, 0)
    parts = fleet.Fleet(
        environments={"eu-west-1": [Environment(ENVIRONMENT, CLUSTER, scenario.idle_after)]},
        store=open_store(_redis_params(scenario), {}),
        make_client=lambda _region: Client(program, scenario.attempts, skew),
        make_wait=lambda _name: Wait(scenario.patience, scenario.delay, (), lambda: program.now, seams.sleep),
        settle=scenario.times.settle,
        record_ttl=scenario.record_ttl,
        most=5,
    )
    try:
        report = fleet.reap(parts, False)[0]
    except FAILURES as error:
        return Operation("done", f"fails: {error}")
    # What no error of ours describes is reported by the name of its class.
    crashed = report.status == "failed" and report.reason.partition(":")[0].endswith("Error")
    return Operation("crash" if crashed else "done", f"{report.status}: {report.reason}")


def writer(scenario: Scenario, program: Program, skew: int) -> Operation:
    """A script of another world, which writes the record with its own clock."""
    seams.redis_step(PLAIN_SET, Call((RECORD,), (int(program.now) + skew,)))
    return Operation("done", "has written the record")


def _redis_params(scenario: Scenario) -> dict[str, t.Any]:
    """Return the parameters that name the activity store."""
    defaults = {name: spec.get("default") for name, spec in redis_argument_spec().items()}
    return {**defaults, "redis_url": "redis://127.0.0.1:6379/0", "redis_min_replicas": int(scenario.failover)}


def _activity_params(scenario: Scenario, holder: str | None) -> dict[str, t.Any]:
    """Return the parameters of `activity`."""
    defaults = {name: spec.get("default") for name, spec in heartbeat_argument_spec().items()}
    given = {"env": ENVIRONMENT, "holder": holder, "settle": scenario.times.settle}
    return {**defaults, **_redis_params(scenario), **given, "record_ttl": scenario.record_ttl}
