# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The activity protocol over its interleavings: the real code keeps the rules, and without any one of its own it does not.

PROOF_SECONDS is how long each scenario is searched. `python -m proof_explorer` searches longer, and prints figures.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof_explorer.explore import Explorer
from proof_explorer.mutants import MUTANTS, Mutant
from proof_explorer.scenario import Scenario, job, reaper
from proof_explorer.scenarios import REMARKED, REMARKED_MOVES, SCENARIOS, THROTTLED, THROTTLED_MOVES
from proof_explorer.store import Server

SECONDS = float(os.environ.get("PROOF_SECONDS", "3"))
PLENTY = 60.0


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_rules_are_kept(scenario: Scenario, server: Server) -> None:
    explorer = Explorer(scenario, server)
    found = explorer.search(4, SECONDS)
    print(f"{scenario.name}: {explorer.figures}")
    assert found is None, str(found)
    assert explorer.figures.ends


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_without_a_rule_it_goes_wrong(mutant: Mutant, server: Server) -> None:
    explorer = Explorer(mutant.scenario, server)
    with mutant.installed():
        found = explorer.search(mutant.cost, PLENTY)
    print(f"{mutant.name}: {explorer.figures}")
    assert found is not None
    assert (found.violation.rule, found.cost) == (mutant.rule, mutant.cost)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scenario=st.sampled_from(SCENARIOS), seed=st.integers(0, 2**32))
def test_the_rules_are_kept_by_chance(server: Server, scenario: Scenario, seed: int) -> None:
    found = Explorer(scenario, server).walk(random.Random(seed), most=8)
    assert found is None, str(found)


@pytest.mark.parametrize(("scenario", "moves"), [(THROTTLED, THROTTLED_MOVES), (REMARKED, REMARKED_MOVES)])
def test_what_once_went_wrong(scenario: Scenario, moves: tuple[str, ...], server: Server) -> None:
    violation, lines = Explorer(scenario, server).direct(moves)
    assert violation is None, "\n".join(lines)


def test_a_schedule_can_be_taken_again(server: Server) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "the reaper makes no mark")
    with mutant.installed():
        found = Explorer(mutant.scenario, server).search(mutant.cost)
        assert found is not None
        violation, lines = Explorer(mutant.scenario, server).replay(found.choices)
    assert str(violation) == str(found.violation)
    assert lines == found.lines


def test_an_idle_hsm_goes_and_a_job_has_it_made_again(server: Server) -> None:
    scenario = Scenario("one after the other", (reaper(), job()), starts={"j1": 100})
    violation, lines = Explorer(scenario, server).direct(["j1: begins", "j1: CreateHsm arrives"])
    assert violation is None
    assert any("r1 deleted" in line for line in lines)
    assert any("j1 is told to use hsm-2" in line for line in lines)
