# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Back up, delete, restore and rehearse, as their users start them: real ansible-playbook processes, and keys that were used.

Each test is an attempt to have a key lost.
"""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from harness.estates import FEW_KINDS, OTHER_REGION, QUICK_KINDS, SLOW_KINDS, Estate, Estates, Run
from harness.pkcs11 import need_softhsm
from harness.wiretap import Exchange
from local_aws.client import REGION

WRITTEN = ("secretsmanager:CreateSecret", "secretsmanager:PutSecretValue")


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estates]:
    need_softhsm()
    with Estates(tmp_path_factory.mktemp("estates")) as estates:
        yield estates


@pytest.fixture
def make(estates: Estates) -> t.Callable[..., Estate]:
    """Makes an environment; whatever was asked of AWS for it is forgotten."""

    def make(kinds: t.Any = FEW_KINDS, **variables: t.Any) -> Estate:
        # Never to expire: what else becomes of AWS's backup is for the tests that say so.
        estate = estates.make(**{"hsm_backup_never_expires": True, **variables})
        if kinds:
            estate.furnish(kinds)
        estates.aws.clear_faults()
        estates.tap.clear()
        return estate

    return make


def report(run: Run) -> list[str]:
    """The lines of the report of a run that did not fail."""
    shown = re.findall(r"^ok: \[[^]]+\] => (\{.*?^\})", run.stdout, re.MULTILINE | re.DOTALL)
    found = [json.loads(each)["msg"] for each in shown if '"msg"' in each]
    assert found, run.stdout
    return found[-1]


def failure(run: Run) -> list[str]:
    """The lines of the report of a run that failed."""
    shown = re.findall(r"^fatal: \[[^]]+\]: FAILED! => (\{.*\})$", run.stdout, re.MULTILINE)
    return next(lines for each in reversed(shown) if isinstance(lines := json.loads(each)["msg"], list))


def assert_nothing_lost(estate: Estate, before: list[dict[str, t.Any]]) -> None:
    """The HSMs of an environment are those that they were, with all keys, and nothing announces their end."""
    assert [hsm["HsmId"] for hsm in estate.hsms()] == [hsm["HsmId"] for hsm in before]
    assert {hsm["State"] for hsm in estate.hsms()} == {"ACTIVE"}
    assert estate.unusable() == []
    assert estate.tags() == {}


def deletions(estates: Estates) -> list[str]:
    return [name for name in estates.tap.writes() if name.startswith("cloudhsm:Delete")]


def restore(estates: Estates, estate: Estate, **variables: t.Any) -> Run:
    return estates.play("ensure_hsm", estate, hsm_keys_after_restore="restored", **variables)


@pytest.mark.parametrize("run", ["backup_then_delete_hsm", pytest.param("reap_hsm", marks=pytest.mark.slow)])
def test_every_kind_of_key_survives_the_deletion(estates, make, run):
    estate = make(kinds=())
    made = estates.play("ensure_hsm", estate)
    assert made.status == 0, made.stdout
    estate.add_user()
    estate.fill(QUICK_KINDS)
    before, place, backups = estate.ask("described"), estate.place(), estate.backups()
    estate.age()
    estates.tap.clear()

    deleted = estates.play(run, estate)

    assert deleted.status == 0, deleted.stdout
    hsm_id = estates.tap.exchanges("cloudhsm:DeleteHsm")[0].parameters["HsmId"]
    newest = estate.backups()[0]
    assert newest["BackupState"] == "READY"
    assert newest["BackupId"] not in {backup["BackupId"] for backup in backups}
    lines = report(deleted)
    assert re.fullmatch(rf"{estate.name}: deleted: last used \d+ s ago; idle after 1800 s", lines[0])
    assert re.fullmatch(
        rf"keys: 12 in the backup {estate.name}, generation 1, of which 12 were proved on the HSM; its fingerprint is \w{{64}}",
        lines[1],
    )
    assert lines[2:] == [
        f"deleted: {hsm_id}",
        f"AWS's backup: {newest['BackupId']} is READY, and is restored into the next HSM of this cluster",
        f"AWS's backup: {newest['BackupId']} never expires",
    ]
    assert newest["NeverExpires"] is True
    assert (estate.hsms(), estate.tags(), estate.missing_parts()) == ([], {}, set())
    assert estates.store.exists(estate.key("placements")) or estates.store.keys(f"hsm:{estate.name}:*lace*")

    back = restore(estates, estate)

    assert back.status == 0, back.stdout
    assert (estate.place(), estate.unusable(), estate.ask("described")) == (place, [], before)
    assert estate.hsms()[0]["HsmId"] != hsm_id


def test_a_deletion_without_wishes_for_the_backup_of_aws_ends_well(estates, make):
    estate = make(hsm_backup_never_expires=False)

    deleted = estates.play("backup_then_delete_hsm", estate)

    assert estate.hsms() == []
    assert deleted.status == 0, failure(deleted)


def keep_a_backup_without_keys(estate: Estate) -> str:
    """Have AWS keep a backup with the user and no key, and then an HSM again; return the id of the backup."""
    estate.furnish(())
    estate.delete_hsm()
    old = estate.backups()[0]["BackupId"]
    estate.create_hsm(f"{REGION}b")
    return old


def test_keys_that_the_backup_of_aws_lacks_come_back_from_ours(estates, make):
    estate = make(kinds=())
    old = keep_a_backup_without_keys(estate)
    estate.fill(QUICK_KINDS)
    before, place = estate.ask("described"), estate.place()
    estate.age()
    assert estates.play("backup_then_delete_hsm", estate).status == 0
    estate.withhold_those_of_aws(but=[old])

    seen = estates.play("ensure_hsm", estate, hsm_keys_after_restore="verified")
    assert seen.status == 2, seen.stdout
    assert "aes-128" in seen.text
    assert estate.ask("labels") == [], "otherwise this test shows nothing"
    estate.delete_hsm()
    estate.withhold_those_of_aws(but=[old])

    back = restore(estates, estate)
    assert back.status == 0, back.stdout
    assert (estate.place(), estate.unusable(), estate.ask("described")) == (place, [], before)


@pytest.mark.slow
def test_keys_come_back_from_the_backup_of_aws_alone(estates, make):
    estate = make(kinds=QUICK_KINDS)
    before = estate.ask("described")
    assert estates.play("backup_then_delete_hsm", estate).status == 0
    estate.withhold_ours()

    asked = restore(estates, estate)
    assert asked.status == 2, "it was asked to compare with a backup that is not there"
    assert f"hsmops/{estate.name}" in asked.text
    assert (estate.unusable(), estate.ask("described")) == ([], before)
    assert estates.play("ensure_hsm", estate).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("wish", ["restored", "verified"])
def test_an_ensure_after_one_that_could_not_restore_the_keys_does_not_take_the_hsm_as_it_is(estates, make, wish):
    """KMS fails once while the keys are restored; the job is started again, as jobs are."""
    estate = make()
    [gone, *_others] = estate.used
    assert estates.play("backup_then_delete_hsm", estate).status == 0

    def refuse(exchange: Exchange) -> tuple[int, str, str] | None:
        return (400, "KMSInternalException", "try again") if exchange.name == "kms:Decrypt" else None

    with estates.tap.hooked(before=refuse):
        first = estates.play("ensure_hsm", estate, hsm_keys_after_restore=wish)
    assert first.status == 2, first.stdout
    estate.ask("destroy", label=gone["label"])  # What the restored HSM lacks.

    again = estates.play("ensure_hsm", estate, hsm_keys_after_restore=wish)

    assert again.status != 0 or estate.unusable() == [], "told that it is usable, and a key is missing"


@pytest.mark.parametrize("why", ["touched", pytest.param("held", marks=pytest.mark.slow)])
def test_what_is_used_is_left_alone(estates, make, why):
    estate = make(hsm_backup_copy_to=[OTHER_REGION])
    before = estate.hsms()
    if why == "touched":
        estate.age(0)
    else:
        estates.store.zadd(estate.key("holds"), {"pipeline-7": estates.now() + 600})

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 0, run.stdout
    assert report(run)[0].startswith(f"{estate.name}: kept: {'held by' if why == 'held' else 'last used'}")
    assert estates.tap.writes() == []
    assert_nothing_lost(estate, before)


MOMENTS = [
    WRITTEN[0],
    pytest.param("kms:GetPublicKey", marks=pytest.mark.slow),
    pytest.param("kms:Decrypt", marks=pytest.mark.slow),
    pytest.param("cloudhsm:TagResource", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", ["touch", pytest.param("hold", marks=pytest.mark.slow)])
def test_what_is_used_after_the_backup_began_is_kept(estates, make, moment, how):
    """A job says that it needs the HSM, at any moment before AWS is asked to delete it."""
    estate = make()
    before, happened = estate.hsms(), []

    def work(exchange: Exchange) -> None:
        if exchange.name == moment and not happened:
            happened.append(moment)
            if how == "touch":
                estate.age(0)
            else:
                estates.store.zadd(estate.key("holds"), {"pipeline-7": estates.now() + 600})

    with estates.tap.hooked(after=work):
        run = estates.play("backup_then_delete_hsm", estate)

    assert happened
    assert run.status == 0, run.stdout
    assert report(run)[0].startswith(f"{estate.name}: kept: ")
    assert deletions(estates) == []
    assert_nothing_lost(estate, before)


def test_a_job_that_is_over_before_the_deletion_has_it_kept_too(estates, make):
    """The job's record is old again by then; that it came after the decision is what counts."""
    estate = make(hsm_idle_after=1)
    before, happened = estate.hsms(), []

    def work(exchange: Exchange) -> None:
        if exchange.name == "kms:Decrypt" and not happened:
            happened.append(exchange)
            estate.age(1)

    with estates.tap.hooked(after=work):
        run = estates.play("backup_then_delete_hsm", estate)

    assert happened
    assert run.status == 0, run.stdout
    assert report(run)[0].startswith(f"{estate.name}: kept: ")
    assert deletions(estates) == [], run.stdout
    assert_nothing_lost(estate, before)


