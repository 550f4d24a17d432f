# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Logging in, once; and parameters that are wrong."""

from __future__ import annotations

import types

import pkcs11
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys import hsm
from harness.tokens import PIN, make_secret
from pkcs11.constants import TokenFlag


def test_a_wrong_pin_is_tried_once(monkeypatch, back_up):
    logins = []

    def login(**arguments):
        logins.append(arguments)
        raise pkcs11.PinIncorrect

    slot = types.SimpleNamespace(slot_id=1, get_mechanisms=set)
    token = types.SimpleNamespace(label="hsm1", serial=b"1", slot=slot, flags=TokenFlag.TOKEN_INITIALIZED, open=login)
    slot.get_token = lambda: token
    library = types.SimpleNamespace(get_slots=lambda token_present: [slot], finalize=lambda: None)
    monkeypatch.setattr(hsm.pkcs11, "lib", lambda path: library)
    refused = back_up(token_label=None, pin="app:guess")

    assert (
        "pin: the token 'hsm1' refused the login (PinIncorrect). It was tried once and is not tried again"
        in refused["msg"]
    )
    assert "guess" not in str(refused)
    assert [(given["rw"], given["user_pin"]) for given in logins] == [(True, "app:guess")]


def test_a_wrong_pin_of_a_real_token_is_not_tried_by_the_next_run(back_up, tmp_path):
    assert "refused the login (PinIncorrect)" in back_up(pin="app:guess")["msg"]
    [note] = (tmp_path / "refusals").iterdir()
    for pin in ("app:guess", PIN):
        assert "refused a login of an earlier run (" in back_up(pin=pin)["msg"]
    assert "guess" not in note.read_text()
    assert "app" not in note.read_text()

    assert not back_up(pin_retry=True).get("failed")
    assert not note.exists()
    assert not back_up().get("failed")


def test_a_refusal_that_cannot_be_noted_is_said(back_up, tmp_path):
    (tmp_path / "refusals").write_text("")
    assert "could not be noted in" in back_up(pin="app:guess")["msg"]


def test_what_is_no_refusal_is_not_remembered(monkeypatch, back_up, tmp_path):
    class Unreachable:
        def __init__(self, token):
            self._token = token

        def open(self, **_arguments):
            raise pkcs11.DeviceRemoved

        def __getattr__(self, name):
            return getattr(self._token, name)

    real = hsm._find_token
    monkeypatch.setattr(hsm, "_find_token", lambda *arguments: Unreachable(real(*arguments)))
    assert "refused the login (DeviceRemoved)" in back_up()["msg"]
    assert not (tmp_path / "refusals").exists()


def test_where_the_pin_comes_from(tokens, token, tmp_path, monkeypatch, back_up):
    with tokens.session(token) as session:
        make_secret(session, "a")
    path = tmp_path / "pin"
    path.write_text(f"\ufeff{PIN}\r\nsomething else\n")
    assert back_up(pin=None, pin_file=str(path))["changed"]
    path.write_text("\n")
    assert f"pin_file: the first line of {path} is empty" in back_up(pin=None, pin_file=str(path))["msg"]
    assert "cannot be read (FileNotFoundError)" in back_up(pin=None, pin_file="/nowhere")["msg"]
    assert "pin: there is none" in back_up(pin=None)["msg"]
    monkeypatch.setenv("HSM_PIN_FILE", str(path))
    assert f"HSM_PIN_FILE: the first line of {path} is empty" in back_up(pin=None)["msg"]
    path.write_text(f"{PIN}\n")
    assert not back_up(pin=None)["changed"]
    monkeypatch.setenv("HSM_PIN_FILE", "/nowhere")
    monkeypatch.setenv("HSM_PIN", PIN)
    assert not back_up(pin=None)["changed"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"library": "/nowhere.so"}, "library: /nowhere.so cannot be loaded: "),
        ({"library": "/etc/passwd"}, "library: /etc/passwd cannot be loaded: "),
        ({"token_label": "nobody's"}, "token_label: 0 tokens have the label \"nobody's\". There are: slot "),
        ({"token_label": None, "slot": 999_999_999_999}, "slot: 999999999999 has no token. There are: slot "),
        ({"slot": 1}, "mutually exclusive: slot|token_label"),
        ({"name": "../dev"}, "name: '../dev' is no name"),
        ({"ids": ["0g"]}, "ids: '0g' is not hexadecimal"),
        ({"fingerprint": "abc"}, "fingerprint: 'abc' is no SHA-256"),
        ({"fingerprint": "0" * 64}, "holds no backup, and fingerprint or min_generation ask for one"),
        ({"min_generation": -1}, "min_generation: -1 is less than 0"),
        ({"path": "/nowhere"}, "path: /nowhere is no folder"),
        ({"path": None}, "missing: path"),
        ({"store": "s3"}, "missing: bucket"),
        ({"custodian_public_keys": []}, "kms_key_id: nobody could open this backup"),
        ({"custodian_public_keys": ["key"]}, "custodian_public_keys[0]: it is no public key in PEM"),
        ({"state": "verified"}, "kms_key_id: nobody opens the backup"),
        ({"state": "verified", "custodian_key_file": "/nowhere"}, "custodian_key_file: /nowhere cannot be read"),
        ({"state": "verified", "custodian_key_file": "/etc/passwd"}, "holds no private key in PEM"),
        ({"prefix": "a b", "store": "secretsmanager"}, "prefix: 'a b' cannot begin a name"),
        ({"recovery_window_days": 3, "store": "secretsmanager"}, "recovery_window_days: 3 is not possible"),
        ({"store": "s3", "bucket": "b", "object_lock_mode": "GOVERNANCE", "object_lock_days": 0}, "object_lock_days: 0 is"),
    ],
)  # fmt: skip
def test_bad_input(arguments, text, back_up, folder):
    refused = back_up(region="eu-west-1", **arguments)

    assert text in refused["msg"]
    assert not list(folder.iterdir())


def test_a_passphrase_that_is_wrong(verify, back_up, tokens, token):
    with tokens.session(token) as session:
        make_secret(session, "a")
    back_up()
    refused = verify(custodian_passphrase="wrong passphrase")
    assert "that custodian_passphrase opens" in refused["msg"]
    assert "wrong passphrase" not in str(refused)
    assert "holds no backup" in verify(name="prod")["msg"]


def test_a_token_that_cannot_wrap(monkeypatch, tokens, token, back_up):
    with tokens.session(token) as session:
        make_secret(session, "a")
    monkeypatch.setattr(hsm, "_STANDARD_PAD", 0x7777)
    assert "the slot knows neither CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD" in back_up()["msg"]


def test_cloudhsm_gets_its_own_mechanism_and_flags():
    made = hsm.Hsm(None, None, {0x8000216F, 0x210A})
    assert int(made._rfc5649()) == 0x8000216F
    standard = hsm.Hsm(None, None, {0x210A})
    assert int(standard._rfc5649()) == 0x210A
    private = {attribute.name for attribute in made._flags_template("private", "ec", ("sign",))}
    assert private == {"SIGN", "DERIVE", "MODIFIABLE", "DESTROYABLE", "PRIVATE", "SENSITIVE", "EXTRACTABLE"}
    others = {attribute.name for attribute in standard._flags_template("private", "ec", ("sign",))}
    assert others - private == {"DECRYPT", "UNWRAP"}
