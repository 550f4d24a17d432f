# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the errors of Redis 6.2 to 8.2, through the oldest and the newest client, are taken for."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.failures import find_failure
from redis import exceptions
from redis.sentinel import MasterNotFoundError

WRAPPED = "Error running script (call to f_ff9d7a): @user_script:1: @user_script: 1: "


@pytest.mark.parametrize(
    ("error", "finding", "passing"),
    [
        (exceptions.AuthenticationError("Authentication required."), "refused the user or password", False),
        (exceptions.ResponseError("WRONGPASS invalid username-password pair"), "refused the user or password", False),
        (
            MasterNotFoundError("No master found for 'a' : AuthenticationError('x')"),
            "refused the user or password",
            False,
        ),
        (exceptions.NoPermissionError("this user has no permissions to run the 'evalsha' command"), "the right", False),
        (exceptions.NoPermissionError("No permissions to access a key"), "the right", False),
        (
            exceptions.ResponseError(f"{WRAPPED}The user executing the script can't run this command"),
            "the right",
            False,
        ),
        (
            exceptions.ResponseError("ACL failure in script: User u has no permissions to run the 'set'"),
            "the right",
            False,
        ),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "no memory", False),
        (exceptions.ResponseError(f"{WRAPPED}-OOM command not allowed"), "no memory", False),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "save to its disk", False),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "is a replica", True),
        (exceptions.ResponseError(f"{WRAPPED}-READONLY You can't write"), "is a replica", True),
        (exceptions.ConnectionError("The previous master is now a slave"), "is a replica", True),
        (exceptions.MasterDownError("Link with MASTER is down"), "has lost its primary", True),
        (exceptions.ResponseError("MASTERDOWN Link with MASTER is down"), "has lost its primary", True),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "still loading", True),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "lost the replicas", True),
        (exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"), "several places", False),
        (exceptions.ResponseError("CROSSSLOT Keys in request don't hash to the same slot"), "several places", False),
        (exceptions.MovedError("1 127.0.0.1:7000"), "is part of a Cluster", True),
        (exceptions.ResponseError("MOVED 1 127.0.0.1:7000"), "is part of a Cluster", True),
        (exceptions.ClusterDownError("The cluster is down"), "a part is down", True),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), "busy with a script", True),
        (exceptions.ConnectionError("certificate verify failed: self-signed"), "not trusted", False),
        (exceptions.ConnectionError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert"), "do not agree on TLS", False),
        (exceptions.ConnectionError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "do not agree on TLS", False),
        (MasterNotFoundError("No master found for 'other'"), "names no primary", True),
        (exceptions.RedisClusterException("Redis Cluster cannot be connected."), "does not answer", True),
        (exceptions.TimeoutError("Timeout reading from socket"), "does not answer", True),
        (ConnectionRefusedError(111, "Connection refused"), "does not answer", True),
        (TypeError("unexpected keyword argument"), "cannot be used as it is configured", False),
        (exceptions.ResponseError("ERR something new"), "refused", False),
    ],
)
def test_failures(error, finding, passing):
    failure = find_failure(error)

    assert finding in failure.finding
    assert failure.passing == passing
    assert failure.parameter
    assert failure.advice.endswith(".")
