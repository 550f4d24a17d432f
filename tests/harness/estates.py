# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Environments with keys in their HSMs, and real `ansible-playbook` runs over them."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import redis
import yaml
from local_aws.client import REGION
from local_aws.contents.tokens import LABEL, SOFTHSM
from sandbox.sandbox import CHECKOUT, Sandbox

from .wiretap import Wiretap

if t.TYPE_CHECKING:
    from types import TracebackType

# An HSM takes a second at this rate.
RATE = 600.0
# One that no other process of the tests has: it is looked for in all that runs on the machine.
PIN = f"keeper:Passw0rd-{secrets.token_hex(8)}"
OTHER_REGION = "eu-central-1"
# Labels, types, and sizes or curves.
QUICK_KINDS = (
    ("aes-128", "AES", 128),
    ("aes-192", "AES", 192),
    ("aes-256", "AES", 256),
    ("generic", "GENERIC_SECRET", 512),
    ("rsa-2048", "RSA", 2048),
    ("ec-256", "EC", "secp256r1"),
    ("ec-384", "EC", "secp384r1"),
    ("ec-521", "EC", "secp521r1"),
)
SLOW_KINDS = (("rsa-3072", "RSA", 3072), ("rsa-4096", "RSA", 4096))
FEW_KINDS = (QUICK_KINDS[2], QUICK_KINDS[5])

# Points a PKCS#11 library at the HSM of a drill.
CONFIGURE = """\
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from local_aws.client import Client
place = pathlib.Path(sys.argv[3])
place.unlink(missing_ok=True)
place.symlink_to(Client(sys.argv[2]).token(sys.argv[4]).conf)
"""

BADGE = "HSMOPS_ESTATE_RUN"
# Longer than any run takes; one that hangs is killed, and says what it had printed.
PATIENCE = 180
# Secrets outlive a local AWS in its process: a name is used once in it.
_NUMBERS = itertools.count(1)


