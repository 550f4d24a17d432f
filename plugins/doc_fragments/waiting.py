# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    # How a wait looks and is shown. How long it lasts, and what becomes of it then, is each module's own.

    DOCUMENTATION = r"""
options:
  wait_delay:
    description:
      - How many seconds to pause between two looks.
    type: float
    default: 30
  progress_path:
    description:
      - File on the host that runs the module, to which a line is appended for every look while waiting.
      - With a local connection it is set by itself, and the run shows the lines.
    type: path
"""
