"""Decides what a group of transactions does, before anything is written.

An engine with one writer gives its transactions to a `Planner` in the order of their arrival. Each sees what those
before it will have written, conditions are checked one by one, and revisions rise by one a write; what comes out is
the list of changes that the engine then makes durable in one commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from trunkline.errors import LeaseLostError, OverloadedError, RevisionMismatchError, StateError
from trunkline.limits import MAX_BOUND_RECORDS
from trunkline.records import RecordKind, invalid_record
from trunklined.relay.journal import Arrival
from trunklined.state.records import (
    FOR_EVER,
    Change,
    Drop,
    End,
    Entry,
    Facets,
    Head,
    Hold,
    Operation,
    Put,
    Read,
    Reason,
    RecordKey,
    Result,
    Term,
    Touch,
    Transaction,
    Written,
)

Bound = Callable[[int], Collection[RecordKey]]
"""Returns the committed records that are bound to the lease with a number."""


def none_bound(number: int) -> Collection[RecordKey]:
    """The `Bound` of a store without leases."""
    return ()


TransactionOutcome = list[Result] | StateError


class Planner:
    """Plans one commit.

    Args:
        revision: the store's revision before the commit.
        head: returns the committed head of a record that is written, or None.
        read: returns a committed record with its body, or None.
        answer_bytes: bytes of records that one transaction may read beyond its first; then OVERLOADED.
        bound: see `Bound`.
    """

    def __init__(
        self,
        revision: int,
        head: Callable[[RecordKey], Head | None],
        read: Callable[[RecordKind, str], Entry | None],
        answer_bytes: int,
        bound: Bound = none_bound,
    ) -> None:
        self.revision = revision
        self.changes: list[Change] = []
        self.touched: dict[RecordKey, Head] = {}
        """The records whose TTL begins anew and that are not written after it, as they are then."""
        self._bound = bound
        self.published: list[Arrival] = []
        """The messages of the planned writes, in their order."""
        self._head = head
        self._read = read
        self._answer_bytes = answer_bytes
        self._latest: dict[RecordKey, Change] = {}
        self._now_ms = _now_ms()
        self._written: dict[str, Written] = {}
        """By who writes: all writes of a commit are made at one time."""

    def add(self, transaction: Transaction) -> TransactionOutcome:
        """Plans one transaction and returns its results.

        If an operation fails, none of the transaction is planned and the error is returned; in a transaction of
        several operations the error names the operation in details["operation"].
        """
        made, published, revision = len(self.changes), len(self.published), self.revision
        touched = self.touched.copy()
        results: list[Result] = []
        budget = self._answer_bytes
        for index, operation in enumerate(transaction):
            try:
                result = self._do(operation)
                if isinstance(result, Entry):
                    budget = self._spend(budget, result)
            except StateError as error:
                self._undo(made, published, revision)
                self.touched = touched
                if len(transaction) > 1:
                    error.details["operation"] = index
                return error
            results.append(result)
        return results

    def _do(self, operation: Operation) -> Result:
        if isinstance(operation, Put):
            made = self._put(operation)
            self.published += operation.publish
            return made
        if isinstance(operation, Drop):
            kind, id, expected, publish, fence, writer = operation
            if fence is not None:
                self._check_held(fence)
            before = self._checked(kind, id, expected)
            if before is None:
                return 0
            self.published += publish
            return self._remove(kind, id, before, Reason.DELETED, writer)
        if isinstance(operation, Touch):
            return self._touch(operation)
        if isinstance(operation, End):
            return self._end(operation)
        return self._look_up(operation)

    def _put(self, put: Put) -> int:
        kind, id, body, facets, expected, _, lease, ttl_ms, fence, writer = put
        if fence is not None:
            self._check_held(fence)
        before = self._checked(kind, id, expected)
        if lease is None and not ttl_ms:
            return self._make(kind, id, body, facets, before, writer)
        number = 0
        if lease is not None:
            self._check_held(lease)
            number = lease.number
            if len(self._bound(number)) >= MAX_BOUND_RECORDS:
                raise OverloadedError(
                    f"{MAX_BOUND_RECORDS} records are bound to the lease {lease.name!r} already",
                    details={"limit": "bound_records", "maximum": MAX_BOUND_RECORDS},
                )
        # A lease is renewed without a write: after a restart it has its whole TTL.
        term = Term(number, ttl_ms, 0 if kind is RecordKind.LEASE else _expiry(ttl_ms))
        return self._make(kind, id, body, facets, before, writer, term)

    def _check_held(self, hold: Hold) -> None:
        head = self._head_now((RecordKind.LEASE, hold.name))
        current = 0 if head is None else head.revision
        if current != hold.number:
            raise lease_lost(hold, current)

    def _touch(self, touch: Touch) -> int:
        kind, id, ttl_ms = touch
        head = self._head_now((kind, id))
        if head is None:
            return 0
        ttl_ms = ttl_ms or head.term.ttl_ms
        if not ttl_ms:
            raise invalid_record("ttl", f"is not set, and {kind.label} {id!r} has none")
        self.touched[kind, id] = head._replace(term=Term(head.term.lease, ttl_ms, _expiry(ttl_ms)))
        return head.revision

    def _end(self, end: End) -> int:
        kind, id, revision, is_due = end
        key = kind, id
        head = self._head_now(key)
        if head is None or head.revision != revision or key in self.touched or not is_due():
            return 0
        return self._remove(kind, id, head, Reason.EXPIRED, "")

    def _remove(self, kind: RecordKind, id: str, before: Head, reason: Reason, writer: str) -> int:
        """Plans the end of a record; with a lease, all that is bound to it ends."""
        revision = self._make(kind, id, None, None, before, writer, reason=reason)
        if kind is RecordKind.LEASE:
            number = before.revision
            planned = [key for key, change in self._latest.items() if change.term.lease == number]
            for key in dict.fromkeys((*self._bound(number), *planned)):
                head = self._head_now(key)
                if head is not None and head.term.lease == number:
                    self._make(*key, None, None, head, writer, reason=Reason.LEASE_ENDED)
        return revision

    def _head_now(self, key: RecordKey) -> Head | None:
        """Returns the head of a record after what is planned already."""
        planned = self._latest.get(key)
        if planned is not None:
            head = None if planned.facets is None else Head(planned.revision, planned.facets, planned.term)
        else:
            head = self._head(key)
        return self.touched.get(key, head) if self.touched else head

    def _checked(self, kind: RecordKind, id: str, expected: int | None) -> Head | None:
        before = self._head_now((kind, id))
        if expected is not None:
            actual = before.revision if before else 0
            if expected != actual:
                raise _mismatch(kind, id, expected, actual)
        return before

    def _make(
        self,
        kind: RecordKind,
        id: str,
        body: bytes | None,
        facets: Facets | None,
        before: Head | None,
        writer: str,
        term: Term = FOR_EVER,
        reason: Reason = Reason.DELETED,
    ) -> int:
        self.revision = revision = self.revision + 1
        written = self._written.get(writer)
        if written is None:
            written = self._written[writer] = Written(writer, self._now_ms)
        change = Change(revision, kind, id, body, facets, before, term, reason, written)
        self._latest[kind, id] = change
        self.changes.append(change)
        if self.touched:
            self.touched.pop((kind, id), None)
        return revision

    def _look_up(self, read: Read) -> Entry | None:
        planned = self._latest.get(read)
        if planned is None:
            return self._read(read.kind, read.id)
        if planned.body is None:
            return None
        return Entry(read.kind, read.id, planned.revision, planned.body, planned.written)

    def _spend(self, budget: int, entry: Entry) -> int:
        if entry.size > budget and budget < self._answer_bytes:  # the first read is answered in any case
            raise too_much_to_read(self._answer_bytes)
        return budget - entry.size

    def _undo(self, made: int, published: int, revision: int) -> None:
        del self.published[published:]
        if len(self.changes) > made:
            del self.changes[made:]
            self._latest = {(change.kind, change.id): change for change in self.changes}
        self.revision = revision


def lease_lost(hold: Hold, current: int) -> LeaseLostError:
    """Makes the error of who names a lease that is not held with this number; `current`: the number that holds it."""
    now = f"it is held with number {current}" if current else "nobody holds it"
    return LeaseLostError(
        f"the lease {hold.name!r} is not held with number {hold.number}: {now}",
        details={"name": hold.name, "number": hold.number, "current": current},
    )


def _expiry(ttl_ms: int) -> int:
    """Returns the UNIX time in milliseconds at which a TTL that begins now is over; 0 for none."""
    return _now_ms() + ttl_ms if ttl_ms else 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
