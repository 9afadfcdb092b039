"""What waits in a durable subscription, in order of sequences, a page at a time; and which of it somebody asks for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from trunkline.channels import matches
from trunkline.priority import MEDIUM_LEVEL
from trunklined.bus.durable.backlog import Backlog
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.pending import Pending
from trunklined.bus.message_batch import MessageBatch

PAGE_ROWS: Final = 128
PAGE_BYTES: Final = 128 * 1024
READ_BYTES: Final = 16 * 1024
"""What is looked at while others wait, where no message is read, and where each is: about two milliseconds."""
SPARSE_ROWS: Final = 4
"""The same for each of several sequences."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages that wait, of one batch."""

    batch: MessageBatch
    pending: Pending | None
    """What they wait for another attempt in; None: they were not handed out yet."""
    is_blocked: bool
    """They wait until others of their ordering key are done."""

    @property
    def attempts(self) -> int:
        """How often they were handed out before."""
        if self.pending is not None:
            return self.pending.attempts
        return self.batch.redriven.attempts if self.batch.redriven is not None else 0

    def part(self, start: int, stop: int) -> Waiting:
        """The messages from one index to before another."""
        if start == 0 and stop == len(self.batch.messages):
            return self
        return replace(self, batch=self.batch.part(start, stop))


@dataclass(frozen=True, slots=True)
class WaitingQuery:
    """Which waiting messages; what is None does not matter. `sequences` are in order."""

    sequences: tuple[int, ...] | None = None
    message_ids: frozenset[str] | None = None
    channel: str | None = None
    message_type: str | None = None
    sender_id: str | None = None
    correlation_id: str | None = None
    ordering_key: str | None = None
    since: float | None = None
    before: float | None = None

    def next_from(self, sequence: int) -> int | None:
        """The first sequence from one on that may match; None: there is none."""
        if self.sequences is None:
            return sequence
        index = bisect_left(self.sequences, sequence)
        return self.sequences[index] if index < len(self.sequences) else None

    def select(self, found: Iterable[Waiting], context: JournalContext) -> Iterator[Waiting]:
        """Yields what matches."""
        for each in found:
            batch = each.batch
            if (
                (self.channel is not None and not matches(self.channel, batch.channel))
                or (self.ordering_key is not None and batch.key != self.ordering_key)
                or (self.since is not None and batch.time < self.since)
                or (self.before is not None and batch.time >= self.before)
            ):
                continue
            if self.sequences is None and not self.reads_messages:
                yield each
                continue
            start = None
            for offset in range(len(batch.messages) + 1):
                wanted = offset < len(batch.messages) and self._matches(batch, offset, context)
                if wanted and start is None:
                    start = offset
                elif not wanted and start is not None:
                    yield each.part(start, offset)
                    start = None

    @property
    def reads_messages(self) -> bool:
        """Whether it asks for what a message itself says."""
        asked = self.message_ids, self.message_type, self.sender_id, self.correlation_id
        return any(each is not None for each in asked)

    def _matches(self, batch: MessageBatch, offset: int, context: JournalContext) -> bool:
        sequence = batch.first_sequence + offset
        if self.sequences is not None and self.next_from(sequence) != sequence:
            return False
        if not self.reads_messages:
            return True
        about = context.describe(batch.messages[offset])
        return (
            (self.message_ids is None or about.message_id in self.message_ids)
            and (self.message_type is None or about.message_type == self.message_type)
            and (self.sender_id is None or about.sender_id == self.sender_id)
            and (self.correlation_id is None or about.correlation_id == self.correlation_id)
        )


def waiting_from(
    backlog: Backlog, context: JournalContext, start: int, query: WaitingQuery
) -> tuple[list[Waiting], int | None]:
    """Returns what waits and matches from a sequence on, in order, as far as one page goes; and the sequence to go on
    at, None where there are no more. To be called while no commit runs."""
    first = query.next_from(start)
    if first is None:
        return [], None
    rows = PAGE_ROWS if query.sequences is None else SPARSE_ROWS
    page = _Page(first)
    _add_new(page, backlog, context, rows, READ_BYTES if query.reads_messages else PAGE_BYTES)
    _add_passed_over(page, backlog, context, rows)
    _add_retrying(page, backlog, context, rows)
    found = sorted(page.cut(), key=lambda each: each.batch.first_sequence)
    go_on = None if page.end is None else query.next_from(page.end)
    return list(query.select(found, context)), go_on


class _Page:
    """What several sources have from a sequence on, and up to where all of them were read."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.end: int | None = None
        self.found: list[Waiting] = []

    def read_to(self, end: int) -> None:
        """A source was read up to here, and goes on."""
        self.end = end if self.end is None else min(self.end, end)

    def cut(self) -> Iterator[Waiting]:
        """Yields what lies within."""
        for each in self.found:
            batch = each.batch
            start = max(0, self.first - batch.first_sequence)
            stop = (
                len(batch.messages) if self.end is None else min(len(batch.messages), self.end - batch.first_sequence)
            )
            if start < stop:
                yield each.part(start, stop)


def _add_new(page: _Page, backlog: Backlog, context: JournalContext, rows: int, size: int) -> None:
    keys = backlog.keys
    for level, cursor in enumerate(backlog.cursors):
        start = max(page.first, cursor.position)
        batches, read_to, at_end = context.engine.batches(backlog.channels, level, start, rows, size)
        if not at_end:
            page.read_to(read_to)
        for batch in batches:
            if backlog.delivers(batch):
                key = batch.key
                is_blocked = key is not None and (keys.start(key) > 0 or not keys.has_room(key))
                page.found += [Waiting(part, None, is_blocked) for part in backlog.uncancelled(batch)]


def _add_passed_over(page: _Page, backlog: Backlog, context: JournalContext, rows: int) -> None:
    before = backlog.cursors[MEDIUM_LEVEL].position
    start = max(page.first, backlog.keys.oldest_waiting(before))
    if start >= before:
        return
    batches = context.engine.with_keys(start, before, rows)
    if len(batches) == rows:
        page.read_to(batches[-1].end)
    for batch in batches:
        if batch.key is not None and backlog.keys.waits(batch.key, batch.first_sequence) and backlog.delivers(batch):
            page.found += [Waiting(part, None, True) for part in backlog.uncancelled(batch)]


def _add_retrying(page: _Page, backlog: Backlog, context: JournalContext, rows: int) -> None:
    found = context.engine.waiting_from(backlog.id, page.first, rows)
    if len(found) == rows:
        page.read_to(found[-1].sequence + found[-1].messages)
    for pending in backlog.pending_messages.waiting_between(found, page.first, page.end):
        page.found += [Waiting(batch, pending, False) for batch in backlog.messages_of(pending)]
