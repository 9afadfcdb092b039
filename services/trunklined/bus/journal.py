"""Journal: stores messages, and all that durable subscriptions do, in commits that are shared by what arrives together.

While one commit waits for the disk, what arrives gathers for the next. What a commit made durable is answered, handed
to live subscribers and offered to durable ones when it is done, in the order in which it came.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from trunkline.channels import check_name, check_pattern, matches
from trunkline.errors import (
    CompactedError,
    OverloadedError,
    StorageError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
    TrunklineError,
)
from trunkline.lanes import LANES
from trunklined.bus.durable import Description, Desk, DurableSubscription, Settings
from trunklined.bus.engines.engine import Batch, ChannelRow, DeadLetter, DurableRow, Extent, HeldBack, JournalEngine
from trunklined.bus.interest import Interest
from trunklined.bus.requests import Correlated
from trunklined.bus.run import Redriven, Run
from trunklined.bus.staging import Staging
from trunklined.bus.window import Known, Window
from trunklined.rpc.histogram import Histogram

log = logging.getLogger(__name__)

COMMIT_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds, in seconds, of the buckets that durations of commits are counted in."""

RETRY_SECONDS: Final = 0.25
"""After a commit that failed, until the next is tried."""
TICK_SECONDS: Final = 1.0
"""How often expiry and retention are looked after."""
SWEPT_RUNS: Final = 256
RELEASED_MESSAGES: Final = 1_024
TIDIED_PAGES: Final = 1_024

Done = Callable[[TrunklineError | None], None]
"""Told how it went, when that is known."""


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """The journal's bounds; see `trunkline.limits`."""

    dedup_seconds: float
    dedup_messages: int
    max_waiting_publishes: int
    max_durable_subscriptions: int


@dataclass(slots=True)
class Publication:
    """The messages of one publish, checked and cut into runs."""

    channel: str
    runs: list[Run] = field(default_factory=list)
    correlated: list[Correlated] = field(default_factory=list)
    parts: list[Run | Known | HeldBack | Repeated] = field(default_factory=list)
    """Of a stored one, what its messages became, in order."""
    message_ids: list[list[str]] = field(default_factory=list)
    """Of a stored one, those of each run."""
    held_back: list[tuple[int, float, Run, str]] = field(default_factory=list)
    """Of a stored one: the message's index in `parts`, when it is due, the message, and its id."""
    done: Done | None = None
    time: float = 0.0

    @property
    def messages(self) -> int:
        """How many are to be stored."""
        return sum(len(run.messages) for run in self.runs) + len(self.held_back)


@dataclass(slots=True)
class Repeated:
    """A message whose id came before in the same publish."""

    first: Run
    offset: int


class ChannelState:
    """What the journal holds of one channel; as it will be when what is staged is durable."""

    __slots__ = ("bytes", "compacted", "compacted_time", "id", "messages", "name")

    def __init__(self, row: ChannelRow) -> None:
        self.id, self.name, self.compacted, self.compacted_time, self.messages, self.bytes = row

    def row(self) -> ChannelRow:
        """As it is kept."""
        return ChannelRow(self.id, self.name, self.compacted, self.compacted_time, self.messages, self.bytes)


@dataclass(slots=True)
class _Flight:
    """What one commit makes durable, beside what is staged."""

    staging: Staging
    publications: list[Publication | Callable[[], None]]
    batch: Batch
    removed: list[tuple[ChannelState, int, int]] = field(default_factory=list)
    begun: float = 0.0


