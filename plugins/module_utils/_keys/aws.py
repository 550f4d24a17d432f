# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to S3, Secrets Manager and KMS that a backup of keys makes, one function each. They decide nothing.

Every failure is an AnsibleCloudHSMError; absence is an answer only where AWS says so in so many words.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

from .._cloudhsm.common import AnsibleCloudHSMError, CloudHSMErrorHandler, error_code

if t.TYPE_CHECKING:
    from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

# The codes that AWSRetry knows lack these services' own.
_RETRY = AWSRetry.jittered_backoff(
    retries=6,
    delay=1,
    max_delay=10,
    catch_extra_error_codes=["ThrottlingException", "InternalServiceError", "KMSInternalException", "SlowDown"],
)
_common = CloudHSMErrorHandler.common_error_handler


def client(module: AnsibleAWSModule, service: str) -> t.Any:
    """Return a client.

    Raises:
        AnsibleCloudHSMError: No region is configured.
    """
    if not module.region:
        raise AnsibleCloudHSMError(
            message="region: none is configured. Set region, AWS_REGION, or a region in the profile"
        )
    return module.client(service)


def has_code(error: AnsibleCloudHSMError, *codes: str) -> bool:
    """Say whether AWS gave one of some error codes."""
    return error_code(error.exception) in codes


@_common("read the secret {name}")
@_RETRY
def get_secret(client: t.Any, name: str) -> dict[str, t.Any]:
    """GetSecretValue of the current version."""
    return client.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")


@_common("look at the secret {name}")
@_RETRY
def describe_secret(client: t.Any, name: str) -> dict[str, t.Any]:
    """DescribeSecret."""
    return client.describe_secret(SecretId=name)


@_common("create the secret {name}")
@_RETRY
def create_secret(client: t.Any, name: str, content: bytes, key_id: str | None) -> None:
    """CreateSecret, encrypted with a KMS key or, for None, with that of Secrets Manager."""
    key = {"KmsKeyId": key_id} if key_id else {}
    client.create_secret(Name=name, SecretString=content.decode(), **key)


@_common("write the secret {name}")
@_RETRY
def put_secret(client: t.Any, name: str, content: bytes, token: str, stage: str) -> str:
    """PutSecretValue: add a version.

    Args:
        client: The client.
        name: Name of the secret.
        content: The value.
        token: ClientRequestToken, the same for the same content.
        stage: What the version is called.

    Returns:
        The version's id.
    """
    sent = {"SecretId": name, "SecretString": content.decode(), "ClientRequestToken": token, "VersionStages": [stage]}
    return client.put_secret_value(**sent)["VersionId"]


@_common("make a version of the secret {name} the current one")
@_RETRY
def move_current(client: t.Any, name: str, old: str, new: str) -> None:
    """UpdateSecretVersionStage: refused if `old` is not the current version any more."""
    client.update_secret_version_stage(
        SecretId=name, VersionStage="AWSCURRENT", RemoveFromVersionId=old, MoveToVersionId=new
    )


@_common("restore the secret {name}")
@_RETRY
def restore_secret(client: t.Any, name: str) -> None:
    """RestoreSecret: take a deletion back that has not been carried out yet."""
    client.restore_secret(SecretId=name)


@_common("delete the secret {name}")
@_RETRY
def delete_secret(client: t.Any, name: str, days: int) -> None:
    """DeleteSecret, after so many days; 0 for at once."""
    when = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
    client.delete_secret(SecretId=name, **when)


@_common("list the secrets {prefix}*")
@_RETRY
def list_secrets(client: t.Any, prefix: str) -> list[str]:
    """ListSecrets, every page: the names that begin so, without those that are to be deleted."""
    pages = client.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}])
    names = [secret["Name"] for page in pages for secret in page["SecretList"]]
    return [name for name in names if name.startswith(prefix)]


@_common("read s3://{bucket}/{key}")
@_RETRY
def get_object(client: t.Any, bucket: str, key: str) -> tuple[bytes, str]:
    """GetObject: the content and its ETag."""
    answer = client.get_object(Bucket=bucket, Key=key)
    return answer["Body"].read(), answer["ETag"]


@_common("write s3://{bucket}/{key}")
@_RETRY
def put_object(
    client: t.Any, bucket: str, key: str, content: bytes, condition: dict[str, str], more: dict[str, t.Any]
) -> None:
    """PutObject.

    Args:
        client: The client.
        bucket: The bucket.
        key: The object's key.
        content: Its content.
        condition: IfMatch or IfNoneMatch; empty for none.
        more: Encryption and Object Lock.
    """
    client.put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/json", **condition, **more)


@_common("list s3://{bucket}/{prefix}")
@_RETRY
def list_objects(client: t.Any, bucket: str, prefix: str) -> list[str]:
    """ListObjectsV2, every page: the keys."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", ())]


@_common("delete s3://{bucket}/{key}")
@_RETRY
def delete_object(client: t.Any, bucket: str, key: str) -> None:
    """DeleteObject; one that is not there does not matter."""
    client.delete_object(Bucket=bucket, Key=key)


def object_lock(mode: str, days: int, now: datetime.datetime) -> dict[str, t.Any]:
    """Return the members of PutObject that lock an object for so many days. S3 takes them with a checksum only."""
    return {
        "ObjectLockMode": mode,
        "ObjectLockRetainUntilDate": now + datetime.timedelta(days=days),
        "ChecksumAlgorithm": "SHA256",
    }


@_common("get the public key of the KMS key {key_id}")
@_RETRY
def get_public_key(client: t.Any, key_id: str) -> dict[str, t.Any]:
    """GetPublicKey."""
    return client.get_public_key(KeyId=key_id)


@_common("open a data key with the KMS key {key_id}")
@_RETRY
def decrypt(client: t.Any, key_id: str, algorithm: str, wrapped: bytes) -> bytes:
    """Decrypt with an asymmetric key."""
    return client.decrypt(KeyId=key_id, EncryptionAlgorithm=algorithm, CiphertextBlob=wrapped)["Plaintext"]
