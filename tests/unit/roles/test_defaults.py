# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What roles take where nobody says so: the pipeline as holder, as each kind of CI names it, and the playbook as timer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity.plan import check_holder

ROLES = Path(__file__).parents[3] / "roles"
PIPELINES = ("CI_PIPELINE_ID", "GITHUB_RUN_ID", "BUILD_TAG")
# Environment variables of the job, variables of the play, and the holder.
CASES = [
    ({}, {}, ""),
    ({"CI_PIPELINE_ID": "4711"}, {}, "gitlab-4711"),
    ({"GITHUB_RUN_ID": "815"}, {}, "github-815"),
    ({"BUILD_TAG": "jenkins-a job-7"}, {}, "jenkins-a_job-7"),
    ({}, {"awx_job_id": 12}, "awx-12"),
    ({}, {"awx_job_id": 12, "awx_workflow_job_id": 3}, "awx-workflow-3"),
    ({"CI_PIPELINE_ID": "4711", "BUILD_TAG": "x"}, {"awx_job_id": 12}, "gitlab-4711"),
]
# Playbooks, and the names of their timers.
NAMES = [
    ("reap_hsm", "hsmops-reap-hsm"),
    ("hsmops.cloudhsm.schedule_hsm", "hsmops-schedule-hsm"),
    ("/srv/reap_one.yml", "hsmops-reap-one"),
    ("/srv/hsm.d/two.yaml", "hsmops-two"),
]
# Templates need a plugin loader, which a process has one of.
TEMPLATE = """
import json, os, sys
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

init_plugin_loader()
loader, found = DataLoader(), []
text = loader.load_from_file(sys.argv[1], trusted_as_template=True)[sys.argv[2]]
for environment, variables in json.load(sys.stdin):
    for name in sys.argv[3:]:
        os.environ.pop(name, None)
    os.environ.update(environment)
    found.append(Templar(loader, variables=variables).template(text))
print(json.dumps(found))
"""


def templated(role, name, cases, environment=()):
    command = [sys.executable, "-c", TEMPLATE, str(ROLES / role / "defaults/main.yml"), name, *environment]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_pipeline_holds():
    found = templated("hsm", "hsm_holder", [case[:2] for case in CASES], PIPELINES)
    assert found == [holder for _environment, _variables, holder in CASES]
    assert not [holder for holder in found if holder and check_holder(holder)]


def test_each_playbook_has_a_timer_of_its_own():
    found = templated("timer", "timer_name", [({}, {"timer_playbook": playbook}) for playbook, _name in NAMES])
    assert found == [name for _playbook, name in NAMES]