@pytest.mark.parametrize("moment", MOMENTS[:3])
def test_a_key_that_is_made_while_the_others_are_backed_up_keeps_the_hsm(estates, make, moment):
    """By an application that says nothing to anybody."""
    estate = make()
    before, happened = estate.hsms(), []

    def work(exchange: Exchange) -> None:
        if exchange.name == moment and not happened:
            happened.append(moment)
            estate.fill([("late", "AES", 256)])

    with estates.tap.hooked(after=work):
        run = estates.play("backup_then_delete_hsm", estate)

    assert happened
    # Whether it came early enough to be backed up, or late enough to be noticed: the key is not lost.
    if estate.hsms():
        assert run.status == 2, run.stdout
        assert "'late'" in failure(run)[0]
        assert "Nothing was deleted" in failure(run)[-1]
        assert_nothing_lost(estate, before)
    else:
        assert run.status == 0, run.stdout
        assert restore(estates, estate).status == 0
        assert estate.unusable() == []


def wrong_pin(estate: Estate) -> None:
    estate.variables["hsm_key_backup"]["pin"] = "keeper:not-the-password"


def no_such_kms_key(estate: Estate) -> None:
    estate.variables["hsm_key_backup"]["kms_key_id"] = "alias/nobody-made-it"


def no_library(estate: Estate) -> None:
    estate.variables["hsm_key_backup"]["library"] = "/nowhere/libcloudhsm_pkcs11.so"


