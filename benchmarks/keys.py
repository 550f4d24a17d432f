# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Measure what a backup of keys costs: PYTHONPATH=tests .venv/bin/python benchmarks/keys.py [--keys 1000] [--rounds 5]
[--round-trip 0]

On one SoftHSM token in memory, in turns: a bare loop of C_WrapKey over handles that are known; one that also has each key encrypt
zeros, without which nobody knows what was wrapped; the first with the search for the keys, which every program needs; and a
whole backup, which also reads every attribute and writes the parts. Then, with the same keys, the calls to the store: of the
first backup, of one that finds nothing to do, and of one after one key was added.

A wrap takes SoftHSM a tenth of a millisecond, and a CloudHSM a round trip over the network. The operations of the HSM are
counted as well, because there they are what costs; with --round-trip, each of them takes so many milliseconds more, in the bare
loops as in the backup. Reading an attribute takes none more: where that is a round trip too, it is one of the search as well.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import tempfile
import time
import typing as t
from collections import Counter
from pathlib import Path

from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.apply import Wish, back_up
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.data_keys import Recipient
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.directory import DirectoryStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.hsm import Hsm, open_hsm
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.plan import Selection
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.public_keys import read_public_key
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.records import KEY_CLASSES
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.refusals import Refusals
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.secrets_manager import SecretsManagerStore
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from harness.tokens import PIN, Tokens, make_secret
from local_aws.driver import LocalAws
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from rich.console import Console

WISH = Wish("bench", Selection((), (), KEY_CLASSES))
OF_A_KEY = ("answer", "wrap", "unwrap_copy", "destroy")


class Counted:
    """An HSM whose operations are counted.

    Args:
        target: The HSM.
        round_trip: Seconds that each operation with a key takes more.
    """

    def __init__(self, target: Hsm, round_trip: float) -> None:
        self._target = target
        self._round_trip = round_trip
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> t.Any:
        found = getattr(self._target, name)

        def counted(*arguments: t.Any, **named: t.Any) -> t.Any:
            self.calls[name] += 1
            pause(self._round_trip if name in OF_A_KEY else 0)
            return found(*arguments, **named)

        return counted


def pause(seconds: float) -> None:
    """Wait as for a network, where there is one."""
    if seconds:
        time.sleep(seconds)


