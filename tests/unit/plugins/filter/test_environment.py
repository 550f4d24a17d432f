# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The filter that keeps a run from ending with success where there is no such environment."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.hsmops.cloudhsm.plugins.filter.environment import environment

GROUPS = {"all": ["dev", "test-1.eu"], "ungrouped": [], "team": ["dev"]}


@pytest.mark.parametrize(
    "pattern", ["dev", "team", "all", "dev,test-1.eu", "dev:team", "all:!dev", "d*", "all[0]", "~dev|test", "localhost"]
)
def test_known(pattern):
    assert environment(pattern, GROUPS) == pattern


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "env: no environment is named. Say which one with -e env=NAME"),
        ("!dev", "env: no environment is named"),
        ("prod", "env: no host or group of the inventory matches 'prod'"),
        ("dev,prod", "env: no host or group of the inventory matches 'prod'"),
        ("x*", "env: no host or group of the inventory matches 'x\\*'"),
    ],
)
def test_unknown(pattern, message):
    with pytest.raises(AnsibleFilterError, match=message):
        environment(pattern, GROUPS)