def no_options(estate: Estate) -> None:
    estate.variables["hsm_key_backup"] = {}


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (wrong_pin, "PinIncorrect"),
        pytest.param(no_such_kms_key, "alias/nobody-made-it", marks=pytest.mark.slow),
        pytest.param(no_library, "/nowhere/libcloudhsm_pkcs11.so", marks=pytest.mark.slow),
        pytest.param(no_options, "", marks=pytest.mark.slow),
    ],
)
def test_keys_that_cannot_be_backed_up_keep_their_hsm(estates, make, harm, told):
    estate = make()
    before = estate.hsms()
    harm(estate)

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 2, run.stdout
    lines = failure(run)
    assert lines[0].startswith(f"{estate.name}: FAILED at 'Have the backup of the keys present': ")
    assert told in lines[0]
    assert "Nothing was deleted: the HSM and its keys are as they were." in lines[-1]
    assert (deletions(estates), estates.tap.writes()) == ([], [])
    assert not estates.store.exists(estate.key("claim"))
    assert_nothing_lost(estate, before)


@pytest.mark.parametrize("code", ["DisabledException", pytest.param("AccessDeniedException", marks=pytest.mark.slow)])
def test_a_backup_that_cannot_be_opened_keeps_the_hsm(estates, make, code):
    """KMS gives the public key to whoever writes the backup, and refuses to whoever would restore it."""
    estate = make()
    before = estate.hsms()

    def refuse(exchange: Exchange) -> tuple[int, str, str] | None:
        return (400, code, "not for you") if exchange.name == "kms:Decrypt" else None

    with estates.tap.hooked(before=refuse):
        run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 2, run.stdout
    lines = failure(run)
    assert lines[0].startswith(f"{estate.name}: FAILED at 'Have the backup of the keys verified': ")
    assert code in lines[0] or "not for you" in lines[0]
    # Of a proof that failed, nothing is said as if it had been one.
    assert not any("were proved" in line for line in lines)
    assert "Nothing was deleted" in lines[-1]
    assert deletions(estates) == []
    assert_nothing_lost(estate, before)

    assert estates.play("backup_then_delete_hsm", estate).status == 0
    assert (estate.hsms(), estate.missing_parts()) == ([], set())


