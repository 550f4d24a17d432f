# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Our answers against recorded ones of AWS, member by member.

The files in `recorded` have the members and the kinds of values of real answers, with ids, names and certificates made up.
The ACTIVE cluster was recorded in 2018, the others of a cluster in 2022, the backups and the policy in 2024.
"""

from __future__ import annotations

import json
import urllib.request
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from harness.answers import problems
from local_aws.driver import LocalAws

RECORDED = Path(__file__).with_name("recorded")
# Members that ours has and the recording has not, each because AWS gave it to the API after the recording.
LATER = {
    "cluster_active": {
        "BackupRetentionPolicy": "retention came in November 2020",
        "TagList": "tags came in 2019",
        "NetworkType": "IPv6 came in 2024",
        "Mode": "clusters have a mode since hsm2m.medium, 2024",
        "Hsms[].HsmType": "an HSM tells its type since hsm2m.medium can be migrated to",
    },
    "cluster_uninitialized": {"NetworkType": "as above", "Mode": "as above"},
    "cluster_deleted": {"NetworkType": "as above", "Mode": "as above"},
    "delete_cluster_answer": {"NetworkType": "as above", "Mode": "as above"},
    "backup_ready": {},
    "backup_pending_deletion": {},
    "get_resource_policy_answer": {},
}


def kinds(value: Any, name: str = "") -> set[tuple[str, str]]:
    """Return each member's path and the kind of its value, whatever the Availability Zones are called."""
    if isinstance(value, dict):
        found = {(name, "object")} if name else set()
        for key, inner in value.items():
            member = "*" if name.endswith("SubnetMapping") else key
            found |= kinds(inner, f"{name}.{member}" if name else member)
        return found
    if isinstance(value, list):
        return {(name, "list")}.union(*(kinds(item, f"{name}[]") for item in value))
    # A number of seconds may have a fraction or not.
    kind = "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__
    return {(name, kind)}


def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text())


class Wire:
    """Asks without botocore, which would turn timestamps into datetimes."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws

    def ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        date = datetime.fromtimestamp(self._aws.now(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/eu-west-1/cloudhsm/aws4_request"
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"BaldrApiService.{operation}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=testing/{scope}, SignedHeaders=host, Signature={'0' * 64}",
            "X-Amz-Date": date,
        }
        request = urllib.request.Request(self._aws.url, json.dumps(parameters).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as answer:
            body = json.load(answer)
        assert problems(operation, body) == []
        return body

    def cluster(self) -> dict[str, Any]:
        [cluster] = self.ask("DescribeClusters")["Clusters"]
        return cluster


@pytest.fixture
def wire(aws: LocalAws) -> Wire:
    return Wire(aws)


@pytest.fixture
def ours(aws: LocalAws, wire: Wire, hsms: Any, subnets: list[str]) -> dict[str, dict[str, Any]]:
    """What we answer at each point of the life of a cluster that was recorded."""
    answers = {}
    cluster_id = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets)["Cluster"]["ClusterId"]
    aws.advance(180)
    answers["cluster_uninitialized"] = wire.cluster()
    answers["delete_cluster_answer"] = wire.ask("DeleteCluster", ClusterId=cluster_id)["Cluster"]
    aws.advance(120)
    answers["cluster_deleted"] = wire.cluster()
    aws.reset(cloudhsm_only=True)

    tags = [{"Key": "owner", "Value": "policy"}]
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets, TagList=tags)["Cluster"]
    aws.activate(made["ClusterId"])
    hsms.create_hsm(ClusterId=made["ClusterId"], AvailabilityZone="eu-west-1a")
    aws.advance(86_400)
    answers["cluster_active"] = wire.cluster()
    newest, oldest = wire.ask("DescribeBackups")["Backups"]
    hsms.tag_resource(ResourceId=newest["BackupId"], TagList=tags)
    hsms.delete_backup(BackupId=oldest["BackupId"])
    answers["backup_ready"], answers["backup_pending_deletion"] = wire.ask("DescribeBackups")["Backups"]
    answers["get_resource_policy_answer"] = wire.ask("GetResourcePolicy", ResourceArn=newest["BackupArn"])
    return answers


def test_same_members_of_the_same_kinds(ours: dict[str, dict[str, Any]]) -> None:
    assert set(ours) == set(LATER) == {path.stem for path in RECORDED.glob("*.json")}
    for name, answer in ours.items():
        later = {
            entry
            for entry in kinds(answer)
            if any(entry[0] == member or entry[0].startswith((f"{member}.", f"{member}[")) for member in LATER[name])
        }
        assert kinds(answer) - later == kinds(recorded(name)), name
        assert {member for member in LATER[name] if member in {path for path, _kind in later}} == set(LATER[name])


def test_same_texts_where_they_are_aws_own(ours: dict[str, dict[str, Any]]) -> None:
    for name, answer in ours.items():
        known = recorded(name)
        for member in ("BackupPolicy", "State", "StateMessage", "BackupState", "NeverExpires", "Policy", "TagList"):
            if member in known:
                assert answer[member] == known[member], (name, member)
    [hsm], [known_hsm] = ours["cluster_active"]["Hsms"], recorded("cluster_active")["Hsms"]
    assert (hsm["State"], hsm["StateMessage"]) == (known_hsm["State"], known_hsm["StateMessage"])


def test_ids_look_alike(ours: dict[str, dict[str, Any]]) -> None:
    for name, member in (("cluster_active", "ClusterId"), ("backup_ready", "BackupId"), ("backup_ready", "BackupArn")):
        assert len(ours[name][member].rsplit("/")[-1]) == len(recorded(name)[member].rsplit("/")[-1])
    # Deleted a day after the cluster was activated, with a week until the end.
    day = 86_400
    activated = ours["cluster_active"]["CreateTimestamp"]
    assert ours["backup_pending_deletion"]["DeleteTimestamp"] == pytest.approx(activated + 8 * day, abs=1)
