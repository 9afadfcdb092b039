"""DurableSubscription: what one durable subscription has seen, what its subscribers hold, and what comes next.

It is a cursor for each lane and the exceptions to it. Everything below a lane's position was looked at; of that, what
is not done is in a parcel: leased to a subscriber, or waiting for another attempt. So what it remembers does not grow
with what waits in the journal, and a message that is acked leaves nothing behind.

Messages with an ordering key are handed out one at a time: while one of a key is in a parcel, the lane passes others of
that key over and notes that it did; when it is done, the next of that key is looked up in the journal. So a key is a
small cursor of its own.

What is handed out is made durable before it is sent: so a message that comes a second time says so, whatever was
killed.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from trunkline.errors import StaleAckError, TrunklineError
from trunkline.lanes import LANES, MEDIUM_LANE, Lanes
from trunkline.limits import FRAME_BYTES, MAX_LEASED_MESSAGES, UNSET_CREDIT_LEASES
from trunklined.bus.engines.engine import (
    AttemptRecord,
    DeadLetter,
    DurableRow,
    JournalEngine,
    ParcelRow,
    Reason,
)
from trunklined.bus.parcel import Parcel
from trunklined.bus.queue import Subscriber
from trunklined.bus.run import Run
from trunklined.bus.staging import Staging

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 256
PAGE_BYTES: Final = 1024 * 1024
"""What is read from the journal at once."""
KEPT_RUNS: Final = 1_024
"""Runs that are kept in memory, as they come, for subscribers that keep up; beyond it they are read when asked for."""
LOOKED_AT_ROWS: Final = 4_096
"""Runs that one turn looks at; then others have theirs."""
UNSENT_BYTES: Final = 4 * 1024 * 1024
"""What is handed out to one subscriber ahead of its stream."""
DUE_PARCELS: Final = 256
"""Parcels that are loaded at once when their time has come."""


class Settings(NamedTuple):
    """How it delivers; times in seconds."""

    ack_wait: float
    max_deliveries: int
    backoff_initial: float
    backoff_multiplier: float
    backoff_maximum: float

    def delay(self, attempt: int) -> float:
        """How long a message waits after an attempt, from 1."""
        if not self.backoff_initial:
            return 0.0
        try:
            return float(min(self.backoff_maximum, self.backoff_initial * self.backoff_multiplier ** (attempt - 1)))
        except OverflowError:
            return self.backoff_maximum


class Description(NamedTuple):
    """What an encoded message says of itself."""

    message_id: str
    message_type: str
    sender_id: str


@dataclass(slots=True)
class Desk:
    """What a durable subscription works with; one for all of them."""

    engine: JournalEngine
    staging: Staging
    clock: Callable[[], float]
    describe: Callable[[bytes], Description]
    want: Callable[[DurableSubscription], None]
    """Gives a subscription its turn: it may have something to hand out."""
    kick: Callable[[], None]
    """Something was staged."""
    last_parcel: int = 0
    redelivered: int = 0
    acked: int = 0
    dead_lettered: int = 0
    lost_to_limits: int = 0


@dataclass(slots=True)
class _Lane:
    index: int
    position: int
    """Below it, everything was looked at."""
    read_to: int = 0
    """`runs` has everything from `position` to here."""
    runs: deque[Run] = field(default_factory=deque)
    caught_up: bool = False
    """Nothing that is committed lies behind `read_to`."""
    bytes: int = 0

    def __post_init__(self) -> None:
        self.read_to = self.position

    def forget(self) -> None:
        self.runs.clear()
        self.bytes = 0
        self.read_to = self.position
        self.caught_up = False


@dataclass(slots=True)
class _Key:
    current: int
    """Sequence of its message that is not done."""
    skipped: bool = False
    """Others of it were passed over."""


class DurableSubscription:
    """Runs in the event loop; nothing in it waits.

    Args:
        desk: what it works with.
        row: as it was kept.
        channels: the channels that match its pattern; None: all. The caller adds to it when one is new.
    """

    def __init__(self, desk: Desk, row: DurableRow, channels: list[str] | None) -> None:
        self._desk = desk
        self.id = row.id
        self.name = row.name
        self.pattern = row.pattern
        self.settings = Settings(*row[3:8])
        self.created_at = row.created_at
        self.channels = channels
        self.waiting = row.waiting
        self.acked = row.acked
        self.redelivered = row.redelivered
        self.dead_lettered = row.dead_lettered
        self.retrying = 0
        self.subscribers: list[Subscriber] = []
        self.size = 0
        """Bytes that are handed out and wait for a stream."""
        self._lanes = [_Lane(index, position) for index, position in enumerate(row.positions)]
        self._held: dict[int, Parcel] = {}
        """What is leased, by sequence."""
        self._parcels: dict[int, Parcel] = {}
        """The parcels in memory, by id: leased, or ready."""
        self._ready: Lanes[Parcel] = Lanes()
        self._leases: dict[int, Parcel] = {}
        """Leased parcels by id, in order of their first deadline, which is as they were handed out."""
        self._long: list[tuple[float, int, Parcel]] = []
        """A heap of those that were extended beyond it."""
        self._extended: dict[int, float] = {}
        """Deadlines by sequence, of what was extended."""
        self._keys: dict[str, _Key] = {}
        self._due_at: float | None = None
        """When the earliest parcel that waits on disk is due; None: none waits."""
        self._unsent: dict[Subscriber, deque[Run]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._frozen = False
        """What is on disk is void until the next commit: it was moved."""
        self._ended = False
        self._looked_at = 0
        """Runs, in this turn."""

    def load(self) -> None:
        """Takes up what was open when the program ended. What was leased is leased anew: its holder may come back."""
        engine, now = self._desk.engine, self._desk.clock()
        for row in engine.leased(self.id):
            parcel = Parcel.of(row)
            parcel.peer, parcel.handed_out_at = "before a restart", now
            self._lease(parcel, now)
        busy, skipped = engine.busy_keys(self.id)
        self._keys = {key: _Key(sequence, key in skipped) for key, sequence in busy.items()}
        self.retrying = engine.retrying(self.id)
        self._due_at = engine.next_due(self.id)
        self._arm()

    # What it is.

    @property
    def group(self) -> str:
        """All who name it share it."""
        return self.name

    @property
    def count(self) -> int:
        """Messages that wait."""
        return self.waiting + self.retrying

    @property
    def can_answer(self) -> bool:
        """Whether somebody would answer a request; requests are not stored."""
        return False

    @property
    def leased(self) -> int:
        """Messages that are handed out and not settled."""
        return len(self._held)

    @property
    def next_sequence(self) -> int:
        """Of the medium lane, the first that it has not looked at."""
        return self._lanes[MEDIUM_LANE].position

    def row(self) -> DurableRow:
        """As it is kept."""
        return DurableRow(
            self.id,
            self.name,
            self.pattern,
            *self.settings,
            self.created_at,
            tuple(lane.position for lane in self._lanes),
            self.waiting,
            self.acked,
            self.redelivered,
            self.dead_lettered,
        )

    def parcel_row(self, parcel: Parcel) -> ParcelRow:
        """A parcel as it is kept."""
        if parcel.due is not None:
            return parcel.row(self.id, set(parcel.open))
        held = self._held
        return parcel.row(self.id, {sequence for sequence in parcel.open if held.get(sequence) is parcel})

    def needs(self, lane: int) -> int:
        """The first sequence of a lane that it has not looked at."""
        return self._lanes[lane].position

    # What comes from publishers, by way of the journal.

    def expect(self, run: Run, messages: int) -> None:
        """A run is about to be stored: so many messages of it (or, below 0, it was not after all)."""
        if run.first_sequence >= self._lanes[run.lane].position:
            self.waiting += messages
            self._desk.staging.durables[self.id] = self

    def offer(self, run: Run) -> None:
        """A run was stored."""
        lane = self._lanes[run.lane]
        if run.first_sequence < lane.read_to:
            return  # it was read already
        if not self.subscribers or len(lane.runs) >= KEPT_RUNS or lane.bytes >= PAGE_BYTES:
            lane.caught_up = False
        if not lane.caught_up:
            if self.subscribers:
                self._want()
            return
        lane.runs.append(run)
        lane.bytes += run.size
        lane.read_to = run.end
        self._want()

    def drop_expired(self, run: Run) -> None:
        """A run expired: what was not handed out of it becomes dead letters."""
        lane = self._lanes[run.lane]
        key = self._keys.get(run.key) if run.key is not None else None
        if key is not None and key.skipped and key.current < run.first_sequence < lane.position:
            first = run.first_sequence
        else:
            first = max(lane.position, run.first_sequence)
        if first >= run.end:
            return
        kept = [each for each in lane.runs if not run.first_sequence <= each.first_sequence < run.end]
        lane.runs = deque(kept)
        lane.bytes = sum(each.size for each in kept)
        self._expire_run(run.part(first - run.first_sequence, len(run.messages)))

    def _expire_run(self, run: Run) -> None:
        self.waiting -= len(run.messages)
        log, redrives = (run.redriven.log, run.redriven.redrives) if run.redriven else ((), 0)
        self._bury(run, Reason.EXPIRED, "its TTL was over before it was handed out", log, redrives)
        self._stage()

    # What comes from subscribers.

    def join(self, subscriber: Subscriber) -> None:
        """Lets a subscriber take from this one."""
        subscriber.queue = self
        self.subscribers.append(subscriber)
        self._unsent[subscriber] = deque()
        self._want()

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber. What it holds stays leased; what was not sent yet goes to others."""
        if subscriber not in self._unsent:
            return False
        self.subscribers.remove(subscriber)
        subscriber.queue = None
        for run in self._unsent.pop(subscriber):
            self.size -= run.size
            self._unsend(run)
        if not self.subscribers:
            for lane in self._lanes:
                lane.forget()
        else:
            self._want()
        return False

    def _unsend(self, run: Run) -> None:
        """A run that was handed out is not sent after all."""
        sequences = range(run.first_sequence, run.end)
        held = self._held
        self.release([each for each in sequences if each in held and held[each].attempts == run.attempt])

    def feed(self, subscriber: Subscriber) -> None:
        """Its appetite grew."""
        self._want()

    def take(self, subscriber: Subscriber, max_messages: int, now: float) -> Run | None:
        """The next run for a subscriber, of what is handed out to it: at most `max_messages` and FRAME_BYTES."""
        unsent = self._unsent.get(subscriber)
        if not unsent:
            return None
        run = unsent.popleft()
        fitting = _fitting(run, max_messages)
        if fitting < len(run.messages):
            run, rest = run.split(fitting)
            unsent.appendleft(rest)
        elif unsent and run.is_followed_by(unsent[0]):
            run = _joined(run, unsent, max_messages)
        if self.size >= UNSENT_BYTES:
            self._want()  # there may have been no room
        self.size -= run.size
        subscriber.delivered += len(run.messages)
        return run

    def tell_dropped(self) -> int:
        """Nothing is ever dropped."""
        return 0

    # Settling.

    def check(self, sequences: Iterable[int], attempt: int) -> list[StaleAckError]:
        """Why any of these messages cannot be settled by who was given them with that attempt."""
        held = self._held
        refused = []
        for sequence in sequences:
            parcel = held.get(sequence)
            if parcel is None or parcel.attempts != attempt:
                refused.append(self._stale(sequence, attempt, parcel))
        return refused

    def ack(self, sequences: Iterable[int]) -> None:
        """They are done. Here and below, `check` was asked before, and what it names left out."""
        count = 0
        for sequence in sequences:
            parcel = self._held[sequence]
            self._let_go(sequence, parcel)
            count += 1
            if not parcel.left:
                self._finish(parcel)
            else:
                self._desk.staging.touch(self, parcel)
        self.acked += count
        self._desk.acked += count
        self._settled()

    def nak(self, sequences: Iterable[int], delay: float | None, error: str) -> None:
        """They failed: they are handed out again after `delay` seconds, or as the backoff says."""
        now = self._desk.clock()
        for part in self._take_back(sequences):
            part.log = (*part.log, part.attempt(now, error))
            if part.attempts - part.base >= self.settings.max_deliveries:
                self._bury_parcel(part, Reason.MAX_DELIVERIES, error)
            else:
                wait = self.settings.delay(part.attempts - part.base) if delay is None else delay
                self._retry(part, now, wait)
        self._settled()

    def terminate(self, sequences: Iterable[int], reason: str) -> None:
        """They can never be done."""
        now = self._desk.clock()
        for part in self._take_back(sequences):
            part.log = (*part.log, part.attempt(now, reason))
            self._bury_parcel(part, Reason.TERMINATED, reason)
        self._settled()

    def extend(self, sequences: Iterable[int], lease: float | None) -> None:
        """They are still at work: the lease ends `lease` seconds from now, unset: its ack_wait."""
        deadline = self._desk.clock() + (self.settings.ack_wait if lease is None else lease)
        for sequence in sequences:
            self._extended[sequence] = deadline
            parcel = self._held[sequence]
            if deadline < parcel.deadline:
                heapq.heappush(self._long, (deadline, parcel.id, parcel))
        self._arm()

    def release(self, sequences: Iterable[int]) -> None:
        """They were not even started: no attempt is counted."""
        now = self._desk.clock()
        for part in self._take_back(sequences):
            part.attempts -= 1
            self._retry(part, now, 0.0)
        self._settled()

    def _let_go(self, sequence: int, parcel: Parcel) -> None:
        del self._held[sequence]
        parcel.left -= 1
        if self._extended:
            self._extended.pop(sequence, None)
        if parcel.holder is not None:
            parcel.holder.leased -= 1

    def _take_back(self, sequences: Iterable[int]) -> list[Parcel]:
        """Ends leases; returns the messages as parcels: whole ones as they are, parts as new ones."""
        parts: dict[int, tuple[Parcel, list[int]]] = {}
        for sequence in sequences:
            parcel = self._held[sequence]
            parts.setdefault(parcel.id, (parcel, []))[1].append(sequence)
            self._let_go(sequence, parcel)
        taken = []
        for parcel, open in parts.values():
            open.sort()
            if parcel.left:
                self._desk.staging.touch(self, parcel)
                part = self._new_parcel(open[0], open[-1] - open[0] + 1, parcel.lane)
                for name in ("attempts", "base", "key", "log", "redrives", "peer", "handed_out_at"):
                    setattr(part, name, getattr(parcel, name))
            else:
                part = parcel
                self._leases.pop(parcel.id, None)
            part.open, part.left, part.holder = open, len(open), None
            taken.append(part)
        return taken

    def _finish(self, parcel: Parcel) -> None:
        """A parcel is done."""
        del self._parcels[parcel.id]
        self._leases.pop(parcel.id, None)
        self._desk.staging.settle(parcel)
        if parcel.key is not None:
            self._go_on(parcel.key, parcel.sequence)

    def _retry(self, parcel: Parcel, now: float, wait: float) -> None:
        """A parcel waits for its next attempt: here if that is now, else on disk."""
        parcel.due = now + wait
        parcel.left = len(parcel.open)
        self.retrying += parcel.left
        self._parcels[parcel.id] = parcel
        self._desk.staging.touch(self, parcel)
        if not wait:
            self._ready.push(parcel.lane, parcel)
            return

        def wait_on_disk() -> None:
            if self._parcels.get(parcel.id) is parcel and parcel.due is not None:
                del self._parcels[parcel.id]
                self._due_at = parcel.due if self._due_at is None else min(self._due_at, parcel.due)
                self._arm()

        self._desk.staging.after.append(wait_on_disk)

    def _bury_parcel(self, parcel: Parcel, reason: Reason, error: str) -> None:
        """A parcel's messages become dead letters."""
        for run in self._read(parcel):
            self._bury(run, reason, error, parcel.log, parcel.redrives)
        self._parcels[parcel.id] = parcel
        self._finish(parcel)

    def _bury(
        self,
        run: Run,
        reason: Reason,
        error: str,
        attempts: tuple[AttemptRecord, ...],
        redrives: int,
    ) -> None:
        desk, now = self._desk, self._desk.clock()
        for offset, message in enumerate(run.messages):
            about = desk.describe(message)
            desk.staging.dead_letters.append(
                DeadLetter(
                    durable=self.name,
                    pattern=self.pattern,
                    channel=run.channel,
                    sequence=run.first_sequence + offset,
                    published_at=run.time,
                    dead_at=now,
                    reason=reason,
                    error=error,
                    attempts=attempts,
                    redrives=redrives,
                    message_id=about.message_id,
                    message_type=about.message_type,
                    sender_id=about.sender_id,
                    key=run.key,
                    lane=run.lane,
                    message=message,
                )
            )
        self.dead_lettered += len(run.messages)
        desk.dead_lettered += len(run.messages)

    def _go_on(self, key: str, done: int) -> None:
        """A message of an ordering key is done: the next that was passed over, if any, is ready."""
        state = self._keys.get(key)
        if state is None or state.current != done:
            return
        if state.skipped:
            now = self._desk.clock()
            for run in self._desk.engine.next_of_key(key, done, self._lanes[MEDIUM_LANE].position):
                if not self._is_for_us(run):
                    continue
                if run.expires_at is not None and run.expires_at < now:
                    self._expire_run(run)
                    continue
                self.waiting -= 1
                state.current = run.first_sequence
                parcel = self._new_parcel(run.first_sequence, 1, run.lane, run)
                self._retry(parcel, now, 0.0)
                return
            self._desk.staging.keys[self.id, key] = False
        del self._keys[key]

    def _is_for_us(self, run: Run) -> bool:
        if run.redriven is not None and run.redriven.durable != self.id:
            return False
        return self.channels is None or run.channel in self.channels

    def _stale(self, sequence: int, attempt: int, parcel: Parcel | None) -> StaleAckError:
        details = {"durable": self.name, "sequence": sequence, "attempt": attempt}
        if parcel is not None:
            why = "handed on" if attempt < parcel.attempts else "never handed out"
            details["current_attempt"] = parcel.attempts
        else:
            why = self._why_not_held(sequence, attempt)
        return StaleAckError(
            f"message {sequence} (attempt {attempt}) of {self.name!r} cannot be settled: {why}",
            details={**details, "why": why},
        )

    def _why_not_held(self, sequence: int, attempt: int) -> str:
        for parcel in self._parcels.values():
            if parcel.due is not None and sequence in parcel.open:
                return "lease expired" if attempt <= parcel.attempts else "never handed out"
        for row in self._desk.engine.parcels_at(self.id, sequence):
            if row.due is not None and (row.open is None or row.open[sequence - row.sequence]):
                return "lease expired" if attempt <= row.attempts else "never handed out"
        runs = self._desk.engine.messages(sequence, 1)
        if runs and not self._is_for_us(runs[0]):
            return "not deliverable"
        lane = runs[0].lane if runs else MEDIUM_LANE
        return "settled" if sequence < self._lanes[lane].position and attempt >= 1 else "never handed out"

    # Handing out.

    def pump(self, now: float) -> None:
        """Hands out what there is to who wants it: its turn before a commit."""
        if self._frozen or self._ended:
            return
        hungry = [each for each in self.subscribers if self._room(each) > 0]
        if not hungry:
            return
        if self._due_at is not None and self._due_at <= now and not self._ready.highest():
            self._load_due(now)
        # Whoever was served last comes last, and each takes no more than its share, so that all find something.
        hungry.sort(key=self._room, reverse=True)
        sent: list[tuple[Subscriber, Run, Parcel]] = []
        self._looked_at = 0
        left = self.count
        for index, subscriber in enumerate(hungry):
            share = max(1, -(-left // (len(hungry) - index)))
            given = self._give(subscriber, min(share, self._room(subscriber)), now, sent)
            left -= given
        if self._looked_at >= LOOKED_AT_ROWS:
            self._want()
        if sent or self._looked_at:
            self._stage()
        if sent:
            first = self.subscribers.index(hungry[0])
            self.subscribers.append(self.subscribers.pop(first))
            self._desk.staging.after.append(lambda: self._send(sent))
        self._arm()

    def _room(self, subscriber: Subscriber) -> int:
        if sum(run.size for run in self._unsent[subscriber]) >= UNSENT_BYTES:
            return 0
        room = UNSET_CREDIT_LEASES - subscriber.leased if subscriber.credit is None else subscriber.credit
        return min(room, MAX_LEASED_MESSAGES - len(self._held))

    def _give(self, subscriber: Subscriber, wanted: int, now: float, sent: list[tuple[Subscriber, Run, Parcel]]) -> int:
        given = size = 0
        while given < wanted and size < UNSENT_BYTES:
            found = self._next(wanted - given, now)
            if found is None:
                break
            parcel, runs = found
            parcel.holder, parcel.peer, parcel.handed_out_at, parcel.due = subscriber, subscriber.peer, now, None
            parcel.attempts += 1
            for run in runs:
                sent.append((subscriber, replace(run, attempt=parcel.attempts), parcel))
                size += run.size
            if parcel.attempts > 1:
                self.redelivered += parcel.left
                self._desk.redelivered += parcel.left
            self._lease(parcel, now)
            self._desk.staging.touch(self, parcel)
            subscriber.leased += parcel.left
            given += parcel.left
        if subscriber.credit is not None:
            subscriber.credit -= given
        return given

    def _lease(self, parcel: Parcel, now: float) -> None:
        parcel.deadline = now + self.settings.ack_wait
        self._parcels[parcel.id] = parcel
        self._leases[parcel.id] = parcel
        self._held.update(dict.fromkeys(parcel.open, parcel))

    def _next(self, count: int, now: float) -> tuple[Parcel, list[Run]] | None:
        """What is handed out next, at most `count` messages: the higher lane first, and of a lane what was tried."""
        for index in range(LANES - 1, -1, -1):
            found = self._next_ready(index, count, now) or self._next_new(self._lanes[index], count, now)
            if found is not None:
                return found
        return None

    def _next_ready(self, index: int, count: int, now: float) -> tuple[Parcel, list[Run]] | None:
        ready = self._ready.lane(index)
        while ready:
            parcel = ready[0]
            if len(parcel.open) > count:
                part = self._new_parcel(parcel.open[0], parcel.open[count - 1] - parcel.open[0] + 1, parcel.lane)
                for name in ("attempts", "base", "key", "log", "redrives"):
                    setattr(part, name, getattr(parcel, name))
                part.open, part.left = parcel.open[:count], count
                parcel.open = parcel.open[count:]
                parcel.left = len(parcel.open)
                self._desk.staging.touch(self, parcel)
                parcel = part
            else:
                ready.popleft()
            self.retrying -= parcel.left
            runs = self._read(parcel)
            expired = [run for run in runs if run.expires_at is not None and run.expires_at < now]
            if expired:
                self._parcels[parcel.id] = parcel
                self._bury_parcel(parcel, Reason.EXPIRED, "its TTL was over before the next attempt")
                continue
            kept = [sequence for run in runs for sequence in range(run.first_sequence, run.end)]
            if len(kept) < parcel.left:
                self._lose(parcel.left - len(kept))
                parcel.open, parcel.left = kept, len(kept)
            if not kept:
                self._parcels[parcel.id] = parcel
                self._finish(parcel)
                continue
            return parcel, runs
        return None

    def _next_new(self, lane: _Lane, count: int, now: float) -> tuple[Parcel, list[Run]] | None:
        while self._looked_at < LOOKED_AT_ROWS:
            if not lane.runs:
                if lane.caught_up or not self._fetch(lane):
                    return None
                continue
            self._looked_at += 1
            run = lane.runs.popleft()
            lane.bytes -= run.size
            if run.expires_at is not None and run.expires_at < now:
                lane.position = run.end
                self._expire_run(run)
                continue
            if run.key is not None:
                lane.position = run.end
                state = self._keys.get(run.key)
                if state is not None:
                    state.skipped = True
                    self._desk.staging.keys[self.id, run.key] = True
                    continue
                self._keys[run.key] = _Key(run.first_sequence)
            elif len(run.messages) > count:
                run, rest = run.split(count)
                lane.runs.appendleft(rest)
                lane.bytes += rest.size
            elif lane.runs and run.is_followed_by(lane.runs[0]):
                size = run.size
                run = _joined(run, lane.runs, count)
                lane.bytes -= run.size - size
            lane.position = run.end
            self.waiting -= len(run.messages)
            parcel = self._new_parcel(run.first_sequence, len(run.messages), lane.index, run)
            return parcel, [run]
        return None

    def _fetch(self, lane: _Lane) -> bool:
        """Reads on in the journal; False if there is nothing more."""
        runs, lane.read_to, at_end = self._desk.engine.runs(
            self.channels, lane.index, lane.read_to, PAGE_ROWS, PAGE_BYTES
        )
        lane.runs.extend(run for run in runs if run.redriven is None or run.redriven.durable == self.id)
        lane.bytes = sum(run.size for run in lane.runs)
        lane.caught_up = at_end
        if not lane.runs:
            lane.position = lane.read_to
            self._looked_at += PAGE_ROWS
        return bool(lane.runs) or not at_end

    def _new_parcel(self, sequence: int, count: int, lane: int, run: Run | None = None) -> Parcel:
        self._desk.last_parcel += 1
        if run is None:
            return Parcel(self._desk.last_parcel, sequence, count, lane)
        _, attempts, redrives, past = run.redriven or (0, 0, 0, ())
        return Parcel(
            self._desk.last_parcel,
            sequence,
            count,
            lane,
            attempts=attempts,
            base=attempts,
            key=run.key,
            log=past,
            redrives=redrives,
        )

    def _read(self, parcel: Parcel) -> list[Run]:
        """The messages of a parcel that are not settled, as runs without gaps."""
        open = set(parcel.open)
        found: list[Run] = []
        for run in self._desk.engine.messages(parcel.sequence, parcel.count):
            start = None
            for offset in range(len(run.messages) + 1):
                is_open = offset < len(run.messages) and run.first_sequence + offset in open
                if is_open and start is None:
                    start = offset
                elif not is_open and start is not None:
                    found.append(run.part(start, offset))
                    start = None
        return found

    def _send(self, sent: Sequence[tuple[Subscriber, Run, Parcel]]) -> None:
        """What was handed out is durable."""
        woken = set()
        for subscriber, run, parcel in sent:
            if self._parcels.get(parcel.id) is not parcel:
                continue  # it was moved meanwhile
            unsent = self._unsent.get(subscriber)
            if unsent is None:
                self._unsend(run)
                continue
            unsent.append(run)
            self.size += run.size
            woken.add(subscriber)
        for subscriber in woken:
            subscriber.wake(subscriber)
        if self._due_at is not None and not self._ready.highest():
            self._due_at = self._desk.engine.next_due(self.id)
            self._arm()

    # Time.

    def _load_due(self, now: float) -> None:
        in_memory = sum(
            1 for parcel in self._parcels.values() if parcel.due is not None or parcel.id not in self._leases
        )
        for row in self._desk.engine.due(self.id, now, DUE_PARCELS + in_memory + len(self._desk.staging.parcels)):
            if row.id not in self._parcels:
                parcel = Parcel.of(row)
                self._parcels[parcel.id] = parcel
                self._ready.push(parcel.lane, parcel)

    def _arm(self) -> None:
        """Sets the timer to what happens next."""
        times = []
        if self._leases:
            times.append(next(iter(self._leases.values())).deadline)
        if self._long:
            times.append(self._long[0][0])
        if self._due_at is not None and any(self._room(each) > 0 for each in self.subscribers):
            times.append(self._due_at)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if times and not self._ended:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, min(times) - self._desk.clock()) + 0.001, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._desk.clock()
        while self._leases:
            parcel = next(iter(self._leases.values()))
            if parcel.deadline > now:
                break
            del self._leases[parcel.id]
            self._expire_lease(parcel, now)
        while self._long and self._long[0][0] <= now:
            _, _, parcel = heapq.heappop(self._long)
            if self._parcels.get(parcel.id) is parcel and parcel.due is None:
                self._leases.pop(parcel.id, None)
                self._expire_lease(parcel, now)
        self._want()
        self._arm()

    def _expire_lease(self, parcel: Parcel, now: float) -> None:
        """Takes back what was not extended beyond now."""
        late = []
        goes_on = float("inf")
        for sequence in parcel.open:
            if self._held.get(sequence) is parcel:
                deadline = self._extended.get(sequence, parcel.deadline)
                if deadline <= now:
                    late.append(sequence)
                else:
                    goes_on = min(goes_on, deadline)
        if goes_on < float("inf"):
            heapq.heappush(self._long, (goes_on, parcel.id, parcel))
        for part in self._take_back(late):
            part.log = (*part.log, part.attempt(now, "lease expired"))
            if part.attempts - part.base >= self.settings.max_deliveries:
                self._bury_parcel(part, Reason.MAX_DELIVERIES, "lease expired")
            else:
                self._retry(part, now, 0.0)
        if late:
            self._settled()

    # Moving and ending.

    def seek(self, position: int, waiting: int, done: Callable[[], None]) -> None:
        """Moves every lane; what is leased or waits for another attempt is given up."""
        for subscriber in self.subscribers:
            subscriber.leased = 0
            self._unsent[subscriber].clear()
        self.size = 0
        for table in (self._held, self._parcels, self._leases, self._long, self._extended, self._keys):
            table.clear()
        self._ready.clear()
        self.retrying, self._due_at, self.waiting = 0, None, waiting
        for lane in self._lanes:
            lane.position = position
            lane.forget()
        self._frozen = True

        def thaw() -> None:
            self._frozen = False
            self._want()
            done()

        self._desk.staging.forget(self.id)
        self._desk.staging.wiped[self.id] = None
        self._desk.staging.after.append(thaw)
        self._stage()

    def end(self, error: TrunklineError | None) -> None:
        """It is no more, or the program ends; its subscribers are told the error, if there is one."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if error is not None:
            for subscriber in list(self.subscribers):
                if subscriber.end is not None:
                    subscriber.end(subscriber, error)

    def _lose(self, messages: int) -> None:
        self._desk.lost_to_limits += messages
        log.error("%d messages that %r still needed were removed by a hard limit", messages, self.name)

    def _want(self) -> None:
        if self.subscribers and not self._ended:
            self._desk.want(self)

    def _stage(self) -> None:
        self._desk.staging.durables[self.id] = self
        self._desk.kick()

    def _settled(self) -> None:
        self._stage()
        self._want()


def _fitting(run: Run, most: int) -> int:
    """How many messages of a run fit a frame, at most so many; at least one."""
    if run.size <= FRAME_BYTES:
        return min(most, len(run.messages))
    room = FRAME_BYTES
    for index, message in enumerate(run.messages[:most]):
        room -= len(message)
        if room < 0:
            return max(1, index)
    return min(most, len(run.messages))


def _joined(run: Run, others: deque[Run], most: int) -> Run:
    """A run with those that follow it without a gap, taken from others: at most so many messages, and FRAME_BYTES."""
    messages, size = list(run.messages), run.size
    last = run
    while others and last.is_followed_by(others[0]) and len(messages) + len(others[0].messages) <= most:
        if size + others[0].size > FRAME_BYTES:
            break
        last = others.popleft()
        messages += last.messages
        size += last.size
    joined = run.part(0, 0)
    joined.messages, joined.size = messages, size
    return joined
