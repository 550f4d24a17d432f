# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The guard at the door: lets a request in, or says why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from ..cloudhsm.errors import CloudHsmError
from ..knobs import Knobs
from .actions import CREATE_ROLE, OPERATIONS, SERVICE, dependent_actions, own_action
from .policies import Decision, Question, decide
from .principals import Identities, Principal
from .request import SignedRequest
from .signature import CODE as INVALID_SIGNATURE
from .signature import check_age, is_genuine

# Access keys that stand for the root of an account: the account's number, and what moto's users write.
ROOT_KEY = re.compile(r"\d{12}|testing")

NO_ROLE = (
    "This operation requires that the caller have permission to call iam:CreateServiceLinkedRole to create the "
    "CloudHSM Service Linked Role."
)


class Clock(Protocol):
    """What the guard needs of the virtual clock."""

    def at_real(self, wall: float) -> tuple[float, float]:
        """Return the earliest and the latest virtual time within the real second that begins at `wall`."""


class Guard:
    """Checks the age of every signature, and, where IAM is enforced, who the caller is and what it may do.

    Args:
        identities: Where access keys are looked up.
        clock: Virtual time.
    """

    def __init__(self, identities: Identities, clock: Clock) -> None:
        self._identities = identities
        self._clock = clock

    def check(self, request: SignedRequest, knobs: Knobs, resource_tags: Callable[[str], Mapping[str, str]]) -> None:
        """Return if a request may go on.

        An operation that does not exist needs no permission: it is for the service to refuse.

        Args:
            request: The request.
            knobs: Settings in force.
            resource_tags: Gives the tags of a cluster or backup by its ARN; of one that does not exist, none.

        Raises:
            CloudHsmError: It may not.
            PolicyError: A policy that matters cannot be evaluated.
        """
        check_age(
            request.signed,
            request.arrived,
            request.now,
            self._clock.at_real,
            knobs.signature_life_seconds,
            knobs.signature_clock,
        )
        if not knobs.iam_enforced:
            return
        principal = self._authenticate(request, knobs)
        if principal.policies is None or request.operation not in OPERATIONS:
            return
        self._authorize(request, principal, knobs, resource_tags)

    def _authenticate(self, request: SignedRequest, knobs: Knobs) -> Principal:
        principal = self._identities.find(request.access_key) or _root(request)
        if principal is None:
            raise CloudHsmError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if principal.secret is None:
            return principal
        if principal.session_token != request.session_token:
            raise CloudHsmError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if knobs.iam_signatures_checked and not is_genuine(request, principal.secret):
            raise CloudHsmError(
                INVALID_SIGNATURE,
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method.",
            )
        # When a session began is known to the fraction: the earliest reading from there on is the one of that moment.
        if principal.lifetime is not None:
            began, _latest = self._clock.at_real(principal.issued)
            if request.now >= began + principal.lifetime:
                raise CloudHsmError("ExpiredTokenException", "The security token included in the request is expired")
        return principal

    def _authorize(
        self,
        request: SignedRequest,
        principal: Principal,
        knobs: Knobs,
        resource_tags: Callable[[str], Mapping[str, str]],
    ) -> None:
        asked = (request.operation, request.parameters, request.account, request.region)
        own = own_action(*asked)
        tags = resource_tags(own.resource) if own.resource != "*" else {}
        own = _asked_by(principal, request, own, {f"aws:ResourceTag/{key}": (value,) for key, value in tags.items()})
        reason = _refusal(principal, own)
        if reason:
            raise CloudHsmError(knobs.iam_denied_code, _text(principal, own, reason))
        for question in dependent_actions(*asked) if knobs.iam_dependent_actions else []:
            if question.action == CREATE_ROLE and self._identities.has_service_linked_role(request.account, SERVICE):
                continue
            question = _asked_by(principal, request, question)
            reason = _refusal(principal, question)
            if reason:
                text = NO_ROLE if question.action == CREATE_ROLE else _text(principal, question, reason)
                raise CloudHsmError(knobs.iam_dependent_denied_code, text)


def _root(request: SignedRequest) -> Principal | None:
    if not ROOT_KEY.fullmatch(request.access_key):
        return None
    arn = f"arn:aws:iam::{request.account}:root"
    return Principal(arn, arn)


def _asked_by(
    principal: Principal,
    request: SignedRequest,
    question: Question,
    more: Mapping[str, tuple[str, ...]] | None = None,
) -> Question:
    who = {
        "aws:PrincipalArn": (principal.policy_arn,),
        "aws:PrincipalAccount": (principal.policy_arn.split(":")[4],),
        "aws:RequestedRegion": (request.region,),
    }
    return replace(question, context={**question.context, **who, **(more or {})})


def _refusal(principal: Principal, question: Question) -> str | None:
    """Say why something is not allowed: each kind of policy that the caller has must allow it, and none may deny it."""
    layers = [("an", "identity-based policy", principal.policies or ())]
    if principal.boundary is not None:
        layers.append(("a", "permissions boundary", (principal.boundary,)))
    if principal.session_policy is not None:
        layers.append(("a", "session policy", (principal.session_policy,)))
    decisions = [(article, kind, decide(documents, question)) for article, kind, documents in layers]
    for article, kind, decision in decisions:
        if decision is Decision.EXPLICIT_DENY:
            return f"with an explicit deny in {article} {kind}"
    for _article, kind, decision in decisions:
        if decision is Decision.IMPLICIT_DENY:
            return f"because no {kind} allows the {question.action} action"
    return None


def _text(principal: Principal, question: Question, reason: str) -> str:
    return (
        f"User: {principal.arn} is not authorized to perform: {question.action} on resource: {question.resource} "
        f"{reason}"
    )
