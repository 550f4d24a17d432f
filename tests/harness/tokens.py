# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""SoftHSM tokens of one process, and applications that use their keys.

SoftHSM reads its configuration once in the life of a process, so all tokens of one are in one folder; they are told apart by
their labels.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import subprocess
import typing as t
from pathlib import Path

import pkcs11
from local_aws.contents.tokens import SOFTHSM
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

# One that no other process of the tests has: it is looked for in all that runs on the machine.
PIN = f"backup:Passw0rd-{secrets.token_hex(8)}"
SO_PIN = "Passw0rd-of-the-officer"
MESSAGE = b"what the old HSM has seen"
VECTOR = bytes(range(16))


class Tokens:
    """A folder of tokens.

    Args:
        folder: An empty folder; one in memory makes keys ten times as fast.
    """

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "softhsm2.conf"
        tokens = folder / "tokens"
        tokens.mkdir(mode=0o700)
        self.conf.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n", encoding="utf-8")
        self.library = str(SOFTHSM)
        self._numbers = itertools.count(1)

    def make(self) -> str:
        """Make an empty token, and return its label."""
        label = f"token-{next(self._numbers)}"
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN],
            env={**os.environ, "SOFTHSM2_CONF": str(self.conf)},
            check=True,
            capture_output=True,
        )
        return label

    @contextlib.contextmanager
    def session(self, label: str, **more: t.Any) -> t.Iterator[pkcs11.Session]:
        """Log in, as an application would; `more` are parameters of python-pkcs11."""
        library = pkcs11.lib(self.library)
        try:
            yield library.get_token(token_label=label).open(rw=True, user_pin=PIN, **more)
        finally:
            library.finalize()


def make_secret(
    session: pkcs11.Session, label: str, bits: int = 256, kind: KeyType = KeyType.AES, **more: t.Any
) -> t.Any:
    """Generate a secret key that can be exported.

    Args:
        session: The session.
        label: Its label.
        bits: Its length.
        kind: Its type.
        more: `id`, and flags by their names.
    """
    key_id = more.pop("id", label.encode())
    flags = {Attribute[name.upper()]: value for name, value in {"extractable": True, **more}.items()}
    if kind is KeyType.GENERIC_SECRET:
        flags = {Attribute.SIGN: True, Attribute.VERIFY: True, **flags}
    length = None if kind is KeyType.DES3 else bits
    return session.generate_key(kind, length, label=label, id=key_id, store=True, template=flags)


def make_pair(session: pkcs11.Session, label: str, what: int | str, **flags: t.Any) -> t.Any:
    """Generate a pair that can be exported.

    Args:
        session: The session.
        label: Label of both halves.
        what: Bits of an RSA key, or name of the curve of an EC key.
        flags: Of the private half.
    """
    template = {Attribute[name.upper()]: value for name, value in {"extractable": True, **flags}.items()}
    given = {"label": label, "id": label.encode(), "store": True, "private_template": template}
    if isinstance(what, int):
        return session.generate_keypair(KeyType.RSA, what, **given)
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(what)}
    return session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(**given)


def use(session: pkcs11.Session, label: str) -> str:
    """Have a key do its work, and return what comes of it: the same for the same secret key."""
    key = session.get_key(ObjectClass.SECRET_KEY, label=label)
    if key.key_type is KeyType.GENERIC_SECRET:
        return key.sign(MESSAGE, mechanism=Mechanism.SHA256_HMAC).hex()
    mechanism = Mechanism.DES3_CBC_PAD if key.key_type is KeyType.DES3 else Mechanism.AES_CBC_PAD
    vector = VECTOR[:8] if key.key_type is KeyType.DES3 else VECTOR
    return key.encrypt(MESSAGE, mechanism=mechanism, mechanism_param=vector).hex()


def sign(session: pkcs11.Session, label: str) -> bytes:
    """Sign 32 bytes with a private key."""
    key = session.get_key(ObjectClass.PRIVATE_KEY, label=label)
    mechanism = Mechanism.ECDSA if key.key_type is KeyType.EC else Mechanism.SHA256_RSA_PKCS
    return key.sign(MESSAGE.ljust(32), mechanism=mechanism)


def accepts(session: pkcs11.Session, label: str, signature: bytes) -> bool:
    """Say whether the public half of a key accepts what `sign` returned."""
    key = session.get_key(ObjectClass.PUBLIC_KEY, label=label)
    mechanism = Mechanism.ECDSA if key.key_type is KeyType.EC else Mechanism.SHA256_RSA_PKCS
    return key.verify(MESSAGE.ljust(32), signature, mechanism=mechanism)


def attributes(session: pkcs11.Session) -> dict[tuple[str, str], dict[str, t.Any]]:
    """Return the attributes of every key that a restore brings back, by class and label."""
    names = ("ID", "KEY_TYPE", "SENSITIVE", "EXTRACTABLE", "MODIFIABLE", "DESTROYABLE", "PRIVATE", "TOKEN")
    names += ("ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "SIGN", "VERIFY", "DERIVE")
    found = {}
    for kind in (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for key in session.get_objects({Attribute.CLASS: kind, Attribute.TOKEN: True}):
            read = key.get_attributes([Attribute[name] for name in names])
            found[kind.name, key.label] = {Attribute(name).name: value for name, value in read.items()}
    return found
