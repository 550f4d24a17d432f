# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What `make pipelines` plays, with shorter jobs and a reaper that comes by less often."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from sandbox.pipelines import LEAN, play
from sandbox.sandbox import Sandbox


@pytest.mark.slow
def test_two_pipelines_share_an_hsm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    told = []
    with Sandbox(tmp_path / "sandbox", rate=0) as sandbox:
        wrong = play(sandbox, LEAN, told.append)

    assert wrong == [], "\n".join(told)
    assert any("reaper        dev: kept: held by gitlab-101" in line for line in told)
    assert any("reaper        dev: deleted: last used" in line for line in told)
