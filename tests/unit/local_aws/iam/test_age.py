# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re

import pytest
from local_aws.cloudhsm.errors import CloudHsmError
from local_aws.iam.signature import check_age
from local_aws.knobs import Knobs

SIGNED = "20261123T034500Z"
WALL = 1795405500.0
# What the virtual clock showed at WALL.
VIRTUAL = 2_000_000_000.0


def frozen(_wall: float) -> tuple[float, float]:
    return VIRTUAL, VIRTUAL


def steady(wall: float) -> tuple[float, float]:
    return wall - WALL + VIRTUAL, wall + 1 - WALL + VIRTUAL


def fast(wall: float) -> tuple[float, float]:
    begin = VIRTUAL + (wall - WALL) * 1000
    return begin, begin + 1000


def refused(code: str, message: str = "") -> object:
    return pytest.raises(CloudHsmError, match=f"^{code}: {re.escape(message)}")


def test_old_signature() -> None:
    check_age(SIGNED, WALL + 300, WALL + 300, frozen, clock="virtual")
    message = "Signature expired: 20261123T034500Z is now earlier than 20261123T034501Z (20261123T035001Z - 5 min.)"
    with refused("InvalidSignatureException", message):
        check_age(SIGNED, WALL + 301, WALL + 301, frozen, clock="virtual")
    with refused("InvalidSignatureException", "Signature expired"):
        check_age(SIGNED, WALL + 300.5, WALL + 300.5, frozen, clock="virtual")


def test_signature_of_the_future() -> None:
    check_age(SIGNED, WALL - 300, WALL - 300, frozen, clock="virtual")
    message = (
        "Signature not yet current: 20261123T034500Z is still later than 20261123T034459Z (20261123T033959Z + 5 min.)"
    )
    with refused("InvalidSignatureException", message):
        check_age(SIGNED, WALL - 301, WALL - 301, frozen, clock="virtual")


def test_real_date_is_put_on_the_virtual_clock() -> None:
    check_age(SIGNED, VIRTUAL + 300, VIRTUAL + 300, frozen, clock="real")
    message = "Signature expired: 20330518T033320Z is now earlier than 20330518T033321Z (20330518T033821Z - 5 min.)"
    with refused("InvalidSignatureException", message):
        check_age(SIGNED, VIRTUAL + 301, VIRTUAL + 301, frozen, clock="real")


@pytest.mark.parametrize("arrived", [VIRTUAL, VIRTUAL + 500, VIRTUAL + 1000, VIRTUAL + 1300])
def test_second_of_the_date_may_be_long_in_virtual_time(arrived: float) -> None:
    check_age(SIGNED, arrived, arrived, fast, clock="real")


@pytest.mark.parametrize(
    ("arrived", "message"), [(VIRTUAL + 1301, "Signature expired"), (VIRTUAL - 301, "Signature not yet current")]
)
def test_second_of_the_date_has_an_end(arrived: float, message: str) -> None:
    with refused("InvalidSignatureException", message):
        check_age(SIGNED, arrived, arrived, fast, clock="real")


@pytest.mark.parametrize("arrived", [WALL, VIRTUAL])
def test_client_may_follow_either_clock(arrived: float) -> None:
    check_age(SIGNED, arrived + 299, arrived + 299, steady)
    with refused("InvalidSignatureException", "Signature expired"):
        check_age(SIGNED, arrived + 302, arrived + 302, steady)


@pytest.mark.parametrize(("clock", "arrived"), [("real", WALL), ("virtual", VIRTUAL)])
def test_client_has_to_follow_the_clock_that_is_set(clock: str, arrived: float) -> None:
    with refused("InvalidSignatureException"):
        check_age(SIGNED, arrived, arrived, steady, clock=clock)


@pytest.mark.parametrize("clock", ["real", "virtual", "either"])
def test_time_on_the_wire_counts(clock: str) -> None:
    arrived = WALL if clock == "virtual" else VIRTUAL
    check_age(SIGNED, arrived + 100, arrived + 300, frozen, clock=clock)
    with refused("InvalidSignatureException", "Signature expired"):
        check_age(SIGNED, arrived + 100, arrived + 301, frozen, clock=clock)


def test_time_on_the_wire_makes_nobody_follow_the_other_clock() -> None:
    # 100 s old when it arrived; 450 s later it would be 50 s ahead on the real clock.
    with refused("InvalidSignatureException", "Signature expired"):
        check_age(SIGNED, WALL + 100, WALL + 550, lambda wall: (WALL + 600, WALL + 600))


@pytest.mark.parametrize("life", [60.0, 900.0])
def test_life_is_a_setting(life: float) -> None:
    check_age(SIGNED, WALL, WALL + life, frozen, life)
    with refused("InvalidSignatureException") as caught:
        check_age(SIGNED, WALL, WALL + life + 1, frozen, life)
    assert f"- {life / 60:.0f} min.)" in caught.value.message


@pytest.mark.parametrize("signed", [SIGNED, None, "soon"])
def test_no_life_is_for_ever(signed: str | None) -> None:
    check_age(signed, VIRTUAL + 1e8, VIRTUAL + 1e8, frozen, life=0)


def test_clock_of_clients_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="signature_clock must be one of either, real, virtual"):
        Knobs(signature_clock="mine")


@pytest.mark.parametrize("signed", [None, "", "2026-11-23T03:45:00Z", "20261323T034500Z"])
def test_date_has_to_be_one(signed: str | None) -> None:
    with refused("IncompleteSignature"):
        check_age(signed, WALL, WALL, frozen)