@pytest.mark.slow
def test_a_backup_that_somebody_replaces_before_its_proof_keeps_the_hsm(estates, make):
    """The proof is of the backup that was made, not of whatever is there."""
    estate, other = make(), make()
    assert estates.play("backup_then_delete_hsm", other).status == 0
    stolen = other.secrets()
    estates.tap.clear()
    before = estate.hsms()
    client = estates.aws.client("secretsmanager")

    def swap(exchange: Exchange) -> None:
        if exchange.name in WRITTEN and exchange.parameters.get("Name", "").endswith("/manifest"):
            client.put_secret_value(
                SecretId=f"hsmops/{estate.name}/manifest", SecretString=stolen[f"hsmops/{other.name}/manifest"].decode()
            )

    with estates.tap.hooked(after=swap):
        run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 2, run.stdout
    assert deletions(estates) == []
    assert_nothing_lost(estate, before)


@pytest.mark.parametrize("fault", ["no_backup", pytest.param("stuck_backup", marks=pytest.mark.slow)])
def test_a_deletion_after_which_aws_has_no_backup_fails_and_says_what_is_safe(estates, make, fault):
    estate = make(kinds=())
    # An older backup has the user, whom only AWS's backups have.
    keep_a_backup_without_keys(estate)
    estate.fill(QUICK_KINDS)
    estate.age()
    estates.aws.fault(fault, cluster_id=estate.cluster_id)

    run = estates.play("backup_then_delete_hsm", estate, hsm_wait_timeout=6)

    assert run.status == 2, run.stdout
    lines = failure(run)
    assert lines[0].startswith(f"{estate.name}: FAILED at ")
    assert any("were proved on the HSM" in line for line in lines)
    assert any(line.startswith("deleted: hsm-") for line in lines), lines
    assert lines[-1].startswith(
        "AWS's backup: none is known to be READY. Until one is, delete no backup of this cluster"
    )
    assert not any("Nothing was deleted" in line for line in lines)
    assert (estate.hsms(), estate.missing_parts()) == ([], set())

    estates.aws.clear_faults()
    back = restore(estates, estate)
    assert back.status == 0, back.stdout
    assert estate.unusable() == []


def test_a_copy_that_fails_after_the_deletion_is_said_with_what_is_safe(estates, make):
    estate = make(hsm_backup_copy_to=[OTHER_REGION])
    estates.aws.fault("deny", "CopyBackupToRegion", times=None)

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 2, run.stdout
    lines = failure(run)
    newest = estate.backups()[0]
    assert lines[0].startswith(f"{estate.name}: FAILED at 'Keep AWS's backup, and have it in other regions': ")
    assert f"AWS's backup: {newest['BackupId']} is READY, and is restored into the next HSM of this cluster" in lines
    assert not any(f"{OTHER_REGION} has it" in line for line in lines)
    assert (estate.hsms(), newest["BackupState"], estate.backups(OTHER_REGION)) == ([], "READY", [])


