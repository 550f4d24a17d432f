# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""What to do about the keys of an HSM and those of a backup. Plain values in, a plan out: no PKCS#11, no AWS, no Ansible."""

from __future__ import annotations

import fnmatch
import json
import typing as t
from collections import defaultdict
from dataclasses import dataclass, field, replace

from .documents import MOST_PART_BYTES, Manifest, Part, PartEntry
from .errors import KeyBackupError
from .records import KeyRecord, KeyRef

# Each run that wraps something adds a data key to the manifest. When there would be more than this, the run wraps
# everything that is on the HSM anew, so that neither the manifest nor the number of small parts grows for ever.
MOST_DATA_KEYS = 8
# What stands in a part around its keys.
_ENVELOPE_BYTES = 1024

# Where a record is: digest of its part, position in it.
Position = tuple[str, int]


@dataclass(frozen=True)
class LiveKey:
    """A key on the HSM.

    Attributes:
        ref: Class, label and id.
        key_type: As in `records.CAPABILITIES`; for a type that is not supported, its number.
        size: Bits; None where the HSM does not say.
        curve: Name of the curve of an EC key; else empty.
        flags: Those of `records.flags_of` that are set, in that order.
        origin: Those of `records.ORIGIN` that are set.
        public: SubjectPublicKeyInfo of an asymmetric key, DER; empty where the HSM has no public half of it.
        obstacle: Why it cannot be exported; empty where it can.
        check: Its check value; None where it is not known.
    """

    ref: KeyRef
    key_type: str
    size: int | None = None
    curve: str = ""
    flags: tuple[str, ...] = ()
    origin: tuple[str, ...] = ()
    public: bytes = field(default=b"", repr=False)
    obstacle: str = ""
    check: str | None = None

    def record(self, blob: bytes) -> KeyRecord:
        """Return its record in a backup; a plan has none made of a key whose check value is not known."""
        check = self.check or ""
        return KeyRecord(
            self.ref, self.key_type, self.size, self.curve, self.flags, self.origin, check, blob, self.public
        )


@dataclass(frozen=True)
class Selection:
    """Which keys a run is about; every given condition must hold.

    Attributes:
        labels: Glob patterns, one of which the label matches; empty for any label.
        ids: Ids in lower case hexadecimal; empty for any id.
        classes: Classes.
    """

    labels: tuple[str, ...]
    ids: tuple[str, ...]
    classes: tuple[str, ...]

    def matches(self, ref: KeyRef) -> bool:
        """Say whether a key is among them."""
        return (
            ref.key_class in self.classes
            and (not self.ids or ref.id in self.ids)
            and (not self.labels or any(fnmatch.fnmatchcase(ref.label, pattern) for pattern in self.labels))
        )

    def idle(self, refs: t.Iterable[KeyRef]) -> list[str]:
        """Return the labels and ids that match none of some keys."""
        known = list(refs)
        labels = [
            f"labels: {pattern!r}"
            for pattern in self.labels
            if not any(fnmatch.fnmatchcase(ref.label, pattern) for ref in known)
        ]
        return labels + [f"ids: {wanted!r}" for wanted in self.ids if all(ref.id != wanted for ref in known)]


@dataclass(frozen=True)
class Stored:
    """A backup as it was read.

    Attributes:
        manifest: Its manifest; None where there is no backup.
        parts: Its parts by digest, those that could be read.
        damage: What is the matter with the others.
    """

    manifest: Manifest | None
    parts: t.Mapping[str, Part]
    damage: tuple[str, ...] = ()

    def records(self) -> dict[Position, KeyRecord]:
        """Return what counts of it."""
        return {
            (entry.digest, index): record
            for entry in (self.manifest.parts if self.manifest else ())
            if entry.digest in self.parts
            for index, record in enumerate(self.parts[entry.digest].keys)
            if index not in entry.dropped
        }

    def superseded(self) -> set[Position]:
        """Return where the keys are that others have replaced."""
        entries = self.manifest.parts if self.manifest else ()
        return {(entry.digest, index) for entry in entries for index in entry.superseded}


@dataclass(frozen=True)
class BackupPlan:
    """What a backup has to do.

    Attributes:
        wrap: Positions, among the live keys, of those to wrap.
        added: Those of them that the backup lacks.
        renewed: Those that it has, but with other flags, or not for every recipient.
        unchanged: How many keys stay as they are.
        kept: Keys that stay in the backup, and are not on the HSM any more.
        superseded: Keys that stay in the backup, in whose place the HSM has another with the same class, label and id.
        pruned: Keys that leave the backup.
        entries: What stays of the parts.
        changed: Whether there is anything to write.
        unopenable: Kept keys that not every recipient of this run can open.
    """

    wrap: tuple[int, ...]
    added: tuple[KeyRef, ...]
    renewed: tuple[KeyRef, ...]
    unchanged: int
    kept: tuple[KeyRef, ...]
    superseded: tuple[KeyRef, ...]
    pruned: tuple[KeyRef, ...]
    entries: tuple[PartEntry, ...]
    changed: bool
    unopenable: tuple[KeyRef, ...]


