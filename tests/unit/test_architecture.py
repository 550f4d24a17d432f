# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The rule of dependency: modules -> apply, api -> plan."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"

# Files that decide or mean something, and must be testable by the thousand: they know no other than these.
PURE = [
    "_cloudhsm/plan.py",
    "_cloudhsm/resources.py",
    "_cloudhsm/waiters.py",
    "_cloudhsm/progress.py",
    "_cloudhsm/guard.py",
    "_cloudhsm/marks.py",
    "_cloudhsm/planner.py",
    "_cloudhsm/backups_plan.py",
    "_cloudhsm/clusters_plan.py",
    "_cloudhsm/clusters_states.py",
    "_cloudhsm/key_stores_plan.py",
    "_placements/plan.py",
    "_lifecycle/plan.py",
    "_schedule/plan.py",
    "_schedule/parameters.py",
    "_activity/plan.py",
    "_activity/scripts.py",
    "_activity/transformations.py",
    "_activity/failures.py",
    "_activity/url.py",
    "_keys/plan.py",
    "_keys/records.py",
    "_keys/documents.py",
    "_keys/errors.py",
    "_keys/stores.py",
]
OUTSIDE = {"ansible", "ansible_collections", "boto3", "botocore", "cryptography", "pkcs11", "redis"}
LIBRARIES_OF_API = {"boto3", "botocore", "redis"}


def imported(path: Path) -> set[str]:
    """The names of what a file imports; of a relative import, the file beside it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names |= {f".{node.module}"} if node.module else {f".{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("name", PURE)
def test_pure_files_know_nothing_of_the_outside(name):
    siblings = {f".{Path(pure).stem}" for pure in PURE} | {f".{pure[:-3].replace('/', '.')}" for pure in PURE}
    used = imported(UTILS / name)

    assert not used & OUTSIDE
    assert {item for item in used if item.startswith(".")} <= siblings


def test_only_api_and_its_errors_know_the_libraries():
    users = {str(path.relative_to(UTILS)) for path in UTILS.rglob("*.py") if imported(path) & LIBRARIES_OF_API}

    assert users == {"_activity/common.py", "_cloudhsm/api.py", "_cloudhsm/common.py"}


def test_the_two_sides_do_not_know_each_other():
    for side, other in (("_cloudhsm", "_activity"), ("_activity", "_cloudhsm")):
        assert not [path for path in (UTILS / side).glob("*.py") if other in path.read_text(encoding="utf-8")]


def test_nothing_below_a_module_ends_it():
    for path in UTILS.rglob("*.py"):
        calls = [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
        ]
        assert not [call for call in calls if call.attr in ("fail_json", "fail_json_aws", "exit_json")], path
