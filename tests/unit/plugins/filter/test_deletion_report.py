# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The lines that say what is safe."""

from __future__ import annotations

import pytest
from ansible_collections.hsmops.cloudhsm.plugins.filter.deletion_report import FilterModule, deletion_report

DUE = {"environments": [{"status": "due", "reason": "last used 4000 s ago; idle after 1800 s"}]}
KEYS = {"keys": 3, "name": "dev", "generation": 2, "fingerprint": "ab12", "not_covered": []}
PROVED = {**KEYS, "verified": 3}
GONE = ({"hsm_id": "hsm-aaaaaaaaaaa"}, {"hsm_id": "hsm-bbbbbbbbbbb"})
READY = ({"backup_id": "backup-aaaaaaaaaaa"},)
FAILURE = {"task": "Delete them", "msg": "it is broken"}
KEYS_LINE = "keys: 3 in the backup dev, generation 2, of which 3 were proved on the HSM; its fingerprint is ab12"
UNCLEAR = (
    "No HSM is known to be deleted. See whether AWS still shows it before you rely on it; the next run begins again."
)
NOTHING = "Nothing was deleted: the HSM and its keys are as they were. Mend the cause; the next run begins again."


def deletion(status: str = "deleted", deleted: object = GONE, backups: object = READY) -> dict[str, object]:
    return {"environments": [{"status": status, "reason": "why", "deleted": deleted, "backups": backups}]}


def test_it_is_the_filter_of_that_name():
    assert FilterModule().filters() == {"deletion_report": deletion_report}


@pytest.mark.parametrize("status", ["kept", "unknown", "no_hsm", "due"])
def test_nothing_was_due(status):
    due = {"environments": [{"status": status, "reason": "why"}]}
    empty = {"due": due, "keys": {}, "deletion": {}, "backup": {}}
    assert deletion_report(empty, "dev") == [f"dev: {status}: why"]
    assert deletion_report({"due": due}, "dev") == [f"dev: {status}: why"]


def test_all_was_done():
    done = {
        "due": DUE,
        "keys": PROVED,
        "deletion": deletion(),
        "backup": {
            "backup": {"backup_id": "backup-aaaaaaaaaaa", "never_expires": True},
            "copies": [
                {"region": "eu-central-1", "backup_id": "backup-ccccccccccc", "backup_state": "READY"},
                {"region": "eu-north-1", "backup_id": "backup-ddddddddddd", "backup_state": "CREATE_IN_PROGRESS"},
            ],
        },
    }
    assert deletion_report(done, "dev") == [
        "dev: deleted: why",
        KEYS_LINE,
        "deleted: hsm-aaaaaaaaaaa, hsm-bbbbbbbbbbb",
        "AWS's backup: backup-aaaaaaaaaaa is READY, and is restored into the next HSM of this cluster",
        "AWS's backup: backup-aaaaaaaaaaa never expires",
        "AWS's backup: eu-central-1 has it as backup-ccccccccccc",
    ]


def test_what_was_skipped_is_not_said_to_be_done():
    skipped = {"changed": False, "skipped": True, "skip_reason": "Conditional result was False"}
    done = {"due": DUE, "keys": skipped, "deletion": deletion(), "backup": skipped}
    assert deletion_report(done, "dev") == [
        "dev: deleted: why",
        "deleted: hsm-aaaaaaaaaaa, hsm-bbbbbbbbbbb",
        "AWS's backup: backup-aaaaaaaaaaa is READY, and is restored into the next HSM of this cluster",
    ]


def test_a_backup_that_may_expire_is_not_said_never_to():
    done = {"due": DUE, "deletion": deletion(), "backup": {"backup": {"backup_id": "b", "never_expires": False}}}
    assert not any("never expires" in line for line in deletion_report(done, "dev"))


def test_it_failed_before_the_deletion():
    done = {"due": DUE, "keys": {"failed": True, "msg": "no"}, "deletion": {}, "backup": {}, "failure": FAILURE}
    assert deletion_report(done, "dev") == ["dev: FAILED at 'Delete them': it is broken", NOTHING]


def test_the_proof_failed():
    """A backup whose proof failed says of itself what it is, and not that it was proved."""
    done = {"due": DUE, "keys": {**KEYS, "failed": True}, "failure": FAILURE}
    lines = deletion_report(done, "dev")
    assert lines[1] == "keys: 3 in the backup dev, generation 2, not proved on the HSM; its fingerprint is ab12"
    assert lines[-1] == NOTHING


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (deletion("kept", [], []), NOTHING),
        (deletion("failed", [], []), UNCLEAR),
        ({"failed": True, "msg": "the module died"}, UNCLEAR),
    ],
)
def test_it_failed_in_the_deletion_with_nothing_deleted(result, said):
    done = {"due": DUE, "keys": PROVED, "deletion": result, "failure": FAILURE}
    assert deletion_report(done, "dev") == ["dev: FAILED at 'Delete them': it is broken", KEYS_LINE, said]


def test_it_failed_after_the_deletion_without_a_backup_of_aws():
    done = {"due": DUE, "keys": PROVED, "deletion": deletion("failed", backups=[]), "failure": FAILURE}
    assert deletion_report(done, "dev") == [
        "dev: FAILED at 'Delete them': it is broken",
        KEYS_LINE,
        "deleted: hsm-aaaaaaaaaaa, hsm-bbbbbbbbbbb",
        "AWS's backup: none is known to be READY. Until one is, delete no backup of this cluster, and ask AWS support if none "
        "appears within the hour.",
    ]


def test_it_was_kept_after_all():
    done = {"due": DUE, "keys": PROVED, "deletion": deletion("kept", [], [])}
    assert deletion_report(done, "dev") == ["dev: kept: why", KEYS_LINE]


def test_keys_that_only_aws_has():
    keys = {**PROVED, "not_covered": [{"label": "a", "reason": "x"}, {"label": "b", "reason": "y"}]}
    assert deletion_report({"due": DUE, "keys": keys}, "dev")[-1] == "keys that only AWS's backup has: a (x), b (y)"


@pytest.mark.parametrize("environments", [[], None])
def test_a_task_that_failed_before_it_knew_of_any_environment(environments):
    done = {"due": DUE, "keys": PROVED, "deletion": {"failed": True, "environments": environments}, "failure": FAILURE}
    assert deletion_report(done, "dev")[-1] == NOTHING
