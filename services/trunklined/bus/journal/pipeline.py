"""Pipeline: what is to be stored, from when it arrives through the commit that makes it durable to who waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from trunkline.errors import OverloadedError, TrunklineError
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.journal.channels import Channels
from trunklined.bus.journal.dedup_window import DedupWindow
from trunklined.bus.journal.delayed import DelayedMessages
from trunklined.bus.journal.durables import Durables
from trunklined.bus.journal.publication import Done, Publication
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.recent import EventKind
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated
from trunklined.bus.staging import Staging
from trunklined.bus.write_batch import WriteBatch

log = logging.getLogger(__name__)

Step = Callable[[], None]

COUNTED_AT_ONCE: Final = 64
"""Durable subscriptions whose rows one commit writes only because something was stored for them."""

ANNOUNCED_AT_ONCE: Final = 64
"""Dead letters that are told of in one turn of the event loop."""


@dataclass(slots=True)
class _Flight:
    """What the commit that runs makes durable."""

    staging: Staging = field(default_factory=Staging)
    entries: list[Publication | Step] = field(default_factory=list)


class Pipeline:
    """The work of the journal's commits; see `Work`. While one commit waits for the disk, what arrives gathers for the
    next; what a commit made durable is handed on in the order in which it came.

    Args:
        context: what is staged.
        sequencer: gives what is held back its place, when it is due.
        channels: what the journal holds of each channel.
        window: forgets the ids of what could not be stored.
        max_messages: how many messages may wait for a commit.
        spread: hands what was stored to live subscribers.
        announce: tells of a dead letter, and how many there are.
    """

    def __init__(
        self,
        context: JournalContext,
        sequencer: Sequencer,
        channels: Channels,
        window: DedupWindow,
        max_messages: int,
        fan_out: Callable[[str, Sequence[MessageBatch], list[Correlated]], None],
        announce: Callable[[DeadLetter, int], None],
    ) -> None:
        self.in_flight: Counter[str] = Counter()
        """Publications of each channel that are not durable yet."""
        self.leaving: set[int] = set()
        """Dead letters that are about to be redriven or purged, and are to be left alone by others."""
        self.stored = 0
        self.duplicates = 0
        self.dead_letters = 0
        """Dead letters that are kept now."""
        self.last_dead_letter = 0
        """The last number that was given to one."""
        self._context = context
        self._sequencer = sequencer
        self._channels = channels
        self._window = window
        self._max_messages = max_messages
        self._fan_out = fan_out
        self._announce = announce
        self._entries: list[Publication | Step] = []
        self._messages = 0
        """Messages that wait for a commit."""
        self._turns: dict[DurableSubscription, None] = {}
        self._between: deque[Step] = deque()
        """What is to be done while no commit runs; each gathering does one."""
        self._unannounced: deque[tuple[DeadLetter, int]] = deque()
        """Dead letters that nobody was told of yet, and how many there were then."""
        self._flight = _Flight()
        self._durables: Durables
        self._delayed: DelayedMessages
        self._tasks: Tasks

    def attach(self, durables: Durables, delayed: DelayedMessages, tasks: Tasks) -> None:
        """Names those who are offered what is stored, those who hold messages back, and those who keep the lives of
        some: they ask for commits too."""
        self._durables = durables
        self._delayed = delayed
        self._tasks = tasks

    def check_room(self, messages: int) -> None:
        """Raises OverloadedError where so many more may not wait for a commit."""
        if self._messages and self._messages + messages > self._max_messages:
            raise OverloadedError(
                f"{self._messages} messages wait for the journal's commit",
                details={"limit": "max_waiting_publishes", "maximum": self._max_messages},
            )

    def add(self, publication: Publication) -> None:
        """Stores a publication with the next commit."""
        self._entries.append(publication)
        self._take_off(publication)
        self._context.schedule()

    def follow(self, step: Step) -> None:
        """Does something behind what waits for a commit now."""
        self._entries.append(step)
        self._context.schedule()

    def between_commits(self, step: Step) -> None:
        """Does something that is short while no commit runs: what is not staged is as the engine says."""
        self._between.append(step)
        self._context.schedule()

    def request_turn(self, durable: DurableSubscription) -> None:
        """Lets a durable subscription hand out before the next commit."""
        self._turns[durable] = None
        self._context.schedule()

    def flying(self) -> Iterator[Publication]:
        """Yields the publications of the commit that runs."""
        return _stored(self._flight.entries)

    def coming(self) -> Iterator[Publication]:
        """Yields all publications that are not durable yet."""
        return _stored((*self._flight.entries, *self._entries))

    # What commits need.

    def gather(self) -> WriteBatch | None:
        """Lets durable subscriptions hand out, then takes everything that waits."""
        if self._between:
            _call(self._between.popleft())
        turns, self._turns = self._turns, {}
        now = self._context.clock()
        for durable in turns:
            try:
                durable.hand_out(now)
            except TrunklineError as error:
                log.exception("what waits for %r cannot be read", durable.name)
                durable.turn_away(error)
        if not (self._entries or self._context.staging or self._delayed.is_due):
            return None
        writes = WriteBatch()
        entries, self._entries = self._entries, []
        if self._delayed.is_due:
            for released in self._delayed.release(self._sequencer.allot, self._sequencer.now()):
                if self._tasks:
                    released.batches = [batch for batch in released.batches if self._takes_its_place(batch)]
                self._take_off(released)
                entries.append(released)
        for publication in _stored(entries):
            self._gather_publication(publication, writes)
        self._context.stage_uncounted(COUNTED_AT_ONCE)
        staging, self._context.staging = self._context.staging, Staging()
        self._flight = _Flight(staging, entries)
        for letter in staging.dead_letters:
            if not letter.id:
                self.last_dead_letter += 1
                letter.id = self.last_dead_letter
        staging.write(writes)
        writes.last_sequence = self._sequencer.last
        writes.last_durable = self._durables.last
        return writes

    def _takes_its_place(self, batch: MessageBatch) -> bool:
        message_id = self._context.describe(batch.messages[0]).message_id
        return self._tasks.release(message_id, batch.channel, batch.first_sequence)

    def _gather_publication(self, publication: Publication, writes: WriteBatch) -> None:
        writes.held_back += [part for part in publication.parts if isinstance(part, HeldBack)]
        writes.released += publication.released
        writes.forgotten_letters += publication.redriven
        writes.batches += publication.batches
        for batch in publication.batches:
            if batch.channel not in self._channels:
                self._channels.make(batch.channel)
                self._durables.learn(batch.channel)
            channel = self._channels[batch.channel]
            channel.add(batch)
            self._context.staging.channels[batch.channel] = channel
            for durable in self._durables.of(batch):
                durable.backlog.expect(batch, len(batch.messages))

    def landed(self) -> None:
        """Answers and hands on what the commit made durable."""
        flight, self._flight = self._flight, _Flight()
        batches: list[MessageBatch] = []
        for entry in flight.entries:
            if isinstance(entry, Publication):
                self._land(entry)
                batches += entry.batches
            else:
                _call(entry)
        for batch in sorted(batches, key=_first_sequence):  # what was held back may have come with others
            for durable in self._durables.of(batch):
                durable.offer(batch)
        for letter in flight.staging.dead_letters:
            self.dead_letters += 1
            self._unannounced.append((letter, self.dead_letters))
        if flight.staging.dead_letters:
            self._announce_some()
        for step in flight.staging.after:
            _call(step)

    def _announce_some(self) -> None:
        """Tells of dead letters, in order; many of them give others their turn."""
        waiting = self._unannounced
        for _ in range(min(ANNOUNCED_AT_ONCE, len(waiting))):
            _call(self._announce, *waiting.popleft())
        if waiting:
            asyncio.get_running_loop().call_soon(self._announce_some)

    def _land(self, publication: Publication) -> None:
        self._leave_flight(publication)
        self.dead_letters -= len(publication.redriven)
        self.leaving.difference_update(publication.redriven)
        live = [batch for batch in publication.batches if batch.redriven is None]
        for batch in publication.batches:
            self._context.recent.carry(batch, EventKind.STORED if batch.redriven is None else EventKind.REDRIVEN)
        if not publication.released:
            self.stored += publication.messages
            self.duplicates += publication.duplicates
        self._delayed.count += len(publication.held_back) - len(publication.released)
        if publication.held_back or publication.released:
            self._delayed.arm()
        if live:
            self._fan_out(publication.channel, live, publication.correlated)
        if publication.done is not None:
            _call(publication.done, None)

    def failed(self, error: TrunklineError) -> bool:
        """Refuses what was to be stored; all else is tried again."""
        flight, self._flight = self._flight, _Flight()
        for batch in (batch for publication in _stored(flight.entries) for batch in publication.batches):
            self._channels[batch.channel].take_back(batch)
            for durable in self._durables.of(batch):
                durable.backlog.expect(batch, -len(batch.messages))
        self._context.staging.restage(flight.staging)
        # What gathered meanwhile may have been told that it is there already: it is refused too.
        gathered, self._entries = self._entries, []
        entries = (*flight.entries, *gathered)
        self._entries = [each for each in entries if isinstance(each, Publication) and each.stays]
        refused = [self._refuse(each) for each in entries if not (isinstance(each, Publication) and each.stays)]
        for done in refused:
            if done is not None:
                _call(done, error)
        return any(done is not None for done in refused)

    def _refuse(self, entry: Publication | Step) -> Done | None:
        if not isinstance(entry, Publication):
            _call(entry)
            return None
        self._leave_flight(entry)
        for message_ids in entry.message_ids:
            self._window.forget(entry.channel, message_ids)
        self._window.forget(entry.channel, [message_id for _, _, _, message_id in entry.held_back])
        self.leaving.difference_update(entry.redriven)
        if entry.released:
            self._delayed.is_due = True
        return entry.done

    def waits(self) -> bool:
        """Returns whether there is something to gather."""
        return bool(self._entries or self._turns or self._between or self._context.staging or self._delayed.is_due)

    def _take_off(self, publication: Publication) -> None:
        self._messages += publication.messages
        self.in_flight[publication.channel] += 1

    def _leave_flight(self, publication: Publication) -> None:
        self._messages -= publication.messages
        self.in_flight[publication.channel] -= 1
        if not self.in_flight[publication.channel]:
            del self.in_flight[publication.channel]


def _stored(entries: Iterable[Publication | Step]) -> Iterator[Publication]:
    return (each for each in entries if isinstance(each, Publication))


def _first_sequence(batch: MessageBatch) -> int:
    return batch.first_sequence


def _call(step: Callable[..., None], *words: object) -> None:
    """What follows a commit fails alone."""
    try:
        step(*words)
    except Exception:
        log.exception("what followed a commit failed")
