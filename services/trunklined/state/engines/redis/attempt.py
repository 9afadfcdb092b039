"""Attempt: one plan of a group of transactions, and all that it relied on."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from trunkline.errors import StateError
from trunkline.records import RecordKind
from trunklined.relay.journal import Arrival
from trunklined.state.engines.redis.layout import believed, field_of, mark_of, tail_of
from trunklined.state.planning import Bound, Planner, TransactionOutcome
from trunklined.state.records import (
    Change,
    End,
    Entry,
    Head,
    History,
    Operation,
    Read,
    Reason,
    RecordKey,
    Transaction,
    Written,
)

BASE: Final = 2**63
"""Plans count revisions from here on: which ones they become is known when Redis has written them, and no caller can
expect one of these."""
_PLANNED: Final = re.compile(r"\b9223372036854\d{6}\b")

KNOWN_HEADS: Final = 65_536

_encode = msgspec.msgpack.Encoder().encode


class Heads:
    """The heads of records that were written or heard of last. One that is not known counts as absent: a plan that is
    wrong is refused, with the truth."""

    def __init__(self, size: int = KNOWN_HEADS) -> None:
        self._size = size
        self._heads: OrderedDict[RecordKey, Head] = OrderedDict()

    def get(self, key: RecordKey) -> Head | None:
        """Returns what is known of a record."""
        return self._heads.get(key)

    def learn(self, key: RecordKey, head: Head | None) -> None:
        """Takes what Redis said just now; None: there is no record."""
        self._heads.pop(key, None)
        if head is not None:
            self._heads[key] = head
            if len(self._heads) > self._size:
                self._heads.popitem(last=False)

    def hear(self, key: RecordKey, revision: int, head: Head | None) -> None:
        """Takes a change that was heard of, unless a later one is known."""
        known = self._heads.get(key)
        if known is None or known.revision <= revision:
            self.learn(key, head)

    def clear(self) -> None:
        """Forgets all."""
        self._heads.clear()


@dataclass(slots=True)
class Truth:
    """What Redis said while a group of transactions was tried, beside what was known before."""

    heads: dict[RecordKey, Head | None] = field(default_factory=dict)
    entries: dict[RecordKey, Entry | None] = field(default_factory=dict)
    """The records that the transactions read."""
    bound: dict[int, Collection[RecordKey]] = field(default_factory=dict)
    early: dict[RecordKey, float] = field(default_factory=dict)
    """Seconds until what is not due is due."""


class Attempt:
    """Plans transactions against what is known.

    Args:
        transactions: in order.
        heads: what is known.
        truth: what Redis said in the attempts before.
        bound: see `Bound`.
        answer_bytes: see `Planner`.
        base: the revision that the store must have; default: any.
    """

    def __init__(
        self,
        transactions: Sequence[Transaction],
        heads: Heads,
        truth: Truth,
        bound: Bound,
        answer_bytes: int,
        base: int = BASE,
    ) -> None:
        self._base = base
        self._heads = heads
        self._truth = truth
        self._bound = bound
        self._relied: dict[RecordKey, Head | None] = {}
        self.planner = Planner(base, self._head, self._read, answer_bytes, self._bound_now)
        self._outcomes = [self.planner.add(self._without_early(transaction)) for transaction in transactions]

    @property
    def is_known(self) -> bool:
        """Whether it changes nothing, and all that it relied on was read just now."""
        return not self.writes and self._relied.keys() <= self._truth.entries.keys()

    def foresees(self, revision: int) -> bool:
        """Returns whether somebody expected a revision above this one, and did not get it since those of the plan are
        not known yet."""
        return self._base == BASE and any(
            isinstance(outcome, StateError)
            and _PLANNED.search(outcome.message) is not None
            and any(revision < outcome.details.get(name, 0) < BASE for name in ("expected", "number"))
            for outcome in self._outcomes
        )

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return bool(self.planner.changes or self.planner.touched)

    @property
    def published(self) -> Sequence[Arrival]:
        """The messages of what succeeds."""
        return self.planner.published

    def relied_on(self, key: RecordKey, revision: int) -> bool:
        """Returns whether a record had this revision before the plan."""
        head = self._relied.get(key)
        return head is not None and head.revision == revision

    def packed(self, commit: int, floor: int, history: History, name: str) -> bytes:
        """Returns the argument of `COMMIT`."""
        changes: list[tuple[object, ...]] = []
        marks: dict[Written, msgspec.Raw] = {}
        ended: list[str] = []
        leases: list[tuple[int, int]] = []
        for change in self.planner.changes:
            field, reason = field_of((change.kind, change.id)), str(int(change.reason))
            mark = marks.get(change.written)
            if mark is None:
                mark = marks[change.written] = _raw(mark_of(change.written))
            if change.body is not None and change.facets is not None:
                tail, term = tail_of(change.facets, change.term, len(change.body)), change.term
                changes.append((field, _raw(change.body), _raw(tail), term.ttl_ms, term.lease, reason, mark))
                continue
            changes.append((field, False, "", 0, 0, reason, mark))
            if change.reason is Reason.EXPIRED:
                ended.append(field)
            if change.kind is RecordKind.LEASE and change.before is not None and change.before.revision <= self._base:
                number = change.before.revision
                members = [each for each in self._bound_now(number) if _is_bound(self._relied.get(each), number)]
                leases.append((number, len(members)))
        touched = [(field_of(key), head.term.ttl_ms) for key, head in self.planner.touched.items()]
        messages = [(_raw(_encode(each)), len(each.message)) for each in self.planner.published]
        return _encode(
            (
                commit,
                floor,
                -1 if self._base == BASE else self._base,
                history.changes,
                history.bytes,
                [field_of(key) for key in self._relied],
                [believed(head) for head in self._relied.values()],
                ended,
                leases,
                changes,
                touched,
                messages,
                name,
            )
        )

    def outcomes(self, first: int) -> list[TransactionOutcome]:
        """Returns the outcomes, now that the first revision is known."""
        return [_outcome(each, first) for each in self._outcomes]

    def learn(self, first: int) -> list[Change]:
        """Returns the changes as they were written, and takes note of them."""
        made = [_renumbered(change, first) for change in self.planner.changes]
        for change in made:
            head = None if change.facets is None else Head(change.revision, change.facets, change.term)
            self._heads.learn((change.kind, change.id), head)
        for key, touched in self.planner.touched.items():
            self._heads.learn(key, touched._replace(revision=_true(touched.revision, first)))
        return made

    def _head(self, key: RecordKey) -> Head | None:
        if key not in self._relied:
            truth = self._truth.heads
            self._relied[key] = truth[key] if key in truth else self._heads.get(key)
        return self._relied[key]

    def _read(self, kind: RecordKind, id: str) -> Entry | None:
        self._head((kind, id))
        return self._truth.entries[kind, id]

    def _bound_now(self, number: int) -> Collection[RecordKey]:
        found = self._truth.bound.get(number)
        return self._bound(number) if found is None else found

    def _without_early(self, transaction: Transaction) -> Transaction:
        early = self._truth.early
        if not early:
            return transaction
        return [_not_due(each) if isinstance(each, End) and each[:2] in early else each for each in transaction]


def _raw(content: bytes) -> msgspec.Raw:
    """Returns bytes as MessagePack's str: that of Redis 7 reads no bin."""
    return msgspec.Raw(b"\xdb" + len(content).to_bytes(4, "big") + content)


