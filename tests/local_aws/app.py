# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The local AWS as one WSGI application: CloudHSM, what KMS has for it, the control API, and moto for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .clock import VirtualClock
from .cloudhsm.service import CloudHsm
from .contents.vault import Vault
from .control import PREFIX, Control
from .iam.guard import Guard
from .kms.service import Kms, is_kms
from .kms_clusters import KmsClusters
from .knobs import Knobs
from .moto_bridge import (
    MotoIdentities,
    MotoKeys,
    MotoNetwork,
    account_of,
    dump_moto,
    load_moto,
    moto_application,
    reset_moto,
)
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
        folder: Where the tokens of the HSMs go.
    """

    def __init__(self, clock: VirtualClock, knobs: Knobs, seed: int | None, folder: Path) -> None:
        self._clock = clock
        self._vault = Vault(folder)
        self.service = CloudHsm(clock, knobs, seed, MotoNetwork, self._vault)
        self._moto = moto_application()
        self._cloudhsm = CloudHsmWire(self.service, account_of, Guard(MotoIdentities(), clock))
        clusters = KmsClusters(self.service, self._vault)
        self._kms = Kms(clock, lambda: self.service.knobs, clusters, MotoKeys, account_of, self._moto)
        self.control = Control(self.service, self._vault, self._reset_others)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("PATH_INFO", "").startswith(PREFIX):
            return self.control(environ, start_response)
        credential = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if credential and ACCOUNT_ID.fullmatch(credential["key"]):
            environ.setdefault("HTTP_X_MOTO_ACCOUNT_ID", credential["key"])
        if is_cloudhsm(environ):
            return self._cloudhsm(environ, start_response)
        # What CloudHSM has in EC2 comes and goes with time.
        with self.service.settled():
            pass
        return (self._kms if is_kms(environ) else self._moto)(environ, start_response)

    def dump(self) -> dict[str, Any]:
        """Return everything there is, for `saved.write`."""
        # In the order in which a request to KMS takes them.
        with self._kms.paused(), self.service.settled():
            return {
                "now": self._clock.now(),
                "cloudhsm": self.service.dump(),
                "contents": self._vault.dump(),
                "kms": self._kms.state,
                "moto": dump_moto(),
            }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` returned; the clock was set before."""
        load_moto(state["moto"])
        self.service.load(state["cloudhsm"])
        self._vault.load(state["contents"])
        self._kms.state = state["kms"]

    def _reset_others(self) -> None:
        self._kms.reset()
        reset_moto()
