# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The errors that KMS answers with."""

from __future__ import annotations

VALIDATION = "ValidationException"
UNSUPPORTED = "UnsupportedOperationException"
NOT_FOUND = "NotFoundException"
INVALID_STATE = "KMSInvalidStateException"

# The model calls the first three the service's fault, the other two are common to all services; the rest is 400.
STATUSES = {
    "DependencyTimeoutException": 503,
    "KMSInternalException": 500,
    "KeyUnavailableException": 500,
    "MissingAuthenticationTokenException": 403,
    "UnknownOperationException": 404,
}


class KmsError(Exception):
    """An error of the model: what the answer's `__type` and `message` say."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return STATUSES.get(self.code, 400)


def invalid(message: str) -> KmsError:
    """Return a ValidationException."""
    return KmsError(VALIDATION, message)


def not_implemented(what: str) -> KmsError:
    """Return the error for something that AWS does and this local AWS does not."""
    return KmsError(UNSUPPORTED, f"{what} is not implemented by this local AWS.")
