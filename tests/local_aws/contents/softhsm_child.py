# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Sets the user PIN of the only SoftHSM token of a configuration; a process of its own, started by `tokens.py`.

The request comes on standard input, so that no PIN is seen in a list of processes. It works on the library itself, for
python-pkcs11 cannot initialize a token.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

CK_ULONG = ctypes.c_ulong
CKU_SO = 0
CKF_SERIAL_RW_SESSION = 0x4 | 0x2
LABEL_LENGTH = 32
MOST_SLOTS = 16


def main() -> None:
    """Serve the request."""
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["module"])
    so_pin, pin = request["so_pin"].encode(), request["pin"].encode()
    _call(library, "C_Initialize", None)
    if not request["exists"]:
        label = request["label"].encode().ljust(LABEL_LENGTH)
        _call(library, "C_InitToken", _first_slot(library), so_pin, CK_ULONG(len(so_pin)), label)
    session = CK_ULONG()
    slot = _first_slot(library)
    _call(library, "C_OpenSession", slot, CK_ULONG(CKF_SERIAL_RW_SESSION), None, None, ctypes.byref(session))
    _call(library, "C_Login", session, CK_ULONG(CKU_SO), so_pin, CK_ULONG(len(so_pin)))
    _call(library, "C_InitPIN", session, pin, CK_ULONG(len(pin)))
    _call(library, "C_Finalize", None)


def _first_slot(library: ctypes.CDLL) -> CK_ULONG:
    """Return the slot of the token; without a token, the empty slot that else comes last is the only one."""
    slots, count = (CK_ULONG * MOST_SLOTS)(), CK_ULONG(MOST_SLOTS)
    _call(library, "C_GetSlotList", ctypes.c_ubyte(0), slots, ctypes.byref(count))
    return CK_ULONG(slots[0])


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code:
        sys.exit(f"{name} returned {code:#x}")


if __name__ == "__main__":
    main()
