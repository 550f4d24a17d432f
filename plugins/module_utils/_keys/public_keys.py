# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Public keys and signatures on the host, by the library `cryptography`; and the private key of a custodian."""

from __future__ import annotations

import hashlib
import traceback
import typing as t

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_der_public_key,
        load_pem_private_key,
        load_pem_public_key,
    )
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    CRYPTOGRAPHY_IMPORT_ERROR = None

from .errors import KeyBackupError

OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
LEAST_RSA_BITS = 2048


def fingerprint_of(public: bytes) -> str:
    """Return the SHA-256 of a SubjectPublicKeyInfo."""
    return hashlib.sha256(public).hexdigest()


def read_public_key(text: str, parameter: str) -> bytes:
    """Return the SubjectPublicKeyInfo of a custodian's RSA key in PEM.

    Args:
        text: The PEM.
        parameter: Where it stood, for the error.

    Raises:
        KeyBackupError: It is no RSA key, or too short.
    """
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyBackupError(
            f"{parameter}: it is no public key in PEM. Give what 'openssl pkey -pubout' writes, with both its lines of dashes."
        ) from error
    return check_rsa(_spki(key), parameter)


def check_rsa(public: bytes, parameter: str) -> bytes:
    """Return a SubjectPublicKeyInfo that a data key can be wrapped under.

    Raises:
        KeyBackupError: It is no RSA key, or too short.
    """
    key = _load_rsa(public, parameter)
    if key.key_size < LEAST_RSA_BITS:
        raise KeyBackupError(f"{parameter}: it has {key.key_size} bits. Give an RSA key of {LEAST_RSA_BITS} or more.")
    return public


def rsa_numbers(public: bytes) -> tuple[bytes, bytes]:
    """Return modulus and exponent of an RSA key, as PKCS#11 wants them.

    Args:
        public: SubjectPublicKeyInfo.
    """
    numbers = _load_rsa(public).public_numbers()
    return _to_bytes(numbers.n), _to_bytes(numbers.e)


def rsa_public_key(modulus: bytes, exponent: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of an RSA key."""
    numbers = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
    return _spki(numbers.public_key())


def describe(public: bytes) -> tuple[int, str]:
    """Return the bits of a key, and the name of its curve, if it has one.

    Args:
        public: SubjectPublicKeyInfo.

    Raises:
        ValueError: It is none of an RSA or EC key, or one of a curve without a name.
    """
    try:
        key = load_der_public_key(public)
    except UnsupportedAlgorithm as error:
        raise ValueError("unsupported") from error
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size, ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.key_size, key.curve.name
    raise ValueError("neither RSA nor EC")


def proves(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether a signature is that of a message by the private half of a key.

    Args:
        public: SubjectPublicKeyInfo.
        message: The message; its SHA-256 was signed.
        signature: PKCS #1 v1.5, or r and s of ECDSA behind each other, as PKCS#11 has it.
    """
    key = load_der_public_key(public)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.verify(encode_dss_signature(*numbers), message, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def encrypt(public: bytes, algorithm: str, plaintext: bytes | bytearray) -> bytes:
    """Encrypt by RSA-OAEP.

    Args:
        public: SubjectPublicKeyInfo of an RSA key.
        algorithm: OAEP_SHA_256 or OAEP_SHA_1.
        plaintext: What to encrypt.
    """
    return _load_rsa(public).encrypt(bytes(plaintext), _oaep(algorithm))


class CustodianKey:
    """A custodian's private key.

    Args:
        path: A file with it in PEM.
        passphrase: Its passphrase; None where it has none.

    Raises:
        KeyBackupError: It cannot be read.
    """

    def __init__(self, path: str, passphrase: str | None) -> None:
        self.path = path
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except OSError as error:
            raise KeyBackupError(
                f"custodian_key_file: {path} cannot be read ({error.strerror}). Name a file that this task can read."
            ) from error
        try:
            key = load_pem_private_key(content, passphrase.encode() if passphrase else None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            # The library's own text is left out: it may describe what it read.
            raise KeyBackupError(
                f"custodian_key_file: {path} holds no private key in PEM that custodian_passphrase opens. "
                "Check the file and the passphrase; a key without a passphrase wants none."
            ) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise KeyBackupError(f"custodian_key_file: {path} holds no RSA key. Data keys are wrapped by RSA-OAEP.")
        self._key = key
        self.fingerprint = fingerprint_of(_spki(key.public_key()))

    def decrypt(self, algorithm: str, wrapped: bytes) -> bytes:
        """Return what was encrypted by RSA-OAEP.

        Raises:
            KeyBackupError: It was not encrypted for this key.
        """
        try:
            return self._key.decrypt(wrapped, _oaep(algorithm))
        except ValueError:
            raise KeyBackupError(
                f"custodian_key_file: the key in {self.path} does not open a data key that is said to be wrapped for it: "
                "the backup was altered."
            ) from None


def _load_rsa(public: bytes, parameter: str = "public key") -> rsa.RSAPublicKey:
    key = load_der_public_key(public)
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyBackupError(f"{parameter}: it is no RSA key. Data keys are wrapped by RSA-OAEP: give an RSA key.")
    return key


def _oaep(algorithm: str) -> t.Any:
    digest = {OAEP_SHA_256: hashes.SHA256, OAEP_SHA_1: hashes.SHA1}.get(algorithm)
    if digest is None:
        raise KeyBackupError(f"a data key is wrapped by {algorithm!r}, which this collection does not know.")
    return padding.OAEP(padding.MGF1(digest()), digest(), None)


def _spki(key: t.Any) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _to_bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
