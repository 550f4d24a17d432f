# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Runs of backup_then_delete_hsm that are killed at every request that changes something, whatever it changes."""

from __future__ import annotations

import typing as t

import pytest
from harness.estates import FEW_KINDS, OTHER_REGION, Estate, Estates, Run
from harness.pkcs11 import need_softhsm
from harness.wiretap import Exchange

# More than a run makes: the search for kills ends when one is not killed any more.
MANY = 40
# Before the first request that writes; when the manifest is there; when AWS has accepted the deletion.
QUICK = (
    ("before", "cloudhsm:DeleteHsm"),
    pytest.param("after", "cloudhsm:DeleteHsm", marks=pytest.mark.slow),
    pytest.param("before", "secretsmanager:CreateSecret", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estates]:
    need_softhsm()
    with Estates(tmp_path_factory.mktemp("estates")) as estates:
        yield estates


class Killed(t.NamedTuple):
    """A run that was to be killed.

    Attributes:
        at: The request at which it was; empty when it was not.
        parts_missing: What the store lacked, each time that AWS was asked to delete; None stands for no manifest.
        proofs: How many times KMS had opened a data key by then.
    """

    run: Run
    at: str
    parts_missing: list[set[str] | None]
    proofs: list[int]


def kill_at(estates: Estates, estate: Estate, when: str, hit: t.Callable[[int, Exchange], bool]) -> Killed:
    """Start a run, and kill it with all its processes at a request that changes something.

    Args:
        estates: Where it is.
        estate: The environment.
        when: "before" the request reaches AWS, or "after" its effect, before anybody has the answer.
        hit: Whether it is this one, by its number and itself.
    """
    seen, at = 0, ""
    missing: list[set[str] | None] = []
    proofs: list[int] = []
    estates.tap.clear()
    started = estates.start("backup_then_delete_hsm", estate)

    def kill(exchange: Exchange) -> tuple[int, str, str] | None:
        nonlocal at, seen
        if at and when == "before":
            # What comes from a process that is just dying.
            return (500, "Gone", "the caller was killed")
        if not exchange.writes or at:
            return None
        seen += 1
        if hit(seen, exchange):
            at = exchange.name
            started.kill()
            return (500, "Gone", "the caller was killed")
        return None

    def watch(exchange: Exchange) -> None:
        if exchange.name == "cloudhsm:DeleteHsm" and not at:
            missing.append(estate.missing_parts())
            proofs.append(len([each for each in estates.tap.exchanges("kms:Decrypt") if each.status == 200]))

    hooks = {"before": watch, "after": kill} if when == "after" else {"before": lambda each: watch(each) or kill(each)}
    with estates.tap.hooked(**t.cast("dict[str, t.Any]", hooks)):
        run = started.wait()
    return Killed(run, at, missing, proofs)


def furnish(estates: Estates) -> Estate:
    return estates.make(hsm_backup_never_expires=True, hsm_backup_copy_to=[OTHER_REGION]).furnish(FEW_KINDS)


def assert_mended(estates: Estates, estate: Estate, killed: Killed) -> None:
    """Nothing was deleted without a proved backup; the same run again completes, and every key works after an ensure."""
    assert all(missing == set() for missing in killed.parts_missing), killed
    assert all(killed.proofs), killed
    if not estate.hsms():
        assert killed.proofs, f"deleted, and nobody asked: {killed}"
    else:
        assert estate.unusable() == []
    estates.lapse(estate)
    estate.age()
    before = len(estate.backups())

    again = estates.play("backup_then_delete_hsm", estate)

    assert again.status == 0, again.stdout
    assert (estate.hsms(), estate.tags(), estate.missing_parts()) == ([], {}, set())
    assert before
    back = estates.play("ensure_hsm", estate, hsm_keys_after_restore="restored")
    assert back.status == 0, back.stdout
    assert estate.unusable() == []
    assert estate.tags() == {}


@pytest.mark.parametrize(("when", "name"), QUICK)
def test_killed_at_a_request_that_matters(estates, when, name):
    estate = furnish(estates)

    killed = kill_at(estates, estate, when, lambda _number, exchange: exchange.name == name)

    assert killed.at == name
    assert killed.run.status < 0
    assert_mended(estates, estate, killed)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_request_that_writes(estates, when):
    names: list[str] = []
    for number in range(1, MANY):
        estate = furnish(estates)
        killed = kill_at(estates, estate, when, lambda count, _exchange, number=number: count == number)
        assert_mended(estates, estate, killed)
        if not killed.at:
            break
        names.append(killed.at)
    else:
        raise AssertionError(f"a run that makes more requests than expected: {names}")

    # All of what a run does was come to; KMS is only asked.
    assert {name.partition(":")[0] for name in names} == {"secretsmanager", "cloudhsm"}
    assert {"CreateSecret", "TagResource", "DeleteHsm", "UntagResource", "CopyBackupToRegion"} <= {
        name.partition(":")[2] for name in names
    }


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_after_the_deletion_the_backup_of_aws_is_still_kept_and_copied(estates, when):
    """What had to become of AWS's backup is not forgotten because the run that was to see to it is dead."""
    estate = furnish(estates)
    killed = kill_at(estates, estate, when, lambda _number, exchange: exchange.name == "cloudhsm:UntagResource")
    assert killed.at
    estates.lapse(estate)

    again = estates.play("backup_then_delete_hsm", estate)

    assert again.status != 0 or (estate.backups()[0]["NeverExpires"] and estate.backups(OTHER_REGION)), again.stdout
