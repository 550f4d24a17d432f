# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Backing up, verifying and restoring keys of every kind."""

from __future__ import annotations

import json
import re

import pkcs11
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys import hsm
from harness.tokens import accepts, attributes, make_pair, make_secret, sign, use
from pkcs11 import Attribute, KeyType, ObjectClass

SECRETS = ("aes128", "aes192", "aes256", "des3", "hmac")
PAIRS = {
    "rsa2048": 2048,
    "rsa3072": 3072,
    "rsa4096": 4096,
    "p256": "secp256r1",
    "p384": "secp384r1",
    "p521": "secp521r1",
}


@pytest.fixture(scope="module")
def full(tokens):
    """A token with keys of every kind; no test changes it."""
    label = tokens.make()
    with tokens.session(label) as session:
        for bits in (128, 192, 256):
            make_secret(session, f"aes{bits}", bits)
        make_secret(session, "des3", kind=KeyType.DES3)
        make_secret(session, "hmac", 512, KeyType.GENERIC_SECRET)
        make_secret(session, "no-encrypt", encrypt=False, decrypt=False)
        make_secret(session, "no-sign", 256, KeyType.GENERIC_SECRET, sign=False)
        make_secret(session, "settled", modifiable=False, derive=True, id=b"")
        for name, what in PAIRS.items():
            make_pair(session, name, what)
        make_pair(session, "rsa-decrypt", 2048, sign=False, unwrap=False)
        make_pair(session, "ec-derive", "secp256r1", sign=False, derive=True)
    return label


@pytest.fixture
def some(tokens, token):
    """A token with three keys."""
    with tokens.session(token) as session:
        for label in ("a", "b", "c"):
            make_secret(session, label)
    return token


def names(refs):
    return [(ref["class"], ref["label"]) for ref in refs]


def test_every_kind_comes_back_and_works(tokens, full, back_up, verify, restore):
    other = tokens.make()
    with tokens.session(full) as session:
        expected, used = attributes(session), {label: use(session, label) for label in SECRETS}
        signed = {label: sign(session, label) for label in PAIRS}
        seen = session.get_key(ObjectClass.PUBLIC_KEY, label="rsa-decrypt").encrypt(b"seen")

    made = back_up(token_label=full)
    checked = verify(token_label=full, fingerprint=made["fingerprint"])
    restored = restore(token_label=other, fingerprint=made["fingerprint"])

    assert made["changed"]
    assert made["keys"] == checked["verified"] == len(restored["restored"]) == len(expected)
    assert not checked["changed"]
    assert checked["differences"] == checked["not_covered"] == []
    with tokens.session(other) as session:
        assert attributes(session) == expected
        assert {label: use(session, label) for label in SECRETS} == used
        assert all(accepts(session, label, signature) for label, signature in signed.items())
        assert session.get_key(ObjectClass.PRIVATE_KEY, label="rsa-decrypt").decrypt(seen) == b"seen"
        fresh = {label: sign(session, label) for label in PAIRS}
    with tokens.session(full) as session:
        assert all(accepts(session, label, signature) for label, signature in fresh.items())

    again = restore(token_label=other)
    assert not again["changed"]
    assert (again["restored"], again["present"], again["differences"]) == ([], len(expected), [])
    # A backup of what was restored is the backup that there is, although SoftHSM does not know the length of such keys.
    assert not back_up(token_label=other)["changed"]


def test_the_second_run_writes_nothing(full, folder, back_up):
    first = back_up(token_label=full)
    before = {path: path.stat() for path in folder.rglob("*")}
    second = back_up(token_label=full)

    assert {path: path.stat() for path in folder.rglob("*")} == before
    assert (second["changed"], second["unchanged"], second["added"]) == (False, first["keys"], [])
    assert second["fingerprint"] == first["fingerprint"]


def test_check_mode_and_diff(some, folder, back_up, restore, tokens):
    foretold = back_up(check=True, diff=True)
    assert not list(folder.iterdir())
    made = back_up(diff=True)

    assert foretold["changed"]
    assert foretold["diff"] == made["diff"]
    assert made["diff"]["before"] == {"keys": 0}
    assert made["diff"]["after"]["keys"] == 3
    assert made["diff"]["after"]["added"][0] == "secret key 'a' (id 61)"

    other = tokens.make()
    foretold = restore(token_label=other, check=True, diff=True)
    assert foretold["restored"] == restore(token_label=other, diff=True, check=True)["restored"] != []
    assert restore(token_label=other, diff=True)["diff"] == foretold["diff"]
    assert not restore(token_label=other, check=True)["changed"]


