# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def tags(*keys: str, value: str = "v") -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key in keys]


def described(hsms: Any) -> list[dict[str, str]]:
    return hsms.describe_clusters()["Clusters"][0]["TagList"]


def test_one_store_for_every_way_of_reading(hsms: Any, cluster_id: str) -> None:
    name = {"Key": "Name", "Value": "dev"}
    hsms.tag_resource(ResourceId=cluster_id, TagList=tags("a", "b"))
    hsms.tag_resource(ResourceId=cluster_id, TagList=tags("a", value="new"))
    hsms.untag_resource(ResourceId=cluster_id, TagKeyList=["b", "never there"])
    expected = [name, {"Key": "a", "Value": "new"}]
    assert hsms.list_tags(ResourceId=cluster_id)["TagList"] == expected
    assert described(hsms) == expected


def test_fifty_and_no_more(hsms: Any, cluster_id: str) -> None:
    hsms.tag_resource(ResourceId=cluster_id, TagList=tags(*(f"k{number}" for number in range(49))))
    with pytest.raises(hsms.exceptions.CloudHsmResourceLimitExceededException):
        hsms.tag_resource(ResourceId=cluster_id, TagList=tags("one more"))
    assert len(described(hsms)) == 50
    hsms.tag_resource(ResourceId=cluster_id, TagList=tags("k0", value="again"))
    assert {"Key": "k0", "Value": "again"} in described(hsms)


def test_pages(hsms: Any, cluster_id: str) -> None:
    hsms.tag_resource(ResourceId=cluster_id, TagList=tags("a", "b", "c", "d"))
    pages = list(hsms.get_paginator("list_tags").paginate(ResourceId=cluster_id, PaginationConfig={"PageSize": 2}))
    assert [[tag["Key"] for tag in page["TagList"]] for page in pages] == [["Name", "a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("tag_list", [tags("a", "a"), tags("aws:name")])
def test_keys_that_cannot_be(hsms: Any, cluster_id: str, tag_list: list[dict[str, str]]) -> None:
    with pytest.raises(hsms.exceptions.CloudHsmTagException):
        hsms.tag_resource(ResourceId=cluster_id, TagList=tag_list)
    assert len(described(hsms)) == 1


def test_comma_is_refused(hsms: Any, cluster_id: str) -> None:
    with pytest.raises(ClientError, match=r"CloudHsmInvalidRequestException.*TagList\[0\].Value must match"):
        hsms.tag_resource(ResourceId=cluster_id, TagList=tags("a", value="1,2"))


def test_backups_have_tags_too(hsms: Any, cluster_id: str) -> None:
    [backup] = hsms.describe_backups()["Backups"]
    hsms.tag_resource(ResourceId=backup["BackupId"], TagList=tags("keep"))
    assert hsms.describe_backups()["Backups"][0]["TagList"] == tags("keep")
    assert len(described(hsms)) == 1


@pytest.mark.parametrize("resource", ["cluster-aaaaaaaaaaa", "backup-aaaaaaaaaaa"])
def test_unknown_resource(aws: Any, hsms: Any, resource: str) -> None:
    with pytest.raises(hsms.exceptions.CloudHsmResourceNotFoundException):
        hsms.list_tags(ResourceId=resource)