class Journal:
    """Runs in one event loop; only the commit runs in a thread.

    Args:
        engine: what keeps it.
        limits: the bounds.
        clock: UNIX time in seconds.
        describe: what an encoded message says of itself.
        spread: hands what was stored to live subscribers.
        announce: tells of a dead letter, and how many there are.
    """

    def __init__(
        self,
        engine: JournalEngine,
        limits: JournalLimits,
        clock: Callable[[], float],
        describe: Callable[[bytes], Description],
        spread: Callable[[str, Sequence[Run], list[Correlated]], None],
        announce: Callable[[DeadLetter, int], None],
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.last_sequence = 0
        self.stored = 0
        self.duplicates = 0
        self.dead_letters = 0
        self.held_back = 0
        self.commit_latency = Histogram(COMMIT_BOUNDS)
        self.desk = Desk(engine, Staging(), clock, describe, self._want, self.kick)
        self.durables: dict[str, DurableSubscription] = {}
        self.channels: dict[str, ChannelState] = {}
        self.in_flight: Counter[str] = Counter()
        """Publications of each channel that are not durable yet."""
        self._limits = limits
        self._spread = spread
        self._announce = announce
        self._describe = describe
        self.window = Window(limits.dedup_seconds, limits.dedup_messages)
        self._interest: Interest[DurableSubscription] = Interest()
        self._by_id: dict[int, DurableSubscription] = {}
        self._last_durable = 0
        self._last_channel = 0
        self._last_dead_letter = 0
        self._last_time = 0.0
        self._publications: list[Publication | Callable[[], None]] = []
        self._waiting_messages = 0
        self._turns: dict[DurableSubscription, None] = {}
        self._flight: _Flight | None = None
        self._kicked = False
        self._gathering = False
        self._retry: asyncio.TimerHandle | None = None
        self._held_back_timer: asyncio.TimerHandle | None = None
        self._held_back_due: list[HeldBack] = []
        self._removals: list[tuple[ChannelState, Sequence[Extent]]] = []
        self._pool = ThreadPoolExecutor(1, "bus-commit")
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._trouble: TrunklineError | None = None
        self._swept_to_come: set[int] = set()

    # Life.

    def open(self) -> None:
        """Opens the engine and takes up what it holds."""
        contents = self.engine.open()
        self.last_sequence = contents.last_sequence
        self.desk.last_parcel = contents.last_parcel
        self._last_dead_letter = contents.last_dead_letter
        self.dead_letters = contents.dead_letters
        self.held_back = contents.held_back
        for channel in contents.channels:
            self.channels[channel.name] = ChannelState(channel)
            self._last_channel = max(self._last_channel, channel.id)
        now = self.clock()
        for run in self.engine.recent(now - self._limits.dedup_seconds, self._limits.dedup_messages):
            ids = [self._describe(message).message_id for message in run.messages]
            self.window.learn(ids, run.first_sequence, run.time)
            self._last_time = max(self._last_time, run.time)
        for row in contents.durables:
            durable = self._add(row)
            durable.load()
        self._arm_held_back()

    async def close(self) -> None:
        """Waits for what is staged to be durable, as far as that goes, and closes the engine."""
        self._closed = True
        for timer in (self._retry, self._held_back_timer):
            if timer is not None:
                timer.cancel()
        self._retry = None
        self.kick()
        await self.settled()
        for durable in self.durables.values():
            durable.end(None)
        await asyncio.to_thread(self._pool.shutdown)
        self.engine.close()

    async def settled(self) -> None:
        """Waits until nothing waits for a commit."""
        await self._idle.wait()

    # Publishing.

    def allot(self, messages: int) -> int:
        """The first of so many sequences."""
        first = self.last_sequence + 1
        self.last_sequence += messages
        return first

    def publish(self, publication: Publication, done: Done) -> None:
        """Stores the messages; `done` is told when they are durable, or why they were not stored.

        Raises:
            OverloadedError: too much waits for a commit.
        """
        messages = publication.messages
        if self._waiting_messages + messages > self._limits.max_waiting_publishes and self._waiting_messages:
            raise OverloadedError(
                f"{self._waiting_messages} messages wait for the journal's commit",
                details={"limit": "max_waiting_publishes", "maximum": self._limits.max_waiting_publishes},
            )
        now = self._last_time = max(self._last_time, self.clock())  # so that times rise with sequences
        publication.time = now
        publication.done = done
        for run, message_ids in zip(publication.runs, publication.message_ids, strict=True):
            run.first_sequence = self.allot(len(run.messages))
            run.time = now
            self.window.learn(message_ids, run.first_sequence, now)
        for index, due, run, message_id in publication.held_back:
            run.first_sequence = self.allot(1)
            run.time = now
            self.window.learn([message_id], run.first_sequence, now)
            publication.parts[index] = HeldBack(run.first_sequence, due, run)
        self._waiting_messages += messages
        self.in_flight[publication.channel] += 1
        self._publications.append(publication)
        self.kick()

    def follow(self, step: Callable[[], None]) -> None:
        """Does something behind what waits for a commit now."""
        self._publications.append(step)
        self.kick()

    # Durable subscriptions.

    def create(
        self, name: str, pattern: str, position: int | None, settings: Settings, *, given: bool, done: Done
    ) -> tuple[DurableSubscription, bool]:
        """Makes a durable subscription, or finds it; returns it, and whether it was made. `done` is told when it is
        durable.

        Args:
            position: first sequence that it looks at; None: what comes from now on.
            given: whether the settings were said, and must be those of one that is there.

        Raises:
            InvalidChannelError: the name or the pattern is malformed.
            SubscriptionExistsError: the name has another pattern or other settings.
            CompactedError: what follows the position was removed already.
            OverloadedError: too many durable subscriptions.
        """
        check_name("durable", name)
        check_pattern(pattern)
        found = self.durables.get(name)
        if found is not None:
            self._check_same(found, pattern, settings if given else None)
            self.follow(lambda: done(None))
            return found, False
        if len(self.durables) >= self._limits.max_durable_subscriptions:
            raise OverloadedError(
                f"{len(self.durables)} durable subscriptions exist already",
                details={
                    "limit": "max_durable_subscriptions",
                    "maximum": self._limits.max_durable_subscriptions,
                },
            )
        self.check_health()
        channels = self._channels_of(pattern)
        start = self.last_sequence + 1 if position is None else position
        self._last_durable += 1
        waiting = 0
        if position is not None:
            self._check_kept(position, channels)
            waiting = self.engine.count_from(channels, self._last_durable, position)
            waiting += self._in_flight_from(pattern, position)
        row = DurableRow(self._last_durable, name, pattern, *settings, self.clock(), (start,) * LANES, waiting, 0, 0, 0)
        durable = self._add(row)
        self.desk.staging.durables[durable.id] = durable
        self.desk.staging.after.append(lambda: done(None))
        self.kick()
        return durable, True

    def find(self, name: str) -> DurableSubscription:
        """One by its name. Raises SubscriptionNotFoundError."""
        durable = self.durables.get(name)
        if durable is None:
            raise SubscriptionNotFoundError(f"there is no durable subscription {name!r}", details={"durable": name})
        return durable

    def delete(self, name: str, done: Done) -> None:
        """Deletes one; its subscribers' streams end. Raises SubscriptionNotFoundError."""
        durable = self.find(name)
        self.check_health()
        del self.durables[name], self._by_id[durable.id]
        self._interest.remove(durable.pattern, durable)
        self._turns.pop(durable, None)
        durable.end(SubscriptionNotFoundError(f"durable subscription {name!r} was deleted", details={"durable": name}))
        staging = self.desk.staging
        staging.forget(durable.id)
        staging.durables.pop(durable.id, None)
        staging.deleted[durable.id] = None
        staging.after.append(lambda: done(None))
        self.kick()

    def seek(self, name: str, position: int | None, done: Done) -> DurableSubscription:
        """Moves one. Raises SubscriptionNotFoundError, CompactedError."""
        durable = self.find(name)
        self.check_health()
        waiting = 0
        if position is None:
            position = self.last_sequence + 1
        else:
            self._check_kept(position, durable.channels)
            waiting = self.engine.count_from(durable.channels, durable.id, position)
            waiting += self._in_flight_from(durable.pattern, position)
        durable.seek(position, waiting, lambda: done(None))
        return durable

    def position_of_time(self, pattern: str, at: float) -> int | None:
        """The first sequence taken at a time or later; None: there is none yet. Raises CompactedError."""
        channels = self._channels_of(pattern)
        names = self.channels if channels is None else channels
        gone = max((self.channels[name].compacted_time for name in names if name in self.channels), default=0.0)
        if at <= gone:
            oldest = self.oldest(pattern)
            raise CompactedError(
                f"what was taken at {at:.3f} (UNIX time) is not kept any more, the oldest is sequence {oldest}",
                details={"requested": f"{at:.3f}", "oldest": oldest},
            )
        return self.engine.sequence_at(at) or None

    def _add(self, row: DurableRow) -> DurableSubscription:
        durable = DurableSubscription(self.desk, row, self._channels_of(row.pattern))
        self.durables[row.name] = durable
        self._by_id[row.id] = durable
        self._last_durable = max(self._last_durable, row.id)
        self._interest.add(row.pattern, durable)
        return durable

    def _channels_of(self, pattern: str) -> list[str] | None:
        if pattern == ">":
            return None
        if "*" not in pattern and not pattern.endswith(">"):
            return [pattern]
        return [name for name in self.channels if matches(pattern, name)]

    def _check_same(self, found: DurableSubscription, pattern: str, settings: Settings | None) -> None:
        if found.pattern != pattern:
            raise SubscriptionExistsError(
                f"durable subscription {found.name!r} has the pattern {found.pattern!r}, not {pattern!r}",
                details={"durable": found.name, "pattern": pattern, "existing_pattern": found.pattern},
            )
        if settings is None:
            return
        for field_name, wanted, existing in zip(Settings._fields, settings, found.settings, strict=True):
            if wanted != existing:
                raise SubscriptionExistsError(
                    f"durable subscription {found.name!r} has {field_name} {existing:g}, not {wanted:g}",
                    details={
                        "durable": found.name,
                        "pattern": pattern,
                        "existing_pattern": found.pattern,
                        "field": field_name,
                        "value": f"{wanted:g}",
                        "existing_value": f"{existing:g}",
                    },
                )

    def _check_kept(self, position: int, channels: Sequence[str] | None) -> None:
        names = self.channels if channels is None else channels
        compacted = max((self.channels[name].compacted for name in names if name in self.channels), default=0)
        if position <= compacted:
            raise CompactedError(
                f"sequence {position} is not kept any more, the oldest is {compacted + 1}",
                details={"requested": position, "oldest": compacted + 1},
            )

    def oldest(self, pattern: str) -> int:
        """The first sequence that a durable subscription of a pattern can start at."""
        channels = self._channels_of(pattern)
        names = self.channels if channels is None else channels
        return 1 + max((self.channels[name].compacted for name in names if name in self.channels), default=0)

    def _in_flight_from(self, pattern: str, position: int) -> int:
        """Messages that are about to be stored: a new subscription that starts before them waits for them too."""
        flying = self._flight.publications if self._flight is not None else []
        return sum(
            max(0, run.end - max(run.first_sequence, position))
            for publication in flying
            if isinstance(publication, Publication) and matches(pattern, publication.channel)
            for run in publication.runs
        )

    # Dead letters.

    def redrive(self, letters: Sequence[tuple[DeadLetter, bytes]], done: Done) -> None:
        """Gives dead letters back to the subscriptions that they come from.

        Args:
            letters: each with its message as it is stored anew, without a TTL.
        """
        self.check_health()
        runs = []
        now = self._last_time = max(self._last_time, self.clock())
        for letter, message in letters:
            durable = self.durables[letter.durable]
            attempts = max((each.number for each in letter.attempts), default=0)
            run = Run(
                letter.channel,
                letter.lane,
                [message],
                len(message),
                None,
                self.allot(1),
                letter.key,
                now,
                Redriven(durable.id, attempts, letter.redrives + 1, letter.attempts),
            )
            runs.append(run)
            self.desk.staging.forgotten_letters[letter.id] = None
        by_channel: dict[str, Publication] = {}
        for run in runs:
            by_channel.setdefault(run.channel, Publication(run.channel, time=now)).runs.append(run)
        for publication in by_channel.values():
            self._waiting_messages += publication.messages
            self.in_flight[publication.channel] += 1
            self._publications.append(publication)
        count = len(letters)

        def redriven() -> None:
            self.dead_letters -= count
            done(None)

        self.desk.staging.after.append(redriven)
        self.kick()

    def purge(self, ids: Sequence[int], done: Done) -> None:
        """Removes dead letters for good."""
        self.check_health()
        self.desk.staging.forgotten_letters.update(dict.fromkeys(ids))

        def purged() -> None:
            self.dead_letters -= len(ids)
            done(None)

        self.desk.staging.after.append(purged)
        self.kick()

    def check_health(self) -> None:
        """Raises the error of the last commit, if it failed: what needs one need not begin."""
        if self._trouble is not None:
            raise self._trouble

    def after_commit(self, done: Done) -> None:
        """Tells when everything that is staged now is durable."""
        self.desk.staging.after.append(lambda: done(None))
        self.kick()

    # Commits.

    def _want(self, durable: DurableSubscription) -> None:
        self._turns[durable] = None
        self.kick()

    def kick(self) -> None:
        """Something arrived: a commit follows, once the one that runs is done."""
        if self._kicked or self._gathering or self._flight is not None or self._retry is not None:
            return
        self._kicked = True
        self._idle.clear()
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._kicked = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._gathering = True
        try:
            turns, self._turns = self._turns, {}
            now = self.clock()
            for durable in turns:
                try:
                    durable.pump(now)
                except TrunklineError:
                    log.exception("what waits for %r cannot be read", durable.name)
        finally:
            self._gathering = False
        if not self._publications and not self.desk.staging and not self._held_back_due and not self._removals:
            if self._turns:
                self.kick()
            else:
                self._idle.set()
            return
        flight = self._gather()
        self._flight = flight
        try:
            self.engine.apply(flight.batch)
        except TrunklineError as error:
            self._fail(error)
            return
        flight.begun = time.perf_counter()
        future = asyncio.get_running_loop().run_in_executor(self._pool, self.engine.commit)
        future.add_done_callback(self._finish)

    def _gather(self) -> _Flight:
        staging, self.desk.staging = self.desk.staging, Staging()
        publications, self._publications = self._publications, []
        batch = Batch()
        flight = _Flight(staging, publications, batch)
        self._release_held_back(flight)
        touched: dict[str, ChannelState] = {}
        for publication in flight.publications:
            if not isinstance(publication, Publication):
                continue
            batch.held_back += [part for part in publication.parts if isinstance(part, HeldBack)]
            for run in publication.runs:
                channel = self._channel(run.channel)
                touched[run.channel] = channel
                channel.messages += len(run.messages)
                channel.bytes += run.size
                batch.runs.append(run)
                for durable in self._durables_of(run):
                    durable.expect(run, len(run.messages))
        # What `expect` staged belongs to this commit.
        staging.durables.update(self.desk.staging.durables)
        self.desk.staging.durables.clear()
        for channel, extents in self._removals:
            for extent in extents:
                batch.removed.append(extent.first_sequence)
                flight.removed.append((channel, extent.messages, extent.size))
                channel.messages -= extent.messages
                channel.bytes -= extent.size
                channel.compacted = max(channel.compacted, extent.first_sequence + extent.messages - 1)
                channel.compacted_time = max(channel.compacted_time, extent.time)
            touched[channel.name] = channel
        self._removals = []
        for letter in staging.dead_letters:
            if not letter.id:
                self._last_dead_letter += 1
                letter.id = self._last_dead_letter
        staging.write(batch)
        batch.channels = [channel.row() for channel in touched.values()]
        batch.last_sequence = self.last_sequence
        return flight

    def _channel(self, name: str) -> ChannelState:
        channel = self.channels.get(name)
        if channel is None:
            self._last_channel += 1
            channel = self.channels[name] = ChannelState(ChannelRow(self._last_channel, name, 0, 0.0, 0, 0))
            for durable in self._interest.match(name):
                if durable.channels is not None and name not in durable.channels:
                    durable.channels.append(name)
        return channel

    def _durables_of(self, run: Run) -> Sequence[DurableSubscription]:
        if run.redriven is None:
            return self._interest.match(run.channel)
        durable = self._by_id.get(run.redriven.durable)
        return () if durable is None else (durable,)

    def _finish(self, future: asyncio.Future[None]) -> None:
        error = future.exception()
        if error is not None:
            if not isinstance(error, TrunklineError):
                log.error("the commit failed in a way that nobody foresaw", exc_info=error)
                error = StorageError(f"the journal's commit failed: {error}")
            self._fail(error)
            return
        flight = self._flight
        assert flight is not None
        self._flight = None
        self._trouble = None
        self.commit_latency.observe(time.perf_counter() - flight.begun)
        for publication in flight.publications:
            if isinstance(publication, Publication):
                self._deliver(publication)
            else:
                _call(publication)
        for letter in flight.staging.dead_letters:
            self.dead_letters += 1
            self._announce(letter, self.dead_letters)
        for step in flight.staging.after:
            _call(step)
        self._go_on()

    def _deliver(self, publication: Publication) -> None:
        """What was published is durable."""
        self._waiting_messages -= publication.messages
        self._leave_flight(publication)
        self.stored += publication.messages
        self.held_back += len(publication.held_back)
        live = [run for run in publication.runs if run.redriven is None]
        self._spread(publication.channel, live, publication.correlated)
        for run in publication.runs:
            for durable in self._durables_of(run):
                durable.offer(run)
        if publication.held_back:
            self._arm_held_back()
        if publication.done is not None:
            self.duplicates += sum(isinstance(part, Known | Repeated) for part in publication.parts)
            _call(publication.done, None)

    def _leave_flight(self, publication: Publication) -> None:
        self.in_flight[publication.channel] -= 1
        if not self.in_flight[publication.channel]:
            del self.in_flight[publication.channel]

    def _fail(self, error: TrunklineError) -> None:
        """A commit failed: what was to be stored is refused, all else is tried again."""
        flight = self._flight
        assert flight is not None
        self._flight = None
        self.engine.rollback()
        if self._trouble is None:
            log.error("the journal's commit failed: %s", error)
        self._trouble = error
        self._undo(flight)
        self.desk.staging.restage(flight.staging)
        # What gathered meanwhile may have been told that it is there already: it is refused too.
        gathered, self._publications = self._publications, []
        refused = []
        for publication in (*flight.publications, *gathered):
            if isinstance(publication, Publication):
                self._waiting_messages -= publication.messages
                self._leave_flight(publication)
                for message_ids in publication.message_ids:
                    self.window.forget(message_ids)
                self.window.forget([message_id for _, _, _, message_id in publication.held_back])
                if publication.done is not None:
                    refused.append(publication.done)
            else:
                _call(publication)
        for done in refused:
            _call(done, error)
        if self._closed:
            log.error("the journal is closed with changes that could not be written")
            self._idle.set()
        else:
            # Without what was to be stored there may be room for the rest.
            wait = 0.0 if refused and self.desk.staging else RETRY_SECONDS
            self._retry = asyncio.get_running_loop().call_later(wait, self._begin)

    def _undo(self, flight: _Flight) -> None:
        for publication in flight.publications:
            if isinstance(publication, Publication):
                for run in publication.runs:
                    channel = self.channels[run.channel]
                    channel.messages -= len(run.messages)
                    channel.bytes -= run.size
                    for durable in self._durables_of(run):
                        durable.expect(run, -len(run.messages))
        for channel, messages, size in flight.removed:
            channel.messages += messages
            channel.bytes += size

    def _go_on(self) -> None:
        if self._publications or self._turns or self.desk.staging or self._held_back_due or self._removals:
            self.kick()
        else:
            self._idle.set()

    # Later.

    def _arm_held_back(self) -> None:
        if self._held_back_timer is not None:
            self._held_back_timer.cancel()
            self._held_back_timer = None
        due = self.engine.next_held_back()
        if due is not None and not self._closed:
            loop = asyncio.get_running_loop()
            self._held_back_timer = loop.call_later(max(0.0, due - self.clock()) + 0.001, self._on_held_back)

    def _on_held_back(self) -> None:
        self._held_back_timer = None
        if self._flight is None:
            self._held_back_due = self.engine.held_back_until(self.clock(), RELEASED_MESSAGES)
            self.kick()
        else:  # what it releases may not be seen by a read that began before
            self.follow(self._on_held_back)

    def _release_held_back(self, flight: _Flight) -> None:
        """What is due takes its place in the order."""
        due, self._held_back_due = self._held_back_due, []
        if not due:
            return
        now = self._last_time = max(self._last_time, self.clock())
        by_channel: dict[str, Publication] = {}
        for held in due:
            flight.batch.released.append(held.sequence)
            if held.run.expires_at is not None and held.run.expires_at < now:
                log.warning("a message on %r expired while it was held back", held.run.channel)
            run = replace(held.run, first_sequence=self.allot(1), time=now)
            by_channel.setdefault(run.channel, Publication(run.channel, time=now)).runs.append(run)
        for publication in by_channel.values():
            self._waiting_messages += publication.messages
            self.in_flight[publication.channel] += 1
        flight.publications[:0] = by_channel.values()

        def released() -> None:
            self.held_back -= len(due)
            self.stored -= len(due)  # they were counted when they came
            self._arm_held_back()

        flight.staging.after.append(released)

    # Keeping house.

    def sweep(self) -> None:
        """Makes dead letters of what expired before it was handed out."""
        now = self.clock()
        for run in self.engine.expired(now, SWEPT_RUNS):
            if run.first_sequence in self._swept_to_come:
                continue
            self._swept_to_come.add(run.first_sequence)
            for durable in self._durables_of(run):
                durable.drop_expired(run)
            self.desk.staging.swept[run.first_sequence] = None
            sequence = run.first_sequence
            self.desk.staging.after.append(lambda sequence=sequence: self._swept_to_come.discard(sequence))  # type: ignore[misc]
        if self.desk.staging.swept:
            self.kick()

    def remove(self, channel: ChannelState, extents: Sequence[Extent]) -> None:
        """Removes runs with the next commit."""
        self._removals.append((channel, extents))
        self.kick()

    def first_needed(self, channel: str) -> list[int]:
        """For each lane, the first sequence of a channel that a durable subscription has not looked at."""
        needed = [self.last_sequence + 1] * LANES
        for durable in self._interest.match(channel):
            needed = [min(each, durable.needs(lane)) for lane, each in enumerate(needed)]
        return needed

    def listed(self) -> Iterator[DurableSubscription]:
        """All durable subscriptions, in order of their names."""
        return iter([self.durables[name] for name in sorted(self.durables)])


def _call(step: Callable[..., None], *words: object) -> None:
    """What is told of a commit fails alone."""
    try:
        step(*words)
    except Exception:
        log.exception("what followed a commit failed")
