# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Who the caller is: keys, secrets, sessions and the age of signatures, over HTTP with a plain boto3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def refused(code: str, message: str = "") -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\).*{message}")


def test_not_enforced_nobody_is_asked(aws: Any) -> None:
    aws.door.knobs = replace(aws.door.knobs, iam_enforced=False)
    aws.client("cloudhsmv2", "AKIANOBODYKNOWSTHIS1", "secret").describe_clusters()


def test_users_key(aws: Any) -> None:
    aws.hsms(ALL).describe_clusters()


@pytest.mark.parametrize("key", ["AKIANOBODYKNOWSTHIS1", "ASIANOBODYKNOWSTHIS1", "12345678901"])
def test_unknown_key(aws: Any, key: str) -> None:
    with refused("UnrecognizedClientException", "The security token included in the request is invalid") as caught:
        aws.client("cloudhsmv2", key, "secret").describe_clusters()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_inactive_key(aws: Any) -> None:
    name, key, secret = aws.user(ALL)
    aws.iam.update_access_key(UserName=name, AccessKeyId=key, Status="Inactive")
    with refused("UnrecognizedClientException"):
        aws.client("cloudhsmv2", key, secret).describe_clusters()


def test_deleted_key(aws: Any) -> None:
    name, key, secret = aws.user(ALL)
    aws.iam.delete_access_key(UserName=name, AccessKeyId=key)
    with refused("UnrecognizedClientException"):
        aws.client("cloudhsmv2", key, secret).describe_clusters()


def test_wrong_secret(aws: Any) -> None:
    _name, key, secret = aws.user(ALL)
    stranger = aws.client("cloudhsmv2", key, secret[::-1])
    with refused("InvalidSignatureException", "does not match the signature you provided"):
        stranger.describe_clusters()
    aws.door.knobs = replace(aws.door.knobs, iam_signatures_checked=False)
    stranger.describe_clusters()


@pytest.mark.parametrize("key", ["testing", "123456789012", "210987654321"])
def test_root_may_do_everything_with_any_secret(aws: Any, key: str) -> None:
    aws.client("cloudhsmv2", key, "anything").delete_cluster(ClusterId="cluster-abcdefghij2")


def test_users_key_has_no_session_token(aws: Any) -> None:
    _name, key, secret = aws.user(ALL)
    with refused("UnrecognizedClientException"):
        aws.client("cloudhsmv2", key, secret, "token").describe_clusters()


def test_session_of_a_role(aws: Any) -> None:
    role = aws.role({**ALL, "Action": "cloudhsm:DescribeClusters"})
    session = aws.session(aws.assume(role))
    session.describe_clusters()
    name = f"arn:aws:sts::123456789012:assumed-role/{role.rpartition('/')[2]}/night"
    with refused("AccessDeniedException", f"User: {name} is not authorized to perform: cloudhsm:DescribeBackups"):
        session.describe_backups()


def test_session_in_another_account(aws: Any) -> None:
    there = aws.client("iam", "210987654321", "anything")
    made = there.create_role(RoleName="guest", AssumeRolePolicyDocument=aws.document())["Role"]
    there.put_role_policy(RoleName="guest", PolicyName="p", PolicyDocument=aws.document(ALL))
    session = aws.session(aws.assume(made["Arn"]))
    session.delete_backup(BackupId="backup-abcdefghij2")
    there.delete_role_policy(RoleName="guest", PolicyName="p")
    with refused("AccessDeniedException", "arn:aws:cloudhsm:eu-west-1:210987654321:backup/backup-abcdefghij2"):
        session.delete_backup(BackupId="backup-abcdefghij2")


def test_session_of_a_role_that_does_not_exist(aws: Any) -> None:
    with refused("AccessDeniedException", "because no identity-based policy allows"):
        aws.session(aws.assume("arn:aws:iam::123456789012:role/nobody")).describe_clusters()


@pytest.mark.parametrize("token", [None, "another"])
def test_session_needs_its_token(aws: Any, token: str | None) -> None:
    credentials = aws.assume(aws.role(ALL))
    with refused("UnrecognizedClientException"):
        aws.session({**credentials, "SessionToken": token}).describe_clusters()


def test_session_ends_on_the_virtual_clock(aws: Any) -> None:
    session = aws.session(aws.assume(aws.role(ALL), DurationSeconds=900))
    # All of this is done within seconds of real time.
    aws.door.clock.jump(840)
    session.describe_clusters()
    aws.door.clock.jump(61)
    with refused("ExpiredTokenException", "The security token included in the request is expired"):
        session.describe_clusters()


def test_session_that_begins_after_a_jump_lasts_from_there(aws: Any) -> None:
    role = aws.role(ALL)
    aws.door.clock.jump(100_000)
    aws.session(aws.assume(role, DurationSeconds=900)).describe_clusters()


@pytest.mark.parametrize("enforced", [True, False])
def test_request_that_is_held_up_grows_old(aws: Any, enforced: bool) -> None:
    aws.door.knobs = replace(aws.door.knobs, iam_enforced=enforced)
    root = aws.client("cloudhsmv2", "testing", "testing")
    aws.door.held = 290
    root.describe_clusters()
    aws.door.held = 310
    with refused("InvalidSignatureException", r"Signature expired: \d{8}T\d{6}Z is now earlier than .* - 5 min\.\)"):
        root.describe_clusters()
    aws.door.knobs = replace(aws.door.knobs, signature_life_seconds=900.0)
    root.describe_clusters()


def test_clock_elsewhere_troubles_nobody(aws: Any) -> None:
    aws.door.clock.jump(1e8)
    aws.client("cloudhsmv2", "testing", "testing").describe_clusters()


def test_clients_clock_can_be_set_to_be_the_virtual_one(aws: Any) -> None:
    aws.door.clock.jump(1000)
    aws.door.knobs = replace(aws.door.knobs, signature_clock="virtual")
    with refused("InvalidSignatureException", "Signature expired"):
        aws.client("cloudhsmv2", "testing", "testing").describe_clusters()
