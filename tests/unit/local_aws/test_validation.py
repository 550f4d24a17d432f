# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import pytest
from local_aws.cloudhsm.errors import CloudHsmError
from local_aws.validation import Model, matches

TAG_PATTERN = r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$"
CLUSTER = "cluster-abcdefghij2"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.mark.parametrize(
    "value", ["", "Name", "a b", "hsmops:doomed/x/hsm-1", "Größe", "名前", "٣", "a\u00a0b", "@=+-"]
)
def test_tag_pattern_takes(value: str) -> None:
    assert matches(TAG_PATTERN, value)


@pytest.mark.parametrize("value", ["a,b", "a\n", "a\tb", "€", "\ue000", "😀", "a|b"])
def test_tag_pattern_refuses(value: str) -> None:
    assert not matches(TAG_PATTERN, value)


@pytest.mark.parametrize(
    ("operation", "request_", "member"),
    [
        ("CreateHsm", {"ClusterId": CLUSTER}, "AvailabilityZone"),
        ("CreateHsm", {"ClusterId": CLUSTER, "AvailabilityZone": "eu-west-1a", "Color": "red"}, "Color"),
        ("CreateHsm", {"ClusterId": 7, "AvailabilityZone": "eu-west-1a"}, "ClusterId"),
        ("CreateHsm", {"ClusterId": "cluster-1", "AvailabilityZone": "eu-west-1a"}, "ClusterId"),
        ("CreateHsm", {"ClusterId": CLUSTER + "\n", "AvailabilityZone": "eu-west-1a"}, "ClusterId"),
        ("CreateHsm", {"ClusterId": CLUSTER, "AvailabilityZone": "eu-west-1"}, "AvailabilityZone"),
        (
            "CreateHsm",
            {"ClusterId": CLUSTER, "AvailabilityZone": "eu-west-1a", "IpAddress": "1٠.0.0.1"},
            "IpAddress",
        ),
        ("DescribeClusters", {"MaxResults": 26}, "MaxResults"),
        ("DescribeClusters", {"MaxResults": 0}, "MaxResults"),
        ("DescribeClusters", {"MaxResults": True}, "MaxResults"),
        ("DescribeClusters", {"Filters": {"a b": []}}, "Filters key"),
        ("DescribeClusters", {"Filters": {"states": [1]}}, r"Filters\.states\[0\]"),
        ("DescribeClusters", {"NextToken": "x" * 257}, "NextToken"),
        ("CreateCluster", {"HsmType": "hsm2m.medium", "SubnetIds": []}, "SubnetIds"),
        (
            "CreateCluster",
            {"HsmType": "hsm2m.medium", "SubnetIds": ["subnet-12345678"], "Mode": "fips"},
            "Mode must be one of FIPS, NON_FIPS",
        ),
        ("TagResource", {"ResourceId": CLUSTER, "TagList": [{"Key": "a"}]}, r"TagList\[0\]\.Value"),
        ("UntagResource", {"ResourceId": CLUSTER, "TagKeyList": ["a,b"]}, r"TagKeyList\[0\]"),
        ("DescribeClusters", ["not", "a", "structure"], "The request"),
    ],
)
def test_refusals_name_the_member(model: Model, operation: str, request_: object, member: str) -> None:
    with pytest.raises(CloudHsmError, match=rf"^CloudHsmInvalidRequestException: {member}"):
        model.check(operation, request_)


def test_null_members_count_as_absent(model: Model) -> None:
    assert model.check("DescribeClusters", {"NextToken": None, "MaxResults": 3}) == {"MaxResults": 3}
