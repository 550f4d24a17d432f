# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whoever can write to the store, and cannot open a data key, changes nothing unnoticed."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys import data_keys, hsm
from harness.tokens import attributes, make_pair, make_secret
from pkcs11 import Attribute, ObjectClass


@pytest.fixture
def backup(tokens, token, back_up, folder):
    """A backup of two secrets and a pair, in two parts."""
    with tokens.session(token) as session:
        make_secret(session, "a")
        make_secret(session, "b")
    back_up()
    with tokens.session(token) as session:
        make_pair(session, "pair", "secp256r1")
    assert back_up()["parts"] == 2
    return folder / "dev"


def canonical(plain):
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def part_with(backup, label):
    return next(path for path in backup.glob("parts/*.json") if f'"label":"{label}"' in path.read_text())


def rewrite_manifest(backup, change):
    path = backup / "manifest.json"
    plain = json.loads(path.read_bytes())
    change(plain)
    path.write_bytes(canonical(plain))


def rewrite_part(backup, label, change, thorough):
    """Change a part; thoroughly, with every digest that anybody can compute."""
    path = part_with(backup, label)
    plain = json.loads(path.read_bytes())
    change(plain["keys"])
    content = canonical(plain)
    if not thorough:
        path.write_bytes(content)
        return
    digest = hashlib.sha256(content).hexdigest()
    path.with_name(f"{digest}.json").write_bytes(content)
    path.unlink()

    def rename(manifest):
        entry = next(entry for entry in manifest["parts"] if entry["digest"] == path.stem)
        entry["digest"] = digest

    rewrite_manifest(backup, rename)


def swap_blobs(keys):
    for member in ("blob", "digest"):
        keys[0][member], keys[1][member] = keys[1][member], keys[0][member]


def flip_bit(keys):
    blob = bytearray(base64.b64decode(keys[0]["blob"]))
    blob[3] ^= 1
    keys[0]["blob"] = base64.b64encode(blob).decode()


CHANGES = {
    "label": (lambda keys: keys[0].update(label="b"), "'b'"),
    "flags": (lambda keys: keys[0]["flags"].append("derive"), "'a'"),
    "check": (lambda keys: keys[0].update(check=keys[1]["check"]), "'a'"),
    "swapped blobs": (swap_blobs, "'a'"),
    "a bit of a blob": (flip_bit, "secret key 'a' (id 61): its wrapped form is not the one that was stored"),
    "one key less": (lambda keys: keys.pop(), "'a'"),
}


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_part(change, thorough, backup, tokens, restore, verify):
    alter, text = CHANGES[change]
    rewrite_part(backup, "a", alter, thorough)
    other = tokens.make()
    refused = restore(token_label=other)

    assert refused["failed"]
    assert text in refused["msg"]
    assert "Nothing was imported." in refused["msg"]
    assert verify()["failed"]
    with tokens.session(other) as session:
        assert attributes(session) == {}


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


FILES = {
    "a part is cut": lambda backup: truncate(part_with(backup, "a")),
    "a part is gone": lambda backup: part_with(backup, "a").unlink(),
    "a part is another": lambda backup: shutil.copy(part_with(backup, "a"), part_with(backup, "pair")),
    "the manifest is cut": lambda backup: truncate(backup / "manifest.json"),
    "another generation": lambda backup: rewrite_manifest(backup, lambda plain: plain.update(generation=9)),
    "a part less": lambda backup: rewrite_manifest(backup, lambda plain: plain["parts"].pop()),
    "a key dropped": lambda backup: rewrite_manifest(backup, lambda plain: plain["parts"][0]["dropped"].append(0)),
    "no code": lambda backup: rewrite_manifest(backup, lambda plain: plain.update(mac="")),
    "another data key's form": lambda backup: rewrite_manifest(
        backup, lambda plain: plain["data_keys"][0].update(wrapped=plain["data_keys"][1]["wrapped"])
    ),
    "another key of codes": lambda backup: rewrite_manifest(
        backup, lambda plain: plain["data_keys"][0].update(mac_key=plain["data_keys"][1]["mac_key"])
    ),
    "no object": lambda backup: (backup / "manifest.json").write_bytes(b"[]"),
    "another version": lambda backup: rewrite_manifest(backup, lambda plain: plain.update(version=2)),
    "a position outside": lambda backup: rewrite_manifest(backup, lambda plain: plain["parts"][0].update(dropped=[7])),
}


