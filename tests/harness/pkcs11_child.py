# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A PKCS#11 application, driven by lines of JSON; started by `pkcs11.py`. The PIN comes with the first line."""

from __future__ import annotations

import json
import sys
import typing as t

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass


def labels(session: pkcs11.Session) -> list[str]:
    """Return the labels of the keys, in order."""
    return sorted(key.label for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))


def generate(session: pkcs11.Session, label: str, store: bool = True) -> None:
    """Generate an AES key; without `store`, one that ends with the application."""
    session.generate_key(KeyType.AES, 256, label=label, store=store)


def encrypt(session: pkcs11.Session, label: str, text: str) -> list[str]:
    """Return the initialization vector and the ciphertext, in hexadecimal."""
    vector = session.generate_random(128)
    return [vector.hex(), _key(session, label).encrypt(text.encode(), mechanism_param=vector).hex()]


def decrypt(session: pkcs11.Session, label: str, encrypted: list[str]) -> str:
    """Return the text of what `encrypt` returned."""
    vector, ciphertext = (bytes.fromhex(part) for part in encrypted)
    return _key(session, label).decrypt(ciphertext, mechanism_param=vector).decode()


def destroy(session: pkcs11.Session, label: str) -> None:
    """Destroy a key."""
    _key(session, label).destroy()


def _key(session: pkcs11.Session, label: str) -> t.Any:
    return session.get_key(ObjectClass.SECRET_KEY, label=label)


ACTIONS: dict[str, t.Callable[..., t.Any]] = {
    action.__name__: action for action in (labels, generate, encrypt, decrypt, destroy)
}


def main() -> None:
    """Serve until the input ends."""
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if session is None:
                library = pkcs11.lib(request["module"])
                session = library.get_token(token_label=request["label"]).open(rw=True, user_pin=request["pin"])
                answer = {"result": None}
            else:
                answer = {"result": ACTIONS[request["action"]](session, **request["arguments"])}
        except pkcs11.PKCS11Error as error:
            answer = {"error": type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
