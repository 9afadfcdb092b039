"""Journal: what is stored, for whom, and in which order; its parts put together.

Messages, and all that durable subscriptions do, are stored in commits that are shared by what arrives together; see
`Pipeline`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trunkline.errors import TrunklineError
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.description import MessageFormat
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.journal.channels import Channels
from trunklined.bus.journal.commits import Commits
from trunklined.bus.journal.counting import Counting
from trunklined.bus.journal.dedup_window import DedupWindow
from trunklined.bus.journal.delayed import DelayedMessages
from trunklined.bus.journal.durables import Durables
from trunklined.bus.journal.housekeeping import Housekeeping
from trunklined.bus.journal.letters import Letters
from trunklined.bus.journal.pipeline import Pipeline
from trunklined.bus.journal.publication import Done, Publication
from trunklined.bus.journal.retention import Retention, RetentionRule
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.journal.waiting_messages import WaitingMessages
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.recent import RecentEvents
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated
from trunklined.bus.staging import Staging
from trunklined.rpc.long_work import TimeSlice


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """The journal's bounds; see `trunkline.limits`."""

    dedup_seconds: float
    dedup_messages: int
    max_waiting_publishes: int
    max_durable_subscriptions: int
    max_tasks: int
    retention: tuple[RetentionRule, ...] = ()


@dataclass(frozen=True, slots=True)
class JournalStatistics:
    """Counts since the start, and what is held now; see `trunkline.BusStatistics`."""

    engine: str
    stored: int
    duplicates: int
    acked: int
    redelivered: int
    dead_lettered: int
    lost_to_limits: int
    durable_subscriptions: int
    dead_letters: int
    journal_messages: int
    journal_bytes: int
    journal_file_bytes: int
    held_back: int
    tasks: int


