# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to AWS about backups, one function each. They decide nothing; every failure is an AnsibleCloudHSMError."""

from __future__ import annotations

import typing as t

from .common import CREATE_RETRY, READ_RETRY, CloudHSMErrorHandler


@CloudHSMErrorHandler.list_error_handler("describe backups", default_value=[])
@READ_RETRY
def describe(client: t.Any, filters: t.Mapping[str, t.Sequence[str]], shared: bool = False) -> list[dict[str, t.Any]]:
    """DescribeBackups, every page, newest first.

    Args:
        client: The client, in the region of the backups.
        filters: As the API has them; of one filter, any value may match.
        shared: Those that other accounts share with this one, in place of its own.

    Returns:
        The backups as AWS shows them. An id that AWS does not know is left out.
    """
    pages = client.get_paginator("describe_backups").paginate(
        Filters={name: list(values) for name, values in filters.items()}, Shared=shared
    )
    backups = [backup for page in pages for backup in page["Backups"]]
    return sorted(backups, key=lambda backup: backup["CreateTimestamp"], reverse=True)


@CloudHSMErrorHandler.common_error_handler("modify the attributes of {backup_id}")
@READ_RETRY
def modify_attributes(client: t.Any, backup_id: str, never_expires: bool) -> None:
    """ModifyBackupAttributes: exempt a backup from the retention of its cluster, or submit it to that again."""
    client.modify_backup_attributes(BackupId=backup_id, NeverExpires=never_expires)


@CloudHSMErrorHandler.deletion_error_handler("delete {backup_id}")
@READ_RETRY
def delete(client: t.Any, backup_id: str) -> bool:
    """DeleteBackup. Returns False when AWS does not know the id (any more)."""
    client.delete_backup(BackupId=backup_id)
    return True


@CloudHSMErrorHandler.common_error_handler("restore {backup_id}")
@READ_RETRY
def restore(client: t.Any, backup_id: str) -> None:
    """RestoreBackup: take a backup back that is PENDING_DELETION."""
    client.restore_backup(BackupId=backup_id)


@CloudHSMErrorHandler.common_error_handler("copy {backup_id} to {region}")
@CREATE_RETRY
def copy(client: t.Any, backup_id: str, region: str) -> None:
    """CopyBackupToRegion, with unrepeated_client. Repeated only where AWS throttled it: each call makes another copy.

    Args:
        client: A client in the region of the backup.
        backup_id: The backup.
        region: Where the copy goes. The answer does not tell its id.
    """
    client.copy_backup_to_region(BackupId=backup_id, DestinationRegion=region)
