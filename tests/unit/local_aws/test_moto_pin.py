# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the local AWS uses of moto that moto does not document, so that another version of moto is a failure here first."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import local_aws
import moto.iam.models
import moto.moto_server.werkzeug_app
import pytest
from local_aws import moto_bridge
from moto.backends import get_backend
from moto.core.base_backend import BackendDict
from moto.core.exceptions import ServiceException
from moto.moto_api._internal.models import moto_api_backend

FOLDER = Path(local_aws.__file__).parent
BRIDGE = Path(moto_bridge.__file__)
REQUIREMENTS = Path(__file__).parents[3] / "requirements-test.txt"
ACCOUNT, REGION = "123456789012", "eu-west-1"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
# Attributes of moto's services and of the things they keep, each with what it is on.
USED = {
    "ec2": (
        "authorize_security_group_egress",
        "authorize_security_group_ingress",
        "create_network_interface",
        "create_security_group",
        "delete_security_group",
        "enis",
        "get_subnet",
    ),
    "kms": (
        "delete_key",
        "enable_key",
        "get_alias_name",
        "get_key_id",
        "get_key_id_from_alias",
        "keys",
    ),
    "iam": ("get_groups_for_user", "managed_policies", "roles", "users"),
    "sts": ("get_assumed_role_from_access_key",),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(path: Path) -> set[str]:
    return {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}


def test_version_is_the_one_that_was_written_against() -> None:
    installed = importlib.metadata.version("moto")
    assert re.findall(r"^moto\[server\]==(\S+)$", REQUIREMENTS.read_text(), re.MULTILINE) == [installed]
    assert f"Written against moto {installed};" in (moto_bridge.__doc__ or "")


def test_nothing_else_imports_moto() -> None:
    importing = {
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*.py")
        if any(name.split(".")[0] == "moto" for name in imports(path))
    }
    assert importing == {"moto_bridge.py"}


def test_what_is_imported_exists() -> None:
    assert sorted(name for name in imports(BRIDGE) if name.startswith("moto.")) == [
        "moto.backends.get_backend",
        "moto.core.base_backend.BackendDict",
        "moto.core.exceptions.ServiceException",
        "moto.iam.models.get_account_id_from",
        "moto.moto_api._internal.models.moto_api_backend",
        "moto.moto_server.werkzeug_app.DomainDispatcherApplication",
        "moto.moto_server.werkzeug_app.MotoRequestHandler",
        "moto.moto_server.werkzeug_app.create_backend_app",
    ]
    assert callable(moto_api_backend.reset)
    assert list(inspect.signature(moto.iam.models.get_account_id_from).parameters) == ["access_key"]
    dispatcher = inspect.signature(moto.moto_server.werkzeug_app.DomainDispatcherApplication)
    assert list(dispatcher.parameters)[0] == "create_app"


@pytest.mark.parametrize("service", USED)
def test_services_have_what_is_used_of_them(service: str) -> None:
    backend = get_backend(service)[ACCOUNT]["aws" if service in ("iam", "sts") else REGION]
    assert [name for name in USED[service] if not hasattr(backend, name)] == []
    assert set(USED[service]) <= attributes(BRIDGE), "the bridge uses less than is pinned here"


def test_services_have_nothing_used_that_is_not_pinned() -> None:
    """Whatever the bridge takes from a backend by name is in the table above."""
    backends = {"_ec2": "ec2", "_kms": "kms", "iam": "iam", "sts": "sts"}
    taken: dict[str, set[str]] = {service: set() for service in USED}
    for node in ast.walk(ast.parse(BRIDGE.read_text())):
        if isinstance(node, ast.Attribute):
            holder = node.value
            name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
            if name in backends:
                taken[backends[name]].add(node.attr)
    taken["sts"] |= {"get_assumed_role_from_access_key"}
    assert taken == {service: set(names) for service, names in USED.items()}


def test_every_service_can_be_gone_through() -> None:
    backend = get_backend("ec2")[ACCOUNT][REGION]
    [service] = [service for service in BackendDict._instances if service.service_name == "ec2"]
    assert (ACCOUNT, REGION, backend) in list(service.iter_backends())


def test_things_of_ec2_have_what_is_used_of_them() -> None:
    ec2 = get_backend("ec2")[ACCOUNT][REGION]
    vpc = ec2.create_vpc("10.77.0.0/16")
    try:
        subnet = ec2.create_subnet(vpc.id, "10.77.0.0/24", availability_zone="eu-west-1a")
        for name in ("availability_zone", "cidr_block", "id", "ipv6_cidr_block_associations", "vpc_id"):
            assert hasattr(subnet, name), name
        interface = ec2.create_network_interface(
            subnet, "10.77.0.9", group_ids=[], description="pinned", ipv6_address_count=0
        )
        assert interface.private_ip_addresses[0]["PrivateIpAddress"] == "10.77.0.9"
        for name in ("id", "ipv6_addresses", "requester_managed", "status", "subnet"):
            assert hasattr(interface, name), name
        assert ec2.enis[interface.id] is interface
        with pytest.raises(ServiceException):
            ec2.get_subnet("subnet-00000000")
    finally:
        moto_bridge.reset_moto()


def test_things_of_iam_and_kms_have_what_is_used_of_them() -> None:
    iam = get_backend("iam")[ACCOUNT]["aws"]
    try:
        user = iam.create_user(REGION, "pinned")
        key = iam.create_access_key("pinned")
        role = iam.create_role("pinned", "{}", "/", None, "", [], "3600")
        session = get_backend("sts")[ACCOUNT]["aws"].assume_role(REGION, "pinned", role.arn, None, 900, "")
        policy = iam.create_policy("", "/", POLICY, "pinned", {})
        for holder, names in (
            (user, ("access_keys", "arn", "managed_policies", "name", "policies")),
            (key, ("access_key_id", "create_date", "secret_access_key", "status")),
            (role, ("arn", "managed_policies", "path", "permissions_boundary_arn", "policies")),
            (session, ("access_key", "arn", "expiration", "policy", "role_arn", "secret_access_key", "session_token")),
            (session.access_key, ("create_date",)),
            (policy, ("versions",)),
            (policy.versions[0], ("document", "is_default")),
        ):
            assert [name for name in names if not hasattr(holder, name)] == []
        made = get_backend("kms")[ACCOUNT][REGION].create_key(
            policy=None, key_usage="ENCRYPT_DECRYPT", key_spec="SYMMETRIC_DEFAULT", description="", tags=[]
        )
        names = ("arn", "id", "key_material", "key_spec", "key_state")
        assert [name for name in names if not hasattr(made, name)] == []
    finally:
        moto_bridge.reset_moto()
