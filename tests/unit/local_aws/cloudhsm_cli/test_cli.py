# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from typing import Any

import pytest
from harness.pkcs11 import Pkcs11Error, need_softhsm, use_keys
from local_aws.contents.tokens import Token

CLUSTER, ADDRESS = "cluster-aaaaaaaaaaa", "10.42.0.4"
ADMIN_PASSWORD, PASSWORD = "admin-secret-1", "user:secret:1"
ADMIN = {"CLOUDHSM_ROLE": "admin", "CLOUDHSM_PIN": f"admin:{ADMIN_PASSWORD}"}
APP = {"CLOUDHSM_ROLE": "crypto-user", "CLOUDHSM_PIN": f"app:{PASSWORD}"}


def typed(tools: Any, *arguments: str, answers: tuple[str, str], **more: str) -> tuple[int, Any]:
    """Run cloudhsm-cli on a terminal and type a password when asked."""
    terminal, screen = pty.openpty()
    command = [tools.bin / "cloudhsm-cli", *arguments]
    with subprocess.Popen(
        command,
        env=tools.environment(**more),
        stdin=screen,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        try:
            shown = b""
            for prompt, answer in zip((b"Enter password: ", b"Confirm password: "), answers, strict=True):
                while not shown.endswith(prompt):
                    assert select.select([process.stderr], [], [], 30)[0], shown
                    character = process.stderr.read(1)
                    assert character, shown
                    shown += character
                assert answer not in _command_line(process.pid)
                os.write(terminal, f"{answer}\n".encode())
            out, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    os.set_blocking(terminal, False)
    try:
        echoed = os.read(terminal, 1000)
    except BlockingIOError:
        echoed = b""
    os.close(screen)
    os.close(terminal)
    for answer in answers:
        assert answer.encode() not in shown + out + errors + echoed
    data = json.loads(out)
    assert data["error_code"] == process.returncode
    return process.returncode, data["data"]


def _command_line(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as stream:
        return stream.read()


def activate(tools: Any) -> None:
    assert tools.cli("cluster", "activate", "--password", ADMIN_PASSWORD)[0] == 0


def test_whole_flow(estate: Any, configured: Any) -> None:
    need_softhsm()
    assert [user["role"] for user in configured.cli("user", "list")[1]["users"]] == [
        "unactivated-admin",
        "internal(APPLIANCE_USER)",
    ]
    done = typed(configured, "cluster", "activate", answers=(ADMIN_PASSWORD, ADMIN_PASSWORD))
    assert done == (0, "Cluster activation successful")
    assert estate.state == "ACTIVE"
    create = ("user", "create", "--username", "App", "--role", "crypto-user")
    done = typed(configured, *create, answers=(PASSWORD, PASSWORD), **ADMIN)
    assert done == (0, {"username": "app", "role": "crypto-user"})
    assert configured.cli("user", "list") == (
        0,
        {
            "users": [
                {"username": name, "role": role, "locked": "false", "mfa": [], "cluster-coverage": "full"}
                for name, role in (("admin", "admin"), ("app_user", "internal(APPLIANCE_USER)"), ("app", "crypto-user"))
            ]
        },
    )
    configured.run("configure-pkcs11", "-a", ADDRESS).check_returncode()
    line = (configured.home / "pkcs11.sh").read_text(encoding="utf-8").splitlines()[-1]
    shell = ["sh", "-c", f'{line}; printf %s "$SOFTHSM2_CONF"']
    conf = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    found = estate.vault.token(CLUSTER)
    assert conf == str(found.conf)
    token = Token(conf, found.module)
    use_keys(token, APP["CLOUDHSM_PIN"], "generate", label="a")
    change = ("user", "change-password", "--username", "app", "--role", "crypto-user")
    assert typed(configured, *change, answers=("another-secret", "another-secret"), **APP)[0] == 0
    assert use_keys(token, "app:another-secret", "labels") == ["a"]
    with pytest.raises(Pkcs11Error, match="PinIncorrect"):
        use_keys(token, APP["CLOUDHSM_PIN"], "labels")
    delete = ("user", "delete", "--username", "app", "--role", "crypto-user")
    status, data = configured.cli(*delete, **ADMIN)
    assert (status, "owns keys" in data) == (1, True)
    use_keys(token, "app:another-secret", "destroy", label="a")
    assert configured.cli(*delete, **ADMIN) == (0, {"username": "app", "role": "crypto-user"})


def test_hsms(estate: Any, configured: Any) -> None:
    estate.hsms.append(estate.hsms[0] | {"EniIp": "10.42.1.4", "EniId": "eni-2"})
    status, data = configured.cli("cluster", "hsm-info")
    assert status == 0
    first, second = data["hsms"]
    assert first["vendor"] == "Marvell Semiconductors, Inc."
    assert first["serial-number"] != second["serial-number"]
    assert first == second | {"serial-number": first["serial-number"]}


def test_activation_only_once(configured: Any) -> None:
    activate(configured)
    status, data = configured.cli("cluster", "activate", "--password", ADMIN_PASSWORD)
    assert status == 1
    assert "already activated" in data


def test_passwords_that_differ(configured: Any) -> None:
    status, data = typed(configured, "cluster", "activate", answers=(ADMIN_PASSWORD, PASSWORD))
    assert (status, data) == (1, "The passwords are not the same.")
    assert configured.cli("user", "list")[1]["users"][0]["role"] == "unactivated-admin"


def test_nobody_there_to_type(configured: Any) -> None:
    done = configured.run("cloudhsm-cli", "cluster", "activate")
    assert done.returncode == 1
    assert json.loads(done.stdout)["data"] == "No password was given."


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({}, "set CLOUDHSM_ROLE"),
        ({"CLOUDHSM_ROLE": "admin", "CLOUDHSM_PIN": ADMIN_PASSWORD}, "set CLOUDHSM_ROLE"),
        ({"CLOUDHSM_ROLE": "boss", "CLOUDHSM_PIN": f"admin:{ADMIN_PASSWORD}"}, "set CLOUDHSM_ROLE"),
        ({"CLOUDHSM_ROLE": "admin", "CLOUDHSM_PIN": "admin:not-the-password"}, "failed: wrong password"),
        ({"CLOUDHSM_ROLE": "crypto-user", "CLOUDHSM_PIN": f"admin:{ADMIN_PASSWORD}"}, "failed: no user"),
    ],
)
def test_users_are_managed_by_who_is_logged_in(configured: Any, environment: dict[str, str], text: str) -> None:
    activate(configured)
    for command in (
        ("create", "--password", PASSWORD),
        ("change-password", "--password", PASSWORD),
        ("delete",),
    ):
        name = ("--username", "app", "--role", "crypto-user")
        status, data = configured.cli("user", *command, *name, **environment)
        assert status == 1
        assert text in data
        assert PASSWORD not in data
        assert ADMIN_PASSWORD not in data
    assert len(configured.cli("user", "list")[1]["users"]) == 2