@dataclass
class _Matching:
    """How the keys of the HSM and the records go together."""

    added: list[int] = field(default_factory=list)
    renewed: list[int] = field(default_factory=list)
    unchanged: dict[Position, int] = field(default_factory=dict)
    kept: set[Position] = field(default_factory=set)
    superseded: set[Position] = field(default_factory=set)
    dropped: set[Position] = field(default_factory=set)
    pruned: set[Position] = field(default_factory=set)


def plan_backup(
    live: t.Sequence[LiveKey],
    stored: Stored,
    selection: Selection,
    recipients: frozenset[str],
    prune: bool,
) -> BackupPlan:
    """Decide what a backup has to do.

    Args:
        live: Every key on the HSM. Those that are selected and can be exported have their check values.
        stored: The backup as it is.
        selection: Which keys it is about. What the backup has of others stays.
        recipients: Fingerprints of those who must be able to open it.
        prune: Whether selected keys that are not on the HSM any more leave the backup.
    """
    records = stored.records()
    opened_by = {data_key.id: data_key.recipients for data_key in stored.manifest.data_keys} if stored.manifest else {}
    current = {position for position in records if recipients <= opened_by[stored.parts[position[0]].data_key]}
    matching = _match(live, records, selection, current, stored.superseded())
    if prune:
        gone = {place for place in matching.kept | matching.superseded if selection.matches(records[place].ref)}
        matching.pruned = gone
        matching.kept, matching.superseded = matching.kept - gone, matching.superseded - gone
    folded = _fold(matching, stored)
    wrap = sorted(matching.added + matching.renewed + folded)
    dropped = matching.dropped | matching.pruned
    entries = _carry(stored, dropped, matching.superseded)
    before = stored.manifest.parts if stored.manifest else None
    return BackupPlan(
        wrap=tuple(wrap),
        added=_sorted_refs(live[index].ref for index in matching.added),
        renewed=_sorted_refs(live[index].ref for index in matching.renewed),
        unchanged=len(matching.unchanged) + len(folded),
        kept=_sorted_refs(records[position].ref for position in matching.kept),
        superseded=_sorted_refs(records[position].ref for position in matching.superseded),
        pruned=_sorted_refs(records[position].ref for position in matching.pruned),
        entries=entries,
        changed=bool(wrap) or entries != before,
        unopenable=_sorted_refs(
            records[position].ref for position in matching.kept | matching.superseded if position not in current
        ),
    )


def _match(
    live: t.Sequence[LiveKey],
    records: t.Mapping[Position, KeyRecord],
    selection: Selection,
    current: set[Position],
    superseded_before: set[Position],
) -> _Matching:
    matching = _Matching()
    places: dict[KeyRef, list[Position]] = defaultdict(list)
    for position, record in records.items():
        places[record.ref].append(position)
    keys: dict[KeyRef, list[int]] = defaultdict(list)
    for index, key in enumerate(live):
        keys[key.ref].append(index)
    for ref in {**places, **keys}:
        free = list(places.get(ref, ()))
        known = [index for index in keys.get(ref, ()) if live[index].check is not None and not live[index].obstacle]
        for index in known if selection.matches(ref) else ():
            key = live[index]
            same = [
                place for place in free if (records[place].check, records[place].key_type) == (key.check, key.key_type)
            ]
            # One that can stay goes before one that cannot.
            same.sort(key=lambda place: (place not in current, records[place].flags != key.flags))
            if not same:
                matching.added.append(index)
                continue
            free.remove(same[0])
            if same[0] in current and records[same[0]].flags == key.flags:
                matching.unchanged[same[0]] = index
            else:
                matching.renewed.append(index)
                matching.dropped.add(same[0])
        if not keys.get(ref):
            matching.kept.update(free)
        elif selection.matches(ref) and len(known) == len(keys[ref]):
            matching.superseded.update(free)
        else:
            # Not every key of that name was looked at: nothing is known of these.
            matching.superseded.update(superseded_before.intersection(free))
    return matching


def _fold(matching: _Matching, stored: Stored) -> list[int]:
    """Move what would stay to those that are wrapped, where there are too many data keys."""
    writing = matching.added or matching.renewed or matching.pruned
    data_keys = {stored.parts[digest].data_key for digest, _index in matching.unchanged}
    if not writing or len(data_keys) < MOST_DATA_KEYS:
        return []
    folded = sorted(matching.unchanged.values())
    matching.dropped.update(matching.unchanged)
    matching.unchanged.clear()
    return folded


