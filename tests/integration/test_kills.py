# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A few rounds of benchmarks/kills.py: jobs and reapers as real processes, killed at random moments."""

from __future__ import annotations

import sys
import typing as t

import pytest
from sandbox.sandbox import CHECKOUT

pytestmark = pytest.mark.slow

# The rounds of these seeds are short. Between them, creators and reapers are killed, jobs are at work, and HSMs come and go.
SEEDS = (28, 47)


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Any]:
    """The module of the benchmark."""
    monkeypatch.syspath_prepend(CHECKOUT / "benchmarks")
    import kills

    yield kills
    del sys.modules["kills"]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_left_whoever_dies(kills, seed):
    found = kills.run_round(seed)

    # The clock of the local AWS runs faster than that of signatures: where the machine is held up, a round proves nothing.
    assert found.late or not (found.in_use or found.doubled), found
    assert found.mended, found


def test_a_round_is_what_its_seed_says(kills):
    assert kills.make_script(7) == kills.make_script(7)
    assert kills.make_script(7) != kills.make_script(8)
