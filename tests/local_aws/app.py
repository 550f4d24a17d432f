# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The local AWS as one WSGI application: CloudHSM, the control API, and moto for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .clock import VirtualClock
from .cloudhsm.service import CloudHsm
from .control import PREFIX, Control
from .knobs import Knobs
from .moto_bridge import MotoNetwork, account_of, moto_application, reset_moto
from .wire import CREDENTIAL, CloudHsmWire, StartResponse, is_cloudhsm

ACCOUNT_ID = re.compile(r"\d{12}")


class LocalAwsApplication:
    """Routes each request to the service it is for.

    An access key id of twelve digits is taken for the account to work in; moto maps every other key to its default
    account 123456789012, or to the account of the role that it was made for.

    Args:
        clock: Virtual time.
        knobs: Settings at start.
        seed: Seed of CloudHSM's ids, None for others at every start.
    """

    def __init__(self, clock: VirtualClock, knobs: Knobs, seed: int | None = None) -> None:
        self.service = CloudHsm(clock, knobs, seed, MotoNetwork)
        self._cloudhsm = CloudHsmWire(self.service, account_of)
        self._control = Control(self.service, reset_moto)
        self._moto = moto_application()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("PATH_INFO", "").startswith(PREFIX):
            return self._control(environ, start_response)
        credential = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if credential and ACCOUNT_ID.fullmatch(credential["key"]):
            environ.setdefault("HTTP_X_MOTO_ACCOUNT_ID", credential["key"])
        if is_cloudhsm(environ):
            return self._cloudhsm(environ, start_response)
        return self._moto(environ, start_response)
