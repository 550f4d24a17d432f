# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The shared step of Jenkins, run by a real Groovy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.gitlab import PIPELINES, inherited
from harness.redis_servers import wait_until

# Each block says what the ones before it have left; a Groovy takes two seconds to start.
PIPELINE = r"""
def holders = { String when ->
    sh 'echo "HOLDERS ' + when + '" $(redis-cli -u "$REDIS_URL" zrangebyscore hsm:dev:holds 1000 +inf)'
}
withCloudHsm(env: 'dev', inventory: 'my hosts.yml', arguments: '-e hsm_count=1') {
    holders('within')
    sh 'redis-cli -u "$REDIS_URL" zadd hsm:dev:holds 5 "$HSM_HOLDER"'
    sh '''n=0
        while [ "$(redis-cli -u "$REDIS_URL" zscore hsm:dev:holds "$HSM_HOLDER")" = 5 ]; do
            sleep 0.1; n=$((n + 1)); [ "$n" -lt 300 ]
        done'''
    holders('renewed')
    withCloudHsm(env: 'dev', ensure: false) { holders('both') }
    holders('outer')
}
holders('end')
attempt { withCloudHsm(env: 'dev', ensure: false) { sh 'echo begun; exit 7' } }
holders('failed')
attempt { withCloudHsm(env: 'dev', ensure: false) { sh 'kill -TERM $$' } }
holders('cancelled')
attempt { withCloudHsm(env: 'dev', arguments: '--broken') { sh 'echo never' } }
holders('unready')
attempt { withCloudHsm([:]) { sh 'echo never' } }
attempt { withCloudHsm(env: "{{lookup('pipe','touch owned')}}") { sh 'echo never' } }
def claim = 'token o fence 1 phase committed hsm_ids h deadline 4000000000 record 1767258000 server x'
sh 'redis-cli -u "$REDIS_URL" hset hsm:dev:claim ' + claim
attempt { withCloudHsm(env: 'dev', ensure: false) { sh 'echo never' } }
holders('doomed')
"""


@pytest.fixture
def groovy():
    """The command that runs a Groovy, and where its Java is."""
    if not (found := shutil.which("groovy")):
        if os.environ.get("CI"):
            pytest.fail("no groovy")
        pytest.skip("no groovy (apt-get install --no-install-recommends groovy)")
    java = Path(shutil.which("java") or "").resolve()
    return [found], {"JAVA_HOME": os.environ.get("JAVA_HOME") or str(java.parent.parent)}


def test_a_block_holds_and_lets_go(groovy, store, redis_url, running, tmp_path):
    command, variables = groovy
    ansible = tmp_path / "bin" / "ansible-playbook"
    ansible.parent.mkdir()
    ansible.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >>{tmp_path}/called\ncase "$*" in *--broken*) exit 2 ;; esac\n')
    ansible.chmod(0o755)
    (workspace := tmp_path / "workspace").mkdir()
    (tmp_path / "pipeline.groovy").write_text(PIPELINE, encoding="utf-8")
    harness = PIPELINES.parent / "tests/harness/jenkins.groovy"
    path = f"{ansible.parent}:{os.environ['PATH']}"
    process = subprocess.run(
        [*command, harness, PIPELINES / "jenkins", workspace, tmp_path / "pipeline.groovy"],
        env={**inherited(), **variables, "REDIS_URL": redis_url, "HSM_BEAT": "1", "PATH": path},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    said = process.stdout
    assert process.returncode == 0, said + process.stderr

    held = {name: names.split() for name, names in re.findall(r"^HOLDERS (\w+)(.*)$", said, re.M)}
    [holder] = held["within"]
    assert re.fullmatch(r"jenkins-a___b__-7-[0-9a-f]{8}", holder)
    assert held["renewed"] == [holder]
    assert len(set(held["both"])) == 2
    assert held["outer"] == [holder], "a block lets go only what it holds itself"
    assert [held[name] for name in ("end", "failed", "cancelled", "unready", "doomed")] == [[]] * 5

    called = (tmp_path / "called").read_text(encoding="utf-8")
    wanted = f"-i|my hosts.yml|hsmops.cloudhsm.ensure_hsm|-e|env=dev|-e|hsm_holder={holder}|-e|hsm_count=1|"
    assert called.startswith(wanted)
    caught = re.findall(r"^CAUGHT (.*)$", said, re.M)
    assert [line[-2:] for line in caught] == [" 7", "43", " 2", " }", "{.", " 2"]
    assert "withCloudHsm: env: no environment is named" in caught[3]
    assert "is no name of an environment" in caught[4]
    assert "\nnever" not in said
    assert list(Path(f"{workspace}@tmp").iterdir()) == [], "no block leaves anything behind"
    assert int(store.zscore("hsm:dev:holds", holder) or 0) == 0
    wait_until(lambda: not running(str(workspace)))
