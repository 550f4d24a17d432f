# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_aws.iam.policies import (
    Decision,
    PolicyError,
    Question,
    decide,
    glob,
    resource_policy_allows,
)

ALLOWED, IMPLICIT, EXPLICIT = Decision.ALLOWED, Decision.IMPLICIT_DENY, Decision.EXPLICIT_DENY
ARN = "arn:aws:cloudhsm:eu-west-1:123456789012:cluster/cluster-abcdefghij2"
OTHER = "arn:aws:cloudhsm:eu-west-1:123456789012:cluster/cluster-abcdefghij3"


def statement(effect: str = "Allow", action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def said(
    *statements: dict[str, Any], action: str = "cloudhsm:CreateHsm", resource: str = ARN, **context: tuple[str, ...]
) -> Decision:
    return decide([policy(*statements)], Question(action, resource, context))


def holds(operator: str, key: str, wanted: Any, context: dict[str, tuple[str, ...]]) -> bool:
    document = policy(statement(Condition={operator: {key: wanted}}))
    return decide([document], Question("a:b", "*", context)) is ALLOWED


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([], IMPLICIT),
        ([statement(action="cloudhsm:CreateHsm")], ALLOWED),
        ([statement(action="CLOUDHSM:createhsm")], ALLOWED),
        ([statement(action=["cloudhsm:DeleteHsm", "cloudhsm:Create*"])], ALLOWED),
        ([statement(action="cloudhsm:DeleteHsm")], IMPLICIT),
        ([statement(action="cloudhsm:CreateHs")], IMPLICIT),
        ([statement(resource=ARN)], ALLOWED),
        ([statement(resource=OTHER)], IMPLICIT),
        ([statement(resource=ARN.upper())], IMPLICIT),
        ([statement(resource="arn:aws:cloudhsm:*:cluster/cluster-abcdefghij?")], ALLOWED),
        ([statement(), statement("Deny")], EXPLICIT),
        ([statement("Deny"), statement()], EXPLICIT),
        ([statement(), statement("Deny", resource=OTHER)], ALLOWED),
        ([{"Effect": "Allow", "NotAction": "cloudhsm:Delete*", "Resource": "*"}], ALLOWED),
        ([{"Effect": "Allow", "NotAction": "cloudhsm:Create*", "Resource": "*"}], IMPLICIT),
        ([{"Effect": "Allow", "Action": "*", "NotResource": OTHER}], ALLOWED),
        ([{"Effect": "Allow", "Action": "*", "NotResource": [OTHER, ARN]}], IMPLICIT),
    ],
)
def test_statements(statements: list[dict[str, Any]], decision: Decision) -> None:
    assert said(*statements) is decision


def test_one_statement_needs_no_list() -> None:
    assert decide([json.dumps({"Statement": statement()})], Question("a:b", "*")) is ALLOWED


def test_denial_in_one_document_outweighs_another() -> None:
    assert decide([policy(statement()), policy(statement("Deny"))], Question("a:b", "*")) is EXPLICIT


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "expected"),
    [
        ("StringEquals", "dev", "dev", True),
        ("StringEquals", ["prod", "dev"], "dev", True),
        ("StringEquals", "dev", "Dev", False),
        ("StringEquals", "d*", "dev", False),
        ("StringEqualsIgnoreCase", "dev", "Dev", True),
        ("StringNotEqualsIgnoreCase", "dev", "Dev", False),
        ("StringNotEquals", "dev", "prod", True),
        ("StringNotEquals", ["dev", "prod"], "prod", False),
        ("StringLike", "d?v*", "dev-1", True),
        ("StringLike", "d?v", "dev-1", False),
        ("StringNotLike", ["x*", "d*"], "dev", False),
        ("StringNotLike", "x*", "dev", True),
        ("Bool", "true", "True", True),
        ("Bool", True, "true", True),
        ("Bool", "false", "true", False),
        ("ArnLike", "arn:aws:iam::*:role/ops-*", "arn:aws:iam::123456789012:role/ops-1", True),
        ("ArnEquals", "arn:aws:iam::*:role/ops-*", "arn:aws:iam::123456789012:role/ops-1", True),
        ("ArnLike", "arn:*:role/ops", "arn:aws:iam::123456789012:role/ops", False),
        ("ArnNotLike", "arn:aws:iam::*:role/*", "arn:aws:iam::123456789012:user/eve", True),
        ("ArnNotEquals", "arn:aws:iam::*:role/*", "arn:aws:iam::123456789012:role/eve", False),
        ("Null", "true", "dev", False),
        ("Null", "false", "dev", True),
        ("StringEqualsIfExists", "dev", "prod", False),
    ],
)
def test_condition_on_one_value(operator: str, wanted: Any, value: str, expected: bool) -> None:
    assert holds(operator, "aws:ResourceTag/env", wanted, {"aws:ResourceTag/env": (value,)}) is expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringNotEquals", True),
        ("StringLike", False),
        ("StringNotLike", True),
        ("ArnNotLike", True),
        ("Bool", False),
        ("StringEqualsIfExists", True),
        ("BoolIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAnyValue:StringEqualsIfExists", True),
    ],
)
def test_condition_on_a_key_that_is_not_there(operator: str, expected: bool) -> None:
    assert holds(operator, "aws:TagKeys", "x", {}) is expected


