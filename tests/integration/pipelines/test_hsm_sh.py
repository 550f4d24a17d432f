# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""pipelines/hsm.sh by the shells that images have, against real servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time

import jinja2
import pytest
import yaml
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._activity import plan
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_activity
from harness.gitlab import CLAIM, PIPELINES, TOOL
from harness.modules import run_module
from harness.redis_servers import REDIS, Server

SHELLS = [shell for shell in (("dash",), ("bash", "--posix"), ("busybox", "sh")) if shutil.which(shell[0])]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_every_step(tool, store, holders, shell):
    assert (unknown := tool("check", "dev", shell=shell)).returncode == 1
    assert unknown.stdout == "unknown\n"

    touched = tool("touch", "dev", shell=shell)
    assert (touched.returncode, touched.stdout) == (0, "")
    assert "hsm: dev: in use as of now; the record lives 7200 s" in touched.stderr
    assert abs(int(store.get("hsm:dev:last_access")) - store.time()[0]) <= 1
    assert 7195 <= store.ttl("hsm:dev:last_access") <= 7200
    assert (tool("check", "dev", shell=shell).stdout, store.keys()) == ("active\n", ["hsm:dev:last_access"])

    store.zadd("hsm:dev:holds", {"other": store.time()[0] + 100, "past": 5})
    assert tool("hold", "dev", "job", shell=shell).returncode == 0
    assert holders().keys() == {"job", "other"}, "holds that are past are dropped"
    assert 898 <= holders()["job"] <= 900
    held = tool("check", "dev", shell=shell)
    assert (held.returncode, held.stdout) == (0, "held\n")

    store.set("hsm:dev:last_access", 5)
    store.zadd("hsm:dev:holds", {"past": 5})
    assert tool("release", "dev", "job", shell=shell).returncode == 0
    assert holders().keys() == {"other"}, "nobody lets go what another holds, unless it is past"
    assert int(store.get("hsm:dev:last_access")) > 5, "a release is a touch"


def test_it_is_told_of_a_deletion_that_cannot_be_stopped(tool, store, holders):
    store.hset("hsm:dev:claim", mapping=CLAIM)
    for step in ("touch", "hold"):
        told = tool(step, "dev", HSM_HOLDER="job")
        assert told.returncode == 2
        assert "dev: the HSM is about to be deleted" in told.stderr
        assert "Run ensure_hsm" in told.stderr
    assert set(holders()) == {"job"}, "whoever runs ensure_hsm next finds it held"
    assert tool("release", "dev", HSM_HOLDER="job").returncode == 0

    store.hset("hsm:dev:claim", "deadline", store.time()[0] - 1)
    assert tool("touch", "dev").returncode == 0, "a claim that is past counts no more"
    store.hset("hsm:dev:claim", mapping={"deadline": store.time()[0] + 60, "phase": "retiring"})
    assert tool("touch", "dev").returncode == 0, "that one is stopped by the touch"


def test_it_is_told_that_there_may_be_no_hsm(tool, store):
    assert "until now it was unknown (there is no record" in tool("hold", "dev", "job").stderr
    assert "until now" not in tool("hold", "dev", "job").stderr
    store.flushall()
    store.set("hsm:dev:last_access", store.time()[0] - 3000)
    assert "until now it was idle (last used 300" in tool("hold", "dev", "job").stderr


