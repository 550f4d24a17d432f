# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The example playbooks, as those who copy them start them."""

from __future__ import annotations

import json
import sys
import textwrap
import typing as t
from pathlib import Path

import pytest
from harness.estates import Estates
from harness.pkcs11 import need_softhsm

# What stands in for work that needs the HSM: it notes who holds the environment meanwhile, and where the HSM is.
WORK = """
    import json, os, pathlib, sys
    import redis

    store = redis.Redis.from_url(sys.argv[1], decode_responses=True)
    holders = store.zrange(sys.argv[2], 0, -1)
    pathlib.Path(sys.argv[3]).write_text(json.dumps([holders, os.environ["HSM_ADDRESS"]]))
    sys.exit(int(sys.argv[4]))
"""
CEREMONY = """
    import pathlib, sys
    import pkcs11

    token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
    with token.open(rw=True, user_pin=pathlib.Path(sys.argv[3]).read_text()) as session:
        session.generate_key(
            pkcs11.KeyType.AES, 256, label="tonight", store=True, template={pkcs11.Attribute.EXTRACTABLE: True}
        )
"""


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estates]:
    with Estates(tmp_path_factory.mktemp("estates")) as estates:
        yield estates


@pytest.fixture
def work(estates: Estates, tmp_path: Path):
    """Makes a command that does the work in an environment, and reads what it noted."""

    def work(estate, status: int = 0) -> tuple[list[str], t.Callable[[], t.Any]]:
        script, noted = tmp_path / "work.py", tmp_path / "noted"
        script.write_text(textwrap.dedent(WORK), encoding="utf-8")
        url = estates.inventory()["all"]["vars"]["hsm_redis_url"]
        command = [sys.executable, str(script), url, estate.key("holds"), str(noted), str(status)]
        return command, lambda: json.loads(noted.read_text(encoding="utf-8"))

    return work


def extra(**variables: t.Any) -> list[str]:
    return ["-e", json.dumps(variables)]


@pytest.mark.parametrize("status", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_release_holds_the_hsm_for_its_signature_only(estates, work, status):
    # The name that a reaper knows the environment by is not that of the host.
    estate = estates.make(hsm_env="signatures")
    command, noted = work(estate, status)
    idle = ["true"]
    arguments = extra(release="1.4.2", build_command=idle, sign_command=command, roll_out_command=idle)
    done = estates.play("examples/sign_release.yml", estate, arguments=arguments)

    assert done.status == (2 if status else 0), done.text
    assert noted() == [["release-1.4.2"], estate.place()[0][1]]
    assert not estates.store.exists(estate.key("holds"))
    assert estates.now() - int(estates.store.get(estate.key("last_access"))) < 60
    assert ("Roll it out" in done.stdout) == (not status)


@pytest.mark.parametrize("status", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_suite_is_released_whether_it_passes_or_fails(estates, work, status):
    estate = estates.make()
    estate.create_hsm()
    command, noted = work(estate, status)
    done = estates.play(
        "examples/test_suite.yml", estate, arguments=extra(test_command=command), environment={"CI_JOB_ID": "job-7"}
    )

    assert done.status == (2 if status else 0), done.text
    assert noted() == [["tests-job-7"], estate.place()[0][1]]
    assert not estates.store.exists(estate.key("holds"))
    assert len(estate.hsms()) == 1


def test_two_suites_of_a_day_do_not_end_each_others_hold(estates, work):
    estate = estates.make()
    estate.create_hsm()
    command, noted = work(estate)
    holders = set()
    for _number in range(2):
        done = estates.play(
            "examples/test_suite.yml", estate, arguments=extra(test_command=command), environment={"CI_JOB_ID": ""}
        )
        assert done.status == 0, done.text
        holders.update(noted()[0])
    assert len(holders) == 2
    assert not estates.store.exists(estate.key("holds"))


def test_keys_of_a_ceremony_are_in_a_proved_backup(estates, tmp_path):
    need_softhsm()
    estate = estates.make(hsm_env="ceremonies").furnish()
    script = tmp_path / "ceremony.py"
    script.write_text(textwrap.dedent(CEREMONY), encoding="utf-8")
    given, pin = estate.variables["hsm_key_backup"], tmp_path / "pin"
    pin.write_text(given["pin"], encoding="utf-8")
    command = [sys.executable, str(script), given["library"], given["token_label"], str(pin)]
    done = estates.play("examples/key_ceremony.yml", estate, arguments=extra(ceremony_command=command))

    assert done.status == 0, done.text
    assert "tonight" in json.dumps([json.loads(part) for part in estate.secrets().values()])
    assert f"{estate.env}: " in done.stdout
    assert "fingerprint" in done.stdout
    assert not estates.store.exists(estate.key("holds"))
