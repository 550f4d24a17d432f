# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""`PYTHONPATH=tests python -m proof_explorer --minutes 20`."""

from __future__ import annotations

import sys

from .long_run import main

if __name__ == "__main__":
    sys.exit(main())
