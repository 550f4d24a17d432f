# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What AWX refuses: answers that a survey does not take, and what a template of a credential cannot be."""

from __future__ import annotations

import re
import typing as t

import jinja2
import jinja2.sandbox

_Object = dict[str, t.Any]


class RefusalError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, payload: t.Any) -> None:
        super().__init__(f"{status}: {payload}")
        self.status, self.payload = status, payload


def check_answers(spec: list[_Object], answers: _Object) -> None:
    """Refuse what a survey does not take, as AWX does."""
    wrong = []
    for question in spec:
        name, value = question["variable"], answers.get(question["variable"])
        if value is None:
            # What is required must be said, also where it has a default: that is for the form.
            if question["required"]:
                wrong.append(f"'{name}' value missing")
        elif question["type"] == "multiplechoice" and value not in question["choices"]:
            wrong.append(f"Value {value} for '{name}' expected to be one of {question['choices']}.")
        elif question["type"] == "integer" and (not isinstance(value, int) or value < question.get("min", 0)):
            wrong.append(f"Value {value} for '{name}' expected to be an integer of at least {question.get('min', 0)}.")
        elif question["type"] == "text" and len(value) < question.get("min", 0):
            wrong.append(f"'{name}' value {value} is too small.")
    if wrong:
        raise RefusalError(400, {"variables_needed_to_start": wrong})


def check_prompts(template: _Object, spec: list[_Object], body: _Object, answers: _Object) -> None:
    """Refuse what a template does not ask for."""
    unasked = set(answers) - {each["variable"] for each in spec}
    if unasked and not template["ask_variables_on_launch"]:
        raise RefusalError(400, {"extra_vars": [f"Variables {', '.join(sorted(unasked))} are not allowed on launch."]})
    if "job_type" in body and not template["ask_job_type_on_launch"]:
        raise RefusalError(400, {"job_type": ["Field is not configured to prompt on launch."]})


def check_injectors(made: _Object) -> None:
    """Refuse templates that AWX would refuse: it renders each once, and lets no undefined name pass."""
    injectors = made["injectors"]
    files = {name.partition(".")[2]: "a path" for name in injectors.get("file", {})}
    names = {each["id"]: "EXAMPLE" for each in made["inputs"].get("fields", [])}
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    for where in ("file", "env", "extra_vars"):
        for name, template in injectors.get(where, {}).items():
            if where == "env" and (not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) or name.startswith("ANSIBLE_")):
                raise RefusalError(400, {"injectors": f"{name} cannot be set"})
            try:
                environment.from_string(template).render(**names, tower={"filename": files})
            except jinja2.TemplateError as error:
                raise RefusalError(400, {"injectors": f"{name}: {error}"}) from None
