"""Journal: stores messages, and all that durable subscriptions do, in commits that are shared by what arrives together.

While one commit waits for the disk, what arrives gathers for the next. What a commit made durable is answered, handed
to live subscribers and offered to durable ones when it is done, in the order in which it came.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from trunkline.channels import matches
from trunkline.errors import OverloadedError, TrunklineError
from trunklined.bus.batch import Batch
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.description import Description
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.journal.channels import Channels
from trunklined.bus.journal.commits import Commits
from trunklined.bus.journal.durables import Durables
from trunklined.bus.journal.housekeeping import Housekeeping
from trunklined.bus.journal.later import Later
from trunklined.bus.journal.publication import Done, Publication
from trunklined.bus.journal.retention import Retention, RetentionRule
from trunklined.bus.journal.window import Window
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated
from trunklined.bus.run import Redriven, Run
from trunklined.bus.staging import Staging

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """The journal's bounds; see `trunkline.limits`."""

    dedup_seconds: float
    dedup_messages: int
    max_waiting_publishes: int
    max_durable_subscriptions: int
    retention: tuple[RetentionRule, ...] = ()


@dataclass(slots=True)
class _Flight:
    """What the commit that runs makes durable."""

    staging: Staging = field(default_factory=Staging)
    publications: list[Publication | Callable[[], None]] = field(default_factory=list)


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
        self._limits = limits
        self._describe = describe
        self._spread = spread
        self._announce = announce
        self.commits = Commits(engine, self)
        self.context = JournalContext(engine, Staging(), clock, describe, self.commits.kick)
        self.channels = Channels()
        self.durables = Durables(
            self.context,
            self.channels,
            self.commits.check_health,
            lambda: self.last_sequence,
            self._waiting_from,
            self._want,
            limits.max_durable_subscriptions,
        )
        self.later = Later(engine, clock, describe, self.commits.kick)
        self.window = Window(limits.dedup_seconds, limits.dedup_messages)
        retention = Retention(limits.retention, engine, self.channels, self.durables, limits.dedup_seconds)
        self.housekeeping = Housekeeping(
            self.context, self.commits, self.follow, self.durables, self.channels, retention
        )
        self.in_flight: Counter[str] = Counter()
        """Publications of each channel that are not durable yet."""
        self.leaving: set[int] = set()
        """Dead letters that are about to be redriven or purged, and are to be left alone by others."""
        self._last_dead_letter = 0
        self._last_time = 0.0
        self._publications: list[Publication | Callable[[], None]] = []
        self._waiting_messages = 0
        self._turns: dict[DurableSubscription, None] = {}
        self._flight = _Flight()

    # Life.

    def open(self) -> None:
        """Opens the engine and takes up what it holds."""
        contents = self.engine.open()
        self.last_sequence = contents.last_sequence
        self.context.last_parcel = contents.last_parcel
        self._last_dead_letter = contents.last_dead_letter
        self.dead_letters = contents.dead_letters
        self.later.count = contents.held_back
        self.channels.load(contents.channels)
        # Time in which nothing could be stored does not count: whoever was cut off tries again now.
        now = self.clock()
        for run in self.engine.recent(self._limits.dedup_seconds, self._limits.dedup_messages):
            ids = [self._describe(message).message_id for message in run.messages]
            self.window.learn(ids, run.first_sequence, run.time, now)
            self._last_time = max(self._last_time, run.time)
        self.durables.load(contents.durables, contents.last_durable)
        self.later.arm()
        self.housekeeping.start()

    async def close(self) -> None:
        """Waits for what is staged to be durable, as far as that goes, and closes the engine."""
        self.later.stop()
        self.housekeeping.stop()
        await self.commits.close()
        for durable in self.durables:
            durable.end(None)
        self.engine.close()

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
        if self._waiting_messages and (
            self._waiting_messages + publication.messages > self._limits.max_waiting_publishes
        ):
            raise OverloadedError(
                f"{self._waiting_messages} messages wait for the journal's commit",
                details={"limit": "max_waiting_publishes", "maximum": self._limits.max_waiting_publishes},
            )
        now = publication.time = self._now()
        publication.done = done
        for run, message_ids in zip(publication.runs, publication.message_ids, strict=True):
            run.first_sequence = self.allot(len(run.messages))
            run.time = now
            self.window.learn(message_ids, run.first_sequence, now, now)
        for index, due, run, message_id in publication.held_back:
            run.first_sequence = self.allot(1)
            run.time = now
            self.window.learn([message_id], run.first_sequence, now, now)
            publication.parts[index] = HeldBack(run.first_sequence, due, run)
        self._publications.append(publication)
        self._take_off(publication)
        self.commits.kick()

    def follow(self, step: Callable[[], None]) -> None:
        """Does something behind what waits for a commit now."""
        self._publications.append(step)
        self.commits.kick()

    def after_commit(self, done: Done) -> None:
        """Tells when everything that is staged now is durable."""
        self.context.staging.after.append(lambda: done(None))
        self.commits.kick()

    def position_of_time(self, pattern: str, time: float) -> int | None:
        """The first sequence taken at a time or later; None: there is none yet. Raises CompactedError."""
        self.channels.check_kept_since(pattern, time)
        coming = (run for each in _stored((*self._flight.publications, *self._publications)) for run in each.runs)
        first = next((run.first_sequence for run in coming if run.time >= time), None)
        return self.engine.sequence_at(time) or first

    def _now(self) -> float:
        """Times rise with sequences."""
        self._last_time = max(self._last_time, self.clock())
        return self._last_time

    def _waiting_from(self, pattern: str, channels: Sequence[str] | None, id: int, position: int) -> int:
        """How many messages wait for a durable subscription from a sequence on. What a commit that runs stores may be
        seen in the engine or not, so it is counted here; what gathers for the next is counted when it is gathered."""
        flying = [run for publication in _stored(self._flight.publications) for run in publication.runs]
        landed = min((run.first_sequence for run in flying), default=self.last_sequence + 1)
        return self.engine.count_from(channels, id, position, landed) + sum(
            max(0, run.end - max(run.first_sequence, position))
            for run in flying
            if run.target == id or (run.target is None and matches(pattern, run.channel))
        )

    # Dead letters.

    def redrive(self, letters: Sequence[tuple[DeadLetter, bytes]], done: Done) -> None:
        """Gives dead letters back to the subscriptions that they come from.

        Args:
            letters: each with its message as it is stored anew, without a TTL.
        """
        publication = Publication("", done=done, time=self._now())
        for letter, message in letters:
            durable = self.durables.find(letter.durable)
            attempts = max((each.number for each in letter.attempts), default=0)
            publication.runs.append(
                Run(
                    letter.channel,
                    letter.lane,
                    [message],
                    len(message),
                    None,
                    self.allot(1),
                    letter.key,
                    publication.time,
                    Redriven(durable.id, attempts, letter.redrives + 1, letter.attempts),
                )
            )
            publication.redriven.append(letter.id)
            self.leaving.add(letter.id)
        self._publications.append(publication)
        self._take_off(publication)
        self.commits.kick()

    def purge(self, ids: Sequence[int], done: Done) -> None:
        """Removes dead letters for good."""
        self.context.staging.forgotten_letters.update(dict.fromkeys(ids))
        self.leaving.update(ids)

        def purged() -> None:
            self.dead_letters -= len(ids)
            self.leaving.difference_update(ids)
            done(None)

        self.context.staging.after.append(purged)
        self.commits.kick()

    # What commits need: see `Work`.

    def gather(self) -> Batch | None:
        """Lets durable subscriptions hand out, then takes everything that waits."""
        turns, self._turns = self._turns, {}
        now = self.clock()
        for durable in turns:
            try:
                durable.pump(now)
            except TrunklineError as error:
                log.exception("what waits for %r cannot be read", durable.name)
                durable.turn_away(error)
        if not (self._publications or self.context.staging or self.later.is_due):
            return None
        batch = Batch()
        publications, self._publications = self._publications, []
        if self.later.is_due:
            for released in self.later.release(self.allot, self._now()):
                self._take_off(released)
                publications.append(released)
        for publication in _stored(publications):
            self._gather_publication(publication, batch)
        staging, self.context.staging = self.context.staging, Staging()
        self._flight = _Flight(staging, publications)
        for letter in staging.dead_letters:
            if not letter.id:
                self._last_dead_letter += 1
                letter.id = self._last_dead_letter
        staging.write(batch)
        batch.last_sequence = self.last_sequence
        batch.last_durable = self.durables.last
        return batch

    def _gather_publication(self, publication: Publication, batch: Batch) -> None:
        batch.held_back += [part for part in publication.parts if isinstance(part, HeldBack)]
        batch.released += publication.released
        batch.forgotten_letters += publication.redriven
        batch.runs += publication.runs
        for run in publication.runs:
            if run.channel not in self.channels:
                self.channels.make(run.channel)
                self.durables.learn(run.channel)
            channel = self.channels[run.channel]
            channel.add(run)
            self.context.staging.channels[run.channel] = channel
            for durable in self.durables.of(run):
                durable.backlog.expect(run, len(run.messages))

    def landed(self) -> None:
        """What was gathered last is durable: it is answered and handed on."""
        flight, self._flight = self._flight, _Flight()
        runs: list[Run] = []
        for publication in flight.publications:
            if isinstance(publication, Publication):
                self._land(publication)
                runs += publication.runs
            else:
                _call(publication)
        for run in sorted(runs, key=_first_sequence):  # what was held back may have come with others
            for durable in self.durables.of(run):
                durable.offer(run)
        for letter in flight.staging.dead_letters:
            self.dead_letters += 1
            self._announce(letter, self.dead_letters)
        for step in flight.staging.after:
            _call(step)

    def _land(self, publication: Publication) -> None:
        self._leave_flight(publication)
        self.dead_letters -= len(publication.redriven)
        self.leaving.difference_update(publication.redriven)
        live = [run for run in publication.runs if run.redriven is None]
        if not publication.released:
            self.stored += publication.messages
            self.duplicates += publication.duplicates
        self.later.count += len(publication.held_back) - len(publication.released)
        if publication.held_back or publication.released:
            self.later.arm()
        if live:
            self._spread(publication.channel, live, publication.correlated)
        if publication.done is not None:
            _call(publication.done, None)

    def failed(self, error: TrunklineError) -> bool:
        """What was to be stored is refused, all else is tried again."""
        flight, self._flight = self._flight, _Flight()
        for run in (run for publication in _stored(flight.publications) for run in publication.runs):
            self.channels[run.channel].take_back(run)
            for durable in self.durables.of(run):
                durable.backlog.expect(run, -len(run.messages))
        self.context.staging.restage(flight.staging)
        # What gathered meanwhile may have been told that it is there already: it is refused too.
        gathered, self._publications = self._publications, []
        refused = [self._refuse(each) for each in (*flight.publications, *gathered)]
        for done in refused:
            if done is not None:
                _call(done, error)
        return any(done is not None for done in refused)

    def _refuse(self, publication: Publication | Callable[[], None]) -> Done | None:
        if not isinstance(publication, Publication):
            _call(publication)
            return None
        self._leave_flight(publication)
        for message_ids in publication.message_ids:
            self.window.forget(message_ids)
        self.window.forget([message_id for _, _, _, message_id in publication.held_back])
        self.leaving.difference_update(publication.redriven)
        if publication.released:
            self.later.is_due = True
        return publication.done

    def waits(self) -> bool:
        """Whether there is something to gather."""
        return bool(self._publications or self._turns or self.context.staging or self.later.is_due)

    def _want(self, durable: DurableSubscription) -> None:
        self._turns[durable] = None
        self.commits.kick()

    def _take_off(self, publication: Publication) -> None:
        self._waiting_messages += publication.messages
        self.in_flight[publication.channel] += 1

    def _leave_flight(self, publication: Publication) -> None:
        self._waiting_messages -= publication.messages
        self.in_flight[publication.channel] -= 1
        if not self.in_flight[publication.channel]:
            del self.in_flight[publication.channel]


def _stored(publications: Iterable[Publication | Callable[[], None]]) -> Iterator[Publication]:
    return (each for each in publications if isinstance(each, Publication))


def _first_sequence(run: Run) -> int:
    return run.first_sequence


def _call(step: Callable[..., None], *words: object) -> None:
    """What is told of a commit fails alone."""
    try:
        step(*words)
    except Exception:
        log.exception("what followed a commit failed")
