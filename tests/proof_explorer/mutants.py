# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Mutants: the real code with one rule of the protocol taken out, each with the smallest scenario that shows why it is there."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
import typing as t
from dataclasses import dataclass
from unittest import mock

from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity import plan as activity_plan
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity import scripts
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.api import ActivityStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm import apply, deletion, marks, waiters
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.deadline import SigningDeadline
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle import fleet, reaping
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.ensuring import ActivityGuard
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._lifecycle.reaping import Reaper

from .scenario import Scenario, job, reaper, writer

Patch = t.Any


@contextlib.contextmanager
def text(where: t.Any, name: str, old: str, new: str) -> t.Iterator[None]:
    """Replace a passage in a script, or in the source of a function."""
    found = getattr(where, name)
    source = found if isinstance(found, str) else _source(found)
    if source.count(old) != 1:
        raise AssertionError(f"{name} has {source.count(old)} times: {old}")
    changed: t.Any = source.replace(old, new)
    if not isinstance(found, str):
        names: dict[str, t.Any] = {}
        exec(compile("from __future__ import annotations\n" + changed, "mutant", "exec"), found.__globals__, names)
        changed = names[found.__name__]
        changed.source = source.replace(old, new)
    with mock.patch.object(where, name, changed):
        yield


def _source(function: t.Any) -> str:
    # What was changed already bears its source.
    return getattr(function, "source", "") or textwrap.dedent(inspect.getsource(function))


def nothing(where: t.Any, name: str, result: t.Any = None) -> Patch:
    """Have a function do nothing."""

    def stub(*_arguments: t.Any, **_named: t.Any) -> t.Any:
        return result

    return mock.patch.object(where, name, stub)


@dataclass(frozen=True)
class Mutant:
    """A mutant.

    Attributes:
        name: What is taken out.
        scenario: Where that does harm.
        cost: How much the schedule costs that shows it.
        rule: The letter of the rule that is broken.
        patches: Makes the patches.
    """

    name: str
    scenario: Scenario
    cost: int
    rule: str
    patches: t.Callable[[], t.Sequence[Patch]] = tuple

    @contextlib.contextmanager
    def installed(self) -> t.Iterator[None]:
        """Take the rule out."""
        with contextlib.ExitStack() as stack:
            for patch in self.patches():
                stack.enter_context(patch)
            yield


USED = frozenset("a")
TWO = frozenset("b")
PAIR = (reaper(), job())
CREATORS = (job("j1"), job("j2"))
_TAG = "api.tag_resource(self._view.client, self._view.cluster_id, tags)"
_LATE = "signed > latest"


def _look_first() -> list[Patch]:
    clear = ActivityGuard.clear

    def clear_then_declare(guard: ActivityGuard) -> None:
        clear(guard)
        guard._heartbeat.touch()

    return [nothing(ActivityGuard, "declare"), mock.patch.object(ActivityGuard, "clear", clear_then_declare)]


def _one_mark(_token: str, ids: t.Iterable[str], deadline: float) -> dict[str, str]:
    return marks.doomed_tags("reaper", ids, deadline)


