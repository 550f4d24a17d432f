# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A backup that is killed, by SIGKILL and at every step, leaves one that can be used, and the next run completes it."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import key_backup_child
from harness.tokens import PIN, make_secret
from pkcs11 import ObjectClass

KILLED = -signal.SIGKILL


class Killer:
    """Runs backups of a token in other processes."""

    def __init__(self, tokens, token, folder, public_key):
        setting = {
            "path": str(folder), "library": tokens.library, "token": token, "pin": PIN, "public_key": public_key, "prune": True,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-I", key_backup_child.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send(setting)

    def run(self, kill_at=None):
        """Run, and return the steps that were begun."""
        self._send({"kill_at": kill_at})
        answer = json.loads(self._process.stdout.readline())
        assert answer["status"] == (0 if kill_at is None else KILLED)
        return answer["steps"]

    def close(self):
        self._process.communicate(timeout=30)

    def _send(self, request):
        print(json.dumps(request), file=self._process.stdin, flush=True)


@pytest.fixture
def killer(tokens, token, folder, custodians):
    started = Killer(tokens, token, folder, custodians[0].public)
    yield started
    started.close()


def labels(backup: Path) -> set[str] | None:
    """What a backup holds, by what its manifest names; None where there is none. Every part must be there and whole."""
    path = backup / "manifest.json"
    if not path.exists():
        return None
    found = set()
    for entry in json.loads(path.read_bytes())["parts"]:
        content = (backup / "parts" / f"{entry['digest']}.json").read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["digest"]
        keys = json.loads(content)["keys"]
        found |= {key["label"] for index, key in enumerate(keys) if index not in entry["dropped"]}
    return found


def parts_of(backup):
    return {path.stem for path in backup.glob("parts/*.json")}


@pytest.mark.parametrize("kind", ["first", "second"])
def test_killed_at_every_step(kind, tokens, token, folder, killer, verify):
    backup, saved = folder / "dev", folder / "saved"
    with tokens.session(token) as session:
        make_secret(session, "a")
        make_secret(session, "b", encrypt=False)
    if kind == "first":
        old, new = None, {"a", "b"}
    else:
        killer.run()
        with tokens.session(token) as session:
            # What the first run wrote is in no manifest any more: its part is deleted, which is a step of its own.
            for label in ("a", "b"):
                session.get_key(ObjectClass.SECRET_KEY, label=label).destroy()
            make_secret(session, "c")
        old, new = {"a", "b"}, {"c"}
        shutil.copytree(backup, saved)

    def reset():
        shutil.rmtree(backup, ignore_errors=True)
        if saved.exists():
            shutil.copytree(saved, backup)

    steps = killer.run()
    assert labels(backup) == new
    assert {
        "hsm.wrap",
        "hsm.authenticate",
        "store.put_part",
        "store.replace_manifest",
        "os.fsync",
        "os.replace",
    } <= set(steps)
    seen = []
    for number in range(len(steps)):
        reset()
        begun = killer.run(kill_at=number)
        assert len(begun) == number + 1
        found = labels(backup)
        assert found in (old, new), begun[-1]
        seen.append(found)
        killer.run()
        assert labels(backup) == new, begun[-1]
        if found == old:
            # A run that writes a manifest takes away whatever it does not name.
            assert len(parts_of(backup)) == 1, begun[-1]
    # It is the old one up to some step, and then the new one.
    assert seen == sorted(seen, key=lambda found: found == new)
    assert {str(found) for found in seen} == {str(old), str(new)}
    assert verify()["verified"] == len(new)