def _is_bound(head: Head | None, number: int) -> bool:
    return head is not None and head.term.lease == number


def _not_due(end: End) -> Operation:
    return end._replace(is_due=lambda: False)


def _true(revision: int, first: int) -> int:
    return revision - BASE - 1 + first if revision > BASE else revision


def _outcome(outcome: TransactionOutcome, first: int) -> TransactionOutcome:
    if isinstance(outcome, StateError):
        _mend(outcome, first)
        return outcome
    return [
        each._replace(revision=_true(each.revision, first))
        if isinstance(each, Entry)
        else _true(each, first)
        if each is not None
        else None
        for each in outcome
    ]


def _mend(error: StateError, first: int) -> None:
    """Gives an error that names a revision of the plan the true one."""
    if _PLANNED.search(error.message):
        error.message = _PLANNED.sub(lambda found: str(_true(int(found[0]), first)), error.message)
        error.args = (error.message,)
        error.details = {
            name: _true(value, first) if isinstance(value, int) else value for name, value in error.details.items()
        }


def _renumbered(change: Change, first: int) -> Change:
    before = change.before
    if before is not None and before.revision > BASE:
        before = before._replace(revision=_true(before.revision, first))
    return change._replace(revision=_true(change.revision, first), before=before)


def reads_of(transactions: Iterable[Transaction]) -> list[RecordKey]:
    """Returns the records that transactions read, each once."""
    reads = (each for transaction in transactions for each in transaction if isinstance(each, Read))
    return list(dict.fromkeys((each.kind, each.id) for each in reads))
