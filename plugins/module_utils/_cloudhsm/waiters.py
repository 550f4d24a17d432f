# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Wait, with a bound, for what AWS does by itself.

botocore has no waiters for CloudHSM v2. What to make of one look at a cluster is a pure function here; the one loop that
looks again is Wait.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    import datetime

    from .resources import Cluster, Hsm


class WaitError(Exception):
    """What was waited for did not come in time, or cannot come any more."""


class WaitTimeoutError(WaitError):
    """The bound of the run has passed.

    Args:
        timeout: The bound in seconds.
        pending: What was still waited for.
    """

    def __init__(self, timeout: float, pending: str) -> None:
        super().__init__(
            f"Timed out after {timeout:.0f} s: {pending}. AWS goes on by itself; run again to see how far it came (nothing "
            "is created twice), or raise wait_timeout"
        )
        self.timeout = timeout
        self.pending = pending


class DegradedError(WaitError):
    """An HSM that was waited for became DEGRADED. It stays so.

    Args:
        hsm: The HSM.
    """

    def __init__(self, hsm: Hsm) -> None:
        super().__init__(
            f"{hsm} is DEGRADED and will not become usable: {hsm.state_message or 'AWS gives no reason'}. Set "
            "replace_degraded=true to have it replaced, or delete it with state=absent and hsm_ids"
        )
        self.hsm = hsm


@dataclass(frozen=True)
class Verdict:
    """What one look says: done, or pending, and the state in words for the person who waits."""

    done: bool
    text: str


@dataclass(frozen=True)
class Progress:
    """One look of a wait: seconds since the run began, the bound in seconds, and the state in words."""

    elapsed: float
    timeout: float
    text: str


class Wait:
    """The bound that all waits of one run share, and the loop that keeps it.

    Args:
        timeout: Seconds for the whole run.
        delay: Seconds between two looks.
        observers: Told of every look that was not the last. A notification that fails must not raise.
        clock: Seconds on a clock that never steps.
        sleep: Sleeps so many seconds.
    """

    def __init__(
        self,
        timeout: float,
        delay: float,
        observers: t.Iterable[t.Callable[[Progress], None]] = (),
        clock: t.Callable[[], float] | None = None,
        sleep: t.Callable[[float], None] | None = None,
    ) -> None:
        self.timeout = timeout
        self.delay = delay
        self._observers = observers
        self._clock = clock or time.monotonic
        self._sleep = sleep or time.sleep
        self._begun = self._clock()
        self.waited = False

    @property
    def elapsed(self) -> float:
        return self._clock() - self._begun

    def pause(self, seconds: float) -> None:
        """Let time pass that is needed in any case."""
        self.waited = True
        self._sleep(seconds)

    def until(self, look: t.Callable[[], Verdict], timeout: float | None = None) -> bool:
        """Look until it is done.

        The last look is taken at the deadline, so that what came during the last pause is seen.

        Args:
            look: Says whether it is done.
            timeout: Seconds from now, where this wait has a bound of its own within that of the run.

        Returns:
            Whether it is done; false only when a bound of its own was given.

        Raises:
            WaitTimeoutError: The bound of the run has passed, and none of its own was given.
        """
        deadline = self.timeout if timeout is None else min(self.timeout, self.elapsed + timeout)
        while True:
            last = self.elapsed >= deadline
            verdict = look()
            if verdict.done:
                return True
            if last and timeout is not None:
                return False
            if last:
                raise WaitTimeoutError(self.timeout, verdict.text)
            self.waited = True
            for observe in self._observers:
                observe(Progress(self.elapsed, self.timeout, verdict.text))
            self._sleep(max(0.0, min(self.delay, deadline - self.elapsed)))


def look_usable(cluster: Cluster, awaited: t.Iterable[Hsm]) -> Verdict:
    """Say whether every awaited HSM, or the one with which AWS replaced it, is ACTIVE.

    An HSM that is not shown is pending: DescribeClusters may lag.

    Raises:
        DegradedError: One is DEGRADED.
        WaitError: One is being deleted.
    """
    pending = []
    for hsm in awaited:
        now = cluster.find(hsm)
        if now is None:
            pending.append(f"{hsm} is not shown by AWS")
        elif now.degraded:
            raise DegradedError(now)
        elif now.leaving:
            raise WaitError(
                f"{now} is {now.state}: somebody deletes it while it is waited for. Find out who, and run again"
            )
        elif not now.usable:
            pending.append(f"{now} is {now.state}")
    return Verdict(not pending, "; ".join(pending))


def look_settled(cluster: Cluster, hsms: t.Iterable[Hsm]) -> Verdict:
    """Say whether none of these HSMs is being created any more: AWS deletes only what it has finished creating."""
    pending = [str(hsm) for hsm in hsms if (now := cluster.find(hsm)) and now.coming]
    return Verdict(not pending, f"{', '.join(pending)} must be created before it can be deleted")


def look_gone(cluster: Cluster, hsms: t.Iterable[Hsm]) -> Verdict:
    """Say whether these HSMs are gone. Right after DeleteHsm, AWS may still show one as ACTIVE."""
    ids = {hsm.hsm_id for hsm in hsms}
    pending = [f"{hsm} is {hsm.state}" for hsm in cluster.hsms if hsm.hsm_id in ids and hsm.state != "DELETED"]
    return Verdict(not pending, "; ".join(pending))


def look_idle(cluster: Cluster) -> Verdict:
    """Say whether the cluster accepts changes of its HSMs."""
    return Verdict(not cluster.busy, f"cluster {cluster.cluster_id} is {cluster.state}")


def look_backed_up(
    backups: t.Iterable[dict[str, t.Any]], since: datetime.datetime
) -> tuple[Verdict, list[dict[str, t.Any]]]:
    """Say whether a backup (as DescribeBackups shows it) is READY and not older than a moment, and which ones are."""
    newer = [backup for backup in backups if backup["CreateTimestamp"] >= since]
    ready = [backup for backup in newer if backup["BackupState"] == "READY"]
    text = f"no backup made since {since:%Y-%m-%d %H:%M:%S} UTC is shown yet"
    if newer:
        text = f"backup {newer[0]['BackupId']} is {newer[0]['BackupState']}"
    return Verdict(bool(ready), text), ready
