# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""KMS and moto behind one address, with a frozen clock and clusters that a test arranges as it likes."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Protocol

import boto3
from botocore.config import Config
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from local_aws.kms.clusters import ClusterFacts, Login
from local_aws.kms.service import Kms
from local_aws.knobs import Knobs
from local_aws.moto_bridge import MotoKeys, MotoRequestHandler, account_of, moto_application
from werkzeug.serving import make_server

ACCOUNT = "123456789012"
REGION = "eu-west-1"
CLUSTER = "cluster-abcdefghij2"
ANCHOR = "-----BEGIN CERTIFICATE-----\nanchor\n-----END CERTIFICATE-----\n"
PASSWORD = "kmsPswd1"
CONFIG = Config(retries={"total_max_attempts": 1}, proxies={})
MOST_WRONG_PASSWORDS = 5
# What RSA_AES_KEY_WRAP wraps the material with.
EPHEMERAL_KEY = bytes(range(32))


class FakeClock:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.reading = 1_800_000_000.0

    def now(self) -> float:
        """Return the reading in seconds since the epoch."""
        return self.reading

    def advance(self, seconds: float) -> None:
        """Put it forward."""
        self.reading += seconds


class FakeClusters:
    """Clusters of one account and Region, whose users have passwords."""

    def __init__(self) -> None:
        self.found: dict[str, ClusterFacts] = {}
        self.passwords: dict[str, dict[str, str]] = {}
        self.wrong: dict[str, int] = {}

    def clear(self) -> None:
        """Forget every cluster."""
        self.found.clear()

    def add(self, cluster_id: str = CLUSTER, certificate: str = "certificate", anchor: str | None = ANCHOR) -> None:
        """Add an ACTIVE cluster with two HSMs and a kmsuser."""
        azs = [f"{REGION}a", f"{REGION}b"]
        self.found[cluster_id] = ClusterFacts(cluster_id, "ACTIVE", azs, certificate, anchor)
        self.passwords[cluster_id] = {"kmsuser": PASSWORD}
        self.wrong[cluster_id] = 0

    def change(self, cluster_id: str = CLUSTER, **facts: Any) -> None:
        """Change some facts of a cluster."""
        self.found[cluster_id] = dataclasses.replace(self.found[cluster_id], **facts)

    def facts(self, account: str, region: str, cluster_id: str) -> ClusterFacts | None:
        """Return a cluster."""
        return self.found.get(cluster_id) if (account, region) == (ACCOUNT, REGION) else None

    def login(self, account: str, region: str, cluster_id: str, user: str, password: str) -> Login:
        """Try to log in."""
        if not self.found[cluster_id].active_azs:
            return "no hsm"
        if user not in self.passwords[cluster_id]:
            return "no user"
        if self.wrong[cluster_id] >= MOST_WRONG_PASSWORDS:
            return "locked"
        if self.passwords[cluster_id][user] != password:
            self.wrong[cluster_id] += 1
            return "wrong password"
        self.wrong[cluster_id] = 0
        return "ok"

    def set_password(self, account: str, region: str, cluster_id: str, user: str, password: str) -> None:
        """Change a password, and let the user in again."""
        self.passwords[cluster_id][user] = password
        self.wrong[cluster_id] = 0


class QuietHandler(MotoRequestHandler):
    """Logs no requests."""

    def log_request(self, *_args: Any) -> None:
        """Say nothing."""


class World:
    """Everything that a test of KMS may touch."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.clusters = FakeClusters()
        self.knobs = Knobs()
        self.kms = Kms(self.clock, lambda: self.knobs, self.clusters, MotoKeys, account_of, moto_application())
        self._http = make_server("127.0.0.1", 0, self.kms, threaded=True, request_handler=QuietHandler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def reset(self) -> None:
        """Forget clusters, key stores and settings; moto keeps its keys."""
        self.clusters.clear()
        self.knobs = Knobs()
        self.kms.reset()

    def close(self) -> None:
        """Stop the server."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def set_knobs(self, **values: Any) -> None:
        """Change some settings."""
        self.knobs = self.knobs.changed(values)

    def client(self, region: str = REGION, key: str = "testing") -> Any:
        """Return a KMS client without retries."""
        return boto3.client(
            "kms", region, endpoint_url=self.url, aws_access_key_id=key, aws_secret_access_key="testing", config=CONFIG
        )


def wrap(public_key: bytes, algorithm: str, material: bytes) -> bytes:
    """Wrap material as an HSM does.

    Args:
        public_key: SubjectPublicKeyInfo DER.
        algorithm: WrappingAlgorithm.
        material: What to wrap.
    """
    key = load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    digest = hashes.SHA256() if algorithm.endswith("_256") else hashes.SHA1()
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    if algorithm.startswith("RSAES_"):
        return key.encrypt(material, oaep)
    return key.encrypt(EPHEMERAL_KEY, oaep) + keywrap.aes_key_wrap_with_padding(EPHEMERAL_KEY, material)


class Import(Protocol):
    """Wrap material for a key and import it."""

    def __call__(self, key_id: str, material: bytes, algorithm: str = ..., **more: Any) -> dict[str, Any]:
        """Return the answer of ImportKeyMaterial; `more` are members of the request."""
