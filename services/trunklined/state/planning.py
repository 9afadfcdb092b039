"""Decides what a group of transactions does, before anything is written.

An engine with one writer gives its transactions to a `Planner` in the order of their arrival. Each sees what those
before it will have written, conditions are checked one by one, and revisions rise by one a write; what comes out is
the list of changes that the engine then makes durable in one commit.
"""

from __future__ import annotations

from collections.abc import Callable

from trunkline.errors import OverloadedError, RevisionMismatchError, StateError
from trunkline.records import RecordKind
from trunklined.relay.journal import Arrival
from trunklined.state.records import (
    Change,
    Drop,
    Entry,
    Facets,
    Head,
    Operation,
    Put,
    Read,
    RecordKey,
    Result,
    Transaction,
)

TransactionOutcome = list[Result] | StateError


class Planner:
    """Plans one commit.

    Args:
        revision: the store's revision before the commit.
        head: returns the committed head of a record that is written, or None.
        read: returns a committed record with its body, or None.
        answer_bytes: bytes of bodies that one transaction may read beyond its first; then OVERLOADED.
    """

    def __init__(
        self,
        revision: int,
        head: Callable[[RecordKey], Head | None],
        read: Callable[[RecordKind, str], Entry | None],
        answer_bytes: int,
    ) -> None:
        self.revision = revision
        self.changes: list[Change] = []
        self.published: list[Arrival] = []
        """The messages of the planned writes, in their order."""
        self._head = head
        self._read = read
        self._answer_bytes = answer_bytes
        self._latest: dict[RecordKey, Change] = {}

    def add(self, transaction: Transaction) -> TransactionOutcome:
        """Plans one transaction and returns its results.

        If an operation fails, none of the transaction is planned and the error is returned; in a transaction of
        several operations the error names the operation in details["operation"].
        """
        made, published, revision = len(self.changes), len(self.published), self.revision
        results: list[Result] = []
        budget = self._answer_bytes
        for index, operation in enumerate(transaction):
            try:
                result = self._do(operation)
                if isinstance(result, Entry):
                    budget = self._spend(budget, result)
            except StateError as error:
                self._undo(made, published, revision)
                if len(transaction) > 1:
                    error.details["operation"] = index
                return error
            results.append(result)
        return results

    def _do(self, operation: Operation) -> Result:
        if isinstance(operation, Put):
            kind, id, body, facets, expected, publish = operation
            made = self._make(kind, id, body, facets, self._checked(kind, id, expected))
            self.published += publish
            return made
        if isinstance(operation, Drop):
            kind, id, expected, publish = operation
            before = self._checked(kind, id, expected)
            if before is None:
                return 0
            self.published += publish
            return self._make(kind, id, None, None, before)
        return self._look_up(operation)

    def _checked(self, kind: RecordKind, id: str, expected: int | None) -> Head | None:
        planned = self._latest.get((kind, id))
        if planned is None:
            before = self._head((kind, id))
        else:
            before = None if planned.facets is None else Head(planned.revision, planned.facets)
        if expected is not None:
            actual = before.revision if before else 0
            if expected != actual:
                raise _mismatch(kind, id, expected, actual)
        return before

    def _make(self, kind: RecordKind, id: str, body: bytes | None, facets: Facets | None, before: Head | None) -> int:
        self.revision = revision = self.revision + 1
        change = Change(revision, kind, id, body, facets, before)
        self._latest[kind, id] = change
        self.changes.append(change)
        return revision

    def _look_up(self, read: Read) -> Entry | None:
        planned = self._latest.get(read)
        if planned is None:
            return self._read(read.kind, read.id)
        if planned.body is None:
            return None
        return Entry(read.kind, read.id, planned.revision, planned.body)

    def _spend(self, budget: int, entry: Entry) -> int:
        if len(entry.body) > budget and budget < self._answer_bytes:  # the first read is answered in any case
            raise too_much_to_read(self._answer_bytes)
        return budget - len(entry.body)

    def _undo(self, made: int, published: int, revision: int) -> None:
        del self.published[published:]
        if len(self.changes) > made:
            del self.changes[made:]
            self._latest = {(change.kind, change.id): change for change in self.changes}
        self.revision = revision


def too_much_to_read(maximum: int) -> OverloadedError:
    """Makes the error of a read that would make an answer larger than `maximum` bytes."""
    return OverloadedError(
        f"the records read in one batch are over {maximum} bytes: read fewer at a time",
        details={"limit": "answer_bytes", "maximum": maximum},
    )


def _mismatch(kind: RecordKind, id: str, expected: int, actual: int) -> RevisionMismatchError:
    there = f"it has revision {actual}" if actual else "there is no such record"
    expectation = f"revision {expected}" if expected else "no record"
    return RevisionMismatchError(
        f"{kind.label} {id!r}: expected {expectation}, but {there}",
        details={"kind": kind.label, "id": id, "expected": expected, "actual": actual},
    )
