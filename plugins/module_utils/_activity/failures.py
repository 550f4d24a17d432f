# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What the errors of a Redis mean, which of them pass, and what to do about the others."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A kind of error.

    Attributes:
        signs: What the names of the error's classes, or its text, hold. A script wraps the code of an error, so that the
            code can stand anywhere in the text.
        parameter: Where to look first.
        finding: What is the matter, in words that follow "Redis at …".
        advice: What to do.
        passing: It may be over in a moment, as it is while another server takes over.
    """

    signs: str
    parameter: str
    finding: str
    advice: str
    passing: bool = False


# The first that fits counts.
_FAILURES = (
    Failure(
        r"AuthenticationError|AuthorizationError|AuthenticationWrongNumberOfArgsError|\b(WRONGPASS|NOAUTH)\b",
        "redis_password",
        "refused the user or password",
        "Check redis_password, redis_username, the ones in redis_url, REDIS_PASSWORD, and redis_sentinel_password.",
    ),
    Failure(
        r"\bNOPERM\b|[Nn]o permissions|can't run this command|can't access at least one of the keys",
        "redis_username",
        "denies this user the right to do it",
        "Give it the rights that docs/redis.md of the collection lists.",
    ),
    Failure(r"\bOOM\b|OutOfMemoryError", "redis_url", "has no memory left", "Raise its maxmemory, or empty it."),
    Failure(
        r"\bMISCONF\b",
        "redis_url",
        "does not write, because it cannot save to its disk",
        "Look at its log and at its disk.",
    ),
    Failure(
        r"\bREADONLY\b|ReadOnlyError|previous master is now a slave",
        "redis_url",
        "is a replica, which nobody can write to",
        "Name the primary, or have Sentinels name it with redis+sentinel://.",
        passing=True,
    ),
    Failure(
        r"\bMASTERDOWN\b|MasterDownError",
        "redis_url",
        "is a replica that has lost its primary",
        "Name the primary, or have Sentinels name it with redis+sentinel://.",
        passing=True,
    ),
    Failure(
        r"\bLOADING\b|BusyLoadingError",
        "redis_url",
        "is still loading its data",
        "Try again in a moment, or set a longer redis_retry_for.",
        passing=True,
    ),
    Failure(
        r"\bNOREPLICAS\b",
        "redis_url",
        "has lost the replicas that its min-replicas-to-write asks for",
        "Bring them back.",
        passing=True,
    ),
    Failure(
        r"[Cc]luster mode is not enabled|cluster support disabled",
        "redis_url",
        "is no Cluster, or denies this user CLUSTER SLOTS",
        "Begin the URL with redis://, or give the user the rights that docs/redis.md of the collection lists.",
    ),
    Failure(
        r"\bCROSSSLOT\b|ClusterCrossSlotError|hash to the same slot",
        "env",
        "is part of a Cluster, and has the keys of this environment in several places",
        "Write braces around the name of the environment, wherever it is named, and begin the URL with redis+cluster://.",
    ),
    Failure(
        r"\b(MOVED|ASK|TRYAGAIN)\b|MovedError|AskError|TryAgainError",
        "redis_url",
        "is part of a Cluster, and another part has these keys",
        "Begin the URL with redis+cluster://. If it does, its slots are being moved: try again.",
        passing=True,
    ),
    Failure(
        r"\bCLUSTERDOWN\b|ClusterDownError|SlotNotCoveredError",
        "redis_url",
        "is a Cluster of which a part is down",
        "Bring it back, or set a redis_retry_for that is longer than its failover.",
        passing=True,
    ),
    Failure(
        r"\bBUSY\b",
        "redis_url",
        "is busy with a script of somebody else",
        "Find out who runs it, or end it with SCRIPT KILL.",
        passing=True,
    ),
    Failure(
        r"certificate verify failed",
        "redis_ca_certs",
        "shows a certificate that is not trusted",
        "Set redis_ca_certs to the certificate of its authority, and use the name that its certificate bears.",
    ),
    Failure(
        r"certificate required|handshake failure|\[SSL",
        "redis_client_cert",
        "and this side do not agree on TLS",
        "Check redis_client_cert and redis_client_key, if it asks for a certificate, and their files.",
    ),
    Failure(
        r"MasterNotFoundError",
        "redis_url",
        "names no primary that can be used",
        "Check the name of the master in the URL, and that the Sentinels see it up.",
        passing=True,
    ),
    Failure(
        r"ConnectionError|TimeoutError|OSError|RedisClusterException",
        "redis_url",
        "does not answer",
        "Check redis_url, or redis_host and redis_port, and that it runs and can be reached from here.",
        passing=True,
    ),
    # The client's own words for a host, or an option in the URL, that it cannot use.
    Failure(
        r"TypeError|ValueError|AttributeError",
        "redis_url",
        "cannot be used as it is configured",
        "Check the host and the options in redis_url.",
    ),
)
_OTHER = Failure("", "redis_url", "refused", "Look at its log.")


def find_failure(error: Exception) -> Failure:
    """Say what an error of the Redis client means."""
    text = f"{' '.join(cls.__name__ for cls in type(error).__mro__)} {error}"
    return next((failure for failure in _FAILURES if re.search(failure.signs, text)), _OTHER)
