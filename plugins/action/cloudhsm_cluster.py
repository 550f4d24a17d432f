# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Run cloudhsm_cluster, and show how far its wait has come while it runs."""

from __future__ import annotations

from ansible_collections.hsmops.cloudhsm.plugins.plugin_utils.progress_action import ProgressActionBase


class ActionModule(ProgressActionBase):
    pass