@pytest.mark.slow
def test_a_copy_that_aws_drops_is_not_said_to_be_there(estates, make):
    estate = make(hsm_backup_copy_to=[OTHER_REGION])
    estates.aws.fault("failed_copy")

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 2, run.stdout
    assert not any(f"{OTHER_REGION} has it" in line for line in failure(run))


@pytest.mark.slow
def test_the_next_run_sees_to_the_copy_that_failed(estates, make):
    estate = make(hsm_backup_copy_to=[OTHER_REGION])
    estates.aws.fault("deny", "CopyBackupToRegion", times=None)
    assert estates.play("backup_then_delete_hsm", estate).status == 2
    estates.aws.clear_faults()

    again = estates.play("backup_then_delete_hsm", estate)

    # Either it makes the copy, or it does not end as if all were well.
    assert again.status != 0 or estate.backups(OTHER_REGION), again.stdout


@pytest.mark.slow
def test_the_backup_of_aws_is_kept_and_copied(estates, make):
    estate = make(hsm_backup_copy_to=[OTHER_REGION])

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 0, run.stdout
    newest, copies = estate.backups()[0], estate.backups(OTHER_REGION)
    assert (newest["NeverExpires"], newest["BackupState"]) == (True, "READY")
    assert [(copy["BackupState"], copy["SourceCluster"]) for copy in copies] == [("READY", estate.cluster_id)]
    assert report(run)[-1] == f"AWS's backup: {OTHER_REGION} has it as {copies[0]['BackupId']}"


@pytest.fixture
def key_store(estates: Estates) -> t.Callable[[Estate], t.Callable[[], str]]:
    """Connects a custom key store of KMS to an environment, and returns what reads its state."""

    def connect(estate: Estate) -> t.Callable[[], str]:
        kms = estates.aws.client("kms")
        # KMS takes a key store on two HSMs only.
        second = estate.create_hsm(f"{REGION}b")
        estates.aws.create_user(estate.cluster_id, "kmsuser", "Passw0rd-of-kms")
        store_id = kms.create_custom_key_store(
            CustomKeyStoreName=estate.name, CloudHsmClusterId=estate.cluster_id, KeyStorePassword="Passw0rd-of-kms",
            TrustAnchorCertificate=estates.aws.trust_anchor(estate.cluster_id),
        )["CustomKeyStoreId"]  # fmt: skip
        kms.connect_custom_key_store(CustomKeyStoreId=store_id)
        estates.aws.advance(900)
        estate.delete_hsm(second)
        estates.tap.clear()

        def state() -> str:
            [found] = kms.describe_custom_key_stores(CustomKeyStoreId=store_id)["CustomKeyStores"]
            return found["ConnectionState"]

        assert state() == "CONNECTED"
        return state

    return connect


@pytest.mark.slow
def test_a_key_store_of_kms_is_disconnected_before_and_connected_after(estates, make, key_store):
    estate = make(hsm_key_stores="disconnect")
    state = key_store(estate)

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 0, run.stdout
    assert (estate.hsms(), state()) == ([], "DISCONNECTED")
    names = [name for name in estates.tap.writes() if "CustomKeyStore" in name or name == "cloudhsm:DeleteHsm"]
    assert names == ["kms:DisconnectCustomKeyStore", "cloudhsm:DeleteHsm"]

    back = restore(estates, estate)
    assert back.status == 0, back.stdout
    assert (state(), estate.unusable()) == ("CONNECTED", [])


@pytest.mark.slow
@pytest.mark.parametrize("why", ["refused", "kept", "failed"])
def test_a_key_store_of_kms_is_connected_again_where_the_hsm_stays(estates, make, key_store, why):
    estate = make(hsm_key_stores="disconnect")
    state = key_store(estate)
    before = estate.hsms()
    if why == "refused":
        wrong_pin(estate)
    elif why == "failed":
        estates.aws.fault("deny", "DeleteHsm", times=None)

    def touch(exchange: Exchange) -> None:
        if why == "kept" and exchange.name in WRITTEN:
            estate.age(0)

    with estates.tap.hooked(after=touch):
        run = estates.play("backup_then_delete_hsm", estate)

    assert (run.status == 0) == (why == "kept"), run.stdout
    assert "kms:DisconnectCustomKeyStore" in estates.tap.writes()
    assert state() == "CONNECTED"
    assert [hsm["HsmId"] for hsm in estate.hsms()] == [hsm["HsmId"] for hsm in before]
    assert estate.unusable() == []


