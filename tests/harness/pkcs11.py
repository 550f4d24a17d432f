# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Use the keys of an HSM, each time in a process of its own: SoftHSM reads its configuration once in a process's life."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from local_aws.contents.tokens import SOFTHSM, Token

if t.TYPE_CHECKING:
    from types import TracebackType

CHILD = Path(__file__).with_name("pkcs11_child.py")


class Pkcs11Error(Exception):
    """PKCS#11 refused; the text is the name of python-pkcs11's exception, for example PinIncorrect."""


def need_softhsm() -> None:
    """Skip the test, loudly, on a machine without SoftHSM; in CI, fail it."""
    if SOFTHSM is None:
        text = "!!! no SoftHSM, so keys are not tested (apt-get install softhsm2)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)


class Pkcs11Application:
    """An application that is logged in as long as the context lasts.

    Args:
        token: Where the keys are.
        pin: `user:password`.
    """

    def __init__(self, token: Token, pin: str) -> None:
        self._opening = {"module": str(token.module), "label": token.label, "pin": pin}
        self._environment = {**os.environ, "SOFTHSM2_CONF": str(token.conf)}

    def __enter__(self) -> Pkcs11Application:
        """Start it.

        Raises:
            Pkcs11Error: The token or the PIN is wrong.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            text=True,
        )
        try:
            self._ask(self._opening)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def call(self, action: str, **arguments: t.Any) -> t.Any:
        """Do something and return the result.

        Args:
            action: Name of a function of `pkcs11_child.py`.
            arguments: Its arguments but the session.

        Raises:
            Pkcs11Error: PKCS#11 refused.
        """
        return self._ask({"action": action, "arguments": arguments})

    def _ask(self, request: dict[str, t.Any]) -> t.Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Pkcs11Error(answer["error"])
        return answer["result"]


def use_keys(token: Token, pin: str, action: str, **arguments: t.Any) -> t.Any:
    """Log in, do one thing, and return the result; see `Pkcs11Application`."""
    with Pkcs11Application(token, pin) as application:
        return application.call(action, **arguments)
