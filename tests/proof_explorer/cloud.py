# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The AWS of the explored world: one cluster, its tags and HSMs, what it showed before, and what must never happen to it."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass

CLUSTER = "cluster-abcdefghijk"
ZONE = "eu-west-1a"
SIGNATURE_LIFE = 300
PRESENT = ("CREATE_IN_PROGRESS", "ACTIVE")


class Violation(Exception):  # noqa: N818 - it says what the explored code has done, not what failed here.
    """Something happened that must never happen.

    Args:
        rule: The letter of the rule.
        text: What happened.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"({rule}) {text}")
        self.rule = rule


class FakeHsm(t.NamedTuple):
    """An HSM. `due` is when AWS takes it to its next state by itself; `ours` says that one of the actors deleted it."""

    hsm_id: str
    eni: str
    state: str
    due: float | None = None
    ours: bool = False


class Version(t.NamedTuple):
    """What AWS had from some moment on. Tags and HSMs of one answer are of one moment."""

    since: float
    tags: tuple[tuple[str, str], ...]
    hsms: tuple[FakeHsm, ...]


class Request(t.NamedTuple):
    """A signed request."""

    actor: str
    operation: str
    arguments: tuple[tuple[str, t.Any], ...]
    signed: float


class Refused(t.NamedTuple):
    """AWS refused a request."""

    code: str
    status: int = 400


@dataclass(frozen=True)
class Times:
    """How long AWS takes, in seconds."""

    settle: int = 5
    create: int = 100
    delete: int = 60


@dataclass
class Cloud:
    """The cluster. All that it holds is immutable, so that copies are cheap.

    Attributes:
        rules: Letters of the rules that are checked.
        begun: Since when it is as it is.
        older: How it was before, as far as that may still be shown, newest first.
        made: How many HSMs there have been.
        wanted: How many anybody needs.
        backups: When backups were made.
    """

    now: float
    times: Times
    rules: frozenset[str]
    tags: tuple[tuple[str, str], ...] = ()
    hsms: tuple[FakeHsm, ...] = ()
    begun: float = 0.0
    older: tuple[Version, ...] = ()
    made: int = 0
    wanted: int = 1
    backups: tuple[float, ...] = ()

    def key(self, stale: bool) -> tuple[t.Any, ...]:
        """Everything that its future depends on; what it was before only if that may be shown."""
        return (self.now, self.tags, self.hsms, self.visible() if stale else (), self.made, self.backups)

    def let_pass(self, now: float) -> None:
        """Put the clock forward."""
        while due := [hsm for hsm in self.hsms if hsm.due is not None and hsm.due <= now]:
            hsm = min(due, key=lambda found: t.cast("float", found.due))
            self.now = t.cast("float", hsm.due)
            if hsm.state == "CREATE_IN_PROGRESS":
                self._change(hsm, hsm._replace(state="ACTIVE", due=None))
            else:
                self.backups += (self.now,)
                self._change(hsm, None)
        self.now = now

    def visible(self) -> tuple[Version, ...]:
        """What a read may show besides what there is now, newest first."""
        shown, ended = [], self.begun
        for version in self.older:
            if ended <= self.now - self.times.settle:
                break
            shown.append(version)
            ended = version.since
        return tuple(shown)

    def describe(self, age: int = 0) -> Version:
        """DescribeClusters, as it was that many changes ago."""
        return self.visible()[age - 1] if age else Version(self.begun, self.tags, self.hsms)

    def carry_out(self, request: Request, users: t.Callable[[str], list[str]]) -> FakeHsm | Refused | None:
        """Carry a request out that has arrived.

        Args:
            request: The request.
            users: Says who was told to use the HSM of a network interface.

        Raises:
            Violation: It does what must never be done.
        """
        if abs(self.now - request.signed) > SIGNATURE_LIFE:
            return Refused("InvalidSignatureException", 403)
        arguments = dict(request.arguments)
        if request.operation == "TagResource":
            self._tag({**dict(self.tags), **dict(arguments["tags"])})
        elif request.operation == "UntagResource":
            self._tag({key: value for key, value in self.tags if key not in arguments["keys"]})
        elif request.operation == "CreateHsm":
            return self._create()
        else:
            return self._delete(request, arguments, users)
        return None

    def replace(self) -> None:
        """AWS replaces a failed HSM: the same network interface, another id."""
        hsm = next(hsm for hsm in self.hsms if hsm.state == "ACTIVE")
        self.made += 1
        self._change(hsm, hsm._replace(hsm_id=f"hsm-{self.made}"))

    def copy(self) -> Cloud:
        """Return one that is the same."""
        return dataclasses.replace(self)

    def _create(self) -> FakeHsm:
        present = [hsm.hsm_id for hsm in self.hsms if hsm.state in PRESENT]
        self.made += 1
        hsm = FakeHsm(f"hsm-{self.made}", str(self.made), "CREATE_IN_PROGRESS", self.now + self.times.create)
        self._remember()
        self.hsms += (hsm,)
        if len(present) >= self.wanted and "b" in self.rules:
            raise Violation("b", f"{hsm.hsm_id} is created while there is {', '.join(present)}")
        return hsm

    def _delete(
        self, request: Request, arguments: dict[str, t.Any], users: t.Callable[[str], list[str]]
    ) -> Refused | None:
        found = [
            hsm
            for hsm in self.hsms
            if hsm.hsm_id == arguments.get("HsmId") or f"192.0.2.{hsm.eni}" == arguments.get("EniIp")
        ]
        if not found:
            return Refused("CloudHsmResourceNotFoundException")
        hsm = found[0]
        if hsm.state != "ACTIVE":
            return Refused("CloudHsmInvalidRequestException")
        used_by = users(hsm.eni)
        if used_by and "a" in self.rules:
            raise Violation("a", f"{request.actor} deletes {hsm.hsm_id}, which {', '.join(used_by)} was told to use")
        if "d" in self.rules and (problem := self._unannounced(request, arguments)):
            raise Violation("d", f"{request.actor} deletes {hsm.hsm_id} {problem}")
        leaving = hsm._replace(state="DELETE_IN_PROGRESS", due=self.now + self.times.delete, ours=True)
        self._change(hsm, leaving)
        return None

    def _unannounced(self, request: Request, arguments: dict[str, t.Any]) -> str:
        if set(arguments) != {"ClusterId", "HsmId"}:
            return f"by {', '.join(sorted(arguments))}"
        own, suffix = f"hsmops:doomed/{request.actor}", f"/{arguments['HsmId']}"
        marks = [float(value) for key, value in self.tags if key.startswith(own) and key.endswith(suffix)]
        if not marks:
            return "without a mark"
        if request.signed > max(marks):
            return f"with a request signed {request.signed - max(marks):.0f} s after the deadline of its mark"
        return ""

    def _tag(self, tags: dict[str, str]) -> None:
        self._remember()
        self.tags = tuple(sorted(tags.items()))

    def _change(self, hsm: FakeHsm, into: FakeHsm | None) -> None:
        self._remember()
        hsms = (into if found is hsm else found for found in self.hsms)
        self.hsms = tuple(found for found in hsms if found is not None)

    def _remember(self) -> None:
        self.older = (Version(self.begun, self.tags, self.hsms), *self.visible())
        self.begun = self.now
