# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The only file that touches what moto does not document: its WSGI application, and its services in memory.

Written against moto 5.2.5; a test pins that, and what is used of it.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import threading
from datetime import datetime, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from moto.backends import get_backend
from moto.core.base_backend import BackendDict
from moto.core.exceptions import ServiceException
from moto.iam.models import get_account_id_from
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)

from .cloudhsm.state import Subnet
from .iam.principals import Principal
from .kms.state import MotoKey

__all__ = [
    "MotoIdentities",
    "MotoKeys",
    "MotoNetwork",
    "MotoRequestHandler",
    "account_of",
    "dump_moto",
    "load_moto",
    "moto_application",
    "reset_moto",
]

log = logging.getLogger(__name__)

# It has nothing of a user's.
NOT_SAVED = ("moto_api",)
LOCK_MAKERS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}
CLIENT_PORTS = ("2223", "2225")
KEY_ID_BYTES = 36
WIPED_BYTES = 32


def moto_application() -> Any:
    """Return the WSGI application that serves every service of moto."""
    # Each new EC2 otherwise reads machine images, which nobody here starts: a third of what a test would cost.
    os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    return DomainDispatcherApplication(create_backend_app)


def account_of(access_key: str, account_header: str | None) -> str:
    """Return the account that moto would serve a request under.

    Args:
        access_key: Access key id of the signature.
        account_header: Value of `x-moto-account-id`.
    """
    return os.environ.get("MOTO_ACCOUNT_ID") or account_header or get_account_id_from(access_key)


def reset_moto() -> None:
    """Forget everything in every service of moto; it is one state for the whole process."""
    moto_api_backend.reset()


def dump_moto() -> list[bytes]:
    """Return what the services of moto have in memory, for `load_moto` in another process.

    A service that cannot be pickled is left out, and a warning in the log says so.
    """
    return [content for service in list(BackendDict._instances) if (content := _dump_service(service))]


def load_moto(dumped: list[bytes]) -> None:
    """Take over what `dump_moto` returned, in place of everything there is."""
    reset_moto()
    for content in dumped:
        name, backends = pickle.loads(content)
        for account, region, backend in backends:
            get_backend(name)[account][region] = backend


def _dump_service(service: Any) -> bytes | None:
    if service.service_name in NOT_SAVED:
        return None
    content = io.BytesIO()
    try:
        _Pickler(content).dump((service.service_name, list(service.iter_backends())))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        log.warning("The state of %s is not saved: %s", service.service_name, error)
        return None
    return content.getvalue()


def _private_key(der: bytes) -> Any:
    return load_der_private_key(der, None)


def _public_key(der: bytes) -> Any:
    return load_der_public_key(der)


class _Pickler(pickle.Pickler):
    """Pickles locks as new ones, and keys by their encoding."""

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) in LOCK_MAKERS:
            return LOCK_MAKERS[type(thing)], ()
        if isinstance(thing, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            return _private_key, (thing.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),)
        if isinstance(thing, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
            return _public_key, (thing.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),)
        if isinstance(thing, BackendDict):
            return get_backend, (thing.service_name,)
        return NotImplemented


class MotoNetwork:
    """The EC2 of one account and Region.

    moto's EC2 takes a second to import, so it is fetched by the first request that needs it, not at start.
    """

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._region = region

    @property
    def _ec2(self) -> Any:
        return get_backend("ec2")[self._account][self._region]

    def subnet(self, subnet_id: str) -> Subnet | None:
        """Return a subnet, None when there is none of that id."""
        try:
            found = self._ec2.get_subnet(subnet_id)
        except ServiceException:
            return None
        blocks = [block["ipv6CidrBlock"] for block in found.ipv6_cidr_block_associations.values()]
        return Subnet(found.id, found.vpc_id, found.availability_zone, found.cidr_block, blocks[0] if blocks else None)

    def addresses_in_use(self, subnet_id: str) -> set[str]:
        """Return the private IPv4 addresses of the subnet's network interfaces."""
        return {
            address["PrivateIpAddress"]
            for interface in list(self._ec2.enis.values())
            if interface.subnet.id == subnet_id
            for address in interface.private_ip_addresses
        }

    def create_security_group(self, name: str, vpc_id: str) -> str:
        """Create a group whose members reach each other on the HSM's ports, and return its id."""
        group = self._ec2.create_security_group(name, "CloudHSM managed security group", vpc_id=vpc_id)
        for authorize in (self._ec2.authorize_security_group_ingress, self._ec2.authorize_security_group_egress):
            authorize(group.id, "tcp", *CLIENT_PORTS, [], source_groups=[{"GroupId": group.id}], vpc_id=vpc_id)
        return group.id

    def create_interface(self, subnet: Subnet, address: str, group_id: str, description: str) -> tuple[str, str | None]:
        """Create a network interface that is in use, and return its id and its IPv6 address, if the subnet has such."""
        interface = self._ec2.create_network_interface(
            subnet.subnet_id,
            address,
            group_ids=[group_id],
            description=description,
            ipv6_address_count=1 if subnet.ipv6_cidr else 0,
        )
        interface.requester_managed = True
        interface.status = "in-use"
        return interface.id, interface.ipv6_addresses[0] if interface.ipv6_addresses else None

    def delete_interface(self, eni_id: str) -> None:
        """Delete a network interface if it is still there."""
        self._ec2.enis.pop(eni_id, None)

    def delete_security_group(self, group_id: str) -> None:
        """Delete a group if it is still there and nothing uses it."""
        try:
            self._ec2.delete_security_group(group_id=group_id)
        except ServiceException:
            return


