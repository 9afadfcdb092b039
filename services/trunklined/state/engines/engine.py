"""The port of every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from trunkline.errors import CompactedError
from trunkline.limits import MAX_FRAME_BYTES, MiB
from trunkline.records import RecordKind
from trunklined.state.planning import TransactionOutcome
from trunklined.state.records import Change, Entry, Facets, Head, Holdings, Page, Transaction

PAGE_BYTES: Final = 4 * MiB
"""Bodies of one page of a list; a page ends with the record that reaches it."""

ANSWER_BYTES: Final = MAX_FRAME_BYTES // 2
"""Bodies that the reads of one batch may return; those beyond it fail with OVERLOADED."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one group of transactions came to: an outcome for each, and the changes in order of revisions."""

    outcomes: list[TransactionOutcome]
    changes: Sequence[Change]


class Engine(Protocol):
    """Keeps records, and the last changes of them.

    Used from one event loop. Reads may run while a write does; they see what is committed. Every verb raises
    `StorageError` when what is kept cannot be read or trusted.
    """

    name: str

    async def open(self) -> None:
        """Opens what is kept, or makes it. Raises `StorageError` where it belongs to a newer version, is damaged or is
        held by another server; then nothing was altered."""

    async def close(self) -> None:
        """Gives back everything that is held; idempotent."""

    @property
    def holdings(self) -> Holdings:
        """What is committed."""

    async def read(self, kind: RecordKind, id: str) -> Entry | None:
        """One record."""

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """What is known of one record without its body."""

    async def page(self, kind: RecordKind, filter: Facets, after: str | None, limit: int) -> Page:
        """Records of one kind that match, in order of ids, from behind the id `after`; at most `limit`, and fewer where
        their bodies are large (but one at the least)."""

    async def changes(self, after: int, limit: int) -> list[Change]:
        """Changes behind a revision, in order; at most `limit`, and fewer where their bodies are large. Raises
        `CompactedError` where some of them are no longer kept."""

    async def write(self, transactions: Sequence[Transaction]) -> Commit:
        """Does transactions in order and makes them durable together; returns when they are. A transaction that fails
        does so alone. Never called while one runs.

        Raises:
            OverloadedError: there is no room on the disk. StorageError: the disk failed. Then none happened.
        """


def compacted(requested: int, oldest: int) -> CompactedError:
    """The error of a watch that wants to resume too far back."""
    return CompactedError(
        f"the changes after revision {requested} are not kept; the lowest that can be resumed after is {oldest}",
        details={"oldest": oldest, "requested": requested},
    )
