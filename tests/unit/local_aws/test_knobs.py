# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import dataclasses
import pathlib
import typing

import local_aws
import pytest
from local_aws.knobs import Knobs, parse_setting


@pytest.mark.parametrize(
    "values",
    [
        {"hsm_create_seconds": -1},
        {"hsm_create_seconds": "soon"},
        {"hsm_create_seconds": True},
        {"quota_hsms": 1.5},
        {"quota_error_code": ""},
        {"delete_hsm_again_accepted": 1},
        {"no_such_knob": 1},
    ],
)
def test_refuses_what_does_not_fit(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Knobs().changed(values)


def test_command_line_settings_take_the_type_of_the_knob() -> None:
    assert parse_setting("hsm_create_seconds=1.5") == ("hsm_create_seconds", 1.5)
    assert parse_setting("quota_hsms=100") == ("quota_hsms", 100)
    assert parse_setting("hsm1_medium_accepted=true") == ("hsm1_medium_accepted", True)
    assert parse_setting("quota_error_message=a=b") == ("quota_error_message", "a=b")


@pytest.mark.parametrize(
    "text", ["hsm_create_seconds", "nothing=1", "quota_hsms=many", "quota_hsms=-1", "hsm1_medium_accepted=1"]
)
def test_command_line_settings_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"knob|invalid|true or false|0 or more"):
        parse_setting(text)


def test_every_knob_and_its_default_are_in_the_readme() -> None:
    readme = (pathlib.Path(local_aws.__file__).parent / "README.md").read_text(encoding="utf-8")
    meanings = {name: hint.__metadata__[0] for name, hint in typing.get_type_hints(Knobs, include_extras=True).items()}
    for knob in dataclasses.fields(Knobs):
        default = str(knob.default).lower() if isinstance(knob.default, bool) else f"{knob.default}".removesuffix(".0")
        assert f"| `{knob.name}` | `{default}` | {meanings[knob.name]} |" in readme
