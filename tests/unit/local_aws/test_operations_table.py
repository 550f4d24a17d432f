# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The table of OPERATIONS.md names every operation, its sources, and knobs that there are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import local_aws
import pytest
from local_aws.cloudhsm.service import OPERATIONS
from local_aws.knobs import Knobs
from local_aws.validation import Model

EVERY = "every operation"
COLUMNS = 4
SOURCE = re.compile(r"\((?:[^()]*, )?(?:(?:UG|API) [\w-]+|GR|EC2|model|recorded|live)\b[^()]*\)")
CODE = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`")
# They are of other services, or of who may ask.
ELSEWHERE = ("kms_", "iam_", "signature_")
KNOBS = {knob.name for knob in fields(Knobs)}


def rows() -> dict[str, list[str]]:
    lines = (Path(local_aws.__file__).parent / "OPERATIONS.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    _head, rule, *body = table
    assert set("".join(rule)) == {"-"}
    found = {name: cells for name, *cells in body}
    assert len(found) == len(body), "an operation comes twice"
    return found


def test_exactly_the_operations_of_the_model() -> None:
    assert list(rows()) == [EVERY, *sorted(Model().operations)]
    assert set(OPERATIONS) == set(Model().operations)


@pytest.mark.parametrize("operation", [EVERY, *OPERATIONS])
def test_row_has_a_source_and_knobs_that_exist(operation: str) -> None:
    cells = rows()[operation]
    assert len(cells) == COLUMNS - 1
    documented, by_knob, _without = cells
    for claim in documented.split("; "):
        assert SOURCE.search(claim), f"no source: {claim}"
    assert CODE.findall(by_knob), "no knob"
    assert set(CODE.findall(" ".join(cells))) <= KNOBS


def test_every_knob_belongs_to_an_operation() -> None:
    named = {knob for cells in rows().values() for knob in CODE.findall(cells[1])}
    assert named == {knob for knob in KNOBS if not knob.startswith(ELSEWHERE)}