def _carry(stored: Stored, dropped: set[Position], superseded: set[Position]) -> tuple[PartEntry, ...]:
    carried = []
    for entry in stored.manifest.parts if stored.manifest else ():
        if entry.digest not in stored.parts:
            continue
        gone = {index for digest, index in dropped if digest == entry.digest} | set(entry.dropped)
        replaced = {index for digest, index in superseded if digest == entry.digest} - gone
        if len(gone) < entry.keys:
            carried.append(replace(entry, dropped=tuple(sorted(gone)), superseded=tuple(sorted(replaced))))
    return tuple(carried)


def pack(records: t.Iterable[KeyRecord], most: int = MOST_PART_BYTES) -> list[tuple[KeyRecord, ...]]:
    """Distribute records over as few parts as their order allows.

    Args:
        records: The records.
        most: Bytes that a part may have.

    Raises:
        KeyBackupError: One is too large for a part of its own.
    """
    packed: list[list[KeyRecord]] = []
    room = 0
    for record in sorted(records, key=lambda record: record.ref):
        size = len(json.dumps(record.to_plain(), separators=(",", ":"))) + 1
        if size > most - _ENVELOPE_BYTES:
            raise KeyBackupError(
                f"{record.ref}: its record has {size} bytes, and a part has room for {most - _ENVELOPE_BYTES}. "
                "Give the key a shorter label."
            )
        if size > room or not packed:
            packed.append([])
            room = most - _ENVELOPE_BYTES
        packed[-1].append(record)
        room -= size
    return [tuple(part) for part in packed]


@dataclass(frozen=True)
class Comparison:
    """How the keys of an HSM and those of a backup differ.

    Attributes:
        missing: Records of keys that the HSM lacks.
        present: Records of keys that the HSM has.
        unknown: Records of which the HSM has a key by that name that cannot be compared.
        other_value: Records of which the HSM has another key by that name.
        other_flags: Records of keys that the HSM has with other flags.
        replaced: Records that are superseded, of keys that the HSM lacks, and has those in place of that replaced them.
        lacking: Keys of the HSM that the backup lacks, or has another in place of.
        uncovered: Keys of the HSM that cannot be exported, and that the backup lacks.
    """

    missing: tuple[Position, ...]
    present: tuple[Position, ...]
    unknown: tuple[Position, ...]
    other_value: tuple[Position, ...]
    other_flags: tuple[Position, ...]
    replaced: tuple[Position, ...]
    lacking: tuple[KeyRef, ...]
    uncovered: tuple[LiveKey, ...]


def compare(live: t.Sequence[LiveKey], stored: Stored, selection: Selection) -> Comparison:
    """Compare an HSM and a backup.

    Args:
        live: Every key on the HSM; those that are selected have their check values as far as they can be known.
        stored: The backup.
        selection: Which keys to compare.
    """
    records = {place: record for place, record in stored.records().items() if selection.matches(record.ref)}
    superseded = stored.superseded()
    held = {(record.ref, record.key_type, record.check) for record in records.values()}
    groups: dict[KeyRef, list[LiveKey]] = defaultdict(list)
    absent = []
    for key in live:
        if selection.matches(key.ref):
            groups[key.ref].append(key)
            absent += [] if (key.ref, key.key_type, key.check) in held else [key]
    strange = {key.ref for key in absent}
    found: dict[str, list[Position]] = defaultdict(list)
    for place, record in records.items():
        judged = _judge(record, groups.get(record.ref, []), place in superseded, record.ref in strange)
        found[judged].append(place)
    return Comparison(
        missing=tuple(found["missing"]),
        present=tuple(found["present"]),
        unknown=tuple(found["unknown"]),
        other_value=tuple(found["other_value"]),
        other_flags=tuple(found["other_flags"]),
        replaced=tuple(found["replaced"]),
        lacking=_sorted_refs(key.ref for key in absent if not key.obstacle),
        uncovered=tuple(key for key in absent if key.obstacle),
    )


def _judge(record: KeyRecord, group: list[LiveKey], superseded: bool, strange: bool) -> str:
    same = [key for key in group if (key.key_type, key.check) == (record.key_type, record.check)]
    if same:
        return "present" if any(key.flags == record.flags for key in same) else "other_flags"
    if not group:
        return "missing"
    if any(key.check is None for key in group):
        return "unknown"
    if superseded:
        # What the HSM has in its place is known, and is in the backup as well.
        return "replaced"
    # Where each key of that name is another one that the backup has, this one is simply not there.
    return "other_value" if strange else "missing"


def _sorted_refs(refs: t.Iterable[KeyRef]) -> tuple[KeyRef, ...]:
    return tuple(sorted(refs))