def test_keys_that_cannot_be_exported_are_listed(estates, make):
    estate = make()
    estate.fill([("root", "AES", 256)], extractable=False)

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 0, run.stdout
    assert any(re.match(r"keys that only AWS's backup has: root \(.+\)$", line) for line in report(run)), report(run)
    back = restore(estates, estate)
    assert back.status == 0, back.stdout
    assert estate.unusable() == []


@pytest.mark.slow
def test_keys_that_cannot_be_exported_keep_their_hsm_where_all_of_them_count(estates, make):
    estate = make()
    estate.fill([("root", "AES", 256)], extractable=False)
    estate.variables["hsm_key_backup"]["require_complete"] = True
    before = estate.hsms()

    run = estates.play("backup_then_delete_hsm", estate)

    assert run.status == 2, run.stdout
    assert "root" in failure(run)[0]
    assert estates.tap.writes() == []
    assert_nothing_lost(estate, before)


def described(estates: Estates, estate: Estate) -> dict[str, t.Any]:
    found = estates.aws.client("cloudhsmv2").describe_clusters(Filters={"clusterIds": [estate.cluster_id]})
    return found["Clusters"][0]


def drills(estates: Estates, estate: Estate) -> list[dict[str, t.Any]]:
    """The clusters that a drill has left."""
    clusters = estates.aws.client("cloudhsmv2").describe_clusters()["Clusters"]
    tag = {"Key": "hsm-drill-of", "Value": estate.cluster_id}
    return [each for each in clusters if tag in each["TagList"] and not each["State"].startswith("DELETE")]


def strangers(estates: Estates, known: t.Container[str]) -> list[str]:
    """The backups that can be restored, and were not there before."""
    backups = estates.aws.client("cloudhsmv2").describe_backups()["Backups"]
    waiting = ("READY", "CREATE_IN_PROGRESS")
    return [each["BackupId"] for each in backups if each["BackupState"] in waiting and each["BackupId"] not in known]


def all_backups(estates: Estates) -> set[str]:
    return {each["BackupId"] for each in estates.aws.client("cloudhsmv2").describe_backups()["Backups"]}


@pytest.fixture
def backed_up(estates: Estates, make: t.Callable[..., Estate]) -> Estate:
    """An environment with an HSM, both backups of its keys, and one more key, which only ours has."""
    estate = make()
    assert estates.play("backup_then_delete_hsm", estate).status == 0
    assert estates.play("ensure_hsm", estate).status == 0
    estates.aws.advance(900)
    # AWS makes a backup when the first HSM comes; what is made now is in none of its backups.
    estate.fill([("young", "AES", 256)])
    estate.age()
    estates.aws.fault("deny", "DeleteHsm", times=None)
    refused = estates.play("backup_then_delete_hsm", estate)
    assert "of which 4 were proved on the HSM" in refused.text
    estates.aws.clear_faults()
    estates.lapse(estate)
    estate.rehearse()
    estates.tap.clear()
    return estate


def assert_untouched(estates: Estates, estate: Estate, before: dict[str, t.Any], known: set[str]) -> None:
    """Nothing of a drill is left, and nothing that changes anything has named the real cluster or its HSMs."""
    assert drills(estates, estate) == []
    assert strangers(estates, known) == []
    assert described(estates, estate) == before
    ids = (estate.cluster_id, *(hsm["HsmId"] for hsm in before["Hsms"]), *(hsm["EniId"] for hsm in before["Hsms"]))
    for exchange in estates.tap.exchanges():
        # The tag of the drill's cluster names the real one.
        body = exchange.body.replace(json.dumps(tag_of(estate)).encode(), b"")
        assert not exchange.writes or not any(each.encode() in body for each in ids), exchange
        assert not exchange.writes or exchange.service != "secretsmanager", exchange


def tag_of(estate: Estate) -> dict[str, str]:
    return {"Key": "hsm-drill-of", "Value": estate.cluster_id}


