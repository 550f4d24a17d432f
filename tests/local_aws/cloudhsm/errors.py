# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The errors that CloudHSM answers with."""

from __future__ import annotations

INVALID_REQUEST = "CloudHsmInvalidRequestException"
ACCESS_DENIED = "CloudHsmAccessDeniedException"
NOT_FOUND = "CloudHsmResourceNotFoundException"
LIMIT_EXCEEDED = "CloudHsmResourceLimitExceededException"
TAG = "CloudHsmTagException"
INTERNAL_FAILURE = "CloudHsmInternalFailureException"
UNKNOWN_OPERATION = "UnknownOperationException"


class CloudHsmError(Exception):
    """A modelled error: what the answer's `__type` and `Message` say."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def invalid(message: str) -> CloudHsmError:
    """Return a CloudHsmInvalidRequestException."""
    return CloudHsmError(INVALID_REQUEST, message)


def not_found(resource_id: str, code: str = NOT_FOUND) -> CloudHsmError:
    """Return the error for an id that does not exist; its real text is unknown."""
    return CloudHsmError(code, f"Resource '{resource_id}' was not found.")


def fill(text: str, **values: object) -> str:
    """Fill `{name}` placeholders of a text that a knob holds; other braces stay as they are."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text
