# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Wrapped key material: how it may be wrapped, how it is unwrapped, and whether it suits a key spec."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from .errors import KmsError
from .state import SYMMETRIC

HASHES: dict[str, type[hashes.HashAlgorithm]] = {"SHA_1": hashes.SHA1, "SHA_256": hashes.SHA256}
OAEP = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
RSA_AES = ("RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
WRAPPING_KEY_SPECS = ("RSA_2048", "RSA_3072", "RSA_4096")
CURVES = {
    "ECC_NIST_P256": "secp256r1",
    "ECC_NIST_P384": "secp384r1",
    "ECC_NIST_P521": "secp521r1",
    "ECC_SECG_P256K1": "secp256k1",
}
AES_KEY_BYTES = 32
HMAC_MOST_BYTES = 128
# PKCS #8 names its algorithm in the first bytes; PKCS #1 and SEC 1, which `cryptography` reads too, do not.
HEAD_BYTES = 40
RSA_OID = bytes.fromhex("2a864886f70d010101")
EC_OID = bytes.fromhex("2a8648ce3d0201")


def is_asymmetric(spec: str) -> bool:
    """True for a key spec whose material is a private key."""
    return spec.startswith(("RSA_", "ECC_"))


def may_wrap(spec: str, algorithm: str, wrapping_key_spec: str) -> bool:
    """True when material of a key spec may be wrapped so."""
    if wrapping_key_spec not in WRAPPING_KEY_SPECS:
        return False
    if spec.startswith("RSA_"):
        return algorithm in RSA_AES
    if spec in CURVES:
        too_long = spec == "ECC_NIST_P521" and wrapping_key_spec == "RSA_2048"
        return algorithm in RSA_AES or (algorithm in OAEP and not too_long)
    return (spec == SYMMETRIC or spec.startswith("HMAC_")) and algorithm in OAEP


def make_wrapping_key(wrapping_key_spec: str) -> tuple[bytes, bytes]:
    """Return a new private key as PKCS #8 DER and its public half as SubjectPublicKeyInfo DER."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=int(wrapping_key_spec.removeprefix("RSA_")))
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _pkcs8(key), public


def unwrap(algorithm: str, wrapping_key: bytes, wrapped: bytes) -> bytes:
    """Return the key material.

    Args:
        algorithm: The WrappingAlgorithm that was asked for.
        wrapping_key: Private half of the wrapping key, PKCS #8 DER.
        wrapped: EncryptedKeyMaterial. With RSA_AES it is an AES key under OAEP, and behind it the material under that
            AES key with RFC 5649 padding.

    Raises:
        KmsError: It was not wrapped with this algorithm and key, or not at all.
    """
    key = serialization.load_der_private_key(wrapping_key, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    digest = next(made() for name, made in HASHES.items() if algorithm.endswith(f"_{name}"))
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    try:
        if algorithm in OAEP:
            return key.decrypt(wrapped, oaep)
        length = key.key_size // 8
        aes_key = key.decrypt(wrapped[:length], oaep)
        if len(aes_key) != AES_KEY_BYTES:
            raise ValueError("the AES key must have 256 bits")
        return keywrap.aes_key_unwrap_with_padding(aes_key, wrapped[length:])
    except (ValueError, keywrap.InvalidUnwrap):
        raise KmsError(
            "InvalidCiphertextException", "The encrypted key material could not be decrypted with the wrapping key."
        ) from None


def checked(spec: str, material: bytes) -> bytes:
    """Return material that suits a key spec, a private key in its one DER form.

    Raises:
        KmsError: It does not suit.
    """
    if is_asymmetric(spec):
        return _checked_private_key(spec, material)
    least = AES_KEY_BYTES if spec == SYMMETRIC else int(spec.removeprefix("HMAC_")) // 8
    most = AES_KEY_BYTES if spec == SYMMETRIC else HMAC_MOST_BYTES
    if not least <= len(material) <= most:
        raise incorrect(f"A key of spec {spec} takes {least} to {most} bytes, not {len(material)}.")
    return material


def incorrect(message: str) -> KmsError:
    """Return an IncorrectKeyMaterialException."""
    return KmsError("IncorrectKeyMaterialException", message)


def _checked_private_key(spec: str, material: bytes) -> bytes:
    oid = RSA_OID if spec.startswith("RSA_") else EC_OID
    if oid not in material[:HEAD_BYTES]:
        raise incorrect(f"A key of spec {spec} takes a private key of that kind as PKCS #8 DER.")
    try:
        key = serialization.load_der_private_key(material, None)
    except (ValueError, UnsupportedAlgorithm):
        raise incorrect("The private key cannot be read.") from None
    if isinstance(key, rsa.RSAPrivateKey) and spec == f"RSA_{key.key_size}":
        return _pkcs8(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and CURVES.get(spec) == key.curve.name:
        return _pkcs8(key)
    raise incorrect(f"The private key does not suit a key of spec {spec}.")


def _pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
