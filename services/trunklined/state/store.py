"""Store: gathers writes into commits, serves reads, and feeds watchers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import uuid4

import structlog

from trunkline.errors import (
    InternalError,
    InvalidRecordError,
    OverloadedError,
    StateDisconnectedError,
    StateError,
    StorageError,
)
from trunkline.records import RecordKind, invalid_record
from trunklined.relay.journal import Arrival, size_of
from trunklined.relay.outbox import OutboxRelay
from trunklined.state.engines.engine import Engine, News
from trunklined.state.leases import Leases
from trunklined.state.planning import TransactionOutcome
from trunklined.state.records import (
    Change,
    End,
    Entry,
    Facets,
    Head,
    Operation,
    Page,
    Put,
    Read,
    Reason,
    RecordKey,
    Result,
    Transaction,
    messages_of,
)
from trunklined.state.statistics import Counts
from trunklined.state.terms import Terms
from trunklined.state.watch import Event, Watchers, WatchFilter
from trunklined.state.write_queue import Done, Waiting, WriteQueue

log = structlog.get_logger()

ENDED_AT_ONCE: Final = 256
"""Records whose TTL has passed that are ended before the next ones are looked for."""
END_RETRY_SECONDS: Final = 1.0
"""A record that could not be ended, because the disk is full, is tried again after such a time."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """The bounds of writes that wait for a commit; beyond either, OVERLOADED."""

    max_waiting_writes: int
    max_waiting_bytes: int


class Store:
    """The domain of the StateService.

    Writes that arrive while a commit runs form the next commit: there is no timer, so a lone write does not wait, and
    many writes share the wait for the disk. Where more wait than one commit takes, each source has its turn; a source
    is a client, or whatever else shall not wait for all that others submit. What one source submits is done in order,
    and so is what is done to one record. While the store stops, writes raise `StateDisconnectedError`.

    Args:
        engine: keeps the records.
        watchers: are told what was committed.
        limits: of the writes that wait.
        relay: hands the messages of writes to the bus. None: writes carry no messages.
    """

    def __init__(
        self, engine: Engine, watchers: Watchers, limits: StoreLimits, relay: OutboxRelay | None = None
    ) -> None:
        self.engine = engine
        self.relay = relay
        self.watchers = watchers
        self.counts = Counts()
        self.terms = Terms()
        self.leases = Leases(self, self.terms, self.counts)
        self._limits = limits
        self._queue = WriteQueue()
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()
        self._committing = False
        self._committer: asyncio.Task[None] | None = None
        self._ender: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()
        """Set when something may end sooner than the ender waits."""
        self._stopping = False
        self.on_trouble: Callable[[StorageError | None], None] = lambda trouble: None
        """Called when the storage is away, and with None when it is back."""

    @property
    def waiting(self) -> int:
        """Number of operations that wait for a commit."""
        return self._queue.operations

    async def open(self) -> None:
        """Opens the engine, starts to commit writes, and to hand messages to the bus, and ends the records whose TTL
        passed meanwhile."""
        await self.engine.open(self)
        self.terms.load(await self.engine.terms())
        if self.relay is not None:
            self.relay.start()
        self._committer = asyncio.create_task(self._commit_forever(), name="state-committer")
        while await self._end_some():
            pass
        self._ender = asyncio.create_task(self._end_forever(), name="state-ender")

    async def drain(self, seconds: float) -> None:
        """Refuses new writes, ends the watches, and waits up to `seconds` for the submitted writes, and for a bus that
        is connected to take their messages."""
        self._stopping = True
        self.watchers.end(stopping)
        self.leases.end(stopping)
        try:
            async with asyncio.timeout(seconds):
                while self._queue or self._committing:
                    self._settled.clear()
                    await self._settled.wait()
                if self.relay is not None:
                    await self.relay.emptied()
        except TimeoutError:
            if self._queue or self._committing:
                log.warning("writes were left undone", waiting=self.waiting)

    async def close(self) -> None:
        """Fails the writes that still wait and closes the engine; idempotent."""
        self._stopping = True
        self.leases.end(stopping)
        tasks = {task for task in (self._committer, self._ender) if task is not None}
        self._committer = self._ender = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        while left := self._queue.take():
            self._settle_all(left, [stopping()] * len(left))
        if self.relay is not None:
            await self.relay.close()
        await self.engine.close()

    def submit(self, transaction: Transaction, size: int, done: Done, source: Hashable = None) -> None:
        """Submits a transaction; `done` is called with its outcome, in the order in which its source submits.

        Args:
            transaction: may be empty; then it is done when all transactions of its source before it are.
            size: bytes of its bodies and messages.
            done: must neither block nor raise.
            source: whose it is.

        Raises:
            OverloadedError: more than `StoreLimits` would wait, or the outbox would be full.
            InvalidRecordError: it carries messages, and there is no bus.
            StateDisconnectedError: the store is stopping.
        """
        if self._stopping:
            raise stopping()
        limits, queue = self._limits, self._queue
        if queue.operations + len(transaction) > limits.max_waiting_writes:
            raise _too_many("waiting_writes", limits.max_waiting_writes)
        if queue.bytes + size > limits.max_waiting_bytes and queue:
            raise _too_many("waiting_bytes", limits.max_waiting_bytes)
        messages = messages_of(transaction)
        if messages:
            if self.relay is None:
                raise _no_bus()
            self.engine.outbox.stock.take(messages)
        self._enqueue(source, transaction, size, messages, done)

    def _enqueue(
        self, source: Hashable, transaction: Transaction, size: int, messages: Sequence[Arrival], done: Done
    ) -> None:
        self._queue.put(source, transaction, size, messages, done)
        self._arrived.set()

    async def execute(self, operation: Operation, source: Hashable = None) -> Result:
        """Executes one operation as a transaction and returns its result; raises the `StateError` it failed with."""
        transaction = (operation,)
        outcome = await self.write(transaction, put_size(transaction), source)
        if isinstance(outcome, StateError):
            raise outcome
        return outcome[0]

    async def write(self, transaction: Transaction, size: int, source: Hashable = None) -> TransactionOutcome:
        """Submits a transaction and waits for its outcome; see `submit`."""
        future: asyncio.Future[TransactionOutcome] = asyncio.get_running_loop().create_future()

        def done(outcome: TransactionOutcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.submit(transaction, size, done, source)
        return await future

    def is_settled(self, kind: RecordKind, id: str) -> bool:
        """Returns whether no operation on this record is under way; then a read need not wait for earlier writes."""
        return self._queue.is_settled((kind, id))

    async def get(self, kind: RecordKind, id: str, source: Hashable = None) -> Entry | None:
        """Returns one record, or None, after all writes of it that were submitted before."""
        self.counts.gets += 1
        if not self.is_settled(kind, id):
            entry = await self.execute(Read(kind, id), source)
            return entry if isinstance(entry, Entry) else None
        return await self.engine.read(kind, id)

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """Returns one committed record without its body, or None."""
        return await self.engine.head(kind, id)

    async def extend(self, key: RecordKey, revision: int) -> float | None:
        """Begins the TTL of a record anew without a write; see `Engine.extend`."""
        return await self.engine.extend(key, revision)

    async def page(
        self, kind: RecordKind, filter: Facets, after: str | None, limit: int, source: Hashable = None
    ) -> Page:
        """Returns a page of records, after all writes that its source submitted before; see `Engine.page`."""
        self.counts.lists += 1
        if self._queue or self._committing:
            outcome = await self.write((), 0, source)
            if isinstance(outcome, StateError):
                raise outcome
        return await self.engine.page(kind, filter, after, limit)

    def watch(self, filter: WatchFilter, after: int | None) -> AsyncGenerator[Event, None]:
        """Watches records; see `Watchers.watch`."""
        return self.watchers.watch(filter, after)

    async def _end_forever(self) -> None:
        while True:
            self._sooner.clear()
            try:
                async with asyncio.timeout(self.terms.seconds_to_next()):
                    await self._sooner.wait()
            except TimeoutError:
                pass
            while await self._end_some():
                pass

    async def _end_some(self) -> bool:
        """Ends records whose TTL has passed; returns whether there were any. The end is a write like any other, and
        takes its place among them: what reached the store before it counts, what comes later finds no record."""
        due = self.terms.due(ENDED_AT_ONCE) if not self._stopping else []
        loop = asyncio.get_running_loop()
        ended: list[asyncio.Future[None]] = []
        for key, revision in due:
            future: asyncio.Future[None] = loop.create_future()
            ended.append(future)
            end = End(*key, revision, partial(self.terms.is_due, key, revision))
            self._enqueue(self, (end,), 0, (), partial(self._ended, key, future))
        if ended:
            await asyncio.wait(ended)
        return bool(due)

    def _ended(self, key: RecordKey, future: asyncio.Future[None], outcome: TransactionOutcome) -> None:
        # What was renewed meanwhile is looked at again when it is due; what failed, a little later.
        self.terms.retry(key, END_RETRY_SECONDS if isinstance(outcome, StateError) else 0.0)
        if not future.done():
            future.set_result(None)

    async def _commit_forever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                self._committing = True
                group = self._queue.take()
                outcomes: Sequence[TransactionOutcome] = [stopping()] * len(group)
                try:
                    outcomes = await self._commit(group)
                finally:  # also if it is cancelled: no caller waits for ever
                    self._committing = False
                    self._settle_all(group, outcomes)
                    self._settled.set()
                await asyncio.sleep(0)  # the answers leave first: clients work while the next commit is prepared

    async def _commit(self, group: Sequence[Waiting]) -> Sequence[TransactionOutcome]:
        started = time.perf_counter()
        transactions = [waiting.transaction for waiting in group]
        published: Sequence[Arrival] = ()
        try:
            commit = await self.engine.write(transactions, self.terms.bound)
            published = commit.published
        except StateError as error:
            log.error("a commit failed", error=error.message, transactions=len(transactions))
            return [error] * len(transactions)
        except Exception as error:  # no error may end the only committer
            error_id = uuid4().hex
            log.exception("a commit failed unexpectedly", error_id=error_id, error_type=type(error).__name__)
            unknown = InternalError("an unexpected error in the state service", details={"error_id": error_id})
            return [unknown] * len(transactions)
        finally:
            self._settle_messages(group, published)
        if commit.changes:
            self.counts.committed(time.perf_counter() - started)
            self._count(commit.changes)
        self.terms.correct(commit.not_ended)
        return commit.outcomes

    def heard(self, news: News) -> None:
        """Takes what was committed, by this replica or another; see `Listener`."""
        if self.terms.follow(news.changes, news.touched):
            self._sooner.set()
        self.watchers.publish(news.changes)
        self.leases.follow(news.changes)
        if news.published and self.relay is not None:
            self.relay.wake()

    def restarted(self, terms: Sequence[tuple[RecordKey, Head]]) -> None:
        """Starts anew where committed changes were lost; see `Listener`."""
        self.terms.clear()
        self.terms.load(terms)
        self._sooner.set()
        self.watchers.restart()
        self.leases.restart()

    def reachable(self, trouble: StorageError | None) -> None:
        """Tells who reports the health that the storage is away, or back; see `Listener`."""
        self.on_trouble(trouble)

    def _count(self, changes: Sequence[Change]) -> None:
        counts = self.counts
        for change in changes:
            if change.body is not None:
                counts.saves += 1
            elif change.reason is Reason.EXPIRED:
                counts.expired += 1
            elif change.reason is Reason.LEASE_ENDED:
                counts.ended_with_lease += 1
            else:
                counts.deletes += 1

    def _settle_messages(self, group: Iterable[Waiting], published: Sequence[Arrival]) -> None:
        """Counts the messages of a group no more that were not put into the outbox."""
        messages = [message for waiting in group for message in waiting.messages]
        if messages:
            stock = self.engine.outbox.stock
            stock.give_back(len(messages) - len(published), size_of(messages) - size_of(published))
            stock.keep(published)

    def _settle_all(self, group: Iterable[Waiting], outcomes: Sequence[TransactionOutcome]) -> None:
        for waiting, outcome in zip(group, outcomes, strict=True):
            self._queue.settle(waiting)
            try:
                waiting.done(outcome)
            except Exception:  # one caller's fault must not end the only committer
                log.exception("an outcome could not be told")


def stopping() -> StateDisconnectedError:
    """Makes the error of calls that arrive while the service shuts down."""
    return StateDisconnectedError("the state service is shutting down")


def put_size(transaction: Transaction) -> int:
    """Returns the bytes of a transaction's bodies and messages."""
    bodies = sum(len(operation.body) for operation in transaction if isinstance(operation, Put))
    return bodies + size_of(messages_of(transaction))


def _no_bus() -> InvalidRecordError:
    return invalid_record("publish", "is set, but this state service was given no bus (TRUNKLINE_STATE_BUS_ADDRESS)")


def _too_many(limit: str, maximum: int) -> OverloadedError:
    return OverloadedError(
        f"too much waits for the disk: over {maximum} {limit.replace('_', ' ')}; try again later",
        details={"limit": limit, "maximum": maximum},
    )
