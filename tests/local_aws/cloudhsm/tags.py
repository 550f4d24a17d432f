# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""ListTags, TagResource and UntagResource: one set of tags for every way of reading them."""

from __future__ import annotations

from typing import Any

from .errors import LIMIT_EXCEEDED, TAG, CloudHsmError
from .history import History
from .lookup import live_backup, live_cluster
from .paging import page
from .state import Context

MOST = 50
PAGE = 100


def as_dict(tag_list: list[dict[str, str]]) -> dict[str, str]:
    """Return tags by key.

    Raises:
        CloudHsmError: A key comes twice, or begins with the reserved `aws:` (both inferred from AWS's general rules).
    """
    tags: dict[str, str] = {}
    for tag in tag_list:
        if tag["Key"] in tags:
            raise CloudHsmError(TAG, f"TagList contains the key '{tag['Key']}' more than once.")
        if tag["Key"].lower().startswith("aws:"):
            raise CloudHsmError(TAG, f"The key '{tag['Key']}' begins with the reserved prefix aws:.")
        tags[tag["Key"]] = tag["Value"]
    return tags


def list_tags(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List a resource's tags in the order in which their keys were added."""
    tags = _tags(ctx, request["ResourceId"]).at(ctx.now) or {}
    shown, token = page(ctx, list(enumerate(tags.items())), lambda entry: (entry[0],), request, PAGE)
    answer: dict[str, Any] = {"TagList": [{"Key": key, "Value": value} for _position, (key, value) in shown]}
    return answer | ({"NextToken": token} if token else {})


def tag_resource(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags; all of them, or none when there would be more than 50."""
    history = _tags(ctx, request["ResourceId"])
    tags = (history.at(ctx.now) or {}) | as_dict(request["TagList"])
    if len(tags) > MOST:
        raise CloudHsmError(LIMIT_EXCEEDED, f"A resource can have {MOST} tags, this would make {len(tags)}.")
    history.change(ctx.now, tags)
    return {}


def untag_resource(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Remove tags by key; keys that are not there do not matter (inferred)."""
    history = _tags(ctx, request["ResourceId"])
    kept = {key: value for key, value in (history.at(ctx.now) or {}).items() if key not in request["TagKeyList"]}
    history.change(ctx.now, kept)
    return {}


def tags_of(ctx: Context, arn: str) -> dict[str, str]:
    """Return the tags of a cluster or backup of this account and Region by its ARN; of one that does not exist, none."""
    _partition, _aws, _service, region, account, resource = arn.split(":", 5)
    kind, _slash, resource_id = resource.partition("/")
    found = (ctx.store.clusters if kind == "cluster" else ctx.store.backups).get(resource_id)
    here = (account, region) == (ctx.account, ctx.region)
    return dict(found.tags.at(ctx.now) or {}) if found and here else {}


def _tags(ctx: Context, resource_id: str) -> History[dict[str, str]]:
    if resource_id.startswith("backup-"):
        return live_backup(ctx, resource_id).tags
    return live_cluster(ctx, resource_id).tags
