# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The module hsm_placement: its parameters, the store that they name, and what it does."""

from __future__ import annotations

import typing as t

from .._activity.apply import make_limits
from .._activity.argument_spec import redis_argument_spec
from .._activity.endpoint import find_endpoint
from .._cloudhsm.parameters import check_cluster_id
from .._cloudhsm.plan import PlanError
from .dynamodb_store import DynamoDbPlacements
from .plan import Owner, PlacementStore, Record, make_record
from .redis_store import RedisPlacements

# What each store, and each state, cannot do without.
REQUIRED_IF = [
    ("store", "redis", ["env"]),
    ("store", "dynamodb", ["cluster_id", "table"]),
    ("state", "present", ["placements"]),
]

_Params = t.Mapping[str, t.Any]


def placement_argument_spec() -> dict[str, t.Any]:
    """Return the parameters of hsm_placement."""
    place = {
        "availability_zone": {"type": "str", "required": True},
        "ip_address": {"type": "str", "required": True},
    }
    return {
        "state": {"type": "str", "choices": ["present", "absent", "queried"], "default": "present"},
        "store": {"type": "str", "choices": ["redis", "dynamodb"], "default": "redis"},
        "env": {"type": "str"},
        "cluster_id": {"type": "str"},
        "table": {"type": "str"},
        "placements": {"type": "list", "elements": "dict", "options": place},
        **redis_argument_spec(),
    }


def open_store(params: _Params, environ: t.Mapping[str, str], make_client: t.Callable[[], t.Any]) -> PlacementStore:
    """Open the store that parameters name. Nothing is sent yet.

    Args:
        params: store, "redis" or "dynamodb"; for the first those of redis_argument_spec, for the second table.
        environ: Environment variables.
        make_client: Makes the client of DynamoDB.

    Raises:
        ActivityError: Redis is not configured, or not so that it can be used.
    """
    if params["store"] == "dynamodb":
        return DynamoDbPlacements(make_client(), params["table"])
    return RedisPlacements(find_endpoint(params, environ), make_limits(params))


def make_owner(params: _Params) -> Owner:
    """Return whose placements are meant.

    Raises:
        PlanError: The cluster id is malformed, or what the store needs is missing.
    """
    for parameter in ("cluster_id", "table") if params["store"] == "dynamodb" else ():
        if not params[parameter]:
            raise PlanError(parameter, "is missing. store=dynamodb needs it.")
    if params["cluster_id"] is not None:
        check_cluster_id("cluster_id", params["cluster_id"])
    return Owner(params["env"] or "", params["cluster_id"] or "")


def make_wish(params: _Params) -> Record | None:
    """Return the record that there is to be; None: as it is.

    Raises:
        PlanError: A placement is malformed, or there is none, or one too many.
    """
    given = params["placements"]
    if params["state"] != "present" and given is not None:
        raise PlanError("placements", "is for state=present only.")
    if params["state"] == "present" and not given:
        raise PlanError("placements", "is empty. Name where the HSMs were; to forget it use state=absent.")
    return None if params["state"] == "queried" else make_record(given or [])


def converge(store: PlacementStore, owner: Owner, wish: Record | None, check_mode: bool) -> tuple[Record, Record]:
    """Have a store keep a record.

    Args:
        store: The store.
        owner: Whose it is.
        wish: The record; empty: none; None: as it is.
        check_mode: Write nothing.

    Returns:
        The record before and after.

    Raises:
        PlacementError: The record cannot be read, or not be kept.
        ActivityError: Redis does not answer.
        AnsibleCloudHSMError: A call to DynamoDB failed.
    """
    before = store.load(owner)
    if wish is None or wish == before:
        return before, before
    if not check_mode:
        if wish:
            store.replace(owner, wish)
        else:
            store.forget(owner)
    return before, wish
