# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A client of a running local AWS: its control API, boto3 clients that speak to it, and a first environment."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from .contents.tokens import Token
from .estate import lay_out

REGION = "eu-west-1"
ACCESS_KEY = "testing"
SECRET_KEY = "testing"
# Whatever proxy the environment names is not for a server on this machine.
PLAIN = Config(proxies={})


class ControlError(Exception):
    """The control API refused a request.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Client:
    """Speaks to a local AWS in this process or another.

    Args:
        url: Where it listens, for example `http://127.0.0.1:4566`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = boto3.Session()
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._lock = threading.Lock()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def client(
        self, service: str, region: str = REGION, config: Config | None = None, account: str = ACCESS_KEY
    ) -> Any:
        """Return a boto3 client with dummy credentials; without `config` always the same one.

        Args:
            service: Name as boto3 has it, for example `cloudhsmv2`.
            region: AWS Region.
            config: Merged over the default configuration, for example to switch retries off.
            account: Twelve digits to work in that account. Default: the account 123456789012.
        """
        key = (service, region, account)
        with self._lock:
            if config is None and key in self._clients:
                return self._clients[key]
            # boto3's type hints know each service by a literal name only.
            made = self._session.client(  # type: ignore[call-overload]
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id=account,
                aws_secret_access_key=SECRET_KEY,
                config=PLAIN.merge(config) if config else PLAIN,
            )
            if config is None:
                self._clients[key] = made
            return made

    def health(self) -> dict[str, Any]:
        """Return status and clock; raises URLError while nothing listens."""
        return self._request("GET", "health")

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""
        return self._request("GET", "clock")["now"]

    def advance(self, seconds: float) -> float:
        """Put the clock forward and return the new time."""
        return self._request("POST", "clock", {"advance": seconds})["now"]

    def set_rate(self, rate: float) -> None:
        """Set the virtual seconds per real second; 0 freezes the clock."""
        self._request("POST", "clock", {"rate": rate})

    def read_knobs(self) -> dict[str, Any]:
        """Return every knob by name."""
        return self._request("GET", "knobs")

    def set_knobs(self, **values: Any) -> dict[str, Any]:
        """Set some knobs and return all."""
        return self._request("POST", "knobs", values)

    def fault(self, kind: str, operation: str = "*", times: int | None = 1, **attributes: str | float) -> int:
        """Inject a fault and return its number.

        Args:
            kind: One of `faults.REQUEST_KINDS` or `faults.CONDITION_KINDS`.
            operation: CloudHSM operation that a request fault hits; `*` is any.
            times: How many times; None until `clear_faults`.
            attributes: See `faults.Fault`: `code`, `message`, `az`, `region`, `cluster_id`, `seconds`.
        """
        body = {"kind": kind, "operation": operation, "times": times, **attributes}
        return self._request("POST", "faults", body)["fault"]

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that can still strike."""
        return self._request("GET", "faults")["faults"]

    def clear_faults(self) -> None:
        """Forget every fault."""
        self._request("DELETE", "faults")

    def calls(self, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the CloudHSM requests so far, oldest first, of one operation or of all."""
        query = f"?operation={quote(operation)}" if operation else ""
        return self._request("GET", f"calls{query}")["calls"]

    def clear_calls(self) -> None:
        """Forget the calls so far."""
        self._request("DELETE", "calls")

    def held(self) -> int:
        """Return how many requests and answers are held on the wire now."""
        return self._request("GET", "held")["held"]

    def roots(self) -> dict[str, str]:
        """Return the root certificates, in PEM, of AWS and of the manufacturer, to verify the identity of an HSM with."""
        return self._request("GET", "roots")

    def trust_anchor(self, cluster_id: str) -> str:
        """Return the certificate, in PEM, that clients of a cluster keep as `customerCA.crt`."""
        return self._request("GET", f"clusters/{quote(cluster_id)}/trust-anchor")["TrustAnchor"]

    def create_user(self, cluster_id: str, name: str, password: str, role: str = "crypto-user") -> None:
        """Create a user in the HSMs of an activated cluster."""
        body = {"name": name, "role": role, "password": password}
        self._request("POST", f"clusters/{quote(cluster_id)}/users", body)

    def users(self, cluster_id: str) -> list[dict[str, Any]]:
        """Return name, role and whether it is locked, of each user in the HSMs of a cluster."""
        return self._request("GET", f"clusters/{quote(cluster_id)}/users")["users"]

    def token(self, cluster_id: str) -> Token:
        """Return where PKCS#11 finds the keys of a cluster that has an HSM; this machine's SoftHSM reads them there."""
        found = self._request("GET", f"clusters/{quote(cluster_id)}/token")
        return Token(Path(found["conf"]), Path(found["module"]), found["label"])

    def set_cluster_state(self, cluster_id: str, state: str) -> None:
        """Put a cluster into any state of the model at once."""
        self._request("POST", f"clusters/{quote(cluster_id)}/state", {"state": state})

    def activate(self, cluster_id: str) -> None:
        """Make a cluster ACTIVE, as InitializeCluster and `cloudhsm-cli cluster activate` would."""
        self.set_cluster_state(cluster_id, "ACTIVE")

    def activate_on_hsm(self, cluster_id: str, password: str) -> None:
        """Set the admin's password on the HSM of an INITIALIZED cluster, as `cloudhsm-cli cluster activate` does."""
        self._request("POST", f"clusters/{quote(cluster_id)}/activate", {"password": password})

    def replace(self, hsm_id: str, seconds: float = 0) -> str:
        """Replace an HSM as AWS does and return the new HsmId; it is ACTIVE after that many virtual seconds."""
        return self._request("POST", f"hsms/{quote(hsm_id)}/replace", {"seconds": seconds})["HsmId"]

    def degrade(self, hsm_id: str, message: str | None = None) -> None:
        """Put an HSM into DEGRADED; without a message with that of a failed creation."""
        self._request("POST", f"hsms/{quote(hsm_id)}/degrade", {"message": message} if message else {})

    def reset(self, cloudhsm_only: bool = False) -> None:
        """Forget everything and set the knobs back; the clock goes on.

        Args:
            cloudhsm_only: Leave the other services as they are; saves the third of a second that moto's EC2 takes to
                make its defaults again.
        """
        self._request("POST", "reset", {"cloudhsm_only": cloudhsm_only})

    def lay_out(self, name: str = "dev", region: str = REGION, tags: dict[str, str] | None = None) -> str:
        """Make a VPC with three private subnets and an ACTIVE cluster without HSM, and return the cluster's id.

        Args:
            name: Tag `Name` of the VPC, the subnets and the cluster.
            region: AWS Region.
            tags: More tags of the cluster.
        """
        return lay_out(self, name, region, tags or {})

    def save(self) -> None:
        """Write the state to the file that the local AWS was started with."""
        self._request("POST", "save", {})

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_local/{path}", data=data, method=method)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(error.code, json.load(error)["error"]) from None