def test_locked_user_is_listed(configured: Any) -> None:
    activate(configured)
    wrong = {"CLOUDHSM_ROLE": "admin", "CLOUDHSM_PIN": "admin:not-the-password"}
    for _turn in range(5):
        configured.cli("user", "delete", "--username", "app", "--role", "admin", **wrong)
    assert configured.cli("user", "list")[1]["users"][0]["locked"] == "true"


def test_nothing_is_configured(tools: Any) -> None:
    status, data = tools.cli("user", "list")
    assert status == 1
    assert "run the configure tool" in data


def test_parked_hsm_does_not_answer(estate: Any, configured: Any) -> None:
    estate.vault.erase(CLUSTER)
    estate.hsms.clear()
    status, data = configured.cli("user", "list")
    assert status == 1
    assert f"No HSM answers at {ADDRESS}" in data


def test_hsm_that_came_back_with_another_address(estate: Any, configured: Any) -> None:
    estate.hsms[0]["EniIp"] = "10.42.0.9"
    assert configured.cli("user", "list")[0] == 1
    configured.run("configure-cli", "-a", ADDRESS, "10.42.0.9").check_returncode()
    assert configured.cli("user", "list")[0] == 0


def test_no_local_aws(configured: Any, estate: Any) -> None:
    nowhere = "http://127.0.0.1:9"
    configured.run("configure-cli", "-a", ADDRESS, AWS_ENDPOINT_URL=nowhere).check_returncode()
    status, data = configured.cli("user", "list")
    assert status == 1
    assert nowhere in data


def test_proxy_is_not_for_this_machine(configured: Any) -> None:
    assert configured.cli("user", "list", http_proxy="http://127.0.0.1:9")[0] == 0


def test_interactive_mode_is_refused(tools: Any) -> None:
    status, data = tools.cli("interactive")
    assert status == 1
    assert "no interactive mode" in data


@pytest.mark.parametrize(
    "arguments", [(), ("cluster",), ("user", "create", "--username", "app"), ("key", "list"), ("user", "list", "--all")]
)
def test_wrong_usage(tools: Any, arguments: tuple[str, ...]) -> None:
    done = tools.run("cloudhsm-cli", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: cloudhsm-cli" in done.stderr


def test_help_says_where_the_keys_are(tools: Any) -> None:
    assert "keys are reached over PKCS#11" in tools.run("cloudhsm-cli", "--help").stdout