class MotoKeys:
    """The KMS keys of one account and Region."""

    def __init__(self, account: str, region: str) -> None:
        self._account = account
        self._region = region

    @property
    def _kms(self) -> Any:
        return get_backend("kms")[self._account][self._region]

    def find(self, name: str) -> MotoKey | None:
        """Return the key of an id, ARN or alias, None when there is none."""
        alias = self._kms.get_alias_name(name)
        key_id = self._kms.get_key_id_from_alias(alias) if alias.startswith("alias/") else self._kms.get_key_id(name)
        return self._get(key_id)

    def of_ciphertext(self, ciphertext: bytes) -> MotoKey | None:
        """Return the key that a ciphertext was made with; moto puts the key's id first."""
        return self._get(ciphertext[:KEY_ID_BYTES].decode(errors="replace"))

    def set_material(self, key_id: str, material: bytes) -> None:
        """Let the key work with this material: bytes of a secret key, or PKCS #8 DER of a private one."""
        key = self._kms.keys[key_id]
        if key.key_spec.startswith(("RSA_", "ECC_")):
            key.private_key.private_key = load_der_private_key(material, None)
        else:
            key.key_material = material

    def wipe(self, key_id: str) -> None:
        """Overwrite the key's secret material. A private key stays: its public half may still be asked for."""
        self._kms.keys[key_id].key_material = os.urandom(WIPED_BYTES)

    def enable(self, key_id: str) -> None:
        """Make the key Enabled."""
        self._kms.enable_key(key_id)

    def delete(self, key_id: str) -> None:
        """Forget the key, its aliases and its tags."""
        self._kms.delete_key(key_id)

    def _get(self, key_id: str | None) -> MotoKey | None:
        key = self._kms.keys.get(key_id)
        return MotoKey(key.id, key.arn, key.key_spec, key.key_state) if key else None


class MotoIdentities:
    """The users and roles of moto's IAM, and the sessions of its STS, in the partition `aws`.

    moto keeps no permissions boundary of a user, and of a session no policies but the one in the request.
    """

    def find(self, access_key: str) -> Principal | None:
        """Return the user or the session of a role that an active access key belongs to."""
        account = get_account_id_from(access_key)
        iam = get_backend("iam")[account]["aws"]
        for user in list(iam.users.values()):
            for key in list(user.access_keys):
                if key.access_key_id == access_key and key.status == "Active":
                    holders = [user, *iam.get_groups_for_user(user.name)]
                    return Principal(user.arn, user.arn, key.secret_access_key, _documents(*holders))
        session = get_backend("sts")[account]["aws"].get_assumed_role_from_access_key(access_key)
        return _session_of(iam, session) if session else None

    def has_service_linked_role(self, account: str, service: str) -> bool:
        """True when an account has the role that is linked to a service."""
        path = f"/aws-service-role/{service}/"
        return any(role.path == path for role in list(get_backend("iam")[account]["aws"].roles.values()))


def _session_of(iam: Any, session: Any) -> Principal:
    roles = [role for role in list(iam.roles.values()) if role.arn == session.role_arn]
    boundary = next((role.permissions_boundary_arn for role in roles), None)
    return Principal(
        arn=session.arn,
        policy_arn=session.role_arn,
        secret=session.secret_access_key,
        policies=_documents(*roles),
        # A boundary that does not exist allows nothing.
        boundary=_document(iam.managed_policies[boundary]) if boundary in iam.managed_policies else boundary and "{}",
        session_policy=session.policy or None,
        session_token=session.session_token,
        issued=_seconds(session.access_key.create_date),
        lifetime=round(_seconds(session.expiration) - _seconds(session.access_key.create_date)),
    )


def _documents(*holders: Any) -> tuple[str, ...]:
    return tuple(
        document
        for holder in holders
        for document in (*holder.policies.values(), *map(_document, holder.managed_policies.values()))
    )


def _document(policy: Any) -> str:
    return next(version.document for version in policy.versions if version.is_default)


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp()
