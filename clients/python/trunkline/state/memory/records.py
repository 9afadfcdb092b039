"""What an `InMemoryStateManager` keeps: records, encoded, and the last changes of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.errors import CompactedError, MessageTooLargeError, RevisionMismatchError, StateError
from trunkline.limits import MAX_MESSAGE_BYTES, WATCH_HISTORY
from trunkline.models import Record
from trunkline.records import Kind, check_record_id
from trunkline.state.codec import decode_record, encode_record
from trunkline.state.filter import Filter, WatchFilter, check_kind, check_revision, facets_of
from trunkline.state.state_manager import Change, ChangeType, Delete, Get, Operation, Outcome, Save

Key = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """One record: encoded, so that nobody shares an object with the store."""

    revision: int
    body: bytes
    facets: dict[str, str]


@dataclass(frozen=True, slots=True)
class Write:
    """One write that happened; None: no record."""

    revision: int
    key: Key
    before: Kept | None
    after: Kept | None


class MemoryRecords:
    """The rules of the StateService, in dictionaries."""

    def __init__(self) -> None:
        self.revision = 0
        self._records: dict[Key, Kept] = {}
        self._history: deque[Write] = deque(maxlen=WATCH_HISTORY)

    def do(self, operation: Operation) -> Outcome:
        """One operation; raises what is wrong with it."""
        if isinstance(operation, Save):
            return self._save(operation)
        if isinstance(operation, Get):
            return self.get(operation.kind, operation.id)
        return self._delete(operation)

    def do_all(self, operations: Sequence[Operation]) -> list[Outcome]:
        """All operations in order, or none of them: raises the first error, with the operation's index."""
        records, revision, history = dict(self._records), self.revision, self._history.copy()
        outcomes: list[Outcome] = []
        for index, operation in enumerate(operations):
            try:
                outcomes.append(self.do(operation))
            except StateError as error:
                self._records, self.revision, self._history = records, revision, history
                error.details["operation"] = index
                raise
        return outcomes

    def get(self, kind: Kind, id: str) -> Record | None:
        """A copy of a record."""
        check_kind(kind)
        kept = self._records.get((kind, check_record_id("id", id)))
        return None if kept is None else decode_record(kind, kept.body, kept.revision)

    def select(self, kind: Kind, filter: Filter) -> list[Record]:
        """Copies of all that match, in order of ids."""
        filter.check(kind)
        found = sorted(
            (key[1], kept) for key, kept in self._records.items() if key[0] == kind and filter.matches(kept.facets)
        )
        return [decode_record(kind, kept.body, kept.revision) for _, kept in found]

    def snapshot(self, interest: WatchFilter) -> list[Change]:
        """All that match, as changes, in order of kinds and ids."""
        found = sorted((key, kept) for key, kept in self._records.items() if interest.names(*key))
        return [_saved(key, kept) for key, kept in found if interest.fields.matches(kept.facets)]

    def changes(self, interest: WatchFilter, after: int) -> tuple[list[Change], int]:
        """What happened after a revision, as far as it matters, and up to which revision that is."""
        oldest = self._history[0].revision - 1 if self._history else self.revision
        if not oldest <= after <= self.revision:
            raise CompactedError(
                f"the changes after revision {after} are not kept; the lowest that can be resumed after is {oldest}",
                details={"oldest": oldest, "requested": after},
            )
        found: list[Change] = []
        for index in range(after - oldest, len(self._history)):
            change = _change(self._history[index], interest)
            if change is not None:
                found.append(change)
        return found, self.revision

    def _save(self, operation: Save) -> int:
        kind, id, body = encode_record(operation.record)
        key = kind, check_record_id("id", id)
        if len(body) > MAX_MESSAGE_BYTES:
            raise MessageTooLargeError(
                f"the record has {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are allowed",
                details={"size": len(body), "limit": MAX_MESSAGE_BYTES},
            )
        before = self._checked(key, check_revision("expected_revision", operation.expected_revision, 0))
        self.revision += 1
        kept = Kept(self.revision, body, facets_of(operation.record))
        self._records[key] = kept
        self._history.append(Write(self.revision, key, before, kept))
        return self.revision

    def _delete(self, operation: Delete) -> bool:
        check_kind(operation.kind)
        key = operation.kind, check_record_id("id", operation.id)
        before = self._checked(key, check_revision("expected_revision", operation.expected_revision, 1))
        if before is None:
            return False
        self.revision += 1
        del self._records[key]
        self._history.append(Write(self.revision, key, before, None))
        return True

    def _checked(self, key: Key, expected: int | None) -> Kept | None:
        before = self._records.get(key)
        actual = before.revision if before else 0
        if expected is not None and expected != actual:
            there = f"it has revision {actual}" if actual else "there is no such record"
            raise RevisionMismatchError(
                f"{key[0]} {key[1]!r}: expected {f'revision {expected}' if expected else 'no record'}, but {there}",
                details={"kind": key[0], "id": key[1], "expected": expected, "actual": actual},
            )
        return before


def _saved(key: Key, kept: Kept) -> Change:
    kind, id = key
    return Change(ChangeType.SAVED, kept.revision, kind, id, decode_record(kind, kept.body, kept.revision))


def _change(write: Write, interest: WatchFilter) -> Change | None:
    kind, id = write.key
    if not interest.names(kind, id):
        return None
    if write.after is not None and interest.fields.matches(write.after.facets):
        return _saved(write.key, write.after)
    if write.before is not None and interest.fields.matches(write.before.facets):
        return Change(ChangeType.DELETED if write.after is None else ChangeType.LEFT, write.revision, kind, id)
    return None
