# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Run hsm_key_backup with the defaults of group/aws."""

from __future__ import annotations

from ansible_collections.hsmops.cloudhsm.plugins.plugin_utils.aws_action import AwsActionBase


class ActionModule(AwsActionBase):
    pass
