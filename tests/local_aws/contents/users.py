# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The users of one cluster's HSMs."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import Enum

from .errors import RefusedError

ADMIN = "admin"
CRYPTO_USER = "crypto-user"
UNACTIVATED_ADMIN = "unactivated-admin"
APPLIANCE_USER = "internal(APPLIANCE_USER)"
ROLES = (ADMIN, CRYPTO_USER)
KMS_USER = "kmsuser"

NAME = re.compile(r"[A-Za-z0-9_]{1,31}")
# The user guide says 8, the list of quotas and KMS say 7: what keeps to the stricter one passes everywhere.
PASSWORD_LENGTHS = range(8, 33)
FAILURES_TO_LOCK = 5


class Login(str, Enum):
    """How an attempt to log in ended."""

    OK = "ok"
    NO_USER = "no user"
    WRONG_PASSWORD = "wrong password"
    LOCKED = "locked"
    NO_HSM = "no hsm"


@dataclass
class User:
    """One user.

    Attributes:
        salt: Of the password.
        digest: Of the password; empty when the user has none and so cannot log in.
        failures: Failed logins since the last good one.
    """

    name: str
    role: str
    salt: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)
    failures: int = 0

    @property
    def locked(self) -> bool:
        """True when no password helps until somebody sets a new one."""
        return self.failures >= FAILURES_TO_LOCK

    def set_password(self, password: str) -> None:
        """Set the password and unlock.

        Raises:
            ValueError: Its length is not allowed.
        """
        check_password(password)
        self.salt = secrets.token_hex(16)
        self.digest = _digest(password, self.salt)
        self.failures = 0

    def log_in(self, password: str) -> Login:
        """Try a password, and count."""
        if self.locked:
            return Login.LOCKED
        if hmac.compare_digest(self.digest, _digest(password, self.salt)):
            self.failures = 0
            return Login.OK
        if self.digest:
            self.failures += 1
        return Login.WRONG_PASSWORD


class Users:
    """The users in the order of their creation. Names are not case-sensitive and are kept in lower case.

    Args:
        members: The users.
    """

    def __init__(self, members: list[User]) -> None:
        self.members = members

    @classmethod
    def of_a_fresh_hsm(cls) -> Users:
        """Return the users of the first HSM of a cluster that was never activated."""
        return cls([User("admin", UNACTIVATED_ADMIN), User("app_user", APPLIANCE_USER)])

    @property
    def activated(self) -> bool:
        """True when the admin has a password."""
        return all(user.role != UNACTIVATED_ADMIN for user in self.members)

    @property
    def key_owner(self) -> User | None:
        """The crypto user who reaches the keys: the first one that is not KMS's."""
        return next((u for u in self.members if u.role == CRYPTO_USER and u.name != KMS_USER), None)

    def activate(self, password: str) -> None:
        """Give the admin the password.

        Raises:
            RefusedError: That has been done already.
            ValueError: The password's length is not allowed.
        """
        if self.activated:
            raise RefusedError(409, "The cluster is already activated: log in as an admin.")
        admin = self.get("admin")
        admin.set_password(password)
        admin.role = ADMIN

    def find(self, name: str) -> User | None:
        """Return a user, None when there is none of that name."""
        return next((user for user in self.members if user.name == name.lower()), None)

    def get(self, name: str) -> User:
        """Return a user.

        Raises:
            RefusedError: There is none of that name.
        """
        user = self.find(name)
        if user is None:
            raise RefusedError(404, f"There is no user {name}.")
        return user

    def changeable(self, name: str) -> User:
        """Return a user whom an admin may change or delete.

        Raises:
            RefusedError: There is none of that name, the cluster is not activated, or the user is AWS's own.
        """
        user = self.get(name)
        self._require_activation()
        if user.role not in ROLES:
            raise RefusedError(409, f"The user {user.name} belongs to AWS and cannot be changed.")
        return user

    def create(self, name: str, role: str, password: str) -> User:
        """Create a user and return it.

        Raises:
            RefusedError: The cluster is not activated, or the name is taken.
            ValueError: The name, the role or the password is not allowed.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"name must be 1 to 31 letters, digits and underscores, not {name!r}")
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {role!r}")
        self._require_activation()
        if self.find(name):
            raise RefusedError(409, f"There is a user {name.lower()} already.")
        user = User(name.lower(), role)
        user.set_password(password)
        self.members.append(user)
        return user

    def _require_activation(self) -> None:
        if not self.activated:
            raise RefusedError(409, "The cluster is not activated: run `cloudhsm-cli cluster activate` first.")


def check_password(password: str) -> None:
    """Raise ValueError, without the password in it, when its length is not allowed."""
    if len(password) not in PASSWORD_LENGTHS:
        raise ValueError(f"password must have 8 to 32 characters, not {len(password)}")


def _digest(password: str, salt: str) -> str:
    # Cheap parameters: what is protected here is the password that somebody used for a test as well.
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=1024, r=8, p=1).hex()