def recipient() -> Recipient:
    """A custodian, whose private key nobody keeps."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Recipient("custodian", "", read_public_key(pem, "recipient"))


def bare(tokens: Tokens, token: str, round_trip: float) -> tuple[float, float, float]:
    """The seconds of a loop of C_WrapKey alone, with the encryption of zeros, and with the search for the keys."""
    with tokens.session(token) as session:
        template = {Attribute.EXTRACTABLE: True, Attribute.WRAP: True}
        wrapping = session.generate_key(KeyType.AES, 256, template=template)
        begun = time.perf_counter()
        keys = list(
            session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: True}, batch_size=100)
        )
        found = time.perf_counter()
        for key in keys:
            pause(round_trip)
            wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        wrapped = time.perf_counter()
        for key in keys:
            # Else python-pkcs11 asks for it.
            key.key_type = KeyType.AES
            pause(round_trip)
            key.encrypt(bytes(16), mechanism=Mechanism.AES_ECB, buffer_size=64)
        ended = time.perf_counter()
    return wrapped - found, ended - found, wrapped - begun


def backup(
    tokens: Tokens, token: str, store: t.Any, to: Recipient, round_trip: float = 0
) -> tuple[float, Counter[str]]:
    """The seconds of a backup after the login, and the operations of the HSM."""
    now = datetime.datetime.now(datetime.timezone.utc)
    hsm = Counted(open_hsm(tokens.library, None, token, PIN, Refusals(Path(os.devnull), False, now)), round_trip)
    begun = time.perf_counter()
    outcome = back_up(t.cast(Hsm, hsm), store, [to], WISH, now, dry=False)
    elapsed = time.perf_counter() - begun
    hsm.close()
    if outcome.failure or outcome.warnings:
        raise SystemExit(f"{outcome.failure} {outcome.warnings}")
    return elapsed, hsm.calls


def calls_of(store: SecretsManagerStore, work: t.Callable[[], object]) -> Counter[str]:
    """The requests to Secrets Manager while something is done."""
    calls: Counter[str] = Counter()
    events = store._client.meta.events
    events.register(
        "before-send", lambda event_name, **_more: calls.update([event_name.rpartition(".")[2]]), unique_id="count"
    )
    work()
    events.unregister("before-send", unique_id="count")
    return calls


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1000, help="AES-256 keys (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default: %(default)s)")
    parser.add_argument(
        "--round-trip", type=float, default=0, help="milliseconds that each operation takes more (default: %(default)s)"
    )
    options = parser.parse_args()
    round_trip = options.round_trip / 1000
    console = Console(highlight=False, soft_wrap=True)
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as folder, LocalAws() as aws:
        tokens = Tokens(Path(folder))
        os.environ["SOFTHSM2_CONF"] = str(tokens.conf)
        token, to = tokens.make(), recipient()
        with tokens.session(token) as session:
            for number in range(options.keys):
                make_secret(session, f"application-key-{number:05}")
        names = ("wrap", "wrap and encrypt zeros", "find and wrap", "backup", "backup, nothing to do")
        seconds: dict[str, list[float]] = {name: [] for name in names}
        operations: Counter[str] = Counter()
        for turn in range(options.rounds + 1):
            path = Path(folder) / "store"
            path.mkdir()
            store = DirectoryStore(str(path), "bench")
            loops = bare(tokens, token, round_trip)
            whole, operations = backup(tokens, token, store, to, round_trip)
            idle, _operations = backup(tokens, token, store, to, round_trip)
            shutil.rmtree(path)
            if turn:
                for name, value in zip(seconds, (*loops, whole, idle), strict=True):
                    seconds[name].append(value)
        report(console, options.keys, seconds, operations)
        secrets = SecretsManagerStore(aws.client("secretsmanager"), "hsmops/", "bench", None, 7)
        first = calls_of(secrets, lambda: backup(tokens, token, secrets, to))
        again = calls_of(secrets, lambda: backup(tokens, token, secrets, to))
        with tokens.session(token) as session:
            make_secret(session, "one more")
        more = calls_of(secrets, lambda: backup(tokens, token, secrets, to))
    console.print(
        f"\n| calls to Secrets Manager, {options.keys:,} keys | calls | which |\n|---|---:|---|", markup=False
    )
    for name, calls in (("first backup", first), ("nothing to do", again), ("one key more", more)):
        which = ", ".join(f"{count} {call}" for call, count in sorted(calls.items()))
        console.print(f"| {name} | {sum(calls.values())} | {which} |", markup=False)


def report(console: Console, keys: int, seconds: dict[str, list[float]], operations: Counter[str]) -> None:
    """Print what was measured on the token."""
    rates = {name: keys / statistics.median(values) for name, values in seconds.items()}
    console.print(
        "| on the token | keys a second | to the bare loop | to wrap and encrypt | to find and wrap |\n"
        "|---|---:|---:|---:|---:|",
        markup=False,
    )
    for name, rate in rates.items():
        console.print(
            f"| {name} | {rate:,.0f} | {rate / rates['wrap']:.2f} | {rate / rates['wrap and encrypt zeros']:.2f} "
            f"| {rate / rates['find and wrap']:.2f} |",
            markup=False,
        )
    each = ", ".join(f"{operations[name] / keys:.2f} {name}" for name in OF_A_KEY if operations[name])
    console.print(f"\nOperations of the HSM for each key, beside reading its attributes: {each}.", markup=False)


if __name__ == "__main__":
    main()
