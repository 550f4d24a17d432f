# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The steps of the activity protocol, one method each. They decide nothing; every failure is an ActivityError."""

from __future__ import annotations

import contextlib
import typing as t

from . import scripts
from .common import Call, Connection, Limits
from .endpoint import ActivityError
from .plan import CLOCK_SKEW_SECONDS, Answer, has_hash_tag
from .transformations import to_answer

if t.TYPE_CHECKING:
    from .endpoint import Endpoint


# What the scripts of the steps take, in their order.
_KEYS = ("last_access", "holds", "claim", "fence")


class UnconfirmedError(ActivityError):
    """A step was taken, but too few replicas confirm it, so that it can be lost."""


class ActivityStore:
    """The activity of environments in one Redis.

    Every method takes a list of environments, for which the step is taken in one round trip, and has an answer for each.
    A step may be repeated with the same arguments when its answer was lost: a claim or a commit that its token has already
    is granted again. A cancel or a finish leaves the same behind, though a claim that is gone is refused then.

    Threads can share a store.

    Args:
        endpoint: The server.
        limits: How long to wait.
        dry: Change nothing: answer as if the step had been taken.

    Raises:
        ActivityError: The redis library is missing.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits, dry: bool = False) -> None:
        self._connection = Connection(endpoint, limits)
        self._endpoint = endpoint
        self._limits = limits
        self._mode = "dry" if dry else ""

    def check(self, environments: t.Sequence[str]) -> list[Answer]:
        """Change nothing."""
        return self._take(scripts.CHECK, environments)

    def touch(self, environments: t.Sequence[str], record_ttl: int) -> list[Answer]:
        """Write now, by the server's clock, as the last use."""
        return self._take(scripts.TOUCH, environments, record_ttl)

    def start_clock(self, environments: t.Sequence[str], record_ttl: int) -> list[Answer]:
        """Touch where there is no record of any kind. Refused where there is one."""
        return self._take(scripts.START_CLOCK, environments, record_ttl)

    def hold(self, environments: t.Sequence[str], holder: str, hold_for: int, record_ttl: int) -> list[Answer]:
        """Touch, and hold for some seconds from now; a hold of the same holder is replaced.

        Raises:
            ActivityError: The holds cannot be kept, or too few replicas confirm them.
        """
        return self._hold(scripts.HOLD, environments, record_ttl, holder, hold_for, confirm=True)

    def release(self, environments: t.Sequence[str], holder: str, record_ttl: int) -> list[Answer]:
        """Touch, and end a hold.

        Raises:
            ActivityError: The holds cannot be read.
        """
        return self._hold(scripts.RELEASE, environments, record_ttl, holder)

    def claim_creating(self, environments: t.Sequence[str], token: str, claim_for: int) -> list[Answer]:
        """Claim for a creation.

        Raises:
            UnconfirmedError: Too few replicas confirm it. What was claimed is finished again, if that can be done.
        """
        return self._claim(scripts.CLAIM_CREATING, dict.fromkeys(environments, (token, claim_for)), token)

    def claim_retiring(
        self, hsm_ids: t.Mapping[str, t.Sequence[str]], token: str, idle_after: float, claim_for: int
    ) -> list[Answer]:
        """Claim for a deletion of these HSMs of each environment.

        Raises:
            UnconfirmedError: Too few replicas confirm it. What was claimed is finished again, if that can be done.
        """
        arguments = {
            name: (token, claim_for, " ".join(ids), idle_after, CLOCK_SKEW_SECONDS) for name, ids in hsm_ids.items()
        }
        return self._claim(scripts.CLAIM_RETIRING, arguments, token)

    def renew(self, environments: t.Sequence[str], token: str, claim_for: int) -> list[Answer]:
        """Have a claim that is not committed end some seconds from now."""
        return self._take(scripts.RENEW, environments, token, claim_for)

    def commit(self, environments: t.Sequence[str], token: str, commit_for: int) -> list[Answer]:
        """Commit to the deletion, if nobody has used the environment since the claim. The claim lives commit_for longer.

        Raises:
            UnconfirmedError: Too few replicas confirm it. Nothing may be deleted: finish.
        """
        return self._take(scripts.COMMIT, environments, token, commit_for, confirm=True)

    def cancel(self, environments: t.Sequence[str], token: str) -> list[Answer]:
        """Take the claim for a deletion away from its actor, so that its commit fails.

        Raises:
            UnconfirmedError: Too few replicas confirm it. The commit may still succeed.
        """
        return self._take(scripts.CANCEL, environments, token, confirm=True)

    def finish(self, environments: t.Sequence[str], token: str) -> list[Answer]:
        """End one's own claim, whatever its phase."""
        return self._take(scripts.FINISH, environments, token)

    def _hold(
        self, script: str, environments: t.Sequence[str], *arguments: t.Any, confirm: bool = False
    ) -> list[Answer]:
        answers = self._take(script, environments, *arguments, confirm=confirm)
        for name, answer in zip(environments, answers, strict=True):
            if not answer.granted:
                key = locate(self._endpoint, name, "holds")[0]
                raise ActivityError(
                    f"env: {key} in Redis at {self._endpoint.name} is not the sorted set of holds. See what wrote it, and "
                    "delete it if nobody needs it."
                )
        return answers

    def _claim(self, script: str, arguments: t.Mapping[str, tuple[t.Any, ...]], token: str) -> list[Answer]:
        try:
            return self._run(script, [self._call(name, *given) for name, given in arguments.items()], confirm=True)
        except UnconfirmedError:
            with contextlib.suppress(ActivityError):
                self._take(scripts.FINISH, list(arguments), token)
            raise

    def _take(
        self, script: str, environments: t.Sequence[str], *arguments: t.Any, confirm: bool = False
    ) -> list[Answer]:
        return self._run(script, [self._call(name, *arguments) for name in environments], confirm)

    def _call(self, environment: str, *arguments: t.Any) -> Call:
        return Call(locate(self._endpoint, environment, *_KEYS), (self._mode, *arguments))

    def _run(self, script: str, calls: t.Sequence[Call], confirm: bool) -> list[Answer]:
        limits = self._limits
        confirm = confirm and limits.min_replicas > 0 and not self._mode
        raw, replicas = self._connection.run(script, calls, confirm)
        answers = [to_answer(answer) for answer in raw]
        if confirm and replicas < limits.min_replicas and any(answer.granted for answer in answers):
            raise UnconfirmedError(
                f"redis_min_replicas: {replicas} of {limits.min_replicas} replicas of Redis at {self._endpoint.name} have "
                f"confirmed the step after {limits.replica_timeout:g} s. It does not count, because it is lost if another "
                "replica takes over. Look at the replicas, and repeat the step."
            )
        return answers


def locate(endpoint: Endpoint, environment: str, *names: str) -> tuple[str, ...]:
    """Return the keys under which a Redis has what is kept of an environment.

    Args:
        endpoint: The server.
        environment: The name of the environment.
        names: What is wanted, such as "last_access".

    Raises:
        ActivityError: The server is a Cluster, and would have them in several places.
    """
    if endpoint.kind == "cluster" and not has_hash_tag(environment):
        raise ActivityError(
            f"env: a Redis Cluster keeps all keys of an environment together only where its name has braces: write "
            f"{{{environment}}} instead of {environment}, wherever this environment is named."
        )
    return tuple(f"hsm:{environment}:{name}" for name in names)
