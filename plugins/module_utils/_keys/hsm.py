# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to an HSM by PKCS#11. They decide nothing; every failure is a KeyBackupError.

AWS's Client SDK 5 and SoftHSM 2 differ from each other and from what python-pkcs11 expects. Sessions are always opened for
writing (the SDK knows no other), handles are looked up in every run (they are a session's own), and every template is
written out here: python-pkcs11 would add flags that are illegal for private keys, and what is left out has other defaults
when a key is unwrapped than when it is generated.
"""

from __future__ import annotations

import contextlib
import hashlib
import traceback
import typing as t
from dataclasses import dataclass, replace

try:
    import pkcs11
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
    from pkcs11.attributes import AttributeMapper
    from pkcs11.constants import TokenFlag
    from pkcs11.mechanisms import MGF
    from pkcs11.util.ec import decode_ec_public_key, encode_ec_public_key
except ImportError:
    PKCS11_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    PKCS11_IMPORT_ERROR = None

from .errors import KeyBackupError
from .plan import LiveKey
from .public_keys import OAEP_SHA_1, OAEP_SHA_256, describe, rsa_numbers, rsa_public_key
from .records import CAPABILITIES, ORIGIN, KeyRecord, KeyRef, flags_of
from .refusals import Refusals

# RFC 5649 as CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD (vendor definitions of Client SDK 5), and as the standard's
# CKM_AES_KEY_WRAP_PAD. 0x210A with the vendor bit would be another, non-standard padding.
_CLOUDHSM_ZERO_PAD = 0x8000216F
_STANDARD_PAD = 0x210A
_STANDARD_CAPABILITIES = {
    "secret": ("encrypt", "decrypt", "wrap", "unwrap", "sign", "verify", "derive"),
    "private": ("decrypt", "unwrap", "sign", "derive"),
    "public": ("encrypt", "wrap", "verify"),
}
# What counts towards the lock of a user, or says that it is locked.
_PIN_REFUSED = ("PinExpired", "PinIncorrect", "PinInvalid", "PinLenRange", "PinLocked")
_DATA_KEY_BITS = 256
_TRANSPORT_BITS = 2048
_AES_BLOCK, _DES_BLOCK, _HMAC_INPUT = 16, 8, 32
# What an encryption of one block needs; python-pkcs11 would reserve 8 KiB for each.
_BUFFER = 64


class RefusedError(KeyBackupError):
    """The HSM does not do that with this key. The text says why, in words that follow the key's name.

    Args:
        text: The text.
        unclear: It may be the HSM, and not the key.
    """

    def __init__(self, text: str, unclear: bool = False) -> None:
        super().__init__(text)
        self.unclear = unclear


class OaepRefusedError(KeyBackupError):
    """The HSM does not know this kind of RSA-OAEP."""


@dataclass(frozen=True)
class HsmKey:
    """A token object.

    Attributes:
        live: What it is.
        handle: What PKCS#11 knows it by, in this session.
        halves: Of the private half of an EC key, the public keys one of which is its other half; the likeliest first.
    """

    live: LiveKey
    handle: t.Any
    halves: tuple[LiveKey, ...] = ()


def open_hsm(library: str, slot: int | None, token_label: str | None, pin: str, refusals: Refusals) -> Hsm:
    """Log in, once: a wrong PIN is never tried again, not by a later run either, because five lock a crypto user.

    Args:
        library: Path of the PKCS#11 library.
        slot: Number of the slot; None for any.
        token_label: Label of the token; None for any.
        pin: The PIN; on CloudHSM, user, colon and password.
        refusals: Where it is noted that a token has refused one.

    Raises:
        KeyBackupError: There is no such library or token, or the login failed.
    """
    try:
        loaded = pkcs11.lib(library)
    except RuntimeError as error:
        # Every error of python-pkcs11 is one. Its text names the file and what the loader or the library said.
        raise KeyBackupError(
            f"library: {library} cannot be loaded: {error or type(error).__name__}. Install the PKCS#11 library on the host that "
            "runs this task, name it, and see that its configuration exists."
        ) from error
    try:
        token = _find_token(loaded, library, slot, token_label)
        with _telling(f"slot: asking the token {token.label!r} what it can do"):
            mechanisms = {int(mechanism) for mechanism in token.slot.get_mechanisms()}
        known_as = f"the token {token.label!r} with the serial number {token.serial.decode('ascii', 'replace').strip()}"
        refusals.check(known_as)
        try:
            session = token.open(rw=True, user_pin=pin, attribute_mapper=_Mapper())
        except pkcs11.PKCS11Error as error:
            unnoted = refusals.remember(known_as) if type(error).__name__ in _PIN_REFUSED else ""
            # Without its cause, in whose frames the PIN would stand.
            raise KeyBackupError(_login_text(token.label, type(error).__name__) + unnoted) from None
        refusals.forget(known_as)
    except KeyBackupError:
        loaded.finalize()
        raise
    return Hsm(loaded, session, mechanisms)


class Hsm:
    """A session of a user who is logged in.

    Args:
        library: The loaded library.
        session: The session.
        mechanisms: Numbers of the mechanisms that the slot knows.
    """

    def __init__(self, library: t.Any, session: t.Any, mechanisms: set[int]) -> None:
        self._library = library
        self._session = session
        self._mechanisms = mechanisms
        self._made: list[t.Any] = []

    def close(self) -> None:
        """Destroy every session object of this run, log out, and let go of the library."""
        for made in list(self._made):
            with contextlib.suppress(KeyBackupError):
                self.destroy(made)
        with contextlib.suppress(pkcs11.PKCS11Error):
            self._session.close()
        self._library.finalize()

    def describe_token(self) -> dict[str, str]:
        """Return label, serial number, model and manufacturer of the token."""
        token = self._session.token
        serial = token.serial.decode("ascii", "replace").strip()
        return {
            "label": token.label, "serial": serial, "model": token.model, "manufacturer": token.manufacturer_id,
        }  # fmt: skip

    def find_keys(self) -> list[HsmKey]:
        """Return every token object that is a key."""
        with _telling("looking for keys"):
            public = [_read_key(found, "public") for found in self._search(ObjectClass.PUBLIC_KEY)]
            private = [_read_key(found, "private") for found in self._search(ObjectClass.PRIVATE_KEY)]
            secret = [_read_key(found, "secret") for found in self._search(ObjectClass.SECRET_KEY)]
        halves = [key.live for key in public if key.live.key_type == "ec" and not key.live.obstacle]
        return secret + [_with_halves(key, halves) for key in private] + public

    def make_data_key(self) -> t.Any:
        """Generate the AES-256 key, a session object, under which a run wraps keys. It can leave the HSM wrapped only."""
        with _telling("generating a data key"):
            template = _session_template("encrypt", "wrap", "unwrap", extractable=True)
            return self._keep(
                self._session.generate_key(KeyType.AES, _DATA_KEY_BITS, capabilities=0, template=template)
            )

    def make_mac_key(self) -> t.Any:
        """Generate the HMAC key, a session object, with which a run authenticates what it writes."""
        with _telling("generating a key for authentication codes"):
            template = _session_template("sign", "verify", extractable=True)
            return self._keep(
                self._session.generate_key(KeyType.GENERIC_SECRET, _DATA_KEY_BITS, capabilities=0, template=template)
            )

    def make_transport_key(self) -> tuple[bytes, t.Any]:
        """Generate an RSA pair of session objects by which the host hands a data key over.

        Returns:
            SubjectPublicKeyInfo of the public half, and the private half.
        """
        x9_31 = Mechanism.RSA_X9_31_KEY_PAIR_GEN
        mechanism = x9_31 if int(x9_31) in self._mechanisms else Mechanism.RSA_PKCS_KEY_PAIR_GEN
        with _telling("generating a transport key"):
            public, private = self._session.generate_keypair(
                KeyType.RSA,
                _TRANSPORT_BITS,
                capabilities=0,
                mechanism=mechanism,
                public_template={Attribute.TOKEN: False, Attribute.WRAP: True},
                private_template=_session_template("unwrap", extractable=False),
            )
            self._keep(public)
            self._keep(private)
            return rsa_public_key(public[Attribute.MODULUS], public[Attribute.PUBLIC_EXPONENT]), private

    def wrap_for(self, recipient: bytes, algorithm: str, data_key: t.Any) -> bytes:
        """Wrap a data key under somebody's RSA key.

        Args:
            recipient: SubjectPublicKeyInfo.
            algorithm: OAEP_SHA_256 or OAEP_SHA_1.
            data_key: From `make_data_key`.

        Raises:
            OaepRefusedError: The HSM does not know this kind of RSA-OAEP.
        """
        modulus, exponent = rsa_numbers(recipient)
        template = {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.TOKEN: False,
            Attribute.WRAP: True,
            Attribute.MODULUS: modulus,
            Attribute.PUBLIC_EXPONENT: exponent,
        }
        with _telling("wrapping a data key"):
            public = self._keep(self._session.create_object(template))
            with _oaep_refusals(algorithm):
                blob: bytes = public.wrap_key(
                    data_key, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_oaep_parameters(algorithm)
                )
        self.destroy(public)
        return blob

    def unwrap_data_key(self, transport: t.Any, algorithm: str, blob: bytes) -> t.Any:
        """Take a data key over that the host encrypted by RSA-OAEP under the transport key.

        Raises:
            OaepRefusedError: The HSM does not know this kind of RSA-OAEP.
        """
        with _telling("taking a data key over"), _oaep_refusals(algorithm):
            return self._keep(
                transport.unwrap_key(
                    ObjectClass.SECRET_KEY,
                    KeyType.AES,
                    blob,
                    mechanism=Mechanism.RSA_PKCS_OAEP,
                    mechanism_param=_oaep_parameters(algorithm),
                    capabilities=0,
                    template=_session_template("encrypt", "wrap", "unwrap", extractable=False),
                )
            )

    def wrap(self, data_key: t.Any, key: t.Any) -> bytes:
        """Wrap a key by RFC 5649.

        Args:
            data_key: The data key.
            key: A handle.

        Raises:
            RefusedError: The HSM does not let this key out.
        """
        with _refusals("the HSM does not let it out"):
            return t.cast(bytes, data_key.wrap_key(key, mechanism=self._rfc5649()))

    def unwrap_copy(self, data_key: t.Any, key_class: str, key_type: str, blob: bytes) -> t.Any:
        """Unwrap a key into a session object that can prove what it is, whatever its own flags.

        Raises:
            RefusedError: The HSM does not take it.
        """
        proving = "encrypt" if key_type in ("aes", "des3") else "sign"
        flags = self._flags_template(
            key_class, key_type, (proving, "sensitive", "private", "destroyable", "modifiable")
        )
        return self._keep(self._unwrap(data_key, key_class, key_type, blob, {Attribute.TOKEN: False, **flags}))

    def create(self, data_key: t.Any, record: KeyRecord) -> None:
        """Make the token object of a record: unwrap it, or create it where it is a public key.

        Raises:
            RefusedError: The HSM does not take it.
        """
        template = {
            Attribute.TOKEN: True,
            Attribute.LABEL: record.ref.label,
            Attribute.ID: bytes.fromhex(record.ref.id),
            **self._flags_template(record.ref.key_class, record.key_type, record.flags),
        }
        if record.ref.key_class != "public":
            self._unwrap(data_key, record.ref.key_class, record.key_type, record.blob, template)
            return
        with _refusals("the HSM does not take it"):
            self._session.create_object({**_public_members(record), **template})

    def answer(self, key: t.Any, key_type: str, challenge: bytes) -> bytes:
        """Have a key answer in the one way that its type allows.

        Args:
            key: A handle.
            key_type: As in `records.CAPABILITIES`.
            challenge: What a private key signs; secret keys work on zeros.

        Returns:
            A block of zeros under a block cipher, the HMAC-SHA-256 of 32 zeros, or a signature of the challenge's SHA-256.

        Raises:
            RefusedError: The HSM does not do that with it.
        """
        with _refusals("the HSM cannot compute a check value of it"):
            if key_type == "aes":
                answer = key.encrypt(bytes(_AES_BLOCK), mechanism=Mechanism.AES_ECB, buffer_size=_BUFFER)
            elif key_type == "des3":
                answer = key.encrypt(bytes(_DES_BLOCK), mechanism=Mechanism.DES3_ECB, buffer_size=_BUFFER)
            elif key_type == "generic":
                answer = key.sign(bytes(_HMAC_INPUT), mechanism=Mechanism.SHA256_HMAC)
            elif key_type == "rsa":
                answer = key.sign(challenge, mechanism=Mechanism.SHA256_RSA_PKCS)
            else:
                answer = key.sign(hashlib.sha256(challenge).digest(), mechanism=Mechanism.ECDSA)
        return bytes(answer)

    def authenticate(self, mac_key: t.Any, content: bytes) -> str:
        """Return the code of a document: HMAC-SHA-256 of its SHA-256, hexadecimal; CloudHSM bounds what an HMAC takes."""
        with _telling("computing an authentication code"):
            digest = hashlib.sha256(content).digest()
            return t.cast(bytes, mac_key.sign(digest, mechanism=Mechanism.SHA256_HMAC)).hex()

    def destroy(self, made: t.Any) -> None:
        """Destroy a session object."""
        self._made = [other for other in self._made if other is not made]
        with _telling("destroying a session object"):
            made.destroy()

    def _search(self, object_class: t.Any) -> list[t.Any]:
        return list(self._session.get_objects({Attribute.CLASS: object_class, Attribute.TOKEN: True}, batch_size=100))

    def _unwrap(
        self, data_key: t.Any, key_class: str, key_type: str, blob: bytes, template: dict[t.Any, t.Any]
    ) -> t.Any:
        object_class = ObjectClass.PRIVATE_KEY if key_class == "private" else ObjectClass.SECRET_KEY
        with _refusals("the HSM does not take what the backup holds"):
            made = data_key.unwrap_key(
                object_class, _KEY_TYPES[key_type], blob, mechanism=self._rfc5649(), capabilities=0, template=template
            )
        made.key_type = _KEY_TYPES[key_type]
        return made

    def _flags_template(self, key_class: str, key_type: str, flags: t.Collection[str]) -> dict[t.Any, t.Any]:
        """Every flag that is legal for this kind of key, set or not: the defaults differ from those of a generation."""
        known = flags_of(key_class, key_type)
        # CloudHSM refuses the flags that its table does not have for a type; the standard has them for a whole class, and
        # SoftHSM sets what it is not told.
        others = () if _CLOUDHSM_ZERO_PAD in self._mechanisms else _STANDARD_CAPABILITIES[key_class]
        # An object that is not modifiable takes no attribute after that one, where the library reads one after the other.
        order = sorted({*known, *others}, key=lambda name: (name == "modifiable", name))
        return {Attribute[name.upper()]: name in known and name in flags for name in order}

    def _rfc5649(self) -> t.Any:
        if _CLOUDHSM_ZERO_PAD in self._mechanisms:
            # python-pkcs11 takes members of its enumeration only, and has none for a vendor's mechanism.
            mechanism = int.__new__(Mechanism, _CLOUDHSM_ZERO_PAD)
            mechanism._name_, mechanism._value_ = "CLOUDHSM_AES_KEY_WRAP_ZERO_PAD", _CLOUDHSM_ZERO_PAD
            return mechanism
        if _STANDARD_PAD in self._mechanisms:
            return Mechanism(_STANDARD_PAD)
        raise KeyBackupError(
            "library: the slot knows neither CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD nor CKM_AES_KEY_WRAP_PAD, so keys cannot be "
            "wrapped by RFC 5649. Use AWS CloudHSM's Client SDK 5, or another token that does."
        )

    def _keep(self, made: t.Any) -> t.Any:
        self._made.append(made)
        return made


if PKCS11_IMPORT_ERROR is None:

    class _Mapper(AttributeMapper):
        """Templates as they are given, and values that no vendor's own number or odd label can upset."""

        def __init__(self) -> None:
            super().__init__()
            number = (self.attribute_types[Attribute.VALUE_LEN][0], lambda raw: int.from_bytes(raw, "little"))
            text = (
                lambda text: text.encode("utf-8", "surrogateescape"),
                lambda raw: raw.decode("utf-8", "surrogateescape"),
            )
            for attribute in (Attribute.KEY_TYPE, Attribute.VALUE_LEN):
                self.register_handler(attribute, *number)
            self.register_handler(Attribute.LABEL, *text)

        def generic_key_template(self, base_template: dict[t.Any, t.Any], **_others: t.Any) -> dict[t.Any, t.Any]:
            return dict(base_template)

        def secret_key_template(self, **_others: t.Any) -> dict[t.Any, t.Any]:
            return {Attribute.CLASS: ObjectClass.SECRET_KEY}

        def public_key_template(self, **_others: t.Any) -> dict[t.Any, t.Any]:
            return {Attribute.CLASS: ObjectClass.PUBLIC_KEY}

        def private_key_template(self, **_others: t.Any) -> dict[t.Any, t.Any]:
            return {Attribute.CLASS: ObjectClass.PRIVATE_KEY}

    _KEY_TYPES = {
        "aes": KeyType.AES,
        "des3": KeyType.DES3,
        "generic": KeyType.GENERIC_SECRET,
        "rsa": KeyType.RSA,
        "ec": KeyType.EC,
    }
    _TYPE_NAMES = {int(number): name for name, number in _KEY_TYPES.items()}
    _READ = tuple(
        Attribute[name.upper()]
        for name in (
            "label", "id", "key_type", "value_len", "encrypt", "decrypt", "wrap", "unwrap", "sign", "verify", "derive",
            "modifiable", "destroyable", "private", "sensitive", "extractable", "wrap_with_trusted", *ORIGIN,
        )
    )  # fmt: skip
    _READ_OF_PAIRS = tuple(Attribute[name] for name in ("MODULUS", "PUBLIC_EXPONENT", "EC_PARAMS", "EC_POINT"))


def _read_key(found: t.Any, key_class: str) -> HsmKey:
    wanted = _READ if key_class == "secret" else _READ + _READ_OF_PAIRS
    try:
        read = found.get_attributes(wanted)
    except pkcs11.PKCS11Error:
        # Not every library answers a question of which it knows only a part.
        read = {}
        for attribute in wanted:
            with contextlib.suppress(pkcs11.PKCS11Error):
                read[attribute] = found[attribute]
    ref = KeyRef(key_class, read.get(Attribute.LABEL, ""), read.get(Attribute.ID, b"").hex())
    number = read.get(Attribute.KEY_TYPE, -1)
    # python-pkcs11 would ask the HSM for it again when the key is used first, although the mechanism is given.
    found.key_type = number
    key_type = _TYPE_NAMES.get(number, "")
    if (key_class, key_type) not in CAPABILITIES:
        return HsmKey(LiveKey(ref, hex(number), obstacle=f"keys of type {number:#x} are not supported"), found)
    live = LiveKey(
        ref,
        key_type,
        size=8 * read.get(Attribute.VALUE_LEN, 0) or None,
        flags=tuple(name for name in flags_of(key_class, key_type) if read.get(Attribute[name.upper()])),
        origin=tuple(name for name in ORIGIN if read.get(Attribute[name.upper()])),
        obstacle=_obstacle(key_class, read),
    )
    return HsmKey(live if key_class == "secret" else _with_public(live, read), found)


def _obstacle(key_class: str, read: t.Mapping[t.Any, t.Any]) -> str:
    if key_class == "public":
        return ""
    if not read.get(Attribute.EXTRACTABLE):
        return "it is not extractable"
    if read.get(Attribute.WRAP_WITH_TRUSTED):
        return "it can be wrapped by a trusted key only"
    return ""


def _with_public(live: LiveKey, read: t.Mapping[t.Any, t.Any]) -> LiveKey:
    """Give an asymmetric key its public half, as far as the object itself has it."""
    try:
        if live.key_type == "rsa":
            public = rsa_public_key(read[Attribute.MODULUS], read[Attribute.PUBLIC_EXPONENT])
        else:
            public = encode_ec_public_key(t.cast(t.Any, read))
        size, curve = describe(public)
    except KeyError:
        # The private half of an EC key: it has no CKA_EC_POINT.
        return live
    except (TypeError, ValueError):
        return replace(live, obstacle=live.obstacle or "its public half cannot be read")
    return replace(live, public=public, size=size, curve=curve)


def _with_halves(key: HsmKey, halves: t.Sequence[LiveKey]) -> HsmKey:
    """Give the private half of an EC key the public ones that have its id or its label: only its signature tells which it is."""
    live = key.live
    if live.public or live.obstacle:
        return key
    alike = [
        half for half in halves if (live.ref.id and half.ref.id == live.ref.id) or half.ref.label == live.ref.label
    ]
    if not alike:
        return replace(key, live=replace(live, obstacle="the HSM has no public half of it to prove a copy with"))
    alike.sort(key=lambda half: (half.ref.id != live.ref.id, half.ref.label != live.ref.label))
    return replace(key, halves=tuple(alike))


def _session_template(*capabilities: str, extractable: bool) -> dict[t.Any, t.Any]:
    return {
        Attribute.TOKEN: False,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: extractable,
        **{Attribute[name.upper()]: True for name in capabilities},
    }


def _public_members(record: KeyRecord) -> dict[t.Any, t.Any]:
    if record.key_type == "rsa":
        modulus, exponent = rsa_numbers(record.public)
        numbers = {Attribute.MODULUS: modulus, Attribute.PUBLIC_EXPONENT: exponent}
    else:
        decoded = decode_ec_public_key(record.public)
        numbers = {name: decoded[name] for name in (Attribute.EC_PARAMS, Attribute.EC_POINT)}
    return {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: _KEY_TYPES[record.key_type], **numbers}


def _oaep_parameters(algorithm: str) -> tuple[t.Any, t.Any, None]:
    return {OAEP_SHA_256: (Mechanism.SHA256, MGF.SHA256, None), OAEP_SHA_1: (Mechanism.SHA_1, MGF.SHA1, None)}[
        algorithm
    ]


def _find_token(library: t.Any, path: str, slot: int | None, token_label: str | None) -> t.Any:
    with _telling(f"library: asking {path} for its slots"):
        tokens = {found.slot_id: found.get_token() for found in library.get_slots(token_present=True)}
    usable = {number: token for number, token in tokens.items() if token.flags & TokenFlag.TOKEN_INITIALIZED}
    seen = ", ".join(f"slot {number} {token.label!r}" for number, token in tokens.items()) or "none"
    if slot is not None:
        if slot in tokens:
            return tokens[slot]
        raise KeyBackupError(f"slot: {slot} has no token. There are: {seen}.")
    if token_label is not None:
        named = [token for token in tokens.values() if token.label == token_label]
        if len(named) == 1:
            return named[0]
        raise KeyBackupError(f"token_label: {len(named)} tokens have the label {token_label!r}. There are: {seen}.")
    for token in (usable or tokens).values():
        return token
    raise KeyBackupError(
        f"library: {path} has no token. For CloudHSM, see that the cluster has an active HSM that this host reaches, and that "
        "configure-pkcs11 has been run."
    )


_LOGIN_ADVICE = {
    "PinLocked": "The user is locked. An admin can let it in again by changing its password.",
    "UserPinNotInitialized": "The token has no user yet. Create a crypto user first.",
}


def _login_text(label: str, name: str) -> str:
    advice = _LOGIN_ADVICE.get(
        name,
        "It was tried once and is not tried again, because five wrong ones in a row lock a crypto user. Check pin, pin_file or "
        "HSM_PIN; on CloudHSM it is the user, a colon and the password.",
    )
    return f"pin: the token {label!r} refused the login ({name}). {advice}"


# What a single key is to blame for, so that the others can still be served.
_OF_ONE_KEY = (
    "ArgumentsBad", "AttributeReadOnly", "AttributeTypeInvalid", "AttributeValueInvalid", "EncryptedDataInvalid",
    "EncryptedDataLenRange", "KeyFunctionNotPermitted", "KeyIndigestible", "KeyNotWrappable", "KeySizeRange",
    "KeyTypeInconsistent", "KeyUnextractable", "MechanismInvalid", "TemplateIncomplete", "TemplateInconsistent",
    "WrappedKeyInvalid", "WrappedKeyLenRange", "WrappingKeyHandleInvalid",
)  # fmt: skip


# What an HSM that is about to be lost answers as well.
_UNCLEAR = ("GeneralError", "FunctionFailed")


@contextlib.contextmanager
def _refusals(what: str) -> t.Iterator[None]:
    """Make of what a key is to blame for a RefusedError, and of everything else a KeyBackupError."""
    try:
        yield
    except pkcs11.PKCS11Error as error:
        name = type(error).__name__
        if name in _OF_ONE_KEY + _UNCLEAR:
            raise RefusedError(f"{what} ({name})", unclear=name in _UNCLEAR) from None
        raise KeyBackupError(_failure_text(what, name)) from None
    except AttributeError:
        # python-pkcs11 gives a key only those methods that its flags allow.
        raise RefusedError(f"{what} (its flags do not allow it)") from None


@contextlib.contextmanager
def _oaep_refusals(algorithm: str) -> t.Iterator[None]:
    try:
        yield
    except (pkcs11.ArgumentsBad, pkcs11.MechanismInvalid, pkcs11.MechanismParamInvalid) as error:
        raise OaepRefusedError(f"the HSM does not know {algorithm} ({type(error).__name__}).") from None


@contextlib.contextmanager
def _telling(what: str) -> t.Iterator[None]:
    try:
        yield
    except pkcs11.PKCS11Error as error:
        raise KeyBackupError(_failure_text(what, type(error).__name__)) from None


def _failure_text(what: str, name: str) -> str:
    return (
        f"{what}: the HSM answered {name}. See that it is reachable and active, and look at the library's log. On a cluster with "
        "one HSM, the key availability check of the library has to be switched off (configure-pkcs11 "
        "--disable-key-availability-check)."
    )