STATES = {
    "nothing": [],
    "touched": [("SET", "last_access", 0)],
    "old": [("SET", "last_access", -4000)],
    "just in time": [("SET", "last_access", -1790)],
    "a little ahead": [("SET", "last_access", 3)],
    "future": [("SET", "last_access", 60)],
    "garbage": [("SET", "last_access", "soon")],
    "no moment": [("SET", "last_access", "20260118")],
    "fraction": [("SET", "last_access", "1767258000.25")],
    "of another type": [("HSET", "last_access", "a", 1)],
    "held": [
        ("ZADD", "holds", 60, "a"),
        ("ZADD", "holds", 60, "b\nc"),
        ("ZADD", "holds", 60, "d"),
        ("ZADD", "holds", 60, "e"),
    ],
    "held for ever": [("ZADD", "holds", "+inf", "a")],
    "past hold": [("SET", "last_access", -4000), ("ZADD", "holds", -60, "a")],
    "holds of another type": [("SET", "last_access", 0), ("SET", "holds", 1)],
    "creating": [("HSET", "claim", {**CLAIM, "phase": "creating", "record": ""})],
    "retiring": [("HSET", "claim", {**CLAIM, "phase": "retiring"}), ("ZADD", "holds", 60, "a")],
    "committed": [("HSET", "claim", CLAIM)],
    "past claim": [("SET", "last_access", 0), ("HSET", "claim", {**CLAIM, "deadline": "5"})],
    "claim that lacks something": [("HSET", "claim", {"phase": "creating", "deadline": "4000000000"})],
    "claim of an unknown phase": [("HSET", "claim", {**CLAIM, "phase": "x"})],
    "claim without a deadline": [("HSET", "claim", {**CLAIM, "deadline": "x"})],
    "claim of another type": [("SET", "claim", 1), ("SET", "last_access", -4000)],
    "fence of another type": [("SET", "fence", "x"), ("SET", "last_access", -4000)],
}


@pytest.mark.parametrize("state", STATES)
def test_check_says_what_the_module_says(tool, store, redis_url, state):
    now = store.time()[0]
    for command, key, *values in STATES[state]:
        if isinstance(values[0], int) and (command, key) != ("SET", "holds"):
            values[0] += now
        if isinstance(values[0], dict):
            values = [part for pair in values[0].items() for part in pair]
        store.execute_command(command, f"hsm:dev:{key}", *values)
    told = tool("check", "dev")

    [module] = run_module(hsm_activity, action="check", env=["dev"], redis_url=redis_url)["environments"]
    assert told.stdout == f"{module['status']}\n"
    assert told.returncode == (0 if module["status"] in ("active", "held", "creating") else 1)
    if module["status"] == "unknown":
        # Between the two looks a second may begin.
        assert re.split(r"\d+ s ", module["reason"])[0] in told.stderr
    elif module["status"] == "held":
        assert all(each["holder"].replace("\n", "?") in told.stderr for each in module["holders"][:3])


def test_a_server_that_came_back_with_a_copy_has_nobody_look_idle(tool, tmp_path):
    with Server(REDIS, tmp_path) as server:
        client, url = server.client(), f"redis://127.0.0.1:{server.port}"
        client.set("hsm:dev:last_access", client.time()[0] - 4000)
        assert tool("check", "dev", REDIS_URL=url).stdout == "idle\n"
        client.config_set("appendonly", "yes")
        told = tool("check", "dev", REDIS_URL=url)
        assert told.stdout == "unknown\n"
        assert "with a copy of its data" in told.stderr


