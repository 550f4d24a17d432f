# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Requests against the constraints of botocore's model of CloudHSM v2.

botocore's client checks required members, types and minimums, and lets patterns, enums and maximums through; the
service has to refuse those.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import (
    ListShape,
    MapShape,
    ServiceModel,
    Shape,
    StringShape,
    StructureShape,
)

from .cloudhsm.errors import invalid

PYTHON_TYPES: dict[str, type] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
    "boolean": bool,
}
# One code point of the private use area stands for all non-ASCII characters of a Unicode category.
CATEGORIES = {
    "L": ("\ue000", "A-Za-z"),
    "Z": ("\ue001", " "),
    "N": ("\ue002", "0-9"),
}
NO_CATEGORY = "\uffff"


class Model:
    """The operations of CloudHSM v2 and what their input may be."""

    def __init__(self) -> None:
        self._service = ServiceModel(Loader().load_service_model("cloudhsmv2", "service-2"))

    @property
    def operations(self) -> list[str]:
        """Names of all operations of the model."""
        return list(self._service.operation_names)

    @property
    def cluster_states(self) -> list[str]:
        """States that a cluster can be in."""
        return list(self._service.shape_for("ClusterState").metadata["enum"])

    def check(self, operation: str, request: Any) -> dict[str, Any]:
        """Return the request without members that are null.

        Raises:
            CloudHsmError: Something is missing, unknown, of the wrong type or outside its constraint; the message
                names the member.
        """
        shape: Any = self._service.operation_model(operation).input_shape
        return _check(shape, request, "")


def _check(shape: Shape, value: Any, name: str) -> Any:
    if not _has_type(shape.type_name, value):
        raise invalid(f"{name or 'The request'} must be of type {shape.type_name}.")
    if isinstance(shape, StructureShape):
        return _check_structure(shape, value, name)
    _check_size(shape, value, name)
    if isinstance(shape, ListShape):
        return [_check(shape.member, item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(shape, MapShape):
        return {
            _check(shape.key, key, f"{name} key"): _check(shape.value, value[key], f"{name}.{key}") for key in value
        }
    if isinstance(shape, StringShape):
        _check_text(shape, value, name)
    return value


def _has_type(type_name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return type_name == "boolean"
    return isinstance(value, PYTHON_TYPES[type_name])


def _check_structure(shape: StructureShape, value: dict[str, Any], name: str) -> dict[str, Any]:
    prefix = f"{name}." if name else ""
    given = {member: inner for member, inner in value.items() if inner is not None}
    for member in given:
        if member not in shape.members:
            raise invalid(f"{prefix}{member} is not a member of this request.")
    for member in shape.required_members:
        if member not in given:
            raise invalid(f"{prefix}{member} is required.")
    return {member: _check(shape.members[member], inner, f"{prefix}{member}") for member, inner in given.items()}


def _check_size(shape: Shape, value: Any, name: str) -> None:
    size = value if shape.type_name in ("integer", "boolean") else len(value)
    what = "" if shape.type_name == "integer" else "the length of "
    if "min" in shape.metadata and size < shape.metadata["min"]:
        raise invalid(f"{name}: {what}the value must be at least {shape.metadata['min']}.")
    if "max" in shape.metadata and size > shape.metadata["max"]:
        raise invalid(f"{name}: {what}the value must be at most {shape.metadata['max']}.")


def _check_text(shape: StringShape, value: str, name: str) -> None:
    if shape.enum and value not in shape.enum:
        raise invalid(f"{name} must be one of {', '.join(shape.enum)}.")
    pattern = shape.metadata.get("pattern")
    if pattern and not matches(pattern, value):
        raise invalid(f"{name} must match {pattern}.")


def matches(pattern: str, value: str) -> bool:
    r"""True when a pattern of the model matches all of a value.

    Python's `re` lacks `\p{L}`, `\p{Z}` and `\p{N}`. In a pattern with one of them, which may have no other non-ASCII
    character, each becomes its ASCII members and a placeholder, and the value's other characters become the
    placeholder of their category.
    """
    if r"\p{" in pattern:
        value = "".join(character if character.isascii() else _placeholder(character) for character in value)
    return _compiled(pattern).fullmatch(value) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for category, (placeholder, ascii_members) in CATEGORIES.items():
        pattern = pattern.replace(rf"\p{{{category}}}", placeholder + ascii_members)
    return re.compile(pattern, re.ASCII)


def _placeholder(character: str) -> str:
    return CATEGORIES.get(unicodedata.category(character)[0], (NO_CATEGORY, ""))[0]
