"""Leases: names that one holder at a time has, for as long as it renews them.

A lease is a record of the kind LEASE: it is taken by a save where there is none, and its fencing number is the revision
of that save. So numbers rise for ever, and what holds for records holds for leases: durability, history, watches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from trunkline.errors import LeaseHeldError, OverloadedError, RevisionMismatchError, StateError
from trunkline.limits import MAX_LEASE_WAITERS
from trunkline.records import RecordKind
from trunklined.state.planning import TransactionOutcome, lease_lost
from trunklined.state.records import Change, Drop, Facets, Head, Hold, Put, Read, RecordKey, Transaction
from trunklined.state.statistics import Counts
from trunklined.state.terms import Terms

LEASE: Final = RecordKind.LEASE


class Writes(Protocol):
    """What leases need of a store."""

    def submit(self, transaction: Transaction, size: int, done: Callable[[TransactionOutcome], None]) -> None:
        """See `Store.submit`."""

    async def write(self, transaction: Transaction, size: int) -> TransactionOutcome:
        """See `Store.write`."""

    def is_settled(self, kind: RecordKind, id: str) -> bool:
        """See `Store.is_settled`."""

    async def head(self, kind: RecordKind, id: str) -> Head | None:
        """Returns a committed record without its body, or None."""

    async def extend(self, key: RecordKey, revision: int) -> float | None:
        """See `Engine.extend`."""


def to_release(hold: Hold, writer: str) -> Transaction:
    """Returns what ends a lease; see `released`. `writer`: who releases it."""
    return (Drop(LEASE, hold.name, hold.number, writer=writer),)


def released(hold: Hold, outcome: TransactionOutcome) -> int:
    """Returns the revision of a lease's end, from the outcome of `to_release`. Raises `LeaseLostError`."""
    if isinstance(outcome, RevisionMismatchError):
        raise lease_lost(hold, outcome.details["actual"])
    if isinstance(outcome, StateError):
        raise outcome
    revision = outcome[0]
    assert isinstance(revision, int)
    return revision