class Journal:
    """Runs in one event loop; only the commit runs in a thread.

    Args:
        engine: what keeps it.
        limits: the bounds.
        clock: UNIX time in seconds.
        format: what encoded messages say.
        spread: hands what was stored to live subscribers.
        announce: tells of a dead letter, and how many there are.
        recent: notes what happens to messages.
        sequencer: gives the messages their places; None: one of its own.
    """

    def __init__(
        self,
        engine: JournalEngine,
        limits: JournalLimits,
        clock: Callable[[], float],
        format: MessageFormat,
        fan_out: Callable[[str, Sequence[MessageBatch], list[Correlated]], None],
        announce: Callable[[DeadLetter, int], None],
        recent: RecentEvents,
        sequencer: Sequencer | None = None,
    ) -> None:
        self.engine = engine
        self.sequencer = sequencer or Sequencer(clock)
        self.channels = Channels()
        self.window = DedupWindow(limits.dedup_seconds, limits.dedup_messages)
        self._limits = limits
        self._format = format
        self._clock = clock
        self._context = JournalContext(
            engine, Staging(), clock, format.describe, self._schedule, lambda: self.sequencer.last, recent
        )
        self.tasks = Tasks(self._context, format.life, limits.max_tasks)
        self._pipeline = Pipeline(
            self._context,
            self.sequencer,
            self.channels,
            self.window,
            limits.max_waiting_publishes,
            fan_out,
            announce,
        )
        self.commits = Commits(engine, self._pipeline)
        self._counting = Counting(self._context, self._pipeline.follow)
        self.durables = Durables(
            self._context,
            self.channels,
            self.commits.check_health,
            self.sequencer,
            self._counting.want,
            self._pipeline.request_turn,
            limits.max_durable_subscriptions,
            self.tasks,
        )
        self._delayed = DelayedMessages(engine, clock, format.describe, self._schedule)
        self._pipeline.attach(self.durables, self._delayed, self.tasks)
        self.letters = Letters(
            self._context,
            self.sequencer,
            self.durables,
            self._pipeline,
            self.commits,
            format.without_ttl,
            self._counting,
        )
        self.waiting = WaitingMessages(
            self._context, self.sequencer, self.durables, self._pipeline, self.commits, self.tasks
        )
        retention = Retention(limits.retention, engine, self.channels, self.durables, limits.dedup_seconds)
        self._housekeeping = Housekeeping(
            self._context, self.commits, self._pipeline.follow, self.durables, self.channels, retention, self.tasks
        )
        self.in_flight = self._pipeline.in_flight
        """Publications of each channel that are not durable yet."""
        self.follow = self._pipeline.follow

    # Life.

    def open(self) -> None:
        """Opens the engine and takes up what it holds."""
        for _ in self._opening():
            pass

    async def open_beside_others(self) -> None:
        """Does the same, and gives others their turn in between. Nobody else may use the journal before it is done."""
        work = TimeSlice()
        for _ in self._opening():
            if work.is_over:
                await work.rest()

    def _opening(self) -> Iterator[None]:
        """Opens it step by step."""
        contents = self.engine.open()
        self.sequencer.load(contents.last_sequence)
        self._context.last_pending_id = contents.last_pending_id
        self._pipeline.last_dead_letter = contents.last_dead_letter
        self._pipeline.dead_letters = contents.dead_letters
        self._delayed.count = contents.held_back
        self.channels.load(contents.channels)
        # Time in which nothing could be stored does not count: who was cut off tries again now.
        now = self._clock()
        for batch in self.engine.recent(self._limits.dedup_seconds, self._limits.dedup_messages):
            ids = [self._format.describe(message).message_id for message in batch.messages]
            self.window.learn(batch.channel, ids, batch.first_sequence, batch.time, now)
            self.sequencer.load_time(batch.time)
            yield
        self.tasks.load(contents.tasks, contents.last_task, contents.task_count)
        yield from self.durables.load(contents.durables, contents.last_durable)
        self._delayed.arm()
        self._housekeeping.start()

    def stop_handing_out(self) -> None:
        """Hands out nothing more to durable subscribers; what they say of what they hold is still taken."""
        self._context.hands_out = False
        self.tasks.wake_all()

    async def close(self) -> None:
        """Waits for what is staged to be durable, as far as that goes, and closes the engine."""
        self._delayed.stop()
        self._housekeeping.stop()
        self._context.stage_uncounted(len(self.durables))
        await self._counting.close()
        await self.commits.close()
        for durable in self.durables:
            durable.end(None)
        self.engine.close()

    async def abandon(self) -> None:
        """Ends at once, with a journal that is another's by now: commits nothing, tells nobody anything, and closes the
        engine. Who waits for something is told by whoever calls this."""
        self._delayed.stop()
        self._housekeeping.stop()
        self._context.hands_out = False
        self.tasks.wake_all()
        for durable in self.durables:
            durable.end(None)
        await self._counting.close()
        await self.commits.abandon()
        await asyncio.to_thread(self.engine.close)

    # Publishing.

    def publish(self, publication: Publication, done: Done) -> None:
        """Stores the messages; `done` is called when they are durable, or with why they were not stored.

        Raises:
            OverloadedError: too much waits for a commit, or there was no room on the disk a moment ago.
            StorageError: the disk failed a moment ago.
        """
        self.commits.check_disk()
        self._pipeline.check_room(publication.messages)
        now = publication.time = self.sequencer.now()
        publication.done = done
        first = self.sequencer.last + 1
        for batch in publication.batches:
            batch.first_sequence = self.sequencer.allot(len(batch.messages))
            batch.time = now
        ids = [message_id for several in publication.message_ids for message_id in several]
        for index, due, batch, message_id in publication.held_back:
            batch.first_sequence = self.sequencer.allot(1)
            batch.time = now
            ids.append(message_id)
            publication.parts[index] = HeldBack(batch.first_sequence, due, batch)
        if ids:
            self.window.learn(publication.channel, ids, first, now, now)
        publication.batches = [row for batch in publication.batches for row in batch.rows()]
        self._pipeline.add(publication)

    def submit(self, publication: Publication, durable: DurableSubscription, id: str, keep: float, done: Done) -> None:
        """Stores one message as a task; `done` is called when that is durable, or with why it was not stored.

        Args:
            durable: which does it.
            id: of the message and of the task.
            keep: seconds that its life is kept after its end.

        Raises:
            OverloadedError, StorageError: as `publish`; OverloadedError: too many tasks are kept.
        """
        task = self.tasks.submit(id, publication.channel, durable.id, durable.name, keep)

        def settle(error: TrunklineError | None) -> None:
            if error is not None:
                self.tasks.forget(task)
            done(error)

        try:
            self.publish(publication, settle)
        except TrunklineError:
            self.tasks.forget(task)
            raise
        part = publication.parts[0]
        if isinstance(part, HeldBack):
            self.tasks.place(task, part.sequence, is_held_back=True)
        elif isinstance(part, MessageBatch):
            self.tasks.place(task, part.first_sequence, is_held_back=False)

    def after_commit(self, done: Done) -> None:
        """Calls `done` when everything that is staged now is durable."""
        self._context.staging.after.append(lambda: done(None))
        self._schedule()

    def position_of_time(self, pattern: str, time: float) -> int | None:
        """Returns the first sequence taken at a time or later; None: there is none yet. Raises CompactedError."""
        self.channels.check_kept_since(pattern, time)
        coming = (batch for publication in self._pipeline.coming() for batch in publication.batches)
        first = next((batch.first_sequence for batch in coming if batch.time >= time), None)
        return self.engine.sequence_at(time) or first

    def statistics(self) -> JournalStatistics:
        """Returns a snapshot; costs a walk over the channels."""
        context, pipeline = self._context, self._pipeline
        return JournalStatistics(
            engine=self.engine.name,
            stored=pipeline.stored,
            duplicates=pipeline.duplicates,
            acked=context.acked,
            redelivered=context.redelivered,
            dead_lettered=context.dead_lettered,
            lost_to_limits=context.lost_to_limits,
            durable_subscriptions=len(self.durables),
            dead_letters=pipeline.dead_letters,
            journal_messages=sum(channel.messages for channel in self.channels),
            journal_bytes=sum(channel.bytes for channel in self.channels),
            journal_file_bytes=self.engine.file_bytes(),
            held_back=self._delayed.count,
            tasks=self.tasks.count,
        )

    def _schedule(self) -> None:
        self.commits.schedule()
