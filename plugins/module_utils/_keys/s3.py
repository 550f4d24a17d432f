# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Backups in a bucket of S3."""

from __future__ import annotations

import typing as t

from .._cloudhsm.common import AnsibleCloudHSMError
from . import aws
from .errors import StoreConflictError


class S3Store:
    """Objects `<prefix><name>/manifest.json` and `<prefix><name>/parts/<digest>.json`.

    Args:
        client: The client.
        bucket: The bucket.
        prefix: What the keys of all objects begin with.
        name: The backup's name.
        settings: Members of PutObject for encryption and Object Lock.
    """

    def __init__(self, client: t.Any, bucket: str, prefix: str, name: str, settings: dict[str, t.Any]) -> None:
        self._client = client
        self._bucket = bucket
        self._manifest = f"{prefix}{name}/manifest.json"
        self._prefix = f"{prefix}{name}/parts/"
        self._settings = settings
        self.place = f"s3://{bucket}/{prefix}{name}"

    def get_manifest(self) -> bytes | None:
        found = self._get(self._manifest)
        return found[0] if found else None

    def replace_manifest(self, content: bytes, expected: bytes | None) -> None:
        found = self._get(self._manifest)
        if (found[0] if found else None) != expected:
            raise self._conflict()
        condition = {"IfMatch": found[1]} if found else {"IfNoneMatch": "*"}
        try:
            aws.put_object(self._client, self._bucket, self._manifest, content, condition, self._settings)
        except AnsibleCloudHSMError as error:
            # A write whose answer was lost is repeated, and finds itself in its place.
            if not aws.has_code(error, "PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise
            if self.get_manifest() != content:
                raise self._conflict() from error

    def list_parts(self) -> set[str]:
        keys = aws.list_objects(self._client, self._bucket, self._prefix)
        return {key.removeprefix(self._prefix).removesuffix(".json") for key in keys}

    def get_part(self, digest: str) -> bytes | None:
        found = self._get(self._key(digest))
        return found[0] if found else None

    def put_part(self, digest: str, content: bytes) -> None:
        aws.put_object(self._client, self._bucket, self._key(digest), content, {}, self._settings)

    def delete_part(self, digest: str) -> None:
        aws.delete_object(self._client, self._bucket, self._key(digest))

    def delete_all(self) -> None:
        aws.delete_object(self._client, self._bucket, self._manifest)
        for digest in self.list_parts():
            self.delete_part(digest)

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{digest}.json"

    def _get(self, key: str) -> tuple[bytes, str] | None:
        try:
            return aws.get_object(self._client, self._bucket, key)
        except AnsibleCloudHSMError as error:
            if aws.has_code(error, "NoSuchKey"):
                return None
            raise

    def _conflict(self) -> StoreConflictError:
        return StoreConflictError(f"{self.place}: another run has replaced the manifest meanwhile. Run again.")
