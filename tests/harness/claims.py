# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The certification authority of somebody who claims clusters."""

from __future__ import annotations

import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

BEGINNING = datetime.datetime(2026, 1, 1)
END = BEGINNING + datetime.timedelta(days=36_500)


def sign(csr: str | None, chain: bool = False) -> tuple[str, str]:
    """Return SignedCert and TrustAnchor for a cluster's signing request.

    Args:
        csr: The request in PEM; None to sign something else.
        chain: Sign with an authority below the root, so that the trust anchor has two certificates.
    """
    anchor, issuer, key = _authority(chain)
    public_key = x509.load_pem_x509_csr(csr.encode()).public_key() if csr else key.public_key()
    return _certificate("cluster", issuer, public_key, key, is_authority=False), anchor


@functools.cache
def _authority(chain: bool) -> tuple[str, str, ec.EllipticCurvePrivateKey]:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("root", "root", root_key.public_key(), root_key)
    if not chain:
        return root, "root", root_key
    return _certificate("issuer", "root", key.public_key(), root_key) + root, "issuer", key


def _certificate(
    subject: str,
    issuer: str,
    public_key: x509.base.CertificatePublicKeyTypes,
    key: ec.EllipticCurvePrivateKey,
    is_authority: bool = True,
) -> str:
    builder = x509.CertificateBuilder(
        _name(issuer), _name(subject), public_key, x509.random_serial_number(), BEGINNING, END
    )
    constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
    made = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