def test_a_drill_proves_the_keys_and_leaves_nothing(estates, backed_up):
    before, known, keys = described(estates, backed_up), all_backups(estates), backed_up.ask("described")

    run = estates.play("restore_drill", backed_up)

    assert run.status == 0, run.stdout
    lines = report(run)
    assert re.match(
        rf"{backed_up.name}: an HSM with its keys was there after \d+ s: \d+ s for a cluster, \d+ s", lines[0]
    )
    assert lines[2:] == [
        f"keys: all 4 of the backup {backed_up.name}, generation 2, were proved",
        "keys: AWS's backup alone would have lost young",
        f"keys: the backup {backed_up.name} alone would have lost none of these",
    ]
    assert "cloudhsm:CreateCluster" in estates.tap.writes()
    assert_untouched(estates, backed_up, before, known)
    assert backed_up.ask("described") == keys


@pytest.mark.slow
def test_a_drill_without_a_library_that_is_pointed_at_it_does_not_write_to_the_real_hsm(estates, backed_up):
    backed_up.variables |= {"hsm_drill_configure": [], "hsm_drill_environment": {}}
    gone = backed_up.used[0]["label"]
    backed_up.ask("destroy", label=gone)

    run = estates.play("restore_drill", backed_up)

    assert gone not in backed_up.ask("labels"), "the real cluster is only read"
    assert run.status != 0, "nothing of the rehearsed HSM was proved"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["library", "hsm", "configure"])
def test_a_drill_that_fails_leaves_nothing(estates, backed_up, fault):
    before, known = described(estates, backed_up), all_backups(estates)
    if fault == "library":
        backed_up.variables["hsm_drill_key_backup"] = {"pin": "keeper:not-the-password"}
    elif fault == "configure":
        backed_up.variables["hsm_drill_configure"] = [["false"]]
    else:
        estates.aws.fault("deny", "CreateHsm", times=None)

    run = estates.play("restore_drill", backed_up)

    assert run.status == 2, run.stdout
    estates.aws.clear_faults()
    assert_untouched(estates, backed_up, before, known)


