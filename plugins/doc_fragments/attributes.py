# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    # The attributes of a module, for the documentation; one fragment a kind of module.

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row with the same arguments, the second invocation changes nothing.
"""

    ACTIONGROUP_AWS = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/hsmops.cloudhsm.all) in C(module_defaults) to set defaults for this module and for every module of
        C(amazon.aws).
      - The connection parameters that C(group/aws) sets apply to it as well.
    support: full
    membership:
      - hsmops.cloudhsm.all
"""

    ACTIONGROUP_REDIS = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/hsmops.cloudhsm.redis) in C(module_defaults) to say once where the Redis is.
    support: full
    membership:
      - hsmops.cloudhsm.redis
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module does not modify state.
  diff_mode:
    support: N/A
    details:
      - This module does not modify state.
  idempotent:
    support: full
    details:
      - This module does not modify state.
"""
