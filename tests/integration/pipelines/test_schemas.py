# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The template and the action as the published schemas of GitLab and GitHub have them, and what the documentation shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml
from harness.github import ACTION
from harness.gitlab import PIPELINES, find_job, read_template

DOCUMENT = PIPELINES.parent / "docs" / "pipelines.md"


def check(schema, *documents, folder):
    """Have check-jsonschema judge documents by a schema that it brings along."""
    paths = []
    for number, document in enumerate(documents):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(document), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *paths],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def shown(language):
    """What docs/pipelines.md has in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)


def test_gitlab_reads_the_template(tmp_path):
    jobs = read_template()
    told = check("gitlab-ci", {**jobs, "sign": {"extends": ".cloudhsm_keepalive", "script": ["true"]}}, folder=tmp_path)
    assert told.returncode == 0, told.stdout

    jobs["cloudhsm_status"]["allow_failure"] = {"exit_codes": "one"}
    assert check("gitlab-ci", jobs, folder=tmp_path).returncode == 1


def test_the_stages_are_those_around_all_others():
    jobs = {name: find_job(read_template(), name) for name in read_template() if name != "variables"}
    assert [jobs[name]["stage"] for name in ("cloudhsm_status", "cloudhsm_ensure")] == [".pre", ".pre"]
    assert (jobs["cloudhsm_release"]["stage"], jobs["cloudhsm_release"]["when"]) == (".post", "always")
    # What all other jobs begin with, its image may not have.
    assert read_template()["cloudhsm_release"]["before_script"] == []
    assert jobs["cloudhsm_status"]["allow_failure"] == {"exit_codes": [1, 2]}
    assert "image" not in jobs[".cloudhsm_keepalive"], "a job has an image of its own"


def test_github_reads_the_action(tmp_path):
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    told = check("github-actions", action, folder=tmp_path)
    assert told.returncode == 0, told.stdout
    # No input becomes part of a script, only of its environment.
    assert not [step for step in action["runs"]["steps"] if "${{" in step["run"]]

    del action["runs"]["using"]
    assert check("github-actions", action, folder=tmp_path).returncode == 1


@pytest.mark.parametrize("schema", ["gitlab-ci", "github-workflows"])
def test_what_the_documentation_shows_is_read_too(tmp_path, schema):
    documents = [text for text in shown("yaml") if ("\non:" in f"\n{text}") == (schema == "github-workflows")]
    assert documents
    parsed = [yaml.load(text, yaml.BaseLoader if "!reference" not in text else _Loose) for text in documents]
    told = check(schema, *parsed, folder=tmp_path)
    assert told.returncode == 0, told.stdout


class _Loose(yaml.BaseLoader):
    """Reads a `!reference` as the list that it is."""


_Loose.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))