def test_null_on_a_key_that_is_not_there() -> None:
    assert holds("Null", "aws:TagKeys", "true", {})
    assert not holds("Null", "aws:TagKeys", "false", {})


@pytest.mark.parametrize(
    ("operator", "keys", "expected"),
    [
        ("ForAllValues:StringEquals", ("a", "b"), True),
        ("ForAllValues:StringEquals", ("a", "c"), False),
        ("ForAnyValue:StringEquals", ("c", "b"), True),
        ("ForAnyValue:StringEquals", ("c", "d"), False),
        ("ForAnyValue:StringNotEquals", ("a", "c"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), False),
        ("ForAllValues:StringNotEquals", ("c", "d"), True),
        ("ForAllValues:StringNotEquals", ("a", "d"), False),
        ("StringEquals", ("a", "c"), True),
        ("StringNotEquals", ("a", "c"), False),
    ],
)
def test_condition_on_several_values(operator: str, keys: tuple[str, ...], expected: bool) -> None:
    assert holds(operator, "aws:TagKeys", ["a", "b"], {"aws:TagKeys": keys}) is expected


def test_all_conditions_have_to_hold_and_keys_have_no_case() -> None:
    both = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}, "StringLike": {"AWS:resourcetag/Env": "d*"}}
    document = policy(statement(Condition=both))
    for region, env, decision in (("eu-west-1", "dev", ALLOWED), ("eu-west-1", "p", IMPLICIT), ("x", "dev", IMPLICIT)):
        context = {"aws:RequestedRegion": (region,), "aws:ResourceTag/env": (env,)}
        assert decide([document], Question("a:b", "*", context)) is decision


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (statement("Permit"), "needs the Effect Allow or Deny: .*'Permit'"),
        ("Allow", "needs the Effect Allow or Deny: 'Allow'"),
        ({"Effect": "Allow", "Resource": "*"}, "needs Action or NotAction"),
        ({"Effect": "Allow", "Action": "*"}, "needs Resource or NotResource"),
        (statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), "operator IpAddress is not evaluated"),
        (statement(Condition={"Some:Bool": {"a": "true"}}), "operator Some:Bool is not evaluated"),
        (statement(resource="arn:aws:iam::123456789012:user/${aws:username}"), "variables are not evaluated"),
        (statement(Condition={"StringEquals": {"a": "${aws:username}"}}), "variables are not evaluated"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(bad: Any, message: str) -> None:
    for statements in ([bad], [statement("Deny"), bad], [bad, statement("Deny")]):
        with pytest.raises(PolicyError, match=message):
            said(*statements)


def test_what_is_about_something_else_need_not_be_evaluated() -> None:
    about_s3 = statement(action="s3:*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    assert said(about_s3, statement()) is ALLOWED


ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/dr"


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"AWS": ACCOUNT}, True),
        ({"AWS": ["111122223333", f"arn:aws:iam::{ACCOUNT}:root"]}, True),
        ({"AWS": ROLE}, True),
        ({"AWS": "111122223333"}, False),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}, False),
        ({"Service": "cloudhsm.amazonaws.com"}, False),
    ],
)
def test_principals_of_a_resources_policy(principal: Any, expected: bool) -> None:
    document = policy({"Effect": "Allow", "Principal": principal, "Action": "cloudhsm:CreateCluster", "Resource": ARN})
    assert resource_policy_allows(document, ACCOUNT, ROLE, "cloudhsm:CreateCluster", ARN) is expected
    assert not resource_policy_allows(document, ACCOUNT, ROLE, "cloudhsm:DescribeBackups", ARN)
    assert not resource_policy_allows(document, ACCOUNT, ROLE, "cloudhsm:CreateCluster", OTHER)


