# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The only file that touches what moto does not document: its WSGI application and its EC2 and IAM in memory.

Written against moto 5.2.5.
"""

from __future__ import annotations

import os
from typing import Any

from moto.backends import get_backend
from moto.core.exceptions import ServiceException
from moto.iam.models import get_account_id_from
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)

from .cloudhsm.state import Subnet

__all__ = ["MotoNetwork", "MotoRequestHandler", "account_of", "moto_application", "reset_moto"]

CLIENT_PORTS = ("2223", "2225")


def moto_application() -> Any:
    """Return the WSGI application that serves every service of moto."""
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
        return Subnet(found.id, found.vpc_id, found.availability_zone, found.cidr_block)

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

    def delete_security_group(self, group_id: str) -> None:
        """Delete a group if it is still there and nothing uses it."""
        try:
            self._ec2.delete_security_group(group_id=group_id)
        except ServiceException:
            return
