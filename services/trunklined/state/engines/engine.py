"""The port of every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from trunkline.errors import CompactedError, StorageError
from trunkline.limits import FRAME_BYTES, MAX_ANSWER_BYTES, MAX_BATCH_OPERATIONS
from trunkline.records import RecordKind
from trunklined.relay.journal import Arrival, Journal
from trunklined.state.planning import Bound, TransactionOutcome, none_bound
from trunklined.state.records import Change, Entry, Facets, Head, Holdings, Page, RecordKey, Transaction

OUTCOME_BYTES: Final = 64
"""What an item of an answer takes beside a body: tags, lengths, the revision, or an error without its text."""

ANSWER_BYTES: Final = MAX_ANSWER_BYTES - OUTCOME_BYTES * MAX_BATCH_OPERATIONS - FRAME_BYTES
"""Sizes of the records of one page of a list, and of those that the reads of one batch may return; the first one in any
case. With their envelopes, and what a stream sends in the same frame, they are below MAX_ANSWER_BYTES."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The result of a group of transactions: an outcome for each, the changes in order of revisions, and the messages
    that were put into the outbox. `not_ended`: records that should have ended and did not, with the revision that was
    to end and the seconds until it does; None: it is not there any more."""

    outcomes: list[TransactionOutcome]
    changes: Sequence[Change]
    published: Sequence[Arrival] = ()
    not_ended: Mapping[RecordKey, tuple[int, float | None]] = field(default_factory=dict)


class News(NamedTuple):
    """What was committed, by whomever: changes in order of revisions, records whose TTL began anew without a change,
    and whether messages were put into the outbox."""

    changes: Sequence[Change]
    touched: Mapping[RecordKey, Head]
    published: bool


class Listener(Protocol):
    """Who is told what an engine's replicas commit. Its methods neither block nor raise."""

    def heard(self, news: News) -> None:
        """Takes what was committed: each change once, in order, that of a `write` before it returns."""

    def restarted(self, terms: Sequence[tuple[RecordKey, Head]]) -> None:
        """Takes note that committed changes were lost: what was heard before is void. `terms`: see `Engine.terms`."""

    def reachable(self, trouble: StorageError | None) -> None:
        """Takes note that the storage is away, or back (None)."""


class _Silent:
    """A listener that listens to nothing."""

    def heard(self, news: News) -> None:
        """See `Listener`."""

    def restarted(self, terms: Sequence[tuple[RecordKey, Head]]) -> None:
        """See `Listener`."""

    def reachable(self, trouble: StorageError | None) -> None:
        """See `Listener`."""


SILENT: Final[Listener] = _Silent()


class Engine(Protocol):
    """Stores records and their latest changes.

    For one event loop. Reads may run during a write; they see committed data. Every method raises `StorageError` if
    the stored data cannot be read or trusted.
    """

    name: str
    reads_wait: bool
    """Whether a read waits for another machine: then others shall be under way with it."""

    @property
    def outbox(self) -> Journal:
        """The messages of writes that the bus does not have yet. Its steps may be called at any time."""

    async def open(self, listener: Listener = SILENT) -> None:
        """Opens the stored data, or creates an empty store. `listener` is told what is committed from then on.

        Raises:
            StorageError: the data is of a newer version, damaged, or held by another server; nothing was altered.
        """

    async def close(self) -> None:
        """Releases all resources; idempotent."""

    @property
    def holdings(self) -> Holdings:
        """The revisions and counts as the listener was told."""

    async def catch_up(self) -> None:
        """Returns when the listener was told all that was committed before, by whomever.

        Raises:
            StorageUnavailableError: that took too long.
        """

    async def read(self, kind: RecordKind, id: str) -> Entry | None:
        """Returns one record, or None."""

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """Returns one record without its body, or None."""

    async def page(self, kind: RecordKind, filter: Facets, after: str | None, limit: int) -> Page:
        """Returns the records of one kind that match, in order of ids, after the id `after`: at most `limit`, fewer
        where their bodies are large, at least one."""

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Returns the changes after a revision, in order: at most `limit`, fewer where their bodies are large.

        Raises:
            CompactedError: some of them are no longer stored.
        """

    async def terms(self) -> list[tuple[RecordKey, Head]]:
        """Returns the records that end by themselves: those with a TTL, leases, and those that are bound to one."""

    async def extend(self, key: RecordKey, revision: int) -> float | None:
        """Begins the TTL of a record anew, without a write, where others keep it too; returns its seconds. None: there
        is no record with this revision and a TTL."""

    async def write(self, transactions: Sequence[Transaction], bound: Bound = none_bound) -> Commit:
        """Applies transactions in order and makes them durable together. A transaction that fails does not fail the
        others; the messages of one that succeeds are put into the outbox with it. Never called while another call runs.
        `bound`: the records that end with a lease.

        Raises:
            OverloadedError: the disk is full; no transaction was applied.
            StorageError: the disk failed; no transaction was applied.
            StateDisconnectedError: whether they were applied is not known.
        """


def compacted(requested: int, oldest: int) -> CompactedError:
    """Makes the error of a watch that resumes after a revision whose later changes are not all stored."""
    return CompactedError(
        f"the changes after revision {requested} are not kept; the lowest that can be resumed after is {oldest}",
        details={"oldest": oldest, "requested": requested},
    )


def ttl_of(head: Head | None, revision: int) -> float | None:
    """Returns the TTL of a record with a revision, in seconds; None: there is no such record, or it has none."""
    if head is None or head.revision != revision or not head.term.ttl_ms:
        return None
    return head.term.ttl_ms / 1000