@pytest.mark.parametrize(
    ("variables", "holder"),
    [
        ({"CI_PIPELINE_ID": "7", "GITHUB_RUN_ID": "8"}, "gitlab-7"),
        ({"GITHUB_RUN_ID": "8", "BUILD_TAG": "9"}, "github-8"),
        ({"BUILD_TAG": "jenkins-a b\tc-9"}, "jenkins-a_b_c-9"),
        ({"HSM_HOLDER": "me", "CI_PIPELINE_ID": "7"}, "me"),
        ({"HSM_HOLDER": "Zoë"}, "Zoë"),
    ],
)
def test_a_pipeline_has_the_name_that_the_role_gives_it(tool, holders, variables, holder):
    assert tool("hold", "dev", **variables).returncode == 0
    assert set(holders()) == {holder}

    if "HSM_HOLDER" not in variables:
        defaults = yaml.safe_load((PIPELINES.parent / "roles/hsm/defaults/main.yml").read_text(encoding="utf-8"))
        templates = jinja2.Environment(autoescape=False)
        templates.filters["regex_replace"] = lambda text, pattern, by: re.sub(pattern, by, text)
        # Ansible takes a backslash for what it is.
        template = templates.from_string(defaults["hsm_holder"].replace("\\", "\\\\"))
        assert template.render(lookup=lambda _plugin, name: variables.get(name, "")) == holder


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {}, "'' is no command"),
        (["delete", "dev"], {}, "'delete' is no command"),
        (["touch"], {}, "ENV: no environment is named"),
        (["touch", "a b"], {}, "ENV: 'a b' is no name of an environment"),
        (["touch", "a:b"], {}, "ENV: 'a:b'"),
        (["touch", "é"], {}, "ENV: 'é'"),
        (["touch", "e" * 201], {}, "has 201 characters"),
        (["hold", "dev"], {}, "HOLDER: nobody is named"),
        (["hold", "dev", "a b"], {}, "HOLDER: 'a b' is no id of a holder"),
        (["hold", "dev", "a\nb"], {}, "is no id of a holder"),
        (["hold", "dev", "h" * 201], {}, "has 201 bytes"),
        (["hold", "dev", "job"], {"HSM_HOLD_FOR": "1h"}, "HSM_HOLD_FOR: '1h' is no number of seconds"),
        (["hold", "dev", "job"], {"HSM_HOLD_FOR": "0"}, "HSM_HOLD_FOR: '0'"),
        (["hold", "dev", "job"], {"HSM_HOLD_FOR": "86401"}, "HSM_HOLD_FOR: 86401 s are more than a day"),
        (["beat", "dev", "job"], {"HSM_BEAT": "600"}, "HSM_BEAT: with one beat of 600 s missed"),
        (["hold", "dev", "job"], {"HSM_BEAT": "600"}, "HSM_BEAT: with one beat of 600 s missed"),
        (["beat", "dev", "job"], {"HSM_WATCH": "me"}, "HSM_WATCH: 'me' is no id of a process"),
        (["touch", "dev"], {"REDIS_URL": ""}, "REDIS_URL: no Redis is named"),
        (["touch", "dev"], {"REDIS_URL": "redis+cluster://h:1"}, "REDIS_URL: not the URL of one Redis server"),
        (["touch", "dev"], {"REDIS_URL": "redis://:s3cr%40t@h"}, "REDIS_URL: holds a %"),
        (["touch", "dev"], {"REDIS_URL": "redis://:s3cr@t@h"}, "REDIS_URL: its user or password holds one of @ / :"),
        (["touch", "dev"], {"REDIS_URL": "redis://:s3cr/t@h"}, "REDIS_URL: its user or password holds one of @ / :"),
        (["touch", "dev"], {"REDIS_URL": "redis://:s3cr?t@h"}, "REDIS_URL: holds a ? or #"),
        (["touch", "dev"], {"REDIS_URL": "redis://:s3cret@h:port"}, "REDIS_URL: its port is malformed"),
        (["touch", "dev"], {"REDIS_URL": "redis://:s3cret@-h"}, "REDIS_URL: its host is malformed"),
        (["touch", "dev"], {"REDIS_URL": "redis://a,b"}, "REDIS_URL: its host is malformed"),
        (["touch", "dev"], {"REDIS_URL": "redis://h/zero"}, "is no number of a database"),
        (["touch", "dev"], {"HSM_REDIS_URL": "unix:///tmp/s"}, "HSM_REDIS_URL: not the URL"),
        (["touch", "dev"], {"REDIS_URL": "", "REDIS_HOST": "-x"}, "REDIS_HOST: '-x' is no name of a host"),
        (["touch", "dev"], {"REDIS_URL": "", "REDIS_HOST": "h", "REDIS_PORT": "x"}, "REDIS_PORT: 'x' is no port"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tool, store, arguments, variables, message):
    told = tool(*arguments, **variables)

    assert (told.returncode, told.stdout) == (4, "")
    assert message in told.stderr
    assert "s3cr" not in told.stderr
    assert store.keys() == []


def test_an_image_without_a_client(tool, tmp_path):
    told = tool("touch", "dev", shell=(shutil.which("dash"),), PATH=str(tmp_path))

    assert told.returncode == 4
    assert "neither redis-cli nor valkey-cli is in this image" in told.stderr


