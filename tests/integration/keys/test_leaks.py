# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""No PIN, no key and no data key gets out: not in a result, a file, a log, the list of processes, or an exception."""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import subprocess
import sys
import traceback
import types
from pathlib import Path

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys import hsm
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.errors import KeyBackupError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.refusals import Refusals
from ansible_collections.hsmops.cloudhsm.plugins.modules import hsm_key_backup
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from harness.leaks import Processes, files, forms, leaks
from harness.tokens import PIN, make_secret
from pkcs11 import Attribute, KeyType

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - hsmops.cloudhsm.hsm_key_backup: {arguments}
      register: result
    - ansible.builtin.debug: {{var: result}}
"""


def test_a_play_shows_nothing(tokens, token, folder, custodians, tmp_path):
    """A real ansible-playbook, as talkative as it gets, with a diff and a log."""
    with tokens.session(token) as session:
        clear = bytes(range(100, 132))
        session.create_object(
            {3: "known", 0: 4, 256: KeyType.AES, 1: True, 17: clear, 354: True, 259: True, 260: True, 258: b"1"}
        )
    common = {
        "name": "dev", "store": "directory", "path": str(folder), "library": tokens.library, "token_label": token, "pin": PIN,
    }  # fmt: skip
    runs = [
        {**common, "custodian_public_keys": [custodians[0].public]},
        {**common, "state": "verified", **custodians[0].opening},
        {**common, "pin": "app:a-wrong-guess", "state": "verified", **custodians[0].opening},
    ]
    printed = {}
    (tmp_path / "home").mkdir()
    with Processes() as processes:
        for number, arguments in enumerate(runs):
            play = tmp_path / "play.yml"
            play.write_text(PLAY.format(arguments=json.dumps(arguments)))
            done = subprocess.run(
                [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-vvvv", "--diff", str(play)],
                env={
                    **os.environ, "ANSIBLE_LOG_PATH": str(tmp_path / "log"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
                    "ANSIBLE_REMOTE_TMP": str(tmp_path / "home"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
                },
                capture_output=True, check=False,
            )  # fmt: skip
            play.unlink()
            printed[f"run {number}"] = done.stdout + done.stderr
    assert b'"keys": 1' in printed["run 0"], printed["run 0"].decode()[-2000:]
    assert b'"verified": 1' in printed["run 1"], printed["run 1"].decode()[-2000:]
    assert b"refused the login (PinIncorrect)" in printed["run 2"]
    places = printed | files(tmp_path) | processes.places

    assert any(b"ansible-playbook" in seen for seen in processes.seen)
    secrets = {"PIN": PIN.partition(":")[2].encode(), "guess": b"a-wrong-guess", "key": clear}
    assert leaks(secrets, places) == []
    # The search finds what it looks for.
    for form in forms(clear):
        assert leaks(secrets, {"planted": b"x" + form + b"y"}) == ["key in planted"]


def test_a_data_key_is_in_the_clear_only_where_it_is_opened(
    tokens, token, folder, run, back_up, custodians, monkeypatch
):
    with tokens.session(token) as session:
        make_secret(session, "a")
    seen = []
    given = hsm_key_backup.make_opener

    def make_opener(module):
        opener = given(module)
        real = opener.open
        monkeypatch.setattr(opener, "open", lambda data_key: seen.append(real(data_key)) or seen[-1])
        return opener

    monkeypatch.setattr(hsm_key_backup, "make_opener", make_opener)
    made = back_up(diff=True)
    verified = run(state="verified", **custodians[0].opening)
    assert verified["verified"] == 1
    record = json.loads(next(folder.glob("dev/parts/*.json")).read_bytes())["keys"][0]
    # It is the data key: it opens the backup by RFC 5649 as anybody implements it.
    key = aes_key_unwrap_with_padding(seen[0], base64.b64decode(record["blob"]))
    assert len(key) == 32

    places = files(folder) | {"results": json.dumps([made, verified]).encode()}
    assert leaks({"data key": seen[0], "key": key}, places) == []


def test_an_exception_holds_no_pin(tokens, token, tmp_path):
    guess = "".join(("app:", "a-wrong-guess"))
    with pytest.raises(KeyBackupError) as caught:
        hsm.open_hsm(
            tokens.library, None, token, guess, Refusals(tmp_path, False, datetime.datetime.now(datetime.timezone.utc))
        )

    shown = [*traceback.format_exception(caught.value), repr(caught.value), str(caught.value)]
    assert caught.value.__cause__ is None
    assert not [line for line in shown if guess in line]


def test_no_session_object_outlives_a_run(tokens, token, back_up, verify, restore, monkeypatch):
    with tokens.session(token) as session:
        make_secret(session, "a", encrypt=False)
    left, looks = [], []
    close = hsm.Hsm.close

    def look_and_close(self):
        session = self._session

        def look():
            looks.append(session)
            left.extend(session.get_objects({Attribute.TOKEN: False}))
            session.close()

        self._session = types.SimpleNamespace(close=look)
        close(self)

    monkeypatch.setattr(hsm.Hsm, "close", look_and_close)
    assert back_up()["changed"]
    assert verify()["verified"] == 1
    assert restore(token_label=tokens.make())["changed"]
    assert "fingerprint" in restore(fingerprint="0" * 64)["msg"]
    assert len(looks) == 4
    assert left == []


def test_the_source_reads_no_value_of_a_key():
    source = Path(hsm.__file__).read_text()
    assert not re.search(r"Attribute\.(VALUE|PRIVATE_EXPONENT|PRIME_1)\b", source)
