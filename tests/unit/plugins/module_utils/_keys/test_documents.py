# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The documents of a backup: what is written is read, and nothing else."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys import documents
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.documents import (
    DataKey,
    Manifest,
    Part,
    PartEntry,
    WrappedDataKey,
    digest_of,
    read_manifest,
    read_part,
)
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.errors import DamageError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.records import KEY_CLASSES, KeyRecord, KeyRef
from hypothesis import given
from hypothesis import strategies as st

LABELS = st.text(max_size=20) | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
RECORDS = st.builds(
    KeyRecord,
    ref=st.builds(KeyRef, st.just("secret"), LABELS, st.binary(max_size=4).map(bytes.hex)),
    key_type=st.just("aes"),
    size=st.none() | st.just(256),
    curve=st.just(""),
    flags=st.just(("encrypt", "sensitive")),
    origin=st.just(("local",)),
    check=st.text(max_size=10),
    blob=st.binary(min_size=1, max_size=40),
    public=st.just(b""),
)
JSON = st.recursive(st.none() | st.integers() | st.text(), st.lists)
FORM = WrappedDataKey("custodian", "", "0" * 64, "RSAES_OAEP_SHA_256", b"wrapped")
MANIFEST = Manifest(
    "dev", 1, "2026-01-01T00:00:00+00:00", {"label": "hsm1"}, (DataKey("k", "c", b"mac", (FORM,)),),
    (PartEntry("1" * 64, 2, "k", (0,), (1,)),), "k", "00",
)  # fmt: skip


def entry_of(part):
    return PartEntry(digest_of(part.to_bytes()), len(part.keys), part.data_key)


@given(st.lists(RECORDS, max_size=4))
def test_a_part_is_read_as_it_was_written(records):
    part = Part("dev", "k", tuple(records), "00")
    assert read_part(part.to_bytes(), entry_of(part)) == part


def test_a_manifest_is_read_as_it_was_written():
    assert read_manifest(MANIFEST.to_bytes(), "dev") == MANIFEST
    assert MANIFEST.keys == 1


@given(st.lists(RECORDS, min_size=1, max_size=3), st.data())
def test_no_byte_of_a_part_can_be_changed(records, data):
    part = Part("dev", "k", tuple(records), "00")
    content = bytearray(part.to_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamageError):
        read_part(bytes(content), entry_of(part))


@given(
    st.binary(max_size=40)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_anything_else_is_damage(content):
    with pytest.raises(DamageError):
        read_manifest(content, "dev")
    with pytest.raises(DamageError):
        read_part(content, entry_of(Part("dev", "k", ())))


@given(st.data())
def test_a_manifest_without_a_member_or_of_another_kind_is_damage(data):
    plain = json.loads(MANIFEST.to_bytes())
    place = data.draw(
        st.sampled_from([plain, plain["parts"][0], plain["data_keys"][0], plain["data_keys"][0]["wrapped"][0]])
    )
    member = data.draw(st.sampled_from(sorted(place)))
    wrong = data.draw(st.sampled_from([None, 7, "x", [], {}, [None], ["x"], -1]))
    if data.draw(st.booleans()) or place[member] == wrong:
        del place[member]
    else:
        place[member] = wrong
    content = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    try:
        read = read_manifest(content, "dev")
    except DamageError:
        return
    # What is read all the same is another manifest, with another code.
    assert read.signed_content() != MANIFEST.signed_content() or read.mac != MANIFEST.mac


def test_a_manifest_has_one_form():
    with pytest.raises(DamageError, match="not in the form"):
        read_manifest(json.dumps(json.loads(MANIFEST.to_bytes())).encode(), "dev")
    with pytest.raises(DamageError, match="that of the backup 'dev'"):
        read_manifest(MANIFEST.to_bytes(), "prod")


def test_a_name_cannot_reach_a_terminal():
    assert str(KeyRef("secret", "a\x1b[2J\udcff", "")) == "secret key 'a\\x1b[2J\\udcff' (id empty)"


def test_only_api_files_know_the_outside():
    folder = Path(documents.__file__).parent
    knowing = {}
    for path in folder.glob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module is None:
                names |= {f".{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add("." * node.level + (node.module or "").split(".")[0])
            elif isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
        knowing[path.name] = names

    outside = {"pkcs11", "cryptography", "ansible_collections", "ansible", "boto3", "botocore", "fcntl"}
    assert {name for name, names in knowing.items() if "pkcs11" in names} == {"hsm.py"}
    assert {name for name, names in knowing.items() if "cryptography" in names} == {"public_keys.py"}
    assert not any({"boto3", "botocore"} & names for names in knowing.values())
    pure = {"plan.py", "records.py", "documents.py", "errors.py", "stores.py"}
    for name in pure:
        assert not knowing[name] & outside
        assert {f"{item[1:]}.py" for item in knowing[name] if item.startswith(".")} <= pure
    assert KEY_CLASSES == ("secret", "private", "public")