MUTANTS = [
    Mutant(
        "the reaper makes no mark", Scenario("mark", PAIR, USED), 1, "a", lambda: [text(Reaper, "_mark", _TAG, "pass")]
    ),
    Mutant(
        "all reapers share one mark",
        Scenario(
            "shared mark",
            (reaper("r1"), reaper("r2"), job()),
            USED,
            starts={"r2": 990, "j1": 1001},
            holds={"r1": (1000,), "r2": (20,)},
            hold_at=frozenset({"wakes up", "DeleteHsm arrives"}),
        ),
        2,
        "a",
        lambda: [mock.patch.object(reaping, "doomed_tags", _one_mark)],
    ),
    Mutant(
        "a reaper takes off the marks of others",
        Scenario(
            "marks of others",
            (reaper("r2"), reaper("r1"), job()),
            USED,
            starts={"r1": 190, "j1": 201},
            holds={"r1": (100,), "r2": (200,)},
            hold_at=frozenset({"DescribeClusters", "DeleteHsm arrives"}),
        ),
        2,
        "a",
        lambda: [
            text(
                Reaper,
                "_leave",
                "elif marked and (warning := take_off(self._view, doomed_tags(self._token, ids, 0))):",
                "elif (warning := take_off(self._view, {mark.key for mark in self._view.marks})):",
            )
        ],
    ),
    Mutant(
        "commit does not compare the record",
        Scenario("record", PAIR, USED),
        1,
        "a",
        lambda: [text(scripts, "COMMIT", "text(RECORD) ~= claim.record or ", "")],
    ),
    Mutant(
        # A hold changes the record, too. So this is needed only where somebody else then writes the very record that the
        # claim remembers.
        "commit does not compare the holds",
        Scenario("holds", (reaper(), job("j1", "pipeline-1"), writer("w1", -4000)), USED, starts={"j1": 0, "w1": 0}),
        1,
        "a",
        lambda: [text(scripts, "COMMIT", " or kind(HOLDS) ~= 'none'", "")],
    ),
    Mutant(
        "commit is granted without a claim",
        Scenario("lost claim", PAIR, USED, flush=True),
        0,
        "a",
        lambda: [
            text(
                scripts,
                "COMMIT",
                "  local refusal = not_sure",
                "  if not claim then return nil end\n  local refusal = not_sure",
            ),
            text(
                scripts,
                "COMMIT",
                "if claim.phase ~= 'committed' then live",
                "if claim and claim.phase ~= 'committed' then live",
            ),
        ],
    ),
    Mutant(
        "what is unknown is idle",
        Scenario("unknown", (job(), reaper()), USED, starts={"r1": 100}, flush=True),
        1,
        "a",
        lambda: [
            text(
                scripts,
                "CLAIM_RETIRING",
                "local last_access = seconds(text(RECORD))",
                "local last_access = seconds(text(RECORD)) or 1",
            ),
            text(scripts, "COMMIT", "text(RECORD) ~= claim.record", "(text(RECORD) or '') ~= claim.record"),
            text(scripts, "COMMIT", "retiring and seconds(found.record) or", "retiring or"),
            text(fleet, "decide", 'judgement.status == "unknown" and', "False and"),
            text(
                fleet, "decide", 'if judgement.status != "idle" or', 'if judgement.status not in ("idle", "unknown") or'
            ),
        ],
    ),
    Mutant(
        "no deadline for signatures",
        Scenario("deadline", PAIR, USED, starts={"j1": 990}, holds={"r1": (1000,)}),
        1,
        "a",
        lambda: [text(SigningDeadline, "_check", _LATE, "False")],
    ),
    Mutant(
        "a mark is void at its deadline, though a request may be on its way",
        Scenario("life of a signature", PAIR, USED, starts={"j1": 90}, holds={"r1": (100,)}),
        1,
        "a",
        lambda: [mock.patch.object(marks, "SIGNATURE_LIFE", 0)],
    ),
    Mutant(
        "a job looks at AWS before it writes in Redis",
        Scenario("look first", (job(), reaper()), USED),
        2,
        "a",
        _look_first,
    ),
    Mutant(
        "a job does not mind marks", Scenario("clear", PAIR, USED), 1, "a", lambda: [nothing(ActivityGuard, "clear")]
    ),
    Mutant(
        "a deletion is called off that is committed",
        Scenario("cancel", PAIR, USED),
        1,
        "a",
        lambda: [text(scripts, "CANCEL", "{retiring = true}", "{retiring = true, committed = true}")],
    ),
    Mutant(
        "what is idle in an old copy is idle",
        Scenario("old record", (job(), reaper()), USED, starts={"r1": 40}, rollback=True),
        1,
        "a",
        lambda: [
            text(
                scripts,
                "CLAIM_RETIRING",
                "if complete_since < 0 or now - complete_since <= tonumber(ARGV[5])",
                "if false",
            ),
            nothing(activity_plan, "_doubt", ""),
        ],
    ),
    Mutant(
        "a claim that an old copy has is committed",
        Scenario("old claim", PAIR, USED, rollback=True),
        1,
        "a",
        lambda: [text(scripts, "COMMIT", "claim.server ~= run_id()", "false")],
    ),
    Mutant(
        "a deletion is called off by what an old copy has of its claim",
        Scenario("old commit", PAIR, USED, rollback=True),
        2,
        "a",
        lambda: [text(scripts, "CANCEL", "claim.server ~= run_id()", "false")],
    ),
    Mutant(
        "the reaper does not settle",
        Scenario("settling", PAIR, USED, stale=True),
        1,
        "a",
        lambda: [nothing(waiters.Wait, "pause")],
    ),
    Mutant(
        "deletion by address instead of id",
        Scenario(
            "address",
            PAIR,
            USED,
            starts={"j1": 10},
            holds={"r1": (20,)},
            hold_at=frozenset({"DeleteHsm arrives"}),
            replace=True,
        ),
        2,
        "a",
        lambda: [
            text(
                deletion.Deleter,
                "_send",
                "api.delete_hsm(self._view.client, self._view.cluster_id, hsm.hsm_id)",
                "bool(self._view.client.delete_hsm(ClusterId=self._view.cluster_id, EniIp=hsm.eni_ip) or True)",
            )
        ],
    ),
    Mutant(
        "what replaced an HSM is deleted in its place",
        Scenario(
            "replacement",
            PAIR,
            USED,
            starts={"j1": 10},
            holds={"r1": (20,)},
            hold_at=frozenset({"DeleteHsm arrives"}),
            replace=True,
        ),
        2,
        "a",
        lambda: [
            text(
                deletion.Deleter,
                "_delete_one",
                "self._send(hsm)",
                "self._send(hsm) or self._send(self._view.look().find(hsm) or hsm)",
            )
        ],
    ),
    Mutant(
        "the reaper does not mind that its commit is refused",
        Scenario("refused commit", PAIR, USED),
        0,
        "a",
        lambda: [text(Reaper, "reap", "if not commit.granted:", "if False:")],
    ),
    Mutant(
        "no replica confirms a hold",
        Scenario("unconfirmed hold", (job("j1", "pipeline-1"), reaper()), USED, failover=True),
        1,
        "a",
        lambda: [text(ActivityStore, "hold", ", confirm=True", "")],
    ),
    # What no replica is waited for: docs/redis.md says so.
    Mutant(
        "a job only touches, and another Redis takes over",
        Scenario("unconfirmed touch", (job(), reaper()), USED, failover=True),
        1,
        "a",
    ),
    Mutant(
        "the reaper takes its mark off though its request may still arrive",
        Scenario("unclear deletion", PAIR, USED, starts={"j1": 140}, wire=frozenset({"held"}), attempts=1),
        1,
        "a",
        lambda: [text(Reaper, "_leave", "if marked and there and", "if False and")],
    ),
    Mutant("a job beats too rarely", Scenario("beat", (job(), reaper()), USED, starts={"r1": 2000}, beat=2400), 0, "a"),
    Mutant(
        "no mark of a creation",
        Scenario("creation mark", CREATORS, TWO, hsm=False, flush=True),
        2,
        "b",
        lambda: [text(ActivityGuard, "_announce", _TAG, "pass")],
    ),
    Mutant(
        "a creator does not settle",
        Scenario("creator settling", CREATORS, TWO, hsm=False, stale=True),
        2,
        "b",
        lambda: [nothing(waiters.Wait, "pause")],
    ),
    Mutant(
        "a creator does not look again after settling",
        Scenario("second look", CREATORS, TWO, hsm=False, flush=True),
        2,
        "b",
        lambda: [
            text(
                ActivityGuard,
                "open",
                "self._wait.pause(self._settle)\n        self._view.look()",
                "self._wait.pause(self._settle)",
            )
        ],
    ),
    Mutant(
        "no deadline for the signature of a creation",
        Scenario(
            "creation deadline",
            CREATORS,
            TWO,
            hsm=False,
            starts={"j2": 990},
            holds={"j1": (1000,)},
            hold_at=frozenset({"CreateHsm is signed"}),
        ),
        1,
        "b",
        lambda: [text(SigningDeadline, "_check", _LATE, "False")],
    ),
    Mutant(
        "the mark of a creation is void at its deadline",
        Scenario("life of a creation", CREATORS, TWO, hsm=False, starts={"j2": 190}, holds={"j1": (200,)}),
        1,
        "b",
        lambda: [mock.patch.object(marks, "SIGNATURE_LIFE", 0)],
    ),
    Mutant(
        "a creator takes its mark off though its request may still arrive",
        Scenario("unclear creation", CREATORS, TWO, hsm=False, starts={"j2": 140}, wire=frozenset({"held"})),
        1,
        "b",
        lambda: [text(apply._Run, "_create", "self._guard.close(clear)", "self._guard.close()")],
    ),
    Mutant(
        "nobody takes void marks off",
        Scenario("void marks", (reaper(),), frozenset("c"), kills=("r1",)),
        1,
        "c",
        lambda: [
            nothing(fleet, "_take_off_void_marks"),
            text(
                ActivityGuard,
                "clear",
                "self._take_off({mark.key for mark in self._view.void_marks})",
                "pass",
            ),
        ],
    ),
    Mutant(
        "a mark is never void",
        Scenario("never void", (reaper(),), frozenset("c"), kills=("r1",)),
        1,
        "c",
        lambda: [nothing(marks.Mark, "is_void", False)],
    ),
]