class Leases:
    """Takes, renews and releases leases, and lets callers wait for one.

    Args:
        writes: the store.
        terms: what it knows about deadlines.
        counts: the store's.
    """

    def __init__(self, writes: Writes, terms: Terms, counts: Counts) -> None:
        self._writes = writes
        self._terms = terms
        self._counts = counts
        self._waiters: dict[str, deque[asyncio.Future[None]]] = {}
        self._ended: Callable[[], StateError] | None = None
        self.waiting = 0
        """Number of callers that wait for a lease."""

    async def acquire(self, name: str, holder: str, body: bytes, ttl_ms: int, wait: float, writer: str = "") -> int:
        """Takes a lease; returns its number.

        Args:
            name: of the lease.
            holder: who takes it, for people.
            body: the encoded lease.
            ttl_ms: it ends so many milliseconds after its last renewal.
            wait: seconds to wait for whoever holds it. A caller that is cancelled takes nothing.
            writer: who calls.

        Raises:
            LeaseHeldError: another holds it.
            OverloadedError: too many wait.
        """
        put = Put(LEASE, name, body, Facets(agent_id=holder), 0, ttl_ms=ttl_ms, writer=writer)
        deadline = asyncio.get_running_loop().time() + wait
        is_first = True
        while True:
            try:
                number = await self._take(put)
            except RevisionMismatchError as error:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0 or not await self._until_ended(name, left, is_first):
                    raise (await self._held(name, error.details["actual"])) from None
                is_first = False
            except StateError:
                if not is_first:
                    self._wake(name)  # it was this caller's turn, and may be another's
                raise
            else:
                self._counts.leases_acquired += 1
                return number

    async def renew(self, hold: Hold) -> float:
        """Begins the TTL of a lease anew; returns its seconds. Raises `LeaseLostError`."""
        while not self._writes.is_settled(LEASE, hold.name):  # one order: what came before is done first
            outcome = await self._writes.write((Read(LEASE, hold.name),), 0)
            if isinstance(outcome, StateError):
                raise outcome
        seconds = await self._writes.extend((LEASE, hold.name), hold.number)
        if seconds is None:
            head = await self._writes.head(LEASE, hold.name)
            raise lease_lost(hold, 0 if head is None else head.revision)
        self._terms.extend((LEASE, hold.name), hold.number)
        self._counts.lease_renewals += 1
        return seconds

    async def release(self, hold: Hold, writer: str = "") -> int:
        """Ends a lease and all that is bound to it; returns the revision of its end. Raises `LeaseLostError`."""
        return released(hold, await self._writes.write(to_release(hold, writer), 0))

    def remaining(self, name: str) -> float:
        """Returns the seconds until a lease ends unless it is renewed; 0 where nobody holds it."""
        return self._terms.remaining((LEASE, name)) or 0.0

    def follow(self, changes: Sequence[Change]) -> None:
        """Takes a commit: whoever waits first for a lease that ended tries to take it."""
        if self._waiters:
            for change in changes:
                if change.body is None and change.kind is LEASE:
                    self._wake(change.id)

    def restart(self) -> None:
        """Lets all that wait try again: what they wait for may be lost."""
        for name in self._waiters:
            self._wake(name)

    def end(self, error: Callable[[], StateError]) -> None:
        """Ends all waiting, also that which begins later, with the error that `error` makes."""
        self._ended = error
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error())

    async def _take(self, put: Put) -> int:
        """Submits the save; whoever is cancelled before its outcome gives back what it may have taken."""
        taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(outcome: TransactionOutcome) -> None:
            if isinstance(outcome, StateError):
                if not taken.done():
                    taken.set_exception(outcome)
                return
            number = outcome[0]
            assert isinstance(number, int)
            if taken.done():
                self._give_back(Hold(put.id, number), put.writer)
            else:
                taken.set_result(number)

        self._writes.submit((put,), len(put.body), done)
        return await taken

    def _give_back(self, hold: Hold, writer: str) -> None:
        with suppress(StateError):  # then it ends by its TTL
            self._writes.submit(to_release(hold, writer), 0, lambda _: None)

    async def _held(self, name: str, number: int) -> LeaseHeldError:
        head = await self._writes.head(LEASE, name)
        holder = (head.facets.agent_id or "") if head is not None else ""
        remaining = round(self.remaining(name), 3)
        return LeaseHeldError(
            f"the lease {name!r} is held by {holder!r} with number {number}, for {remaining:g} s unless it is renewed",
            details={"name": name, "holder": holder, "number": number, "remaining_seconds": remaining},
        )

    async def _until_ended(self, name: str, seconds: float, is_first: bool) -> bool:
        """Waits until a lease ended and this caller is the next; False: the time passed before.

        Args:
            is_first: it has not waited yet and goes behind the others; else it was overtaken, and goes before them.
        """
        if self._ended is not None:
            raise self._ended()
        if self.waiting >= MAX_LEASE_WAITERS:
            raise OverloadedError(
                f"{MAX_LEASE_WAITERS} callers wait for leases already",
                details={"limit": "lease_waiters", "maximum": MAX_LEASE_WAITERS},
            )
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(name, deque())
        (waiters.append if is_first else waiters.appendleft)(waiter)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                if await self._writes.head(LEASE, name) is not None:  # else it ended meanwhile
                    await waiter
        except TimeoutError:
            return not waiter.cancelled()
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._wake(name)  # it was this caller's turn, which it does not take
            raise
        finally:
            self.waiting -= 1
            waiters.remove(waiter)
            if not waiters and self._waiters.get(name) is waiters:
                del self._waiters[name]
        return True

    def _wake(self, name: str) -> None:
        for waiter in self._waiters.get(name, ()):
            if not waiter.done():
                waiter.set_result(None)
                return
