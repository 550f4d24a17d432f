# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.pkcs11 import need_softhsm

CLUSTER, ADDRESS = "cluster-aaaaaaaaaaa", "10.42.0.4"


def kept(tools: Any, tool: str = "cli") -> dict[str, Any]:
    return json.loads((tools.home / f"{tool}.json").read_text(encoding="utf-8"))


def test_addresses_are_taken_on_trust(tools: Any) -> None:
    done = tools.run("configure-cli", "-a", "10.42.0.1", "10.42.0.2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert kept(tools)["addresses"] == ["10.42.0.1", "10.42.0.2"]


def test_endpoint_of_the_service_goes_before_that_of_all(tools: Any, estate: Any) -> None:
    tools.run("configure-cli", "-a", ADDRESS, AWS_ENDPOINT_URL_CLOUDHSM_V2=estate.url, AWS_ENDPOINT_URL="http://x")
    assert kept(tools)["endpoint"] == estate.url
    done = tools.run("configure-cli", "-a", ADDRESS, AWS_ENDPOINT_URL="")
    assert done.returncode == 1
    assert "Set AWS_ENDPOINT_URL_CLOUDHSM_V2 or AWS_ENDPOINT_URL" in done.stderr


def test_cluster_is_looked_up(tools: Any, estate: Any) -> None:
    where = ("--cluster-id", CLUSTER, "--region", "eu-west-1", "--endpoint", estate.url)
    tools.run("configure-cli", *where, AWS_ENDPOINT_URL="http://127.0.0.1:9").check_returncode()
    assert kept(tools)["addresses"] == [ADDRESS]
    assert tools.cli("user", "list")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--cluster-id", "cluster-zzzzzzzzzzz"), "There is no cluster-zzzzzzzzzzz"),
        (("--cluster-id", CLUSTER, "--region", "us-east-1"), "no ACTIVE HSM in us-east-1"),
        (("--hsm-ca-cert", "/nowhere/customerCA.crt"), "There is no file /nowhere/customerCA.crt"),
    ],
)
def test_what_is_not_there(tools: Any, arguments: tuple[str, ...], text: str) -> None:
    done = tools.run("configure-cli", *arguments)
    assert done.returncode == 1
    assert text in done.stderr
    assert not tools.home.exists()


@pytest.mark.parametrize(
    "arguments", [(), ("-a",), ("-a", ADDRESS, "--cluster-id", CLUSTER), ("-a", ADDRESS, "--region", "x"), ("update",)]
)
def test_wrong_usage(tools: Any, arguments: tuple[str, ...]) -> None:
    done = tools.run("configure-cli", *arguments)
    assert done.returncode == 2
    assert "usage: configure-cli" in done.stderr


def test_each_call_changes_what_it_names(tools: Any, tmp_path: Path) -> None:
    certificate = tmp_path / "customerCA.crt"
    certificate.touch()
    for arguments in (
        ("-a", ADDRESS),
        ("--hsm-ca-cert", str(certificate)),
        ("--disable-key-availability-check",),
    ):
        tools.run("configure-cli", *arguments).check_returncode()
    assert kept(tools) == {
        "endpoint": tools.url,
        "addresses": [ADDRESS],
        "cluster_id": None,
        "region": None,
        "hsm_ca_cert": str(certificate),
        "key_availability_check": False,
    }


def test_tools_are_configured_apart(tools: Any) -> None:
    tools.run("configure-pkcs11", "--disable-key-availability-check").check_returncode()
    assert kept(tools, "pkcs11")["key_availability_check"] is False
    assert tools.cli("user", "list")[0] == 1


def test_pkcs11_is_pointed_at_the_token(tools: Any, estate: Any) -> None:
    need_softhsm()
    token = estate.vault.token(CLUSTER)
    done = tools.run("configure-pkcs11", "-a", ADDRESS)
    line = f"export SOFTHSM2_CONF={token.conf}"
    assert (done.returncode, done.stdout) == (0, f"{line}\n")
    assert (tools.home / "pkcs11.sh").read_text(encoding="utf-8").splitlines() == [
        f"# {token.module} stands in for /opt/cloudhsm/lib/libcloudhsm_pkcs11.so.",
        line,
    ]


def test_pkcs11_of_a_parked_hsm(tools: Any, estate: Any) -> None:
    estate.hsms.clear()
    done = tools.run("configure-pkcs11", "-a", ADDRESS)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"No HSM answers at {ADDRESS}" in done.stderr


def test_settings_are_in_the_configuration_of_the_user_by_default(tools: Any, tmp_path: Path) -> None:
    done = tools.run("configure-cli", "-a", ADDRESS, CLOUDHSM_LOCAL_HOME="", XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert done.returncode == 0
    assert (tmp_path / "xdg" / "cloudhsm-local" / "cli.json").exists()
    tools.run("configure-cli", "-a", ADDRESS, CLOUDHSM_LOCAL_HOME="", HOME=str(tmp_path / "somebody"))
    assert (tmp_path / "somebody" / ".config" / "cloudhsm-local" / "cli.json").exists()


def test_tools_work_through_a_link_and_from_anywhere(tools: Any, tmp_path: Path) -> None:
    link = tmp_path / "bin" / "configure-cli"
    link.parent.mkdir()
    link.symlink_to(tools.bin / "configure-cli")
    assert "usage: configure-cli" in tools.run(str(link), "--help").stdout