def test_only_what_changed_is_wrapped(tokens, some, folder, back_up, verify, restore):
    back_up()
    part = next(folder.glob("dev/parts/*.json"))
    with tokens.session(some) as session:
        make_secret(session, "d")
        session.get_key(ObjectClass.SECRET_KEY, label="b")[Attribute.DERIVE] = True
    stale = verify()
    second = back_up()

    assert "lacks, or has another in place of, secret key 'd' (id 64)" in stale["msg"]
    assert "the flags differ of secret key 'b' (id 62)" in stale["msg"]
    assert [(key["label"], key["reason"]) for key in stale["not_covered"]] == [("d", "the backup does not have it")]
    assert (names(second["added"]), names(second["renewed"])) == ([("secret", "d")], [("secret", "b")])
    assert (second["unchanged"], second["keys"], second["parts"], second["generation"]) == (2, 4, 2, 2)
    assert part.exists()
    fresh = next(path for path in folder.glob("dev/parts/*.json") if path != part)
    assert [key["label"] for key in json.loads(fresh.read_bytes())["keys"]] == ["b", "d"]
    assert verify()["verified"] == 4
    other = tokens.make()
    assert len(restore(token_label=other)["restored"]) == 4


def test_a_key_that_is_gone_stays_until_it_is_pruned(tokens, some, back_up, verify, restore):
    back_up()
    with tokens.session(some) as session:
        session.get_key(ObjectClass.SECRET_KEY, label="a").destroy()
    kept = back_up()
    assert (kept["changed"], names(kept["kept"]), kept["keys"]) == (False, [("secret", "a")], 3)
    assert names(restore()["restored"]) == [("secret", "a")]
    with tokens.session(some) as session:
        session.get_key(ObjectClass.SECRET_KEY, label="a").destroy()

    foretold = back_up(prune=True, check=True)
    pruned = back_up(prune=True)
    assert names(foretold["pruned"]) == names(pruned["pruned"]) == [("secret", "a")]
    assert pruned["keys"] == verify()["verified"] == 2
    assert not back_up(prune=True)["changed"]
    assert not restore()["changed"]


def test_a_key_that_was_replaced_is_kept_and_not_restored_by_itself(tokens, some, back_up, verify, restore):
    back_up()
    with tokens.session(some) as session:
        old = use(session, "a")
        session.get_key(ObjectClass.SECRET_KEY, label="a").destroy()
        make_secret(session, "a")
        new = use(session, "a")
    differing = restore()
    assert "the HSM has other keys in place of secret key 'a' (id 61), which are never overwritten" in differing["msg"]
    assert differing["differences"] == [{"class": "secret", "label": "a", "id": "61", "what": "value"}]
    with tokens.session(some) as session:
        assert use(session, "a") == new

    second = back_up()
    assert names(second["superseded"]) == [("secret", "a")]
    assert (second["keys"], verify()["verified"]) == (4, 4)
    other = tokens.make()
    assert len(restore(token_label=other)["restored"]) == 3
    with tokens.session(other) as session:
        assert use(session, "a") == new
    # Beside what has replaced it, for one who asks for it.
    assert names(restore(token_label=other, restore_superseded=True)["restored"]) == [("secret", "a")]
    assert not restore(token_label=other, restore_superseded=True)["changed"]
    third = tokens.make()
    assert len(restore(token_label=third, restore_superseded=True)["restored"]) == 4
    with tokens.session(third) as session:
        found = {
            key.encrypt(b"what the old HSM has seen", mechanism_param=bytes(range(16))).hex()
            for key in list(session.get_objects({Attribute.LABEL: "a"}))
        }
        assert found == {old, new}
    assert names(back_up(prune=True)["pruned"]) == [("secret", "a")]


def test_keys_that_cannot_be_exported_are_named(tokens, some, folder, back_up, verify):
    with tokens.session(some) as session:
        make_secret(session, "locked", extractable=False)
        make_secret(session, "trusted-only", wrap_with_trusted=True)
        make_pair(session, "orphan", "secp256r1")[0].destroy()
    refused = back_up(require_complete=True)
    assert "require_complete: 3 keys cannot be exported" in refused["msg"]
    assert not list(folder.iterdir())

    made = back_up()
    reasons = {key["label"]: key["reason"] for key in made["not_covered"]}
    assert reasons == {
        "locked": "it is not extractable",
        "trusted-only": "it can be wrapped by a trusted key only",
        "orphan": "the HSM has no public half of it to prove a copy with",
    }
    assert "secret key 'locked' (id 6c6f636b6564): it is not extractable" in made["warnings"][0]
    assert len(verify()["not_covered"]) == 3
    assert "no backup but AWS's own covers" in verify(require_complete=True)["msg"]


def test_a_key_that_can_be_exported_no_more_is_not_covered_by_its_namesake(tokens, some, back_up, verify, restore):
    back_up()
    with tokens.session(some) as session:
        session.get_key(ObjectClass.SECRET_KEY, label="a").destroy()
        make_secret(session, "a", extractable=False)
    checked = verify(require_complete=True)

    assert "no backup but AWS's own covers secret key 'a' (id 61): it is not extractable" in checked["msg"]
    assert [key["label"] for key in checked["not_covered"]] == ["a"]
    assert [key["label"] for key in restore()["not_covered"]] == ["a"]


