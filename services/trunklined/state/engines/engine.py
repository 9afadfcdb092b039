"""The port of every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from trunkline.errors import CompactedError
from trunkline.limits import FRAME_BYTES, MAX_ANSWER_BYTES, MAX_BATCH_OPERATIONS
from trunkline.records import RecordKind
from trunklined.relay.journal import Arrival
from trunklined.relay.tables import TableJournal
from trunklined.state.planning import TransactionOutcome
from trunklined.state.records import Change, Entry, Facets, Head, Holdings, Page, Transaction

OUTCOME_BYTES: Final = 64
"""What an item of an answer takes beside a body: tags, lengths, the revision, or an error without its text."""

ANSWER_BYTES: Final = MAX_ANSWER_BYTES - OUTCOME_BYTES * MAX_BATCH_OPERATIONS - FRAME_BYTES
"""Bodies of one page of a list, and those that the reads of one batch may return; the first one in any case. With their
envelopes, and what a stream sends in the same frame, they are below MAX_ANSWER_BYTES."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The result of a group of transactions: an outcome for each, the changes in order of revisions, and the messages
    that were put into the outbox."""

    outcomes: list[TransactionOutcome]
    changes: Sequence[Change]
    published: Sequence[Arrival] = ()


class Engine(Protocol):
    """Stores records and their latest changes.

    For one event loop. Reads may run during a write; they see committed data. Every method raises `StorageError` if
    the stored data cannot be read or trusted.
    """

    name: str
    outbox: TableJournal
    """The messages of writes that the bus does not have yet. Its steps may be called at any time."""

    async def open(self) -> None:
        """Opens the stored data, or creates an empty store.

        Raises:
            StorageError: the data is of a newer version, damaged, or held by another server; nothing was altered.
        """

    async def close(self) -> None:
        """Releases all resources; idempotent."""

    @property
    def holdings(self) -> Holdings:
        """The committed revisions and counts."""

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

    async def write(self, transactions: Sequence[Transaction]) -> Commit:
        """Applies transactions in order and makes them durable together. A transaction that fails does not fail the
        others; the messages of one that succeeds are put into the outbox with it. Never called while another call runs.

        Raises:
            OverloadedError: the disk is full; no transaction was applied.
            StorageError: the disk failed; no transaction was applied.
        """


def compacted(requested: int, oldest: int) -> CompactedError:
    """Makes the error of a watch that resumes after a revision whose later changes are not all stored."""
    return CompactedError(
        f"the changes after revision {requested} are not kept; the lowest that can be resumed after is {oldest}",
        details={"oldest": oldest, "requested": requested},
    )
