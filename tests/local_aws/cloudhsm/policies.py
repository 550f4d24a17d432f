# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""GetResourcePolicy, PutResourcePolicy and DeleteResourcePolicy, and what other accounts may do by them."""

from __future__ import annotations

import json
from typing import Any

from ..iam.policies import resource_policy_allows
from . import state as st
from .errors import ACCESS_DENIED, CloudHsmError, invalid
from .lookup import backup_exists, live_backup
from .views import backup_arn

# What is returned where there is none (recorded).
NO_POLICY = "{}"


def get_resource_policy(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Return the policy of a backup; `{}` when it has none."""
    return {"Policy": _backup(ctx, request).policy or NO_POLICY}


def put_resource_policy(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Set the policy of a READY backup (documented)."""
    backup = _backup(ctx, request)
    if "Policy" not in request:
        raise invalid("Policy is required.")
    if backup.state(ctx.now) != st.READY:
        raise invalid(
            f"Backup '{backup.backup_id}' is in state {backup.state(ctx.now)}; only a READY one can be shared."
        )
    try:
        document = json.loads(request["Policy"])
    except ValueError:
        raise invalid("Policy is not JSON.") from None
    if not isinstance(document, dict) or "Statement" not in document:
        raise invalid("Policy is not a policy document: it has no Statement.")
    backup.policy = request["Policy"]
    return {"ResourceArn": request["ResourceArn"], "Policy": backup.policy}


def delete_resource_policy(ctx: st.Context, request: dict[str, Any]) -> dict[str, Any]:
    """Take the policy off a backup, and return what it was (documented)."""
    backup = _backup(ctx, request)
    policy, backup.policy = backup.policy, None
    return {"ResourceArn": request["ResourceArn"], "Policy": policy or NO_POLICY}


def shared_with(ctx: st.Context) -> list[tuple[st.Context, st.Backup]]:
    """Return the backups of other accounts that are listed for this one, each with the context of its owner.

    Shares that a policy made are listed only once they are promoted in RAM (documented), which a knob stands for.
    """
    if not ctx.knobs.policy_shares_are_promoted:
        return []
    return [
        (owner, backup)
        for owner in ctx.owners(ctx.region)
        if owner.account != ctx.account
        for backup in owner.store.backups.values()
        if backup_exists(owner, backup) and is_shared(owner, backup, ctx.account, "cloudhsm:DescribeBackups")
    ]


def is_shared(owner: st.Context, backup: st.Backup, account: str, action: str) -> bool:
    """True when the policy of a backup lets another account do something with it."""
    arn = backup_arn(backup, owner)
    return resource_policy_allows(backup.policy or NO_POLICY, account, f"arn:aws:iam::{account}:root", action, arn)


def shared_backup(ctx: st.Context, arn: str) -> st.Backup:
    """Return a READY backup by the ARN that a cluster is to be made from, one of another account only if it is shared.

    Raises:
        CloudHsmError: There is none of that ARN in this Region, or it is another account's business.
    """
    _partition, _aws, _service, region, account, resource = arn.split(":", 5)
    if region != ctx.region:
        raise invalid(f"SourceBackupId: the backup is in {region}, and the cluster would be in {ctx.region}.")
    owner = ctx.elsewhere(account, region)
    backup = live_backup(owner, resource.removeprefix("backup/"))
    if account != ctx.account and not is_shared(owner, backup, ctx.account, "cloudhsm:CreateCluster"):
        raise CloudHsmError(ACCESS_DENIED, f"The backup {arn} is not shared with account {ctx.account}.")
    return backup


def _backup(ctx: st.Context, request: dict[str, Any]) -> st.Backup:
    if "ResourceArn" not in request:
        raise invalid("ResourceArn is required.")
    _partition, _aws, _service, region, account, resource = request["ResourceArn"].split(":", 5)
    if not resource.startswith("backup/"):
        raise invalid("ResourceArn: only backups have resource policies.")
    if (account, region) != (ctx.account, ctx.region):
        raise CloudHsmError(ACCESS_DENIED, f"{request['ResourceArn']} is not of account {ctx.account} in {ctx.region}.")
    return live_backup(ctx, resource.removeprefix("backup/"))