def test_resources_policy_denies_and_has_conditions() -> None:
    allow = {"Effect": "Allow", "Principal": "*", "Action": "*"}
    for more, expected in (
        ({}, True),
        ({"Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/d?"}}}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalAccount": "111122223333"}}}, False),
        ({"NotResource": ARN}, False),
    ):
        assert resource_policy_allows(policy({**allow, **more}), ACCOUNT, ROLE, "a:b", ARN) is expected
    deny = {**allow, "Effect": "Deny", "Principal": {"AWS": ROLE}}
    assert not resource_policy_allows(policy(allow, deny), ACCOUNT, ROLE, "a:b", ARN)


def test_resources_policy_without_statements_allows_nothing() -> None:
    assert not resource_policy_allows("{}", ACCOUNT, ROLE, "a:b", ARN)


def test_not_principal_is_an_error() -> None:
    document = policy(statement(NotPrincipal={"AWS": ACCOUNT}))
    with pytest.raises(PolicyError, match="NotPrincipal is not evaluated here"):
        resource_policy_allows(document, ACCOUNT, ROLE, "a:b", ARN)


WORDS = st.text(alphabet="ab:/", max_size=6)
PATTERNS = st.text(alphabet="ab:/*?.[", max_size=8)
CONDITIONS = st.dictionaries(
    st.sampled_from(["StringEquals", "StringNotLike", "ForAllValues:StringLike", "ForAnyValue:StringLike", "Null"]),
    st.dictionaries(st.sampled_from(["k", "l"]), st.lists(st.sampled_from(["a", "b*", "true"]), min_size=1)),
    max_size=2,
)


def statements(effect: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda action, resource, negated, condition: {
            "Effect": effect,
            "NotAction" if negated else "Action": action,
            "Resource": resource,
            "Condition": condition,
        },
        st.lists(st.just("*") | PATTERNS, min_size=1, max_size=3),
        st.lists(st.just("*") | PATTERNS, min_size=1, max_size=3),
        st.booleans(),
        CONDITIONS,
    )


ALLOWS, DENIES = statements("Allow"), statements("Deny")
SEVERAL = st.lists(ALLOWS | DENIES, max_size=4)
QUESTIONS = st.builds(
    Question, WORDS, WORDS, st.dictionaries(st.sampled_from(["k", "l"]), st.lists(WORDS, min_size=1).map(tuple))
)


def is_wild_match(pattern: str, text: str) -> bool:
    """The meaning of the wildcards, character by character."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(is_wild_match(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and is_wild_match(pattern[1:], text[1:])


@given(PATTERNS, WORDS)
def test_wildcards_mean_what_they_say(pattern: str, text: str) -> None:
    assert glob(pattern, text) is is_wild_match(pattern, text)


@given(PATTERNS, st.data())
def test_text_made_after_a_pattern_fits_it(pattern: str, data: st.DataObject) -> None:
    fill = {"*": WORDS, "?": st.sampled_from("ab:/\n")}
    text = "".join(data.draw(fill[character]) if character in fill else character for character in pattern)
    assert glob(pattern, text)


@given(SEVERAL, DENIES, st.integers(0, 4), QUESTIONS)
def test_denial_always_wins(others: list[Any], deny: dict[str, Any], place: int, question: Question) -> None:
    if decide([policy(deny)], question) is not EXPLICIT:
        deny = statement("Deny")
    assert decide([policy(*others[:place], deny, *others[place:])], question) is EXPLICIT
    assert decide([policy(*others), policy(deny)], question) is EXPLICIT


@given(SEVERAL, ALLOWS, QUESTIONS)
def test_one_more_allow_takes_nothing_away(before: list[Any], more: dict[str, Any], question: Question) -> None:
    weight = [EXPLICIT, IMPLICIT, ALLOWED].index
    decision = decide([policy(*before)], question)
    after = decide([policy(*before, more)], question)
    assert weight(after) >= weight(decision)
    assert (after is EXPLICIT) is (decision is EXPLICIT)


@given(SEVERAL, QUESTIONS)
def test_what_nothing_speaks_of_is_denied(given_statements: list[Any], question: Question) -> None:
    each = [decide([policy(one)], question) for one in given_statements]
    together = decide([policy(*given_statements)], question)
    assert (together is IMPLICIT) is all(one is IMPLICIT for one in each)
    assert (together is ALLOWED) is (ALLOWED in each and EXPLICIT not in each)
