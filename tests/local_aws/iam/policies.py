# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""IAM policy documents: what they allow and deny."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

WILDCARDS = {"*": ".*", "?": "."}
QUANTIFIERS = ("", "ForAllValues", "ForAnyValue")
# service, Region and so on; what follows the fifth colon is one part, whatever is in it.
ARN_COLONS = 5


class PolicyError(ValueError):
    """A policy says something that cannot be evaluated here."""


class Decision(Enum):
    """What policies say about a question."""

    ALLOWED = "allowed"
    IMPLICIT_DENY = "no statement allows it"
    EXPLICIT_DENY = "a statement denies it"


@dataclass(frozen=True)
class Question:
    """What is asked of policies.

    Attributes:
        action: Such as `cloudhsm:CreateHsm`.
        resource: ARN, or `*` for an action that has no type of resource.
        context: Condition keys that the request has, with their values. A key that is not here is not in the request.
    """

    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def decide(documents: Iterable[str], question: Question) -> Decision:
    """Return what policy documents, taken together, say. A denial outweighs whatever allows.

    Raises:
        PolicyError: A statement about this action and resource cannot be evaluated.
    """
    return _weigh(
        statement["Effect"]
        for document in documents
        for statement in _statements(document)
        if _applies(statement, question)
    )


def resource_policy_allows(
    policy_json: str, principal_account: str, principal_arn: str, action: str, resource_arn: str
) -> bool:
    """True when the policy of a resource lets a principal do something with it.

    Args:
        policy_json: The document; one without statements allows nothing.
        principal_account: Account of the caller.
        principal_arn: ARN of the caller, for an assumed role that of the role.
        action: Such as `cloudhsm:CreateCluster`.
        resource_arn: The resource that has the policy.

    Raises:
        PolicyError: A statement cannot be evaluated.
    """
    context = {"aws:PrincipalArn": (principal_arn,), "aws:PrincipalAccount": (principal_account,)}
    question = Question(action, resource_arn, context)
    decision = _weigh(
        statement["Effect"]
        for statement in _statements(policy_json)
        if _is_about(statement, principal_account, principal_arn) and _applies(_whole_resource(statement), question)
    )
    return decision is Decision.ALLOWED


def glob(pattern: str, text: str) -> bool:
    """True when a pattern, in which `*` is any text and `?` is any one character, matches all of a text."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(WILDCARDS.get(character) or re.escape(character) for character in pattern), re.DOTALL)


def _weigh(effects: Iterable[str]) -> Decision:
    # All of them, so that an error in a policy does not depend on the order of its statements.
    found = set(effects)
    if "Deny" in found:
        return Decision.EXPLICIT_DENY
    return Decision.ALLOWED if found else Decision.IMPLICIT_DENY


def _statements(document: str) -> list[dict[str, Any]]:
    found = json.loads(document).get("Statement", [])
    statements = found if isinstance(found, list) else [found]
    for statement in statements:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise PolicyError(f"a statement needs the Effect Allow or Deny: {statement!r}")
    return statements


def _applies(statement: dict[str, Any], question: Question) -> bool:
    return (
        _names(statement, "Action", lambda pattern: glob(pattern.lower(), question.action.lower()))
        and _names(statement, "Resource", lambda pattern: glob(pattern, question.resource))
        and _conditions_hold(statement.get("Condition", {}), question.context)
    )


def _names(statement: dict[str, Any], element: str, matches: Callable[[str], bool]) -> bool:
    if f"Not{element}" in statement:
        return not any(matches(pattern) for pattern in _texts(statement[f"Not{element}"]))
    if element not in statement:
        raise PolicyError(f"a statement needs {element} or Not{element}")
    return any(matches(pattern) for pattern in _texts(statement[element]))


def _is_about(statement: dict[str, Any], account: str, arn: str) -> bool:
    if "Principal" not in statement:
        raise PolicyError("a statement of a resource's policy needs Principal; NotPrincipal is not evaluated here")
    principal = statement["Principal"]
    if principal == "*":
        return True
    named = _texts(principal.get("AWS", []))
    return any(one in ("*", account, arn) or one.endswith(f":iam::{account}:root") for one in named)


def _whole_resource(statement: dict[str, Any]) -> dict[str, Any]:
    # Such a policy hangs on one resource, so that it need not name it.
    return statement if "NotResource" in statement else {"Resource": "*", **statement}


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, tuple[str, ...]]) -> bool:
    present = {key.lower(): values for key, values in context.items()}
    # Every one is looked at, so that one that cannot be evaluated does not hide behind one that does not hold.
    results = [
        _holds(operator, _texts(wanted), present.get(key.lower(), ()))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    ]
    return all(results)


def _holds(operator: str, wanted: list[str], values: tuple[str, ...]) -> bool:
    if operator == "Null":
        return any((text.lower() == "true") == (not values) for text in wanted)
    quantifier, _colon, name = operator.rpartition(":")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    negated = name in NEGATIONS
    compare = COMPARISONS.get(NEGATIONS.get(name, name))
    if compare is None or quantifier not in QUANTIFIERS:
        raise PolicyError(f"condition operator {operator} is not evaluated here")
    if not values:
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)
    fits = [any(compare(text, value) for text in wanted) != negated for value in values]
    # Without a quantifier, "is not" is the opposite of "is": for a key with several values, none of them may be it.
    every = quantifier == "ForAllValues" or (negated and not quantifier)
    return all(fits) if every else any(fits)


def _arn_like(pattern: str, arn: str) -> bool:
    patterns, parts = pattern.split(":", ARN_COLONS), arn.split(":", ARN_COLONS)
    return len(patterns) == len(parts) and all(map(glob, patterns, parts))


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [str(one).lower() if isinstance(one, bool) else str(one) for one in values]
    if any("${" in text for text in texts):
        raise PolicyError(f"policy variables are not evaluated here: {value!r}")
    return texts


COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": glob,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
}
NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}
