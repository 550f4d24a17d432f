# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Requests against the constraints of botocore's model of a service.

botocore's client checks required members, types and minimums, and lets patterns, enums and maximums through; the
service has to refuse those.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable
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

PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "blob": str,
    "timestamp": (int, float),
}
# One code point of the private use area stands for all non-ASCII characters of a Unicode category.
CATEGORIES = {
    "L": ("\ue000", "A-Za-z"),
    "Z": ("\ue001", " "),
    "N": ("\ue002", "0-9"),
}
NO_CATEGORY = "\uffff"


class MismatchError(Exception):
    """A request is not what the model says; the message names the member."""


class Model:
    """The operations of a service and what their input may be.

    Args:
        service: Name as boto3 has it.
        error: Makes the service's error for a text.
    """

    def __init__(self, service: str = "cloudhsmv2", error: Callable[[str], Exception] = invalid) -> None:
        self._service = ServiceModel(Loader().load_service_model(service, "service-2"))
        self._error = error

    @property
    def operations(self) -> list[str]:
        """Names of all operations of the model."""
        return list(self._service.operation_names)

    @property
    def cluster_states(self) -> list[str]:
        """States that a cluster of CloudHSM can be in."""
        return list(self._service.shape_for("ClusterState").metadata["enum"])

    def check(self, operation: str, request: Any) -> dict[str, Any]:
        """Return the request without members that are null, and with blobs as bytes.

        Raises:
            Exception: The service's error. Something is missing, unknown, of the wrong type or outside its
                constraint; the message names the member.
        """
        shape: Any = self._service.operation_model(operation).input_shape
        try:
            return _check(shape, request, "")
        except MismatchError as mismatch:
            raise self._error(str(mismatch)) from None


def _check(shape: Shape, value: Any, name: str) -> Any:
    if not _has_type(shape.type_name, value):
        raise MismatchError(f"{name or 'The request'} must be of type {shape.type_name}.")
    if isinstance(shape, StructureShape):
        return _check_structure(shape, value, name)
    if shape.type_name == "blob":
        value = _decode(value, name)
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
            raise MismatchError(f"{prefix}{member} is not a member of this request.")
    for member in shape.required_members:
        if member not in given:
            raise MismatchError(f"{prefix}{member} is required.")
    return {member: _check(shape.members[member], inner, f"{prefix}{member}") for member, inner in given.items()}


def _decode(value: str, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise MismatchError(f"{name} must be base64.") from None


def _check_size(shape: Shape, value: Any, name: str) -> None:
    size = value if shape.type_name in ("integer", "boolean", "timestamp") else len(value)
    what = "" if shape.type_name == "integer" else "the length of "
    if "min" in shape.metadata and size < shape.metadata["min"]:
        raise MismatchError(f"{name}: {what}the value must be at least {shape.metadata['min']}.")
    if "max" in shape.metadata and size > shape.metadata["max"]:
        raise MismatchError(f"{name}: {what}the value must be at most {shape.metadata['max']}.")


def _check_text(shape: StringShape, value: str, name: str) -> None:
    if shape.enum and value not in shape.enum:
        raise MismatchError(f"{name} must be one of {', '.join(shape.enum)}.")
    pattern = shape.metadata.get("pattern")
    if pattern and not matches(pattern, value):
        raise MismatchError(f"{name} must match {pattern}.")


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
