# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The runs: back keys up, verify a backup, restore keys, remove a backup. An HSM and a store in, plain values out."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass, field, replace

from .checks import Examiner, insist_on_the_key, prove_record
from .data_keys import Opener, OpenKey, Recipient, make_data_key
from .documents import MOST_MANIFEST_BYTES, Manifest, Part, PartEntry, digest_of
from .errors import KeyBackupError
from .hsm import Hsm, HsmKey, RefusedError
from .plan import BackupPlan, Comparison, LiveKey, Selection, Stored, compare, pack, plan_backup
from .reading import open_backup, prove_backup, read_backup
from .records import KEY_CLASSES, KeyRecord, KeyRef
from .stores import Store


@dataclass(frozen=True)
class Wish:
    """What a run is to do, whatever it does.

    Attributes:
        name: The backup's name.
        selection: Which keys it is about.
        fingerprint: SHA-256 of the manifest that must be there; None for any.
        min_generation: The least generation.
        require_complete: Whether a selected key that cannot be exported is an error.
        prune: Whether keys that are not on the HSM any more leave the backup.
        superseded: Whether keys are restored that others have replaced.
    """

    name: str
    selection: Selection
    fingerprint: str | None = None
    min_generation: int = 0
    require_complete: bool = False
    prune: bool = False
    superseded: bool = False


