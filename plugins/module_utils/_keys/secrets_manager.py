# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Backups in AWS Secrets Manager: one secret a part, and one for the manifest."""

from __future__ import annotations

import hashlib
import secrets
import typing as t

from .._cloudhsm.common import AnsibleCloudHSMError
from . import aws
from .errors import KeyBackupError, StoreConflictError

_MISSING = "ResourceNotFoundException"
_EXISTS = "ResourceExistsException"
# Also the code of every call for a secret that is to be deleted.
_WRONG_STATE = "InvalidRequestException"
# What a manifest is called between PutSecretValue and the moment at which it becomes the current one.
_NEXT = "hsmops-next"


class SecretsManagerStore:
    """Secrets `<prefix><name>/manifest` and `<prefix><name>/part/<digest>`.

    A deleted secret keeps its name for some days. A part whose name is taken by such a one is restored: its name says what is
    in it.

    Args:
        client: The client.
        prefix: What the names of all secrets begin with.
        name: The backup's name.
        key_id: KMS key that encrypts the secrets; None for that of Secrets Manager.
        recovery_days: Days until a deleted secret is gone; 0 for at once.
    """

    def __init__(self, client: t.Any, prefix: str, name: str, key_id: str | None, recovery_days: int) -> None:
        self._client = client
        self._manifest = f"{prefix}{name}/manifest"
        self._prefix = f"{prefix}{name}/part/"
        self._key_id = key_id
        self._recovery_days = recovery_days
        self.place = f"Secrets Manager, {prefix}{name}"

    def get_manifest(self) -> bytes | None:
        found = self._get(self._manifest)
        return found[0] if found else None

    def replace_manifest(self, content: bytes, expected: bytes | None) -> None:
        found = self._get(self._manifest)
        if (found[0] if found else None) != expected:
            raise self._conflict()
        if found is None and self._create(self._manifest, content):
            return
        version = found[1] if found else self._revive(self._manifest)
        try:
            # The same content is the same request, and another manifest after it never is: it has another generation.
            token = hashlib.sha256(content).hexdigest()
            fresh = aws.put_secret(self._client, self._manifest, content, token, _NEXT)
            aws.move_current(self._client, self._manifest, version, fresh)
        except AnsibleCloudHSMError as error:
            if aws.has_code(error, "InvalidParameterException"):
                raise self._conflict() from error
            raise

    def list_parts(self) -> set[str]:
        return {name.removeprefix(self._prefix) for name in aws.list_secrets(self._client, self._prefix)}

    def get_part(self, digest: str) -> bytes | None:
        found = self._get(self._prefix + digest)
        return found[0] if found else None

    def put_part(self, digest: str, content: bytes) -> None:
        name = self._prefix + digest
        if self._create(name, content):
            return
        found = self._get(name)
        if found is None:
            self._revive(name)
            found = self._get(name)
        if found is None or found[0] != content:
            aws.put_secret(self._client, name, content, secrets.token_hex(16), "AWSCURRENT")

    def delete_part(self, digest: str) -> None:
        self._delete(self._prefix + digest)

    def delete_all(self) -> None:
        self._delete(self._manifest)
        for digest in self.list_parts():
            self.delete_part(digest)

    def _get(self, name: str) -> tuple[bytes, str] | None:
        """Value and version of a secret; None where there is none, or where it is to be deleted."""
        try:
            answer = aws.get_secret(self._client, name)
        except AnsibleCloudHSMError as error:
            if aws.has_code(error, _MISSING) or (aws.has_code(error, _WRONG_STATE) and self._is_leaving(name)):
                return None
            raise
        content = answer["SecretString"].encode() if "SecretString" in answer else answer["SecretBinary"]
        return content, answer["VersionId"]

    def _is_leaving(self, name: str) -> bool:
        return "DeletedDate" in aws.describe_secret(self._client, name)

    def _create(self, name: str, content: bytes) -> bool:
        """Create a secret, and say whether it was not there."""
        try:
            aws.create_secret(self._client, name, content, self._key_id)
        except AnsibleCloudHSMError as error:
            if aws.has_code(error, _EXISTS) or (aws.has_code(error, _WRONG_STATE) and self._is_leaving(name)):
                return False
            raise
        return True

    def _revive(self, name: str) -> str:
        """Take the deletion of a secret back, and return its version."""
        try:
            aws.restore_secret(self._client, name)
            return aws.get_secret(self._client, name)["VersionId"]
        except AnsibleCloudHSMError as error:
            if aws.has_code(error, _MISSING):
                raise KeyBackupError(
                    f"{self.place}: the secret {name} is being deleted. Run again in a minute."
                ) from error
            raise

    def _delete(self, name: str) -> None:
        try:
            aws.delete_secret(self._client, name, self._recovery_days)
        except AnsibleCloudHSMError as error:
            if not aws.has_code(error, _MISSING) and not (aws.has_code(error, _WRONG_STATE) and self._is_leaving(name)):
                raise

    def _conflict(self) -> StoreConflictError:
        return StoreConflictError(f"{self.place}: another run has replaced the manifest meanwhile. Run again.")
