# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Creators and reapers that are killed at each request that writes: one more tick and one more ensure mend what is left."""

from __future__ import annotations

import typing as t

import pytest
from harness.estates import Estate, Estates
from harness.wiretap import Exchange

RUNS = {"ensure_hsm": "CreateHsm", "reap_hsm": "DeleteHsm"}
# More than a run makes: the search for kills ends when one is not killed any more.
MANY = 12


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estates]:
    with Estates(tmp_path_factory.mktemp("estates")) as estates:
        yield estates


def furnish(estates: Estates, run: str) -> Estate:
    """An environment that waits for that run: without an HSM, or with one that nobody uses."""
    estate = estates.make(hsm_key_backup_required=False)
    if run == "reap_hsm":
        estate.create_hsm()
        estate.age()
    return estate


def kill_at(estates: Estates, estate: Estate, run: str, when: str, hit: t.Callable[[int, str], bool]) -> str:
    """Kill a run with all its processes at a request that writes.

    Args:
        estates: Where it is.
        estate: The environment.
        run: Name of the playbook.
        when: "before" the request reaches AWS, or "after" its effect, before anybody has the answer.
        hit: Whether it is this one, by its number and its name.

    Returns:
        The request; empty when it was not killed.
    """
    seen, at = 0, ""
    started = estates.start(run, estate)

    def kill(exchange: Exchange) -> tuple[int, str, str] | None:
        nonlocal seen, at
        if at:
            # What comes from a process that is just dying.
            return (500, "Gone", "the caller was killed")
        if not exchange.writes:
            return None
        seen += 1
        if not hit(seen, exchange.operation):
            return None
        at = exchange.operation
        started.kill()
        return (500, "Gone", "the caller was killed")

    with estates.tap.hooked(**t.cast("dict[str, t.Any]", {when: kill})):
        ended = started.wait()
    assert (ended.status < 0) == bool(at), ended.text
    return at


def assert_mended(estates: Estates, estate: Estate, at: str) -> None:
    """One more tick and one more ensure: one usable HSM, no mark, no claim. Nobody is told of more than there is."""
    left = len(estate.hsms())
    estates.lapse(estate)
    tick = estates.play("reap_hsm", estate)
    assert tick.status == 0, (at, tick.text)
    ensured = estates.play("ensure_hsm", estate)
    assert ensured.status == 0, (at, ensured.text)
    assert [hsm["State"] for hsm in estate.hsms()] == ["ACTIVE"], (at, left)
    assert estate.tags() == {}, at
    # The key of a claim outlives it by an hour.
    assert float(estates.store.hget(estate.key("claim"), "deadline") or 0) < estates.now(), at


def test_a_creator_that_dies_when_aws_has_created(estates: Estates) -> None:
    estate = furnish(estates, "ensure_hsm")
    assert kill_at(estates, estate, "ensure_hsm", "after", lambda _number, name: name == "CreateHsm")
    assert (len(estate.hsms()), len(estate.tags()), estates.store.exists(estate.key("claim"))) == (1, 1, 1)
    assert_mended(estates, estate, "CreateHsm")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("run", RUNS)
def test_killed_at_every_request_that_writes(estates: Estates, run: str, when: str) -> None:
    names: list[str] = []
    for number in range(1, MANY):
        estate = furnish(estates, run)
        at = kill_at(estates, estate, run, when, lambda count, _name, number=number: count == number)
        assert_mended(estates, estate, at)
        if not at:
            break
        names.append(at)
    assert names == ["TagResource", RUNS[run], "UntagResource"]