@dataclass
class Outcome:
    """What a run reports.

    Attributes:
        changed: Whether it changed anything, or would.
        result: The module's result.
        before: What there was, for the diff.
        after: What there is, for the diff.
        warnings: What it warns of.
        failure: Why the run failed although it went on to its end; empty where it did not.
    """

    changed: bool
    result: dict[str, t.Any]
    before: dict[str, t.Any] = field(default_factory=dict)
    after: dict[str, t.Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failure: str = ""


def back_up(
    hsm: Hsm,
    store: Store,
    recipients: t.Sequence[Recipient],
    wish: Wish,
    now: datetime.datetime,
    dry: bool,
) -> Outcome:
    """Bring a backup up to date.

    Args:
        hsm: The HSM.
        store: Where the backup is.
        recipients: Who must be able to open it.
        wish: What is wanted.
        now: The moment, with its time zone.
        dry: Write nothing.

    Raises:
        KeyBackupError: It cannot be done. Until the new manifest stands, the old backup is as it was.
    """
    stored, content = read_backup(store, wish.name, wish.fingerprint, wish.min_generation, whole=False)
    keys = hsm.find_keys()
    live = Examiner(hsm).examine(keys, wish.selection)
    _check_selection(wish.selection, [key.ref for key in live], "neither the HSM nor the backup has", stored)
    writer = _Writer(hsm, keys, recipients, wish, stored)
    plan = writer.plan(live)
    if plan.changed and not dry:
        plan, live = writer.wrap(plan, live)
    uncovered = [key for key in live if key.obstacle and wish.selection.matches(key.ref)]
    if uncovered and wish.require_complete:
        raise KeyBackupError(
            f"require_complete: {len(uncovered)} keys cannot be exported, and only AWS's own backups cover them: "
            f"{_reasons(uncovered)}. Nothing was written."
        )
    if plan.changed and not dry:
        manifest, content = writer.write(plan, store, content, now)
        return _describe_backup(wish.name, plan, uncovered, stored, manifest, content)
    return _describe_backup(wish.name, plan, uncovered, stored, stored.manifest, content)


def verify(hsm: Hsm, store: Store, opener: Opener, wish: Wish) -> Outcome:
    """See that a backup can be restored, and that it is up to date.

    Args:
        hsm: The HSM. Nothing on it is changed.
        store: Where the backup is.
        opener: A recipient.
        wish: What is wanted.

    Raises:
        KeyBackupError: The backup is damaged or cannot be opened.
    """
    stored, manifest, content = _read_whole(store, wish)
    opened = open_backup(hsm, manifest, stored.parts.values(), opener)
    verified = prove_backup(hsm, stored, opened)
    live = Examiner(hsm).examine(hsm.find_keys(), wish.selection)
    comparison = compare(live, stored, wish.selection)
    outcome = Outcome(False, {"name": wish.name, **_identity(manifest, content), "verified": verified})
    _add_comparison(outcome, comparison, stored)
    if comparison.uncovered:
        outcome.warnings.append(_uncovered_text(comparison.uncovered))
    problems = []
    if comparison.lacking:
        problems.append(f"the backup lacks, or has another in place of, {_names(comparison.lacking)}")
    if comparison.other_flags:
        problems.append(f"the flags differ of {_names(_refs(stored, comparison.other_flags))}")
    if comparison.uncovered and wish.require_complete:
        problems.append(f"no backup but AWS's own covers {_reasons(comparison.uncovered)}")
    if problems:
        outcome.failure = (
            f"The backup is sound, but not that of this HSM: {'; '.join(problems)}. Run with state=present."
        )
    return outcome


def restore(hsm: Hsm, store: Store, opener: Opener, wish: Wish, dry: bool) -> Outcome:
    """Create those keys of a backup that an HSM lacks.

    Args:
        hsm: The HSM. Keys that are there are left alone.
        store: Where the backup is.
        opener: A recipient.
        wish: What is wanted.
        dry: Create nothing.

    Raises:
        KeyBackupError: The backup is damaged or cannot be opened; nothing was created.
    """
    stored, manifest, content = _read_whole(store, wish)
    records = stored.records()
    _check_selection(wish.selection, [record.ref for record in records.values()], "the backup does not have", None)
    opened = open_backup(hsm, manifest, stored.parts.values(), opener)
    prove_backup(hsm, stored, opened)
    live = Examiner(hsm).examine(hsm.find_keys(), wish.selection)
    comparison = compare(live, stored, wish.selection)
    superseded = stored.superseded()
    missing = sorted(
        comparison.missing + comparison.replaced
        if wish.superseded
        else (place for place in comparison.missing if place not in superseded),
        key=lambda place: (KEY_CLASSES.index(records[place].ref.key_class), records[place].ref),
    )
    restored, failed = [], []
    for place in missing:
        record, key = records[place], opened[stored.parts[place[0]].data_key]
        try:
            if not dry:
                hsm.create(key.data, record)
            restored.append(record.ref)
        except RefusedError as error:
            failed.append(f"{record.ref}: {error}")
    present = comparison.present + comparison.unknown + comparison.other_flags
    outcome = Outcome(
        bool(restored),
        {
            "name": wish.name,
            **_identity(stored.manifest, content),
            "restored": _plain(restored),
            "present": len(present),
        },
        before={"keys": len(present), "names": []},
        after={"keys": len(present) + len(restored), "names": [str(ref) for ref in restored]},
    )
    _add_comparison(outcome, comparison, stored)
    trusted = [records[place].ref for place in missing if "trusted" in records[place].origin]
    if trusted:
        outcome.warnings.append(f"Only an admin can make these trusted again: {_names(trusted)}.")
    problems = [f"the HSM refused {'; '.join(failed)}"] if failed else []
    if comparison.other_value:
        problems.append(
            f"the HSM has other keys in place of {_names(_refs(stored, comparison.other_value))}, which are never overwritten: "
            "destroy or rename them if those of the backup are right"
        )
    if problems:
        outcome.failure = f"Not every key could be restored: {'; '.join(problems)}."
    return outcome


def remove(store: Store, name: str, confirmation: str | None, dry: bool) -> Outcome:
    """Remove a backup.

    Args:
        store: Where it is.
        name: Its name.
        confirmation: The name once more.
        dry: Remove nothing.

    Raises:
        KeyBackupError: It is not confirmed.
    """
    if confirmation != name:
        raise KeyBackupError(
            f"confirm_absent: it is {confirmation!r}. Without this backup, keys that the HSM loses may be lost for ever: set "
            f"confirm_absent to the backup's name, {name!r}, to remove it."
        )
    there = store.get_manifest() is not None or bool(store.list_parts())
    if there and not dry:
        store.delete_all()
    return Outcome(there, {"name": name}, before={"exists": there}, after={"exists": False})


class _Writer:
    """Wraps keys and writes what there is to write."""

    def __init__(
        self, hsm: Hsm, keys: t.Sequence[HsmKey], recipients: t.Sequence[Recipient], wish: Wish, stored: Stored
    ) -> None:
        self._hsm = hsm
        self._keys = keys
        self._recipients = recipients
        self._wish = wish
        self._stored = stored
        self._records: dict[int, KeyRecord] = {}
        self._run: OpenKey | None = None

    def plan(self, live: t.Sequence[LiveKey]) -> BackupPlan:
        """Decide what there is to do."""
        recipients = frozenset(recipient.fingerprint for recipient in self._recipients)
        return plan_backup(live, self._stored, self._wish.selection, recipients, self._wish.prune)

    def wrap(self, plan: BackupPlan, live: list[LiveKey]) -> tuple[BackupPlan, list[LiveKey]]:
        """Wrap the keys of a plan. Where the HSM refuses one, there is another plan without it, which loses nothing."""
        run = self._data_key()
        while True:
            refused = {}
            for index in plan.wrap:
                if index not in self._records:
                    try:
                        self._records[index] = self._wrap_one(run, self._keys[index], live[index])
                    except RefusedError as error:
                        insist_on_the_key(live[index].ref, error)
                        refused[index] = str(error)
            if not refused:
                return plan, live
            live = [replace(key, obstacle=refused.get(index, key.obstacle)) for index, key in enumerate(live)]
            plan = self.plan(live)

    def _wrap_one(self, run: OpenKey, key: HsmKey, live: LiveKey) -> KeyRecord:
        blob = b"" if live.ref.key_class == "public" else self._hsm.wrap(run.data, key.handle)
        record = live.record(blob)
        if live.ref.key_class == "private":
            # Its check value is that of the public half: only the copy's signature shows what was wrapped.
            prove_record(self._hsm, run.data, record)
        return record

    def write(
        self, plan: BackupPlan, store: Store, expected: bytes | None, now: datetime.datetime
    ) -> tuple[Manifest, bytes]:
        """Write the parts, then the manifest, and then delete what it does not name.

        Returns:
            The manifest, and its document.
        """
        run = self._data_key()
        parts = dict(self._make_part(run, keys) for keys in pack(self._records[index] for index in plan.wrap))
        fresh = tuple(PartEntry(digest, len(part.keys), run.description.id) for digest, part in parts.items())
        manifest = self._make_manifest(run, plan.entries + fresh, now)
        content = manifest.to_bytes()
        if len(content) > MOST_MANIFEST_BYTES:
            raise KeyBackupError(
                f"name: the manifest would have {len(content)} bytes, and {MOST_MANIFEST_BYTES} is the most. Set prune if keys "
                "that are not on the HSM any more fill it, or make several backups with labels."
            )
        documents = {digest: part.to_bytes() for digest, part in parts.items()}
        for digest, document in documents.items():
            store.put_part(digest, document)
        store.replace_manifest(content, expected)
        self._settle(store, manifest, documents)
        return manifest, content

    def _data_key(self) -> OpenKey:
        self._run = self._run or make_data_key(self._hsm, self._recipients)
        return self._run

    def _make_part(self, run: OpenKey, keys: tuple[KeyRecord, ...]) -> tuple[str, Part]:
        part = Part(self._wish.name, run.description.id, keys)
        part = replace(part, mac=self._hsm.authenticate(run.mac, part.signed_content()))
        return digest_of(part.to_bytes()), part

    def _make_manifest(self, run: OpenKey, entries: tuple[PartEntry, ...], now: datetime.datetime) -> Manifest:
        before = self._stored.manifest
        needed = {entry.data_key for entry in entries}
        manifest = Manifest(
            name=self._wish.name,
            generation=(before.generation if before else 0) + 1,
            created=now.astimezone(datetime.timezone.utc).isoformat(timespec="seconds"),
            token=self._hsm.describe_token(),
            data_keys=tuple(key for key in (before.data_keys if before else ()) if key.id in needed)
            + (run.description,),
            parts=entries,
            mac_data_key=run.description.id,
        )
        return manifest.with_mac(self._hsm.authenticate(run.mac, manifest.signed_content()))

    def _settle(self, store: Store, manifest: Manifest, documents: t.Mapping[str, bytes]) -> None:
        """Delete what the manifest does not name, and see that what it names is there: another run may have tidied up."""
        listed = store.list_parts()
        named = {entry.digest for entry in manifest.parts}
        for digest in sorted(named - listed):
            if digest in documents:
                store.put_part(digest, documents[digest])
            elif store.get_part(digest) is None:
                raise KeyBackupError(
                    f"{store.place}: part {digest[:12]} was deleted by somebody else meanwhile. Run again."
                )
        for digest in sorted(listed - named):
            store.delete_part(digest)


def _read_whole(store: Store, wish: Wish) -> tuple[Stored, Manifest, bytes]:
    stored, content = read_backup(store, wish.name, wish.fingerprint, wish.min_generation, whole=True)
    if stored.manifest is None or content is None:
        raise KeyBackupError(
            f"name: {store.place} holds no backup. Check name, store and its parameters, or run with state=present first."
        )
    return stored, stored.manifest, content


def _check_selection(selection: Selection, refs: list[KeyRef], what: str, stored: Stored | None) -> None:
    known = refs + [record.ref for record in (stored.records().values() if stored else ())]
    idle = selection.idle(known)
    if idle:
        raise KeyBackupError(f"{'; '.join(idle)}: {what} such a key. Correct it, or leave it out.")


def _identity(manifest: Manifest | None, content: bytes | None) -> dict[str, t.Any]:
    return {
        "generation": manifest.generation if manifest else 0,
        "created": manifest.created if manifest else None,
        "fingerprint": digest_of(content) if content else None,
        "keys": manifest.keys if manifest else 0,
        "parts": len(manifest.parts) if manifest else 0,
    }


def _describe_backup(
    name: str,
    plan: BackupPlan,
    uncovered: list[LiveKey],
    stored: Stored,
    manifest: Manifest | None,
    content: bytes | None,
) -> Outcome:
    """Report a backup.

    Args:
        name: Its name.
        plan: What was to do.
        uncovered: Selected keys that cannot be exported.
        stored: The backup as it was.
        manifest: The manifest that stands now.
        content: Its document.
    """
    before = stored.manifest.keys if stored.manifest else 0
    lost = sum(
        entry.keys for entry in (stored.manifest.parts if stored.manifest else ()) if entry.digest not in stored.parts
    )
    result = {
        "name": name,
        **_identity(manifest, content),
        "added": _plain(plan.added),
        "renewed": _plain(plan.renewed),
        "unchanged": plan.unchanged,
        "kept": _plain(plan.kept),
        "superseded": _plain(plan.superseded),
        "pruned": _plain(plan.pruned),
        "not_covered": _with_reasons(uncovered),
    }
    changes = {"added": plan.added, "renewed": plan.renewed, "pruned": plan.pruned}
    outcome = Outcome(
        plan.changed,
        result,
        before={"keys": before},
        after={
            "keys": before - lost + len(plan.added) - len(plan.pruned),
            **{what: [str(ref) for ref in refs] for what, refs in changes.items() if refs},
        },
    )
    outcome.warnings += [
        f"The backup was damaged, and is mended as far as the HSM has the keys: {text}." for text in stored.damage
    ]
    if uncovered:
        outcome.warnings.append(_uncovered_text(uncovered))
    if plan.unopenable:
        outcome.warnings.append(
            f"Not every recipient can open these keys, which are not on the HSM any more: {_names(plan.unopenable)}."
        )
    return outcome


def _add_comparison(outcome: Outcome, comparison: Comparison, stored: Stored) -> None:
    other = {"value": comparison.other_value, "flags": comparison.other_flags, "unknown": comparison.unknown}
    outcome.result["differences"] = [
        {**plain, "what": what} for what, places in other.items() for plain in _plain(_refs(stored, places))
    ]
    lacking = [{**plain, "reason": "the backup does not have it"} for plain in _plain(comparison.lacking)]
    outcome.result["not_covered"] = _with_reasons(comparison.uncovered) + lacking


def _uncovered_text(uncovered: t.Sequence[LiveKey]) -> str:
    return f"{len(uncovered)} keys cannot be exported, and only AWS's own backups cover them: {_reasons(uncovered)}."


def _refs(stored: Stored, places: t.Iterable[tuple[str, int]]) -> list[KeyRef]:
    records = stored.records()
    return sorted(records[place].ref for place in places)


def _names(refs: t.Iterable[KeyRef]) -> str:
    return ", ".join(map(str, refs))


def _reasons(keys: t.Iterable[LiveKey]) -> str:
    return ", ".join(f"{key.ref}: {key.obstacle}" for key in keys)


def _plain(refs: t.Iterable[KeyRef]) -> list[dict[str, str]]:
    return [{"class": ref.key_class, "label": ref.printable_label, "id": ref.id} for ref in refs]


def _with_reasons(keys: t.Iterable[LiveKey]) -> list[dict[str, str]]:
    return [{**plain, "reason": key.obstacle} for key in keys for plain in _plain([key.ref])]