@pytest.mark.parametrize("change", FILES)
def test_a_changed_store(change, backup, tokens, restore, verify):
    FILES[change](backup)
    other = tokens.make()

    assert restore(token_label=other)["failed"]
    assert verify()["failed"]
    with tokens.session(other) as session:
        assert attributes(session) == {}


def test_a_part_that_is_damaged_is_mended_from_the_hsm(backup, back_up, verify):
    truncate(part_with(backup, "a"))
    assert "it is cut or no JSON. It names the keys 'a', 'b'" in verify()["msg"]
    mended = back_up()

    assert mended["changed"]
    assert "The backup was damaged" in mended["warnings"][0]
    assert [key["label"] for key in mended["added"]] == ["a", "b"]
    assert verify()["verified"] == 4


def test_a_replayed_backup(backup, tokens, token, back_up, restore, verify, folder):
    current = back_up()
    shutil.copytree(backup, folder / "old")
    with tokens.session(token) as session:
        make_secret(session, "c")
    newest = back_up(fingerprint=current["fingerprint"])
    shutil.rmtree(backup)
    shutil.move(folder / "old", backup)

    other = tokens.make()
    for wanted in ({"fingerprint": newest["fingerprint"]}, {"min_generation": 3}):
        refused = restore(token_label=other, **wanted)
        assert next(iter(wanted)) in refused["msg"]
        with tokens.session(other) as session:
            assert attributes(session) == {}
    assert "fingerprint" in back_up(fingerprint=newest["fingerprint"])["msg"]
    assert not restore(token_label=other, fingerprint=current["fingerprint"]).get("failed")


def test_the_backup_of_another_name(backup, folder, restore, tokens):
    shutil.copytree(backup, folder / "prod")
    assert "it is that of the backup 'dev'" in restore(name="prod", token_label=tokens.make())["msg"]


def test_a_change_between_two_runs_is_not_signed_by_the_second(backup, tokens, token, back_up, verify, restore):
    """A key that is on the HSM no more cannot be wrapped anew, so that its record is taken over as it is."""
    with tokens.session(token) as session:
        session.get_key(ObjectClass.SECRET_KEY, label="a").destroy()
        make_secret(session, "d")
    rewrite_part(backup, "a", lambda keys: keys[0].update(label="root"), thorough=True)
    taken_over = back_up()

    assert [key["label"] for key in taken_over["kept"]] == ["root"]
    assert "a part: its authentication code is wrong. It claims to hold secret key 'root'" in verify()["msg"]
    assert restore(token_label=tokens.make())["failed"]


def test_an_hsm_that_wrapped_another_key(tokens, token, back_up, verify, restore, monkeypatch):
    """Everything is authentic, and the backup is worth nothing: only unwrapping shows it."""
    with tokens.session(token) as session:
        make_secret(session, "a")
        make_secret(session, "b")
    wrap, handles = hsm.Hsm.wrap, []

    def wrap_the_first(self, data_key, key):
        if key.object_class is ObjectClass.SECRET_KEY and key[Attribute.TOKEN]:
            handles.append(key)
            key = handles[0]
        return wrap(self, data_key, key)

    monkeypatch.setattr(hsm.Hsm, "wrap", wrap_the_first)
    assert back_up()["changed"]
    other = tokens.make()
    refused = restore(token_label=other)

    assert "what the backup holds is another key: its check value is another" in refused["msg"]
    assert ("'a'" in refused["msg"]) != ("'b'" in refused["msg"])
    assert refused["msg"].split(".")[0] in verify()["msg"]
    with tokens.session(other) as session:
        assert attributes(session) == {}


def test_a_recipient_that_opens_something_else(backup, restore, tokens, monkeypatch):
    monkeypatch.setattr(data_keys.CustodianOpener, "open", lambda self, data_key: bytes(32))
    assert "what was opened is not the key that it was" in restore(token_label=tokens.make())["msg"]