def test_redis_that_does_not_do_it(tool, store, redis_port, tmp_path):
    gone = tool("hold", "dev", "job", REDIS_URL="redis://:s3cret@127.0.0.1:1/0")
    assert gone.returncode == 3
    assert "REDIS_URL: Redis at 127.0.0.1:1 does not answer" in gone.stderr

    store.set("hsm:dev:holds", 1)
    assert (foreign := tool("hold", "dev", "job")).returncode == 3
    assert "of another type than a sorted set" in foreign.stderr
    assert not store.exists("hsm:dev:last_access"), "a step is whole or not at all"

    store.execute_command("ACL", "SETUSER", "narrow", "on", ">s3cret", "~*", "+script|load", "+evalsha")
    server = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}", "HSM_REDIS_USERNAME": "narrow"}
    refused = tool("touch", "dev", **server, REDIS_PASSWORD="wr0ng")
    assert (refused.returncode, "refused the user or password" in refused.stderr) == (3, True)
    denied = tool("touch", "dev", **server, REDIS_PASSWORD="s3cret")
    assert denied.returncode == 3
    assert not [text for text in ("s3cret", "wr0ng") if text in gone.stderr + refused.stderr + denied.stderr]


def test_a_server_that_is_silent_is_not_waited_for(tool, tmp_path):
    hurried = tmp_path / "timeout"
    hurried.write_text(f'#!/bin/sh\nshift\nexec {shutil.which("timeout")} 0.2 "$@"\n', encoding="utf-8")
    hurried.chmod(0o755)
    with Server(REDIS, tmp_path) as server:
        server.pause()
        told = tool(
            "touch", "dev", REDIS_URL=f"redis://127.0.0.1:{server.port}", PATH=f"{tmp_path}:{os.environ['PATH']}"
        )

    assert told.returncode == 3
    assert "does not answer" in told.stderr


@pytest.fixture
def listed(tmp_path):
    """A folder with a redis-cli that notes the command lines of all processes, and where it notes them."""
    folder, lines = tmp_path / "listed", tmp_path / "lines"
    folder.mkdir()
    program = folder / "redis-cli"
    program.write_text(
        f'#!/bin/sh\ncat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " " >>"{lines}"\n'
        f'exec {shutil.which("redis-cli")} "$@"\n', encoding="utf-8",
    )  # fmt: skip
    program.chmod(0o755)
    return folder, lines


