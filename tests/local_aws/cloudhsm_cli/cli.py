# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The stand-in for `cloudhsm-cli`: `python -m local_aws.cloudhsm_cli.cli`."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import zlib
from collections.abc import Callable
from typing import Any

from . import settings
from .configure import CLI
from .control import Cluster, ToolError

ROLES = ("admin", "crypto-user")
# The example in the documentation of `cluster hsm-info`; only the serial number differs between HSMs here.
HARDWARE = {
    "vendor": "Marvell Semiconductors, Inc.",
    "model": "NITROX-III CNN35XX-NFBE",
    "serial-number": "",
    "hardware-version-major": "5",
    "hardware-version-minor": "3",
    "firmware-version-major": "2",
    "firmware-version-minor": "6",
    "firmware-build-number": "16",
    "firmware-id": "CNN35XX-NFBE-FW-2.06-16",
    "fips-state": "2 [FIPS mode with single factor authentication]",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command, print its result and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        result = {"error_code": 0, "data": options.command(options)}
    except ToolError as error:
        result = {"error_code": 1, "data": str(error)}
    print(json.dumps(result, indent=2))
    return result["error_code"]


def _activate(options: argparse.Namespace) -> str:
    cluster = _cluster()
    cluster.ask("POST", "activate", body={"password": _password(options)})
    return "Cluster activation successful"


def _hsm_info(_options: argparse.Namespace) -> dict[str, Any]:
    return {"hsms": [HARDWARE | {"serial-number": _serial_number(hsm["EniId"])} for hsm in _cluster().hsms]}


def _serial_number(eni_id: str) -> str:
    return f"5.3G1941-ICM{zlib.crc32(eni_id.encode()) % 1_000_000:06}"


def _list_users(_options: argparse.Namespace) -> dict[str, Any]:
    return {
        "users": [
            {
                "username": user["name"],
                "role": user["role"],
                "locked": str(user["locked"]).lower(),
                "mfa": [],
                "cluster-coverage": "full",
            }
            for user in _cluster().ask("GET", "users")["users"]
        ]
    }


def _create_user(options: argparse.Namespace) -> dict[str, str]:
    person = _login()
    cluster = _cluster()
    body = {"name": options.username, "role": options.role, "password": _password(options), "login": person}
    return _user(cluster.ask("POST", "users", body=body))


def _change_password(options: argparse.Namespace) -> dict[str, str]:
    person = _login()
    cluster = _cluster()
    body = {"role": options.role, "password": _password(options), "login": person}
    return _user(cluster.ask("POST", "users", options.username, "password", body=body))


def _delete_user(options: argparse.Namespace) -> dict[str, str]:
    body = {"role": options.role, "login": _login()}
    return _user(_cluster().ask("DELETE", "users", options.username, body=body))


def _refuse_interactive(_options: argparse.Namespace) -> None:
    raise ToolError("This stand-in has no interactive mode: give one command, with CLOUDHSM_ROLE and CLOUDHSM_PIN set.")


def _cluster() -> Cluster:
    return Cluster(settings.read(CLI))


def _user(answer: dict[str, str]) -> dict[str, str]:
    return {"username": answer["name"], "role": answer["role"]}


def _login() -> dict[str, str]:
    """Return who the environment says is at work."""
    role = os.environ.get("CLOUDHSM_ROLE", "")
    name, colon, password = os.environ.get("CLOUDHSM_PIN", "").partition(":")
    if role not in ROLES or not colon:
        raise ToolError(f"Log in first: set CLOUDHSM_ROLE to {' or '.join(ROLES)} and CLOUDHSM_PIN to user:password.")
    return {"name": name, "role": role, "password": password}


def _password(options: argparse.Namespace) -> str:
    if options.password is not None:
        return options.password
    try:
        given, again = getpass.getpass("Enter password: "), getpass.getpass("Confirm password: ")
    except EOFError:
        raise ToolError("No password was given.") from None
    if given != again:
        raise ToolError("The passwords are not the same.")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloudhsm-cli",
        description="Stands in for the tool of that name in CloudHSM's Client SDK 5.",
        epilog="There are no key commands: keys are reached over PKCS#11, see configure-pkcs11.",
        allow_abbrev=False,
    )
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    cluster = _group(groups, "cluster", "the cluster as a whole")
    _password_option(_command(cluster, "activate", _activate, "set the password of the first admin"))
    _command(cluster, "hsm-info", _hsm_info, "list the HSMs")
    user = _group(groups, "user", "the users on the HSMs")
    _command(user, "list", _list_users, "list the users")
    _password_option(_user_options(_command(user, "create", _create_user, "create a user")))
    _password_option(_user_options(_command(user, "change-password", _change_password, "change a password")))
    _user_options(_command(user, "delete", _delete_user, "delete a user"))
    _command(groups, "interactive", _refuse_interactive, "not here")
    return parser


def _group(groups: Any, name: str, text: str) -> Any:
    group = groups.add_parser(name, help=text, description=text, allow_abbrev=False)
    return group.add_subparsers(required=True, metavar="COMMAND")


def _command(group: Any, name: str, run: Callable[[argparse.Namespace], Any], text: str) -> argparse.ArgumentParser:
    command = group.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.set_defaults(command=run)
    return command


def _user_options(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--username", required=True, help="name of the user")
    command.add_argument("--role", required=True, choices=ROLES, help="role of the user")
    return command


def _password_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--password", help="seen by everybody who lists processes; asked for when it is not given")


if __name__ == "__main__":
    sys.exit(main())
