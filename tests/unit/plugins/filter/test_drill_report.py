# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The lines that say what a rehearsal has shown."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.filter.drill_report import FilterModule, drill_report

FOUND = {
    "seconds": 1234.5678,
    "source": {"backup_id": "backup-aaaaaaaaaaa", "create_timestamp": "2026-01-01T09:00:00.123000+00:00"},
    "cluster": {"elapsed": 300.4},
    "hsm": {"elapsed": 600.6},
    "keys": {"keys": 3, "name": "dev", "generation": 2, "restored": [], "not_covered": []},
}
HEAD = [
    "dev: an HSM with its keys was there after 1235 s: 300 s for a cluster, 601 s for an HSM in it",
    "AWS's backup: backup-aaaaaaaaaaa of 2026-01-01T09:00:00 UTC. What came into the HSM after that moment is not in it",
]
PROVED = "keys: all 3 of the backup dev, generation 2, were proved"


def test_it_is_the_filter_of_that_name():
    assert FilterModule().filters() == {"drill_report": drill_report}


@pytest.mark.parametrize(
    ("restored", "lost"),
    [([], "none of these"), ([{"label": "a"}], "a"), ([{"label": "a"}, {"label": "b"}], "a, b")],
)
def test_keys(restored, lost):
    uncovered = [{**key, "reason": "it is not extractable"} for key in restored]
    found = {**FOUND, "keys": {**FOUND["keys"], "restored": restored, "not_covered": uncovered}}
    lost_too = ", ".join(f"{key['label']} (it is not extractable)" for key in restored) or "none of these"
    assert drill_report(found, "dev") == [
        *HEAD,
        PROVED,
        f"keys: AWS's backup alone would have lost {lost}",
        f"keys: the backup dev alone would have lost {lost_too}",
    ]


def test_keys_that_were_not_looked_at_are_not_said_to_be_proved():
    found = {**FOUND, "keys": {"changed": False, "skipped": True}}
    assert drill_report(found, "dev") == [*HEAD, "keys: not proved, because hsm_key_backup is not set"]


def test_a_moment_without_fractions():
    found = {**FOUND, "source": {**FOUND["source"], "create_timestamp": "2026-01-01T09:00:00"}}
    assert drill_report(found, "dev")[1] == HEAD[1]