class Estate:
    """One environment: a cluster, and what the inventory says of it.

    Args:
        estates: Where it is.
        name: Its name.
        variables: What the inventory says of it besides.
    """

    def __init__(self, estates: Estates, name: str, variables: dict[str, t.Any]) -> None:
        self._estates = estates
        self.name = name
        self.cluster_id = estates.aws.lay_out(name)
        self.conf: Path | None = None
        self.used: list[dict[str, str]] = []
        self.variables: dict[str, t.Any] = {
            "hsm_cluster_id": self.cluster_id,
            "hsm_key_backup_required": True,
            "hsm_key_backup": {
                "library": str(SOFTHSM), "token_label": LABEL, "pin": PIN, "kms_key_id": estates.kms_key,
            },
            **variables,
        }  # fmt: skip

    def furnish(self, kinds: t.Sequence[tuple[str, str, t.Any]] = FEW_KINDS, **flags: bool) -> Estate:
        """Have an HSM with a user, with keys that were used, and with a record of the last use that is long ago."""
        self.create_hsm()
        self.add_user()
        self.fill(kinds, **flags)
        self.age()
        return self

    def create_hsm(self, zone: str = f"{REGION}a") -> str:
        """Have an HSM by the hand of somebody else, and return its id."""
        hsms = self._estates.aws.client("cloudhsmv2")
        made = hsms.create_hsm(ClusterId=self.cluster_id, AvailabilityZone=zone)["Hsm"]["HsmId"]
        self._pass()
        return t.cast("str", made)

    def delete_hsm(self, hsm_id: str = "") -> None:
        """Have an HSM deleted by the hand of somebody else: the only one, or one by its id."""
        gone = hsm_id or self.hsms()[0]["HsmId"]
        self._estates.aws.client("cloudhsmv2").delete_hsm(ClusterId=self.cluster_id, HsmId=gone)
        self._pass()

    def _pass(self) -> None:
        self._estates.aws.advance(900)
        # What time brings is brought about by the next request; the token, which no request asks for, too.
        self.hsms()

    def add_user(self) -> None:
        """Create the crypto user, and learn where PKCS#11 finds the token."""
        user, _colon, password = PIN.partition(":")
        self._estates.aws.create_user(self.cluster_id, user, password)
        self.conf = self._estates.aws.token(self.cluster_id).conf

    def fill(self, kinds: t.Sequence[tuple[str, str, t.Any]], **flags: bool) -> None:
        """Make and use keys."""
        self.used += self.ask("fill", kinds=kinds, flags=flags)

    def unusable(self) -> list[str]:
        """Return what is wrong with those keys that were used once."""
        return t.cast("list[str]", self.ask("unusable", used=self.used))

    def ask(self, action: str, **arguments: t.Any) -> t.Any:
        """Have an application do something with the keys; see `estate_child.py`."""
        request = {"module": str(SOFTHSM), "label": LABEL, "pin": PIN, "action": action, "arguments": arguments}
        done = subprocess.run(
            [sys.executable, "-m", "harness.estate_child"],
            input=json.dumps(request),
            env={**os.environ, "SOFTHSM2_CONF": str(self.conf), "PYTHONPATH": str(CHECKOUT / "tests")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rehearse(self) -> None:
        """Say in the inventory how the library is pointed at the HSM of a drill."""
        script = self._estates.folder / "configure.py"
        script.write_text(CONFIGURE, encoding="utf-8")
        conf = self._estates.folder / f"{self.name}.conf"
        words = [sys.executable, str(script), str(CHECKOUT / "tests"), self._estates.aws.url, str(conf), "{cluster_id}"]
        self.variables |= {"hsm_drill_configure": [words], "hsm_drill_environment": {"SOFTHSM2_CONF": str(conf)}}

    def hsms(self) -> list[dict[str, t.Any]]:
        """Return the HSMs that are not leaving."""
        found = self._estates.aws.client("cloudhsmv2").describe_clusters(Filters={"clusterIds": [self.cluster_id]})
        return [hsm for hsm in found["Clusters"][0]["Hsms"] if hsm["State"] != "DELETE_IN_PROGRESS"]

    def place(self) -> list[tuple[str, str]]:
        """Return zone and address of each."""
        return [(hsm["AvailabilityZone"], hsm["EniIp"]) for hsm in self.hsms()]

    def tags(self) -> dict[str, str]:
        """Return our tags of the cluster."""
        tags = self._estates.aws.client("cloudhsmv2").list_tags(ResourceId=self.cluster_id)["TagList"]
        return {tag["Key"]: tag["Value"] for tag in tags if tag["Key"].startswith("hsmops:")}

    def backups(self, region: str = REGION) -> list[dict[str, t.Any]]:
        """Return AWS's backups of the cluster, newest first; in another region, the copies."""
        by = "clusterIds" if region == REGION else "sourceBackupIds"
        wanted = [self.cluster_id] if region == REGION else [backup["BackupId"] for backup in self.backups()]
        if not wanted:
            return []
        found = self._estates.aws.client("cloudhsmv2", region).describe_backups(Filters={by: wanted})["Backups"]
        return sorted(found, key=lambda backup: backup["CreateTimestamp"], reverse=True)

    def age(self, seconds: int = 4000) -> None:
        """Make it so long ago that the environment was used last."""
        now = self._estates.now()
        self._estates.store.set(self.key("last_access"), now - seconds, ex=7200)

    @property
    def env(self) -> str:
        """The name in the activity store, and of its backup of keys."""
        return t.cast("str", self.variables.get("hsm_env", self.name))

    def key(self, what: str) -> str:
        """Return the name of a key in Redis."""
        return f"hsm:{self.env}:{what}"

    def secrets(self) -> dict[str, bytes]:
        """Return what our own backup consists of, by the names of the secrets."""
        client = self._estates.aws.client("secretsmanager")
        pages = client.get_paginator("list_secrets").paginate()
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
        found = {}
        for name in names:
            if name.startswith(f"hsmops/{self.env}/"):
                secret = client.get_secret_value(SecretId=name)
                found[name] = secret.get("SecretBinary") or secret["SecretString"].encode()
        return found

    def missing_parts(self) -> set[str] | None:
        """Return those parts that the manifest names and the store lacks; None where there is no manifest."""
        found = self.secrets()
        manifest = found.pop(f"hsmops/{self.env}/manifest", None)
        if manifest is None:
            return None
        there = {name.rpartition("/")[2] for name in found}
        return {part["digest"] for part in json.loads(manifest)["parts"]} - there

    def withhold_ours(self) -> None:
        """Have our own backup gone."""
        client = self._estates.aws.client("secretsmanager")
        for name in self.secrets():
            client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

    def withhold_those_of_aws(self, but: t.Container[str] = ()) -> None:
        """Have AWS's backups gone, all but some."""
        for backup in self.backups():
            if backup["BackupState"] == "READY" and backup["BackupId"] not in but:
                self._estates.aws.client("cloudhsmv2").delete_backup(BackupId=backup["BackupId"])


class Run(t.NamedTuple):
    """A run that has ended; a status below zero is that of a signal."""

    status: int
    stdout: str
    stderr: str

    @property
    def recaps(self) -> dict[str, dict[str, int]]:
        """Counts of the results, by the names of hosts."""
        lines = re.findall(r"^(\S+)\s+: (ok=\d.*)$", self.stdout, re.MULTILINE)
        return {host: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)} for host, line in lines}

    @property
    def text(self) -> str:
        """All that was printed, with the marks of JSON taken off."""
        return (self.stdout + self.stderr).replace('\\"', '"')