@pytest.mark.parametrize(
    "variables",
    [
        {"REDIS_URL": "redis://:s3cret-Word@127.0.0.1:{port}/3"},
        {"REDIS_URL": "redis://ci:s3cret-Word@127.0.0.1:{port}/3"},
        {"HSM_REDIS_URL": "redis://ci@127.0.0.1:{port}/3", "HSM_REDIS_PASSWORD": "s3cret-Word", "REDIS_URL": "x"},
        {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "{port}", "REDIS_PASSWORD": "s3cret-Word", "REDIS_URL": ""},
    ],
    ids=["url", "user", "own", "host"],
)
def test_no_password_in_the_list_of_processes(tool, tmp_path, listed, variables):
    folder, lines = listed
    with Server(REDIS, tmp_path, password="s3cret-Word") as server:
        server.client().execute_command("ACL", "SETUSER", "ci", "on", ">s3cret-Word", "~*", "+@all")
        given = {name: value.format(port=server.port) for name, value in variables.items()}
        told = tool("hold", "dev", "job", PATH=f"{folder}:{os.environ['PATH']}", **given)
        assert told.returncode == 0, told.stderr
        database = 0 if "REDIS_HOST" in variables else 3
        assert server.client(db=database).zscore("hsm:dev:holds", "job")

    seen = lines.read_text(encoding="utf-8", errors="replace")
    assert "hsm.sh hold dev job" in seen
    assert str(server.port) in seen
    assert "s3cret" not in seen + told.stderr


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_no_password_in_a_trace(tool, shell):
    traced = {"shell": (*shell, "-x")} if shell[0] != "bash" else {"shell": shell, "SHELLOPTS": "xtrace"}
    told = tool("touch", "dev", REDIS_URL="redis://:s3cret@127.0.0.1:1/0", **traced)
    assert told.stderr.startswith("+")
    assert "s3cret" not in told.stderr


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://h", "-h h -p 6379"),
        ("redis://h/", "-h h -p 6379"),
        ("redis://u:p@h:7/2", "-h h -p 7 --user u -n 2"),
        ("redis://:p@h.example.com:7/0", "-h h.example.com -p 7 -n 0"),
        ("redis://[::1]:7", "-h ::1 -p 7"),
        ("rediss://[fe80::1]/1", "-h fe80::1 -p 6379 --tls --cacert /ca.pem -n 1"),
    ],
)
def test_how_a_url_is_read(tool, tmp_path, url, command):
    for name in ("redis-cli", "timeout"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    told = tool("touch", "dev", REDIS_URL=url, HSM_REDIS_CA_CERTS="/ca.pem", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert f"(10 redis-cli {command} script load" in told.stderr


def test_tls(tool, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key.pem",
         "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate = str(tmp_path / "cert.pem")
    options = (
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        str(tmp_path / "key.pem"),
        "--tls-ca-cert-file",
        certificate,
    )
    tls = {"ssl": True, "ssl_ca_certs": certificate}
    with Server(REDIS, tmp_path, *options, "--tls-auth-clients", "no", tls=tls) as server:
        url = f"rediss://localhost:{server.port}/0"
        assert tool("touch", "dev", REDIS_URL=url, HSM_REDIS_CA_CERTS=certificate).returncode == 0
        told = tool("touch", "dev", REDIS_URL=url)
        assert told.returncode == 3
        assert "do not agree on TLS" in told.stderr


def test_rights_of_a_job_are_enough(tool, store, redis_port):
    rights = (
        (PIPELINES.parent / "docs/redis.md").read_text(encoding="utf-8").split("ACL SETUSER hsm")[1].split("```")[0]
    )
    of_jobs = [word for word in rights.split("+zcount")[0].split() if word[0] in "+~"]
    store.execute_command("ACL", "SETUSER", "job", "on", ">s3cret", "resetkeys", "nocommands", *of_jobs)
    server = {"REDIS_URL": f"redis://job:s3cret@127.0.0.1:{redis_port}/0"}
    for step in ("touch", "hold", "release"):
        assert (told := tool(step, "dev", HSM_HOLDER="job", **server)).returncode == 0, told.stderr
    store.set("hsm:dev:last_access", store.time()[0] - 4000)
    assert tool("check", "dev", **server).stdout == "idle\n"


def test_nothing_is_copied_by_hand():
    resource = PIPELINES / "jenkins/resources/hsmops/cloudhsm/hsm.sh"
    assert resource.read_bytes() == TOOL.read_bytes(), "run scripts/inline"
    template = (PIPELINES / "gitlab/cloudhsm.yml").read_text(encoding="utf-8")
    inlined = template.split("<<'END_OF_HSM_SH'\n")[1].split("      END_OF_HSM_SH\n")[0]
    lines = [line.removeprefix("      ") for line in inlined.splitlines()]
    assert "\n".join([*lines, ""]) == TOOL.read_text(encoding="utf-8"), "run scripts/inline"


def test_everybody_takes_the_same_names():
    """What hsm.sh says of a name, the jobs of Ansible say before Ansible reads it."""
    places = ("hsm.sh", "gitlab/cloudhsm.yml", "github/action.yml", "jenkins/vars/withCloudHsm.groovy")
    read = {place: (PIPELINES / place).read_text(encoding="utf-8").replace("\\/", "/") for place in places}
    letters = {place: re.findall(r"(?:\[!|==~ /\[)(A-Za-z0-9_.@[^]]*)\]", text) for place, text in read.items()}
    wanted = re.fullmatch(r"\[(.*)\]\{1,200\}", plan._ENVIRONMENT.pattern)[1]
    assert letters == dict.fromkeys(places, [wanted]) | {"gitlab/cloudhsm.yml": [wanted, wanted]}


def test_it_reads_no_clock_of_the_runner(tool, store, tmp_path):
    wrong = tmp_path / "date"
    wrong.write_text("#!/bin/sh\necho 5\n", encoding="utf-8")
    wrong.chmod(0o755)
    assert tool("hold", "dev", "job", PATH=f"{tmp_path}:{os.environ['PATH']}").returncode == 0
    assert abs(float(store.get("hsm:dev:last_access")) - time.time()) < 60