def test_a_label_that_is_no_text(tokens, token, back_up, verify, restore):
    label = b"\xff\xfe\x1b".decode("utf-8", "surrogateescape")
    with tokens.session(token, attribute_mapper=hsm._Mapper()) as session:
        for extractable in (True, False):
            flags = {"TOKEN": True, "LABEL": label, "ENCRYPT": True, "EXTRACTABLE": extractable}
            session.generate_key(
                KeyType.AES, 256, capabilities=0, template={Attribute[name]: value for name, value in flags.items()}
            )
    other = tokens.make()
    runs = [back_up(diff=True), verify(), restore(token_label=other, diff=True), verify(labels=["x"])]

    assert not runs[0].get("failed"), runs[0]
    assert [key["label"] for key in runs[0]["added"] + runs[0]["not_covered"]] == ["\\xff\\xfe\x1b"] * 2
    # Ansible takes nothing else from a module.
    assert json.dumps(runs, ensure_ascii=False).encode()
    with tokens.session(other, attribute_mapper=hsm._Mapper()) as session:
        assert next(iter(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))).label == label


@pytest.mark.parametrize("step", ["answer", "wrap"])
def test_an_hsm_that_fails_is_not_taken_for_a_key_that_cannot_be_exported(step, some, folder, back_up, monkeypatch):
    real = getattr(hsm.Hsm, step)

    def fail(self, *arguments):
        if not any(isinstance(each, pkcs11.Object) and each[Attribute.TOKEN] for each in arguments):
            return real(self, *arguments)
        with hsm._refusals("the HSM does not do it"):
            raise pkcs11.GeneralError

    monkeypatch.setattr(hsm.Hsm, step, fail)
    refused = back_up()

    assert re.match(r"secret key '.' \(id 6.\): the HSM does not do it \(GeneralError\)\. That may be", refused["msg"])
    assert not list(folder.iterdir())


def test_a_pair_that_is_none_is_not_taken_for_one(tokens, some, back_up):
    with tokens.session(some) as session:
        make_pair(session, "torn", "secp256r1")[0].destroy()
        make_pair(session, "torn", "secp256r1")[1].destroy()
    made = back_up()

    assert [key["reason"] for key in made["not_covered"]] == ["its private and its public half do not belong together"]
    assert names(made["added"])[0] == ("public", "torn")


def test_two_keys_of_one_name(tokens, token, back_up, restore, verify):
    with tokens.session(token) as session:
        for _number in range(2):
            make_secret(session, "twin")
            make_pair(session, "twin", "secp256r1")
    made = back_up()
    assert (made["keys"], made["not_covered"]) == (6, [])
    assert not back_up()["changed"]
    other = tokens.make()
    assert len(restore(token_label=other)["restored"]) == 6
    assert not restore(token_label=other)["changed"]
    assert verify(token_label=other)["verified"] == 6

    with tokens.session(other) as session:
        list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}))[0].destroy()
    assert names(restore(token_label=other)["restored"]) == [("secret", "twin")]
    assert not back_up(token_label=other)["changed"]


def test_a_selection_leaves_the_rest_alone(tokens, some, back_up, restore):
    assert names(back_up(labels=["a*"])["added"]) == [("secret", "a")]
    assert names(back_up(ids=["62"])["added"]) == [("secret", "b")]
    assert back_up(labels=["b"], classes=["secret"], prune=True)["keys"] == 2
    refused = back_up(labels=["a", "nobody*"], ids=["ff"])
    assert refused["msg"].startswith("labels: 'nobody*'; ids: 'ff': neither the HSM nor the backup has such a key.")
    other = tokens.make()
    assert names(restore(token_label=other, labels=["b"])["restored"]) == [("secret", "b")]


def test_a_new_recipient_has_everything_wrapped_anew(some, run, custodians, back_up, verify):
    back_up()
    assert "is none that data key" in verify(**custodians[1].opening)["msg"]
    both = run(custodian_public_keys=[custodian.public for custodian in custodians])
    assert (len(both["renewed"]), both["keys"], both["parts"]) == (3, 3, 1)
    assert verify()["verified"] == verify(**custodians[1].opening)["verified"] == 3
    # One who left can still open what they could; nothing is gained by wrapping it anew.
    assert not back_up()["changed"]


def test_data_keys_do_not_pile_up(tokens, token, folder, back_up, verify):
    for number in range(12):
        with tokens.session(token) as session:
            make_secret(session, f"key-{number}")
        made = back_up()
    manifest = json.loads((folder / "dev/manifest.json").read_bytes())

    assert len(manifest["data_keys"]) <= 8
    assert made["keys"] == verify()["verified"] == 12
    assert len(list(folder.glob("dev/parts/*.json"))) == made["parts"]


def test_absent_wants_a_confirmation(some, folder, run, back_up):
    back_up()
    assert "confirm_absent: it is 'prod'." in run(state="absent", confirm_absent="prod", pin=None)["msg"]
    assert run(state="absent", confirm_absent="dev", pin=None, check=True)["changed"]
    assert (folder / "dev/manifest.json").exists()
    assert run(state="absent", confirm_absent="dev", pin=None, diff=True)["diff"]["after"] == {"exists": False}
    assert not list(folder.iterdir())
    assert not run(state="absent", confirm_absent="dev", pin=None)["changed"]
