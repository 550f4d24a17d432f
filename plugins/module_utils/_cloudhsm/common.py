# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Errors of the AWS side, what to do about each, and which calls may be repeated."""

from __future__ import annotations

import typing as t

try:
    import botocore.exceptions as botocore_exceptions
except ImportError:
    pass  # Handled by AnsibleAWSModule.

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.errors import AWSErrorHandler
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

# CloudHSM declares the first; IAM and the common errors of all services bring the others.
ACCESS_DENIED_CODES = frozenset(
    ("CloudHsmAccessDeniedException", "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "403")
)
THROTTLING_CODES = frozenset(("ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"))
CREDENTIAL_CODES = frozenset(
    (
        "AuthFailure",
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    )
)
NOT_FOUND_CODE = "CloudHsmResourceNotFoundException"

READ_RETRIES = 6

# The codes that AWSRetry knows lack CloudHSM's own. At most 6 tries and about half a minute of pauses.
READ_RETRY = AWSRetry.jittered_backoff(
    retries=READ_RETRIES,
    delay=1,
    max_delay=10,
    catch_extra_error_codes=["ThrottlingException", "CloudHsmInternalFailureException"],
)


class _ThrottledRetry(AWSRetry):
    """Repeats only what AWS refused to look at; any other failure may have had its effect."""

    @staticmethod
    def found(response_code: str, catch_extra_error_codes: t.Any = None) -> bool:
        return response_code in THROTTLING_CODES


CREATE_RETRY = _ThrottledRetry.jittered_backoff(retries=READ_RETRIES, delay=1, max_delay=10)


class AnsibleCloudHSMError(AnsibleAWSError):
    """A call to AWS failed. The message says what was tried and what to do."""

    def __init__(self, message: str | None = None, exception: Exception | None = None, **kwargs: t.Any) -> None:
        advice = _advice(exception)
        super().__init__(message=f"{message}. {advice}" if advice else message, exception=exception, **kwargs)


class CloudHSMErrorHandler(AWSErrorHandler):
    _CUSTOM_EXCEPTION = AnsibleCloudHSMError

    @classmethod
    def _is_missing(cls) -> t.Any:
        # Only this code: a denied or failed call must never look like absence.
        return is_boto3_error_code(NOT_FOUND_CODE)


def error_code(exception: BaseException | None) -> str:
    """Return the AWS error code of an exception, or an empty string."""
    response = getattr(exception, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def error_text(exception: BaseException | None) -> str:
    """Return the text that AWS sent with an error, or an empty string."""
    response = getattr(exception, "response", None) or {}
    return str(response.get("Error", {}).get("Message", ""))


def may_have_had_effect(exception: BaseException | None) -> bool:
    """Say whether a call that failed may have been carried out all the same.

    A 4xx answer is a refusal, and a request that never left had no effect. Everything else is unclear: a 5xx answer, an
    answer that was lost, cut or unreadable.
    """
    if isinstance(exception, botocore_exceptions.ClientError):
        status = exception.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return not 400 <= status < 500
    never_sent = (
        botocore_exceptions.ConnectTimeoutError,
        botocore_exceptions.EndpointConnectionError,
        botocore_exceptions.NoCredentialsError,
        botocore_exceptions.NoRegionError,
        botocore_exceptions.ParamValidationError,
        botocore_exceptions.PartialCredentialsError,
        botocore_exceptions.ProxyConnectionError,
        botocore_exceptions.SSLError,
    )
    return not isinstance(exception, never_sent)


def _advice(exception: Exception | None) -> str:
    code = error_code(exception)
    if code in ACCESS_DENIED_CODES:
        action = getattr(exception, "operation_name", "the action")
        return f"Access denied: allow {action} in the IAM policy of these credentials, and check that they are the right ones"
    if code in THROTTLING_CODES:
        return (
            f"AWS throttled the call in each of {READ_RETRIES} rounds: run again later, or make fewer calls at a time"
        )
    if code in CREDENTIAL_CODES:
        return "AWS refused the credentials: renew them, and check this host's clock"
    if isinstance(exception, botocore_exceptions.NoCredentialsError):
        return (
            "No credentials: set profile, or access_key and secret_key, or AWS_PROFILE, or run where a role gives them"
        )
    if isinstance(exception, (botocore_exceptions.EndpointConnectionError, botocore_exceptions.ConnectTimeoutError)):
        return "No connection: check region and endpoint_url, and that this host reaches AWS"
    return ""


def error_result(error: AnsibleAWSError) -> dict[str, str]:
    """Make what a module returns of a failed call, for playbooks that tell errors apart."""
    return {"code": error_code(error.exception), "message": error_text(error.exception)}
