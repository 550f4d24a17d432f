# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What every store does alike, what is its own, and whole runs over KMS and each of them."""

from __future__ import annotations

import functools
import stat
import types
import uuid

import boto3
import pytest
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._cloudhsm.common import AnsibleCloudHSMError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.directory import DirectoryStore
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.documents import digest_of
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.errors import KeyBackupError, StoreConflictError
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.s3 import S3Store
from ansible_collections.hsmops.cloudhsm.plugins.module_utils._keys.secrets_manager import SecretsManagerStore
from harness.tokens import make_secret, use

KINDS = ("secretsmanager", "s3", "directory")
ONE, TWO = b'{"keys": 1}', b'{"keys": 2}'


@pytest.fixture
def clients(aws):
    def client(service):
        return boto3.client(
            service, "eu-west-1", endpoint_url=aws.url, aws_access_key_id="testing", aws_secret_access_key="testing"
        )

    return client


@pytest.fixture
def bucket(clients):
    name = f"keys-{uuid.uuid4()}"
    clients("s3").create_bucket(
        Bucket=name, ObjectLockEnabledForBucket=True, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return name


@pytest.fixture
def open_store(clients, bucket, tmp_path):
    def opened(kind, name="dev"):
        if kind == "s3":
            return S3Store(clients("s3"), bucket, "hsmops/", name, {})
        if kind == "secretsmanager":
            return SecretsManagerStore(clients("secretsmanager"), "hsmops/", name, None, 7)
        return DirectoryStore(str(tmp_path), name)

    return opened


@pytest.mark.parametrize("kind", KINDS)
def test_conformance(kind, open_store):
    store, other = open_store(kind), open_store(kind, "dev2")
    digest = digest_of(ONE)
    assert (store.get_manifest(), store.list_parts(), store.get_part(digest)) == (None, set(), None)
    store.delete_part(digest)
    store.delete_all()

    store.put_part(digest, ONE)
    store.put_part(digest, ONE)
    assert (store.get_part(digest), store.list_parts()) == (ONE, {digest})
    # Whoever damaged a part has it put right by the next run that writes it.
    store.put_part(digest, TWO)
    store.put_part(digest, ONE)
    assert store.get_part(digest) == ONE
    store.delete_part(digest)
    store.delete_part(digest)
    assert (store.get_part(digest), store.list_parts()) == (None, set())
    # The name of a deleted part is the name of the same part again.
    store.put_part(digest, ONE)
    assert (store.get_part(digest), store.list_parts()) == (ONE, {digest})

    with pytest.raises(StoreConflictError):
        store.replace_manifest(TWO, ONE)
    store.replace_manifest(ONE, None)
    with pytest.raises(StoreConflictError, match="another run has replaced the manifest"):
        store.replace_manifest(TWO, None)
    store.replace_manifest(TWO, ONE)
    with pytest.raises(StoreConflictError):
        store.replace_manifest(ONE, ONE)
    assert store.get_manifest() == TWO
    assert (other.get_manifest(), other.list_parts()) == (None, set())

    other.put_part(digest, TWO)
    store.delete_all()
    assert (store.get_manifest(), store.list_parts()) == (None, set())
    assert other.list_parts() == {digest}
    store.replace_manifest(ONE, None)
    assert store.get_manifest() == ONE


def test_two_writers_of_one_secret_at_once(open_store, clients):
    slow, quick = open_store("secretsmanager"), open_store("secretsmanager")
    slow.replace_manifest(b"0", None)
    secret = clients("secretsmanager")

    def put_first(**arguments):
        quick.replace_manifest(b"quick", b"0")
        return secret.put_secret_value(**arguments)

    slow._client = types.SimpleNamespace(
        get_secret_value=secret.get_secret_value,
        create_secret=secret.create_secret,
        put_secret_value=put_first,
        update_secret_version_stage=secret.update_secret_version_stage,
    )
    with pytest.raises(StoreConflictError):
        slow.replace_manifest(b"slow", b"0")
    assert quick.get_manifest() == b"quick"


def test_two_writers_of_one_object_at_once(open_store, clients):
    slow, quick = open_store("s3"), open_store("s3")
    s3 = clients("s3")

    def put_first(**arguments):
        quick.replace_manifest(b"quick", None)
        return s3.put_object(**arguments)

    slow._client = types.SimpleNamespace(get_object=s3.get_object, put_object=put_first)
    with pytest.raises(StoreConflictError):
        slow.replace_manifest(b"slow", None)
    assert quick.get_manifest() == b"quick"


def test_only_the_owner_reads_a_folder(open_store, tmp_path):
    store = open_store("directory")
    store.put_part(digest_of(ONE), ONE)
    store.replace_manifest(ONE, None)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dev").rglob("*")}

    assert modes == {"parts": 0o700, f"{digest_of(ONE)}.json": 0o600, "manifest.json": 0o600}
    assert stat.S_IMODE((tmp_path / "dev").stat().st_mode) == 0o700
    with pytest.raises(KeyBackupError, match="path: /nowhere is no folder"):
        DirectoryStore("/nowhere", "dev")


@pytest.mark.parametrize("linked", ["dev", "dev/parts"])
def test_a_folder_that_leads_elsewhere_is_refused(linked, open_store, tmp_path):
    other = open_store("directory", "prod")
    other.put_part(digest_of(ONE), ONE)
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(tmp_path / ("prod" if linked == "dev" else "prod/parts"))
    with pytest.raises(KeyBackupError, match="is a symbolic link"):
        open_store("directory")


def test_only_what_a_backup_consists_of_is_removed(open_store, tmp_path):
    store = open_store("directory")
    store.put_part(digest_of(ONE), ONE)
    (tmp_path / "dev/parts" / f".{digest_of(TWO)}.json.0123abcd").write_bytes(b"")
    (tmp_path / "dev/parts/notes.txt").write_bytes(b"")
    with pytest.raises(KeyBackupError, match="Directory not empty"):
        store.delete_all()
    assert [path.name for path in (tmp_path / "dev/parts").iterdir()] == ["notes.txt"]


def test_a_denied_call_is_no_absence(open_store, clients):
    def deny(**_arguments):
        error = clients("s3").exceptions.ClientError
        raise error({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetSecretValue")

    store = open_store("secretsmanager")
    store._client = types.SimpleNamespace(get_secret_value=deny)
    with pytest.raises(AnsibleCloudHSMError, match="allow GetSecretValue in the IAM policy"):
        store.get_manifest()


@pytest.fixture
def kms_key(clients):
    kms = clients("kms")
    key_id = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{key_id}", TargetKeyId=key_id)
    return f"alias/{key_id}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_kms(kind, tokens, token, run, kms_key, connection, bucket, clients):
    with tokens.session(token) as session:
        make_secret(session, "a")
        used = use(session, "a")
    run = functools.partial(run, store=kind, bucket=bucket, kms_key_id=kms_key, **connection)
    if kind == "s3":
        run = functools.partial(run, object_lock_mode="GOVERNANCE", object_lock_days=1)
    made = run()
    assert made["changed"], made
    assert not run()["changed"]
    assert run(state="verified", fingerprint=made["fingerprint"])["verified"] == 1
    other = tokens.make()
    assert run(state="restored", token_label=other)["changed"]
    with tokens.session(other) as session:
        assert use(session, "a") == used
    if kind == "s3":
        key = clients("s3").list_objects_v2(Bucket=bucket)["Contents"][1]["Key"]
        assert clients("s3").head_object(Bucket=bucket, Key=key)["ObjectLockMode"] == "GOVERNANCE"
    wrong = clients("kms").create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    refused = run(state="restored", kms_key_id=wrong, token_label=tokens.make())
    assert f"kms_key_id: {wrong} does not open data key" in refused["msg"]
    assert run(state="absent", confirm_absent="dev")["changed"]
    assert not run(state="absent", confirm_absent="dev")["changed"]
    assert run()["generation"] == 1


def test_kms_keys_that_do_not_fit(run, token, clients, connection, kms_key):
    kms = clients("kms")
    signing = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    assert "is no RSA key for encryption" in run(kms_key_id=signing, **connection)["msg"]
    assert "get the public key of the KMS key" in run(kms_key_id=str(uuid.uuid4()), **connection)["msg"]
    assert "region: none is configured" in run(kms_key_id=kms_key)["msg"]
