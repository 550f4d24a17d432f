# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What modules return as AWS shows it, against what they say that they return."""

from __future__ import annotations

import botocore.session
import pytest
import yaml
from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible_collections.hsmops.cloudhsm.plugins.modules import cloudhsm_backup_info, cloudhsm_cluster_info

# The password of the first user is never shown, and the tags are under another name.
OTHERWISE = {"pre_co_password", "tag_list"}


@pytest.mark.parametrize(
    ("module", "shape", "path"),
    [
        (cloudhsm_cluster_info, "Cluster", ["clusters"]),
        (cloudhsm_cluster_info, "Hsm", ["clusters", "hsms"]),
        (cloudhsm_backup_info, "Backup", ["backups"]),
    ],
)
def test_whatever_aws_can_show_is_described(module, shape, path):
    described = yaml.safe_load(module.RETURN)
    for name in path[:-1]:
        described = described[name]["contains"]
    described = described[path[-1]]["contains"]
    members = botocore.session.get_session().get_service_model("cloudhsmv2").shape_for(shape).members
    shown = camel_dict_to_snake_dict(dict.fromkeys(members))
    assert set(shown) - OTHERWISE <= set(described)
