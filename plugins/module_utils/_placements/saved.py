# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The option saved_placements of other modules: which store it names, and what is saved of a cluster."""

from __future__ import annotations

import typing as t

from .._cloudhsm.plan import Placement, PlanError
from .apply import open_store

if t.TYPE_CHECKING:
    from .._cloudhsm.resources import Cluster
    from .plan import PlacementStore, Record


def saved_placements_argument_spec() -> dict[str, t.Any]:
    """Return the option."""
    options = {
        "store": {"type": "str", "choices": ["redis", "dynamodb"], "required": True},
        "table": {"type": "str"},
    }
    return {"type": "dict", "options": options, "required_if": [("store", "dynamodb", ["table"])]}


def open_saved(
    option: t.Mapping[str, t.Any] | None,
    redis: t.Mapping[str, t.Any] | None,
    environ: t.Mapping[str, str],
    make_client: t.Callable[[], t.Any],
) -> PlacementStore | None:
    """Open the store that the option names; None where it is not given.

    Args:
        option: The option.
        redis: The parameters that name a Redis; None where there are none.
        environ: Environment variables.
        make_client: Makes the client of DynamoDB.

    Raises:
        PlanError: No Redis is named.
        ActivityError: Redis is not configured, or not so that it can be used.
    """
    if option is None:
        return None
    if option["store"] == "redis" and redis is None:
        raise PlanError(
            "saved_placements", "store=redis is the Redis of activity, which is not given. Give activity too."
        )
    return open_store({**(redis or {}), **option}, environ, make_client)


def record_of(cluster: Cluster) -> Record:
    """Return where the HSMs of a cluster are, those that are leaving left out, in the order of zone and address."""
    staying = [hsm for hsm in cluster.hsms if not hsm.leaving and hsm.eni_ip]
    places = [Placement(hsm.availability_zone, hsm.eni_ip) for hsm in staying]
    return tuple(sorted(places, key=lambda place: (place.availability_zone, place.ip_address or "")))
