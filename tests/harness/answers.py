# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What CloudHSM's answers must be by botocore's model: members, types, patterns, enums, lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from local_aws.validation import matches

JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    # Recorded: seconds since the epoch, with or without a fraction.
    "timestamp": (int, float),
}
# Recorded answers have empty lists of tags, which the model's minimum of 1 is for requests only.
MAY_BE_EMPTY = ("TagList",)
# Its pattern ends after the first digit, so real ids match it at their beginning only.
MATCH_AT_BEGINNING = ("VpcId",)


@cache
def model() -> ServiceModel:
    """Return botocore's model of the service."""
    return ServiceModel(Loader().load_service_model("cloudhsmv2", "service-2"))


def problems(operation: str, answer: Any) -> list[str]:
    """Return what is wrong with the answer of an operation; nothing when it fits the model."""
    return list(_problems_of(operation, json.dumps(answer)))


@lru_cache(maxsize=1000)
def _problems_of(operation: str, answer: str) -> tuple[str, ...]:
    # Whoever looks often sees the same again and again.
    return tuple(_problems(_output(operation), json.loads(answer), operation))


@cache
def _output(operation: str) -> Shape:
    shape = model().operation_model(operation).output_shape
    assert shape is not None
    return shape


@cache
def declared_errors(operation: str) -> frozenset[str]:
    """Return the codes of the errors that an operation may answer with."""
    return frozenset(shape.error_code for shape in model().operation_model(operation).error_shapes)


def _problems(shape: Any, value: Any, name: str) -> Iterator[str]:
    kind = shape.type_name
    if not isinstance(value, JSON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{name} is {value!r}, not a {kind}"
        return
    if kind == "string":
        yield from _text(shape, value, name)
    if kind in ("string", "list", "map"):
        yield from _sizes(shape, value, name)
    if kind == "structure":
        yield from _structure(shape, value, name)
    elif kind == "list":
        for index, inner in enumerate(value):
            yield from _problems(shape.member, inner, f"{name}[{index}]")
    elif kind == "map":
        for key, inner in value.items():
            yield from _problems(shape.key, key, f"{name} key")
            yield from _problems(shape.value, inner, f"{name}.{key}")


def _structure(shape: Any, value: dict[str, Any], name: str) -> Iterator[str]:
    yield from (f"{name}.{member} is missing" for member in shape.required_members if member not in value)
    for member, inner in value.items():
        if member in shape.members:
            yield from _problems(shape.members[member], inner, f"{name}.{member}")
        else:
            yield f"{name}.{member} is not in the model"


def _sizes(shape: Any, value: Any, name: str) -> Iterator[str]:
    least = 0 if shape.name in MAY_BE_EMPTY else shape.metadata.get("min", 0)
    if not least <= len(value) <= shape.metadata.get("max", len(value)):
        yield f"{name} has the length {len(value)}"


def _text(shape: Any, value: str, name: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{name} is {value!r}, none of {', '.join(shape.enum)}"
    pattern = shape.metadata.get("pattern")
    beginning_only = shape.name in MATCH_AT_BEGINNING and pattern
    if pattern and not matches(f"{pattern}.*" if beginning_only else pattern, value):
        yield f"{name} is {value!r}, which does not match {pattern}"
