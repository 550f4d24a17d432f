# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Callers, and where they are looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Principal:
    """A caller whose access key is known.

    Attributes:
        arn: As answers name it; of an assumed role that of its session.
        policy_arn: As policies name it (`aws:PrincipalArn`); of an assumed role that of the role.
        secret: Secret access key, None for one that is not known: nothing that it signs can be checked.
        policies: Documents of its identity-based policies, None for the root of an account, who may do everything.
        boundary: Document of its permissions boundary, if it has one.
        session_policy: Document that narrows this session of a role, if it has one.
        session_token: What requests have to bring beside the access key, if anything.
        issued: When the session began, in real seconds since the epoch.
        lifetime: How long it lasts, in seconds; None for ever.
    """

    arn: str
    policy_arn: str
    secret: str | None = None
    policies: tuple[str, ...] | None = None
    boundary: str | None = None
    session_policy: str | None = None
    session_token: str | None = None
    issued: float = 0.0
    lifetime: float | None = None


class Identities(Protocol):
    """Who is known."""

    def find(self, access_key: str) -> Principal | None:
        """Return the user or the session of a role that an active access key belongs to."""

    def has_service_linked_role(self, account: str, service: str) -> bool:
        """True when an account has the role that is linked to a service."""
