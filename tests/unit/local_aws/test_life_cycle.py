# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""From a new cluster to an ACTIVE one, as its owner goes: first HSM, certificates, InitializeCluster, activation."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from local_aws.client import ControlError
from local_aws.cloudhsm.service import CloudHsm
from local_aws.driver import LocalAws

A, B = "eu-west-1a", "eu-west-1b"
PASSWORD = "Password1"
HARDWARE = {"HsmCertificate", "AwsHardwareCertificate", "ManufacturerHardwareCertificate"}
BEGIN, END = datetime.datetime(2020, 1, 1), datetime.datetime(2120, 1, 1)
INITIALIZING = "Cluster is initializing. State will change to INITIALIZED upon completion."


@functools.cache
def key(kind: str) -> Any:
    """One key of each kind is enough for all tests: RSA takes its time."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("RSA")))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curve: ec.EllipticCurve = getattr(ec, kind)()
    return ec.generate_private_key(curve)


@dataclass(frozen=True)
class Ca:
    """A certification authority of the owner."""

    name: x509.Name
    key: Any
    pem: str


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def certificate(subject: x509.Name, public_key: Any, issuer: x509.Name, issuer_key: Any, **how: Any) -> str:
    builder = x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number(), BEGIN, END)
    algorithm = how.pop("algorithm", hashes.SHA256())
    return builder.sign(issuer_key, algorithm, **how).public_bytes(Encoding.PEM).decode()


def ca(name: str = "root", kind: str = "SECP256R1", issuer: Ca | None = None, **how: Any) -> Ca:
    """Make a root, or an authority that an issuer vouches for."""
    own, subject = key(kind), named(name)
    above = issuer or Ca(subject, own, "")
    return Ca(subject, own, certificate(subject, own.public_key(), above.name, above.key, **how))


def signed(csr: str, issuer: Ca, **how: Any) -> str:
    """Sign a CSR, as the owner of the cluster does."""
    request = x509.load_pem_x509_csr(csr.encode())
    return certificate(request.subject, request.public_key(), issuer.name, issuer.key, **how)


def public_bytes(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def described(hsms: Any) -> dict[str, Any]:
    [cluster] = hsms.describe_clusters()["Clusters"]
    return cluster


def shown(hsms: Any) -> set[str]:
    return set(described(hsms)["Certificates"])


def create_hsm(hsms: Any, cluster_id: str, az: str = A) -> dict[str, Any]:
    return hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=az)["Hsm"]


def claim(hsms: Any, cluster_id: str) -> dict[str, Any]:
    root = ca()
    certified = signed(described(hsms)["Certificates"]["ClusterCsr"], root)
    return hsms.initialize_cluster(ClusterId=cluster_id, SignedCert=certified, TrustAnchor=root.pem)


@pytest.fixture
def new(aws: LocalAws, hsms: Any, subnets: list[str]) -> str:
    """An UNINITIALIZED cluster without HSM."""
    made = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets)["Cluster"]
    aws.advance(180)
    return made["ClusterId"]


@pytest.fixture
def with_hsm(aws: LocalAws, hsms: Any, new: str) -> str:
    """An UNINITIALIZED cluster whose first HSM is ACTIVE."""
    create_hsm(hsms, new)
    aws.advance(600)
    return new


@pytest.fixture
def initialized(aws: LocalAws, hsms: Any, with_hsm: str) -> str:
    """An INITIALIZED cluster."""
    claim(hsms, with_hsm)
    aws.advance(120)
    return with_hsm


def test_certificates_of_every_state(aws: LocalAws, hsms: Any, subnets: list[str]) -> None:
    cluster_id = hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=subnets)["Cluster"]["ClusterId"]
    seen = []

    def look(seconds: float) -> None:
        aws.advance(seconds)
        cluster = described(hsms)
        seen.append((cluster["State"], [hsm["State"] for hsm in cluster["Hsms"]], set(cluster["Certificates"])))

    look(0)
    look(180)
    create_hsm(hsms, cluster_id)
    look(599)
    look(1)
    claim(hsms, cluster_id)
    look(119)
    look(1)
    aws.activate_on_hsm(cluster_id, PASSWORD)
    look(79)
    look(1)
    assert seen == [
        ("CREATE_IN_PROGRESS", [], set()),
        ("UNINITIALIZED", [], set()),
        ("UNINITIALIZED", ["CREATE_IN_PROGRESS"], set()),
        ("UNINITIALIZED", ["ACTIVE"], {"ClusterCsr"} | HARDWARE),
        ("INITIALIZE_IN_PROGRESS", ["ACTIVE"], {"ClusterCertificate"}),
        ("INITIALIZED", ["ACTIVE"], {"ClusterCertificate"}),
        ("INITIALIZED", ["ACTIVE"], {"ClusterCertificate"}),
        ("ACTIVE", ["ACTIVE"], {"ClusterCertificate"}),
    ]


def test_state_and_certificates_change_together(
    aws: LocalAws, hsms: Any, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = CloudHsm._settle

    def settle_and_let_time_go_on(service: CloudHsm, now: float) -> None:
        settle(service, now)
        service.clock.advance(0.5)

    create_hsm(hsms, new)
    aws.advance(598)
    monkeypatch.setattr(CloudHsm, "_settle", settle_and_let_time_go_on)
    seen = [described(hsms) for _turn in range(6)]
    assert {(cluster["Hsms"][0]["State"], bool(cluster["Certificates"])) for cluster in seen} == {
        ("CREATE_IN_PROGRESS", False),
        ("ACTIVE", True),
    }


def test_csr_is_what_the_guide_describes(hsms: Any, with_hsm: str) -> None:
    csr = x509.load_pem_x509_csr(described(hsms)["Certificates"]["ClusterCsr"].encode())
    assert csr.is_signature_valid
    *place, (common_name, value) = [(part.rfc4514_attribute_name, str(part.value)) for part in csr.subject]
    assert place == [("C", "US"), ("ST", "CA"), ("O", "Cavium"), ("OU", "N3FIPS"), ("L", "SanJose")]
    assert common_name == "CN"
    assert value.startswith("HSM:")
    assert value.endswith(":PARTN:1, for FIPS mode")


def test_identity_of_the_hsm_can_be_verified(aws: LocalAws, hsms: Any, with_hsm: str) -> None:
    shown_now = described(hsms)["Certificates"]
    hsm = load(shown_now["HsmCertificate"])
    assert public_bytes(hsm) == public_bytes(x509.load_pem_x509_csr(shown_now["ClusterCsr"].encode()))
    roots = aws.roots()
    for hardware, root in (
        (load(shown_now["AwsHardwareCertificate"]), load(roots["aws"])),
        (load(shown_now["ManufacturerHardwareCertificate"]), load(roots["manufacturer"])),
    ):
        hsm.verify_directly_issued_by(hardware)
        hardware.verify_directly_issued_by(root)
        root.verify_directly_issued_by(root)
    with pytest.raises(ValueError, match="do not match|did not match|Issuer"):
        load(shown_now["AwsHardwareCertificate"]).verify_directly_issued_by(load(roots["manufacturer"]))


@pytest.mark.parametrize("kind", ["RSA2048", "RSA3072", "SECP256R1", "SECP384R1", "SECP521R1"])
def test_self_signed_root_is_accepted(aws: LocalAws, hsms: Any, with_hsm: str, kind: str) -> None:
    root = ca(kind=kind)
    certified = signed(described(hsms)["Certificates"]["ClusterCsr"], root)
    answer = hsms.initialize_cluster(ClusterId=with_hsm, SignedCert=certified, TrustAnchor=root.pem)
    del answer["ResponseMetadata"]
    assert answer == {"State": "INITIALIZE_IN_PROGRESS", "StateMessage": INITIALIZING}
    cluster = described(hsms)
    assert (cluster["State"], cluster["StateMessage"]) == ("INITIALIZE_IN_PROGRESS", INITIALIZING)
    assert cluster["Certificates"] == {"ClusterCertificate": certified}
    assert aws.trust_anchor(with_hsm) == root.pem
    aws.advance(120)
    assert described(hsms)["State"] == "INITIALIZED"
    assert "StateMessage" not in described(hsms)


@pytest.mark.parametrize("algorithm", [hashes.SHA224(), hashes.SHA384(), hashes.SHA512()], ids=lambda hash_: hash_.name)
def test_hashes_and_pss_are_accepted(hsms: Any, with_hsm: str, algorithm: hashes.HashAlgorithm) -> None:
    how: dict[str, Any] = {
        "algorithm": algorithm,
        "rsa_padding": padding.PSS(padding.MGF1(algorithm), algorithm.digest_size),
    }
    root = ca(kind="RSA2048", **how)
    certified = signed(described(hsms)["Certificates"]["ClusterCsr"], root, **how)
    hsms.initialize_cluster(ClusterId=with_hsm, SignedCert=certified, TrustAnchor=root.pem)


@pytest.mark.parametrize("length", [2, 3])
def test_chain_up_to_the_root_is_accepted(hsms: Any, with_hsm: str, length: int) -> None:
    chain = chain_of(length)
    certified = signed(described(hsms)["Certificates"]["ClusterCsr"], chain[0])
    anchor = "".join(link.pem for link in chain)
    hsms.initialize_cluster(ClusterId=with_hsm, SignedCert=certified, TrustAnchor=anchor)


def chain_of(length: int) -> list[Ca]:
    """Return authorities from the issuer up to the root."""
    chain = [ca()]
    for number in range(length - 1):
        chain.insert(0, ca(f"intermediate {number}", issuer=chain[0]))
    return chain


def too_many_bytes(csr: str) -> tuple[str, str]:
    root = ca()
    return signed(csr, root), root.pem + " " * 16_384


def of_another_key(_csr: str) -> tuple[str, str]:
    root, stranger = ca(), ca("stranger")
    return certificate(stranger.name, key("RSA2048").public_key(), root.name, root.key), root.pem


def by_an_impostor(csr: str) -> tuple[str, str]:
    root = ca()
    return signed(csr, Ca(root.name, key("SECP384R1"), root.pem)), root.pem


def without_its_root(csr: str) -> tuple[str, str]:
    issuer = ca("intermediate", issuer=ca())
    return signed(csr, issuer), issuer.pem


def chain_upside_down(csr: str) -> tuple[str, str]:
    chain = chain_of(3)
    return signed(csr, chain[0]), "".join(link.pem for link in reversed(chain))


def chain_with_a_gap(csr: str) -> tuple[str, str]:
    chain = chain_of(3)
    return signed(csr, chain[0]), chain[0].pem + chain[2].pem


def root_twice(csr: str) -> tuple[str, str]:
    root = ca()
    return signed(csr, root), root.pem * 2


def chain_of_five(csr: str) -> tuple[str, str]:
    chain = chain_of(4)
    return signed(csr, chain[0]), "".join(link.pem for link in chain)


def two_signed(csr: str) -> tuple[str, str]:
    root = ca()
    return signed(csr, root) * 2, root.pem


def with_a_short_key(csr: str) -> tuple[str, str]:
    root = ca(kind="RSA1024")
    return signed(csr, root), root.pem


def on_an_odd_curve(csr: str) -> tuple[str, str]:
    root = ca(kind="SECP256K1")
    return signed(csr, root), root.pem


def with_ed25519(csr: str) -> tuple[str, str]:
    root = ca(kind="Ed25519", algorithm=None)
    return signed(csr, root, algorithm=None), root.pem


@pytest.mark.parametrize(
    ("forge", "text"),
    [
        (of_another_key, "not for the public key"),
        (by_an_impostor, "was not issued by"),
        (lambda csr: (signed(csr, ca()), ca("other").pem), "was not issued by"),
        (lambda csr: (csr, ca().pem), "SignedCert is not a certificate"),
        (lambda csr: (signed(csr, ca()), "root.pem"), "TrustAnchor is not a certificate"),
        (
            lambda csr: (signed(csr, ca()), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
            "TrustAnchor",
        ),
        (lambda csr: ("", ca().pem), "SignedCert is not a certificate"),
        (without_its_root, "was not issued by"),
        (chain_upside_down, "self-signed"),
        (chain_with_a_gap, "was not issued by"),
        (root_twice, "self-signed"),
        (chain_of_five, "more than 4 certificates"),
        (two_signed, "more than one certificate"),
        (too_many_bytes, "longer than 16384 bytes"),
        (lambda csr: (signed(csr, ca()), "x" * 20_001), "at most 20000"),
        (with_a_short_key, "algorithm"),
        (on_an_odd_curve, "algorithm"),
        (with_ed25519, "algorithm"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_claim_is_refused(hsms: Any, with_hsm: str, forge: Callable[[str], tuple[str, str]], text: str) -> None:
    csr = described(hsms)["Certificates"]["ClusterCsr"]
    forged, anchor = forge(csr)
    with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match=text):
        hsms.initialize_cluster(ClusterId=with_hsm, SignedCert=forged, TrustAnchor=anchor)
    cluster = described(hsms)
    assert (cluster["State"], cluster["Certificates"]["ClusterCsr"]) == ("UNINITIALIZED", csr)


def test_cluster_without_csr_cannot_be_claimed(aws: LocalAws, hsms: Any, new: str) -> None:
    anything = {"ClusterId": new, "SignedCert": ca().pem, "TrustAnchor": ca().pem}
    with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*no HSM"):
        hsms.initialize_cluster(**anything)
    create_hsm(hsms, new)
    aws.advance(599)
    aws.set_knobs(initialize_error_code="CloudHsmServiceException")
    with pytest.raises(ClientError, match="CloudHsmServiceException.*no HSM"):
        hsms.initialize_cluster(**anything)


@pytest.mark.parametrize("seconds", [0, 120])
def test_cluster_is_claimed_once(aws: LocalAws, hsms: Any, with_hsm: str, seconds: float) -> None:
    root = ca()
    certified = signed(described(hsms)["Certificates"]["ClusterCsr"], root)
    claimed = {"ClusterId": with_hsm, "SignedCert": certified, "TrustAnchor": root.pem}
    hsms.initialize_cluster(**claimed)
    aws.advance(seconds)
    with pytest.raises(ClientError, match="CloudHsmInvalidRequestException.*in state INITIALIZE"):
        hsms.initialize_cluster(**claimed)


def test_second_hsm_is_refused_until_the_cluster_is_active(aws: LocalAws, hsms: Any, new: str) -> None:
    text = (
        f"operation \\(reached max retries: 0\\): Cluster '{new}' already contains an HSM but has not yet been fully "
    )

    def refused() -> None:
        with pytest.raises(hsms.exceptions.CloudHsmInvalidRequestException, match=f"{text}activated$"):
            create_hsm(hsms, new, B)

    create_hsm(hsms, new)
    refused()
    aws.advance(600)
    refused()
    claim(hsms, new)
    aws.advance(120)
    refused()
    aws.activate_on_hsm(new, PASSWORD)
    aws.advance(79)
    refused()
    aws.advance(1)
    create_hsm(hsms, new, B)


def test_activation_is_seen_later_and_backed_up_then(aws: LocalAws, hsms: Any, initialized: str) -> None:
    aws.activate_on_hsm(initialized, PASSWORD)
    aws.advance(79)
    assert described(hsms)["State"] == "INITIALIZED"
    assert hsms.describe_backups()["Backups"] == []
    aws.advance(1)
    assert described(hsms)["State"] == "ACTIVE"
    [backup] = hsms.describe_backups()["Backups"]
    assert backup["BackupState"] == "CREATE_IN_PROGRESS"
    assert backup["CreateTimestamp"].timestamp() == pytest.approx(aws.now(), abs=0.001)


@pytest.mark.parametrize("password", ["short", "x" * 33])
def test_activation_wants_a_password_that_may_be(aws: LocalAws, hsms: Any, initialized: str, password: str) -> None:
    with pytest.raises(ControlError):
        aws.activate_on_hsm(initialized, password)
    aws.advance(3600)
    assert described(hsms)["State"] == "INITIALIZED"


def test_activation_wants_an_initialized_cluster(aws: LocalAws, hsms: Any, with_hsm: str) -> None:
    with pytest.raises(ControlError, match="must be INITIALIZED"):
        aws.activate_on_hsm(with_hsm, PASSWORD)


def test_activation_happens_once(aws: LocalAws, hsms: Any, initialized: str) -> None:
    aws.activate_on_hsm(initialized, PASSWORD)
    with pytest.raises(ControlError):
        aws.activate_on_hsm(initialized, PASSWORD)
    aws.advance(3600)
    assert len(hsms.describe_backups()["Backups"]) == 1


def test_signing_request_is_lost_with_its_hsm(aws: LocalAws, hsms: Any, with_hsm: str) -> None:
    lost = described(hsms)["Certificates"]["ClusterCsr"]
    hsms.delete_hsm(ClusterId=with_hsm, HsmId=described(hsms)["Hsms"][0]["HsmId"])
    assert shown(hsms) == set()
    with pytest.raises(ClientError, match="no HSM"):
        hsms.initialize_cluster(ClusterId=with_hsm, SignedCert=signed(lost, ca()), TrustAnchor=ca().pem)
    aws.advance(120)
    assert described(hsms)["State"] == "UNINITIALIZED"
    create_hsm(hsms, with_hsm, B)
    aws.advance(600)
    assert described(hsms)["Certificates"]["ClusterCsr"] != lost
    with pytest.raises(ClientError, match="not for the public key"):
        hsms.initialize_cluster(ClusterId=with_hsm, SignedCert=signed(lost, ca()), TrustAnchor=ca().pem)
    claim(hsms, with_hsm)


@pytest.mark.parametrize("how", ["degrade", "replace"])
def test_signing_request_is_lost_with_its_hardware(aws: LocalAws, hsms: Any, with_hsm: str, how: str) -> None:
    lost = described(hsms)["Certificates"]["ClusterCsr"]
    hsm_id = described(hsms)["Hsms"][0]["HsmId"]
    if how == "degrade":
        aws.degrade(hsm_id)
        assert shown(hsms) == set()
    else:
        aws.replace(hsm_id, seconds=60)
        assert shown(hsms) == set()
        aws.advance(60)
        assert described(hsms)["Certificates"]["ClusterCsr"] != lost


def test_degraded_first_hsm_gives_no_signing_request(aws: LocalAws, hsms: Any, new: str) -> None:
    aws.fault("degraded_hsm")
    create_hsm(hsms, new)
    aws.advance(600)
    assert (described(hsms)["Hsms"][0]["State"], shown(hsms)) == ("DEGRADED", set())


def test_removal_from_an_initialized_cluster_makes_no_backup(aws: LocalAws, hsms: Any, initialized: str) -> None:
    hsms.delete_hsm(ClusterId=initialized, HsmId=described(hsms)["Hsms"][0]["HsmId"])
    aws.advance(3600)
    assert hsms.describe_backups()["Backups"] == []
    assert described(hsms)["State"] == "INITIALIZED"
    with pytest.raises(ClientError, match="in state INITIALIZED"):
        create_hsm(hsms, initialized)


def test_activation_is_not_seen_on_an_hsm_that_is_gone(aws: LocalAws, hsms: Any, initialized: str) -> None:
    aws.activate_on_hsm(initialized, PASSWORD)
    hsms.delete_hsm(ClusterId=initialized, HsmId=described(hsms)["Hsms"][0]["HsmId"])
    aws.advance(3600)
    assert described(hsms)["State"] == "INITIALIZED"
    assert hsms.describe_backups()["Backups"] == []


def test_users_are_those_of_a_fresh_hsm_until_activation(aws: LocalAws, hsms: Any, initialized: str) -> None:
    def roles() -> list[str]:
        return [user["role"] for user in aws.users(initialized)]

    assert "unactivated-admin" in roles()
    aws.activate_on_hsm(initialized, PASSWORD)
    assert "unactivated-admin" not in roles()
    assert "admin" in roles()


@pytest.mark.parametrize(
    ("knob", "value"), [("initialize_seconds", 7), ("activation_seen_seconds", 9), ("hsm_create_seconds", 11)]
)
def test_durations_are_knobs(aws: LocalAws, hsms: Any, new: str, knob: str, value: float) -> None:
    aws.set_knobs(**{knob: value})
    waits = {"hsm_create_seconds": 600, "initialize_seconds": 120, "activation_seen_seconds": 80} | {knob: value}

    def wait_for(knob: str, done: Callable[[], bool]) -> None:
        aws.advance(waits[knob] - 1)
        assert not done()
        aws.advance(1)
        assert done()

    create_hsm(hsms, new)
    wait_for("hsm_create_seconds", lambda: "ClusterCsr" in shown(hsms))
    claim(hsms, new)
    wait_for("initialize_seconds", lambda: described(hsms)["State"] == "INITIALIZED")
    aws.activate_on_hsm(new, PASSWORD)
    wait_for("activation_seen_seconds", lambda: described(hsms)["State"] == "ACTIVE")


def test_pre_co_password_is_shown_by_knob_only(aws: LocalAws, hsms: Any, with_hsm: str) -> None:
    assert "PreCoPassword" not in described(hsms)
    aws.set_knobs(pre_co_password_shown=True)
    assert 7 <= len(described(hsms)["PreCoPassword"]) <= 32
    claim(hsms, with_hsm)
    assert "PreCoPassword" not in described(hsms)


def test_pre_co_password_is_never_shown_without_hsm(aws: LocalAws, hsms: Any, new: str) -> None:
    aws.set_knobs(pre_co_password_shown=True)
    assert "PreCoPassword" not in described(hsms)