class Estates:
    """A sandbox in which there is any number of environments, as long as the context lasts.

    Args:
        folder: Where the files go.
        rate: Virtual seconds per real second.
    """

    def __init__(self, folder: Path, rate: float = RATE) -> None:
        self.folder = folder
        self._sandbox = Sandbox(folder / "sandbox", rate=rate)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Estates:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._sandbox)
            self.aws = self._sandbox.aws
            self.store = stack.enter_context(redis.Redis.from_url(self._sandbox.redis_url, decode_responses=True))
            self.tap = stack.enter_context(Wiretap(self.aws.url))
            # Each environment is new; and whatever backup there is, a deletion or an addition has made it.
            self.aws.set_knobs(quota_clusters=500, quota_hsms=500, backup_period_seconds=0)
            kms = self.aws.client("kms")
            key = kms.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")["KeyMetadata"]
            self.kms_key: str = key["Arn"]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def make(self, **variables: t.Any) -> Estate:
        """Make an environment without an HSM."""
        return Estate(self, f"estate{next(_NUMBERS)}", variables)

    def now(self) -> int:
        """Return Redis's time."""
        return int(t.cast("tuple[int, int]", self.store.time())[0])

    def contents(self) -> dict[bytes, bytes]:
        """Return everything in Redis, in the form of DUMP."""
        with redis.Redis.from_url(self._sandbox.redis_url) as store:
            return {key: t.cast("bytes", store.dump(key)) for key in sorted(t.cast("list[bytes]", store.keys()))}

    def lapse(self, estate: Estate) -> None:
        """Have every mark be void and the claim be over, as they are after a while."""
        marks = estate.tags()
        if marks:
            self.aws.advance(max(0.0, max(map(float, marks.values())) + 901 - self.aws.now()))
        if self.store.exists(estate.key("claim")):
            self.store.hset(estate.key("claim"), "deadline", str(self.now() - 1))

    def inventory(self, *estates: Estate, **variables: t.Any) -> dict[str, t.Any]:
        """Return the inventory of some environments.

        Args:
            estates: The environments.
            variables: Of all of them.
        """
        made = yaml.safe_load(self._sandbox.inventory.read_text(encoding="utf-8"))
        shared = made["all"]["vars"]
        shared["hsm_aws"]["endpoint_url"] = self.tap.url
        shared |= {"hsm_wait_delay": 0.3, "hsm_settle": 0.2, "hsm_wait_timeout": 60, **variables}
        made["all"]["hosts"] = {estate.name: copy.deepcopy(estate.variables) for estate in estates}
        return t.cast("dict[str, t.Any]", made)

    def play(
        self,
        run: str,
        *estates: Estate,
        arguments: t.Sequence[str] = (),
        environment: t.Mapping[str, str] | None = None,
        **variables: t.Any,
    ) -> Run:
        """Run a playbook to its end.

        Args:
            run: Name of the playbook without `.yml`, or its path from the checkout.
            estates: The environments.
            arguments: Further ones of `ansible-playbook`.
            environment: Further environment variables.
            variables: Further ones of the inventory.
        """
        started = self.start(run, *estates, arguments=arguments, environment=environment, **variables)
        return started.wait()

    def start(
        self,
        run: str,
        *estates: Estate,
        arguments: t.Sequence[str] = (),
        environment: t.Mapping[str, str] | None = None,
        **variables: t.Any,
    ) -> Started:
        """Start a playbook; see `play`."""
        folder = self.folder / f"run{next(_NUMBERS)}"
        (folder / "home").mkdir(parents=True)
        inventory = folder / "inventory.yml"
        inventory.write_text(yaml.safe_dump(self.inventory(*estates, **variables)), encoding="utf-8")
        confs = [str(estate.conf) for estate in estates if estate.conf]
        given = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        given |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INVENTORY": str(inventory),
            # A process has one SoftHSM configuration, so one environment of a play can use its keys: the first.
            **({"SOFTHSM2_CONF": confs[0]} if confs else {}),
            **(environment or {}),
        }
        playbook = CHECKOUT / (run if run.endswith(".yml") else f"playbooks/{run}.yml")
        command = ["ansible-playbook", str(playbook), "-e", "env=all", *arguments]
        return Started(command, folder, given)


class Started:
    """A run that goes on.

    Args:
        command: Its words.
        folder: Where its output goes.
        environment: All of its environment variables.
    """

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._badge = f"{os.getpid()}-{folder.name}-{time.monotonic_ns()}"
        self._outputs = (folder / "stdout", folder / "stderr")
        with self._outputs[0].open("wb") as out, self._outputs[1].open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, env={**environment, BADGE: self._badge}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> Run:
        """Wait for its end."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end: {self._read(0)[-4000:]}") from None
        return Run(self.process.returncode, self._read(0), self._read(1))

    def kill(self) -> None:
        """Kill it with all that it has started: an Ansible worker has a session of its own, so that no group has them all."""
        while bearers := [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._is_ours(pid)]:
            for pid in bearers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def _is_ours(self, pid: int) -> bool:
        try:
            # What has ended already has no environment any more.
            return f"{BADGE}={self._badge}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
        except OSError:
            return False

    def _read(self, number: int) -> str:
        return self._outputs[number].read_text(encoding="utf-8", errors="replace")