DRILL_KILLS = [
    "cloudhsm:CreateCluster",
    "cloudhsm:CreateHsm",
    "kms:Decrypt",
    "cloudhsm:DeleteHsm",
    "cloudhsm:DeleteBackup",
    "cloudhsm:DeleteCluster",
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", DRILL_KILLS)
def test_a_drill_that_is_killed_is_cleaned_up_by_the_next(estates, backed_up, moment):
    before, known, killed = described(estates, backed_up), all_backups(estates), []
    started = estates.start("restore_drill", backed_up)

    def kill(exchange: Exchange) -> None:
        if exchange.name == moment and not killed:
            killed.append(moment)
            started.kill()

    with estates.tap.hooked(after=kill):
        run = started.wait()
    assert killed
    assert run.status < 0, run.stdout

    again = estates.play("restore_drill", backed_up)

    assert again.status == 0, again.stdout
    estates.aws.advance(900)
    assert_untouched(estates, backed_up, before, known)
    assert backed_up.unusable() == []


@pytest.mark.slow
def test_a_drill_leaves_its_cluster_alone_once_that_is_an_environment(estates, backed_up, make):
    """In need, somebody has taken what a drill had made for the real one."""
    started = estates.start("restore_drill", backed_up)
    with estates.tap.hooked(after=lambda exchange: started.kill() if exchange.name == "kms:Decrypt" else None):
        started.wait()
    [promoted] = drills(estates, backed_up)
    other = make(kinds=(), hsm_cluster_id=promoted["ClusterId"])
    estates.tap.clear()

    run = estates.play("restore_drill", backed_up, other, arguments=["-e", f"env={backed_up.name}"])

    assert run.status == 2, run.stdout
    assert "Take the tag hsm-drill-of off that cluster" in run.text
    assert estates.tap.writes() == []
    [still] = drills(estates, backed_up)
    assert len(still["Hsms"]) == 1


@pytest.mark.slow
def test_a_drill_does_not_take_a_cluster_of_somebody_else_for_its_own(estates, backed_up):
    hsms, backup = estates.aws.client("cloudhsmv2"), backed_up.backups()[0]
    subnets = described(estates, backed_up)["SubnetMapping"].values()
    stranger = hsms.create_cluster(
        HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=list(subnets), SourceBackupId=backup["BackupId"],
        TagList=[{"Key": "Name", "Value": f"hsm-drill-{backed_up.name}"}, {"Key": "owner", "Value": "somebody else"}],
    )["Cluster"]["ClusterId"]  # fmt: skip
    estates.aws.advance(900)
    estates.tap.clear()

    run = estates.play("restore_drill", backed_up)

    assert run.status == 2, run.stdout
    assert f"hsm_drill_name: {stranger} has the name" in run.text
    assert estates.tap.writes() == []


def test_one_environment_whose_keys_cannot_be_backed_up_does_not_keep_another(estates, make):
    plain = make(kinds=(), hsm_key_backup_required=False, hsm_backup_never_expires=False).furnish(())
    failing = make()
    before = failing.hsms()
    wrong_pin(failing)

    run = estates.play("reap_hsm", failing, plain)

    assert run.status == 2, run.stdout
    assert (plain.hsms(), plain.backups()[0]["BackupState"]) == ([], "READY")
    assert_nothing_lost(failing, before)
    assert f"{plain.name}: deleted: " in run.text
    assert failure(run)[0].startswith(f"{failing.name}: FAILED at ")
    # The one that stays does not keep the claim that would keep the next run away.
    assert not estates.store.exists(failing.key("claim"))


@pytest.mark.slow
def test_an_environment_that_is_gone_does_not_keep_the_keys_of_another_from_being_backed_up(estates, make):
    good, lost = make(), make(kinds=(), hsm_key_backup_required=False)
    lost.variables["hsm_cluster_id"] = "cluster-aaaaaaaaaaa"

    run = estates.play("reap_hsm", good, lost)

    assert run.status == 2, run.stdout
    assert (good.hsms(), good.missing_parts()) == ([], set())


CHECKED = [
    ("backup_then_delete_hsm", "due"),
    pytest.param("reap_hsm", "due", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("run", "_status"), CHECKED)
def test_check_mode_writes_nothing_anywhere(estates, make, run, _status):
    estate = make(hsm_backup_copy_to=[OTHER_REGION])
    before, redis_before = estate.hsms(), estates.contents()

    checked = estates.play(run, estate, arguments=["--check", "--diff"])

    assert checked.status == 0, checked.stdout
    assert f"{estate.name}: would_delete: " in checked.text
    assert estates.tap.writes() == []
    assert (estates.contents(), estate.secrets()) == (redis_before, {})
    assert_nothing_lost(estate, before)


@pytest.mark.slow
def test_check_mode_of_a_drill_writes_nothing(estates, backed_up):
    before, known, redis_before = described(estates, backed_up), all_backups(estates), estates.contents()

    checked = estates.play("restore_drill", backed_up, arguments=["--check", "--diff"])

    assert estates.tap.writes() == []
    assert (all_backups(estates), estates.contents()) == (known, redis_before)
    assert_untouched(estates, backed_up, before, known)
    assert checked.status == 0, checked.stdout


@pytest.mark.slow
def test_two_hundred_keys_of_all_kinds(estates, make):
    """More parts than one, with keys of every size; of either backup, the other one being gone."""
    many = [
        (f"{label}-{number}", kind, size)
        for number in range(24)
        for label, kind, size in QUICK_KINDS
    ]  # fmt: skip
    long = [(f"{label}-{number}", kind, size) for number in range(4) for label, kind, size in SLOW_KINDS]
    estate = make(kinds=())
    old = keep_a_backup_without_keys(estate)
    estate.fill((*many, *long))
    estate.age()
    before = estate.ask("described")
    assert len(before) == 24 * (4 + 4 * 2) + 8 * 2

    deleted = estates.play("backup_then_delete_hsm", estate)
    assert deleted.status == 0, deleted.stdout
    assert (estate.hsms(), estate.missing_parts()) == ([], set())
    assert len(estate.secrets()) > 2, "several parts"
    estate.withhold_those_of_aws(but=[old])

    back = restore(estates, estate)
    assert back.status == 0, back.stdout
    assert (estate.unusable(), estate.ask("described")) == ([], before)

    estate.age()
    assert estates.play("backup_then_delete_hsm", estate).status == 0
    assert estate.hsms() == []
    estate.withhold_ours()
    assert estates.play("ensure_hsm", estate).status == 0
    assert (estate.unusable(), estate.ask("described")) == ([], before)
