# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The certificates of clusters and HSMs: real X.509, made with keys of this process that are worth nothing elsewhere.

The documented chain: the HSM's certificate is issued by the hardware, whose own certificate comes twice, once from AWS
and once from the manufacturer. The HSM's certificate and the cluster's signing request have the same public key.
"""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from .state import Claim

CSR = "ClusterCsr"
CLUSTER_CERTIFICATE = "ClusterCertificate"
# Documented: at most four certificates in all, and 16 kB.
MOST_CERTIFICATES = 4
MOST_BYTES = 16_384
# What a certification authority may sign with (documented).
RSA_BITS = (2048, 3072, 4096)
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
HASHES = (hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512)
BEGINNING = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
END = datetime.datetime(2120, 1, 1, tzinfo=datetime.timezone.utc)


class CertificateError(Exception):
    """The certificates do not claim this cluster."""


@dataclass(frozen=True)
class Authority:
    """A self-signed certificate and its key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> str:
        """The certificate as PEM."""
        return _pem(self.certificate)


@functools.cache
def authority(common_name: str) -> Authority:
    """Return the certification authority of a name; this process makes it once."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return Authority(_certificate(name, name, key.public_key(), key, is_authority=True), key)


def aws_root() -> Authority:
    """Return what stands for the AWS CloudHSM root certificate."""
    return authority("Local AWS CloudHSM root")


def manufacturer_root() -> Authority:
    """Return what stands for the manufacturer's root certificate."""
    return authority("Local HSM manufacturer root")


def owner_root() -> Authority:
    """Return the authority that signs the clusters which are activated without InitializeCluster."""
    return authority("Local AWS customer CA")


def of_first_hsm(serial: int) -> dict[str, str]:
    """Return the certificates that a cluster shows once its first HSM is there.

    Args:
        serial: Number of the HSM, shown in the subject.
    """
    # A signing request is signed with an RSA key, as the documented example is.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = _subject(serial)
    hardware_key = ec.generate_private_key(ec.SECP256R1())
    hardware = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cavium"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"HSM:LOCALAWS{serial:06d}"),
        ]
    )

    def issued_by(root: Authority) -> str:
        return _pem(
            _certificate(hardware, root.certificate.subject, hardware_key.public_key(), root.key, is_authority=True)
        )

    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return {
        CSR: request.public_bytes(Encoding.PEM).decode(),
        "HsmCertificate": _pem(_certificate(subject, hardware, key.public_key(), hardware_key)),
        "AwsHardwareCertificate": issued_by(aws_root()),
        "ManufacturerHardwareCertificate": issued_by(manufacturer_root()),
    }


def claimed_by_nobody(serial: int) -> Claim:
    """Return the claim of a cluster that is activated without InitializeCluster."""
    root = owner_root()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return Claim(_pem(_certificate(_subject(serial), root.certificate.subject, key, root.key)), root.pem)


def check_claim(csr: str, signed_certificate: str, trust_anchor: str) -> None:
    """Check what InitializeCluster is given: the certificate is for the CSR's key and leads to a self-signed root.

    The trust anchor is one root, or a chain from the issuer to the root (documented).

    Raises:
        CertificateError: It does not; the message says why.
    """
    if len(signed_certificate) + len(trust_anchor) > MOST_BYTES:
        raise CertificateError(f"SignedCert and TrustAnchor are longer than {MOST_BYTES} bytes together.")
    leaf, *more = _parse("SignedCert", signed_certificate)
    issuers = _parse("TrustAnchor", trust_anchor)
    if more:
        raise CertificateError("SignedCert holds more than one certificate.")
    if len(issuers) + 1 > MOST_CERTIFICATES:
        raise CertificateError(f"TrustAnchor: the chain has more than {MOST_CERTIFICATES} certificates.")
    if _public_key(leaf) != _public_key(x509.load_pem_x509_csr(csr.encode())):
        raise CertificateError("SignedCert is not for the public key of the cluster's CSR.")
    if any(certificate.subject == certificate.issuer for certificate in issuers[:-1]):
        raise CertificateError("TrustAnchor: only the last certificate of the chain may be self-signed.")
    for certificate, issuer in zip([leaf, *issuers], [*issuers, issuers[-1]], strict=True):
        _check_issue(certificate, issuer)


def _check_issue(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        key = issuer.public_key()
        fine = isinstance(certificate.signature_hash_algorithm, HASHES) and (
            key.key_size in RSA_BITS
            if isinstance(key, rsa.RSAPublicKey)
            else isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES)
        )
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        names = f"{certificate.subject.rfc4514_string()} was not issued by {issuer.subject.rfc4514_string()}."
        raise CertificateError(names) from error
    if not fine:
        raise CertificateError(
            f"{certificate.subject.rfc4514_string()} is signed with an algorithm that is not allowed."
        )


def _parse(name: str, text: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        # That a key can be read shows only when it is.
        for certificate in found:
            certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{name} is not a certificate in PEM format.") from None
    return found


def _public_key(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _subject(serial: int) -> x509.Name:
    attributes = (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.ORGANIZATION_NAME, "Cavium"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "N3FIPS"),
        (NameOID.LOCALITY_NAME, "SanJose"),
        (NameOID.COMMON_NAME, f"HSM:LOCALAWS{serial:06d}:PARTN:1, for FIPS mode"),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    is_authority: bool = False,
) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(BEGINNING).not_valid_after(END)
    constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
    return builder.add_extension(constraints, critical=True).sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
