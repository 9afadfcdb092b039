"""Replicas: who else serves this bus, what each of them hears, and how this one takes part."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Final
from uuid import uuid4

import structlog

from trunkline.errors import StorageUnavailableError, TrunklineError
from trunkline.wire.reconnect import reconnect_delays
from trunklined.bus.groups import GroupKey
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.queue import SubscriptionQueue
from trunklined.bus.replicas import items
from trunklined.bus.replicas.exchange import Exchange, Member
from trunklined.bus.replicas.interest import Interest
from trunklined.bus.replicas.peer import Peer
from trunklined.bus.replicas.peers import Home, Replica, ReplicaStatistics
from trunklined.bus.requests import Correlated

log = structlog.get_logger()

_SEQUENCE_BITS: Final = 40
"""Of a live message's sequence; the number of the replica's part in the fleet stands before them."""
_RENEWALS: Final = 3
"""How often a lease is renewed while it lasts."""
GIVE_SECONDS: Final = 2.0
"""What a replica that leaves has to send the others what waits for them."""
MAX_APART_SECONDS: Final = 1.0
"""How often a replica that is apart from the others tries to take part, at least: what is live is lost meanwhile."""


def _after(times: int, tell: Callable[[], None]) -> Callable[[], None]:
    """Returns what calls `tell` when it is called for the last of so many times."""
    left = times

    def one() -> None:
        nonlocal left
        left -= 1
        if not left:
            tell()

    return one


class Replicas:
    """Takes part in the fleet again and again; while it cannot, what is published here reaches those who are here.

    Each part that it takes has an id and an inbox of its own. A part ends when its connection is lost or its lease was
    not renewed in time: then what the others want is forgotten, and read anew with the next one.

    Args:
        connect: makes a new connection.
        name: where this replica serves, for people.
        ttl: seconds after which a replica that is not heard of is out.
    """

    def __init__(self, connect: Callable[[], Exchange], name: Callable[[], str], ttl: float) -> None:
        self._connect = connect
        self._name = name
        self._ttl = ttl
        self.sequencer = Sequencer(lambda: 0.0)
        self._interest = Interest()
        self._peers: dict[str, Peer] = {}
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        """Who waits until all know a version of the interest here."""
        self._receiving: list[Callable[[], None]] = []
        """Who waits until all have sent what they had, of which none was asked yet."""
        self._id = ""
        self._valid_until = 0.0
        self._is_part = False
        self._joined = asyncio.Event()
        """All others are known."""
        self._tasks: asyncio.TaskGroup | None = None
        self._running: asyncio.Task[None] | None = None
        self._credits: set[GroupKey] = set()
        """Groups of which others shall be told how much they may send."""
        self._is_scheduled = False
        self._calls = count(1)
        self._parts = 0
        self._apart_since = monotonic()
        self._apart = 0.0

    # What the broker asks.

    def attach(self, home: Home) -> None:
        self._home = home
        home.groups.on_credit = self._note_credit

    def begin(self, queue: SubscriptionQueue) -> None:
        for peer in self._peers.values():
            peer.newcomers.add(queue)
        self.when_received(lambda: None)  # each is asked, and its messages are for the queue from then on

    def add_interest(self, pattern: str, group: str, *, answers: bool) -> None:
        if self._interest.count((pattern, group), 1, answers=answers):
            self._schedule()

    def remove_interest(self, pattern: str, group: str, *, answers: bool) -> None:
        if self._interest.count((pattern, group), -1, answers=answers):
            self._schedule()

    def when_begun(self, tell: Callable[[], None]) -> None:
        one_of_both = _after(2, tell)
        self.when_received(one_of_both)
        self._when_told(one_of_both)

    def _when_told(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when all others know the interest as it is now."""
        if self._peers:
            self._waiting.append((self._interest.next_version, tell))
            self._tell_known()
        else:
            tell()

    def when_arrived(self, tell: Callable[[], None]) -> None:
        self._when_all(Peer.when_arrived, tell)

    def when_received(self, tell: Callable[[], None]) -> None:
        if self._peers:
            self._receiving.append(tell)
            self._schedule()
        else:
            tell()

    def _when_all(self, ask: Callable[[Peer, int, Callable[[], None]], None], tell: Callable[[], None]) -> None:
        """Calls `tell` when each of the others has answered, or is gone: at once where there are none."""
        peers = list(self._peers.values())
        answered = _after(len(peers), tell)
        for peer in peers:
            ask(peer, next(self._calls), answered)
        if not peers:
            tell()

    def correlate(self, channel: str, correlated: list[Correlated]) -> None:
        if not correlated:
            return
        # To all: nobody here knows who asks. Who heard of a request by way of one replica may answer at another.
        if self._peers:
            found = [items.Candidate(each.correlation_id, each.message_id, each.message) for each in correlated]
            size = sum(len(each.message) for each in correlated)
            for peer in self._peers.values():
                peer.put(items.Candidates(channel, found), size)

    async def cancel(self, request_id: str, by: str, reason: str) -> bool:
        # All are asked: who heard of a request by way of one replica may cancel it at another, which knows of it later.
        calls = [peer.cancel(next(self._calls), request_id, by, reason) for peer in self._peers.values()]
        return any(await asyncio.gather(*calls))

    def statistics(self) -> ReplicaStatistics:
        apart = self._apart + (0.0 if self._is_part else monotonic() - self._apart_since)
        return ReplicaStatistics(self._is_part, len(self._peers), self._parts, apart)

    async def ask(self, replica: Replica, name: str, request: bytes) -> bytes | None:
        peer = self._peers.get(replica.id)
        return None if peer is None else await peer.ask(next(self._calls), name, request)

    @property
    def own(self) -> Replica:
        return Replica(self._id, self._name())

    def others(self) -> list[Replica]:
        return [Replica(peer.id, peer.name) for peer in self._peers.values()]

    # How it takes part.

    async def start(self) -> None:
        """Begins to take part; returns when all others are known, or after a lease's time, where that takes longer."""
        self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._ttl):
                await self._joined.wait()
        except TimeoutError:
            log.warning("this replica serves without the others: it has not reached them yet")

    async def close(self) -> None:
        """Gives the others what waits for them, and ends it; idempotent."""
        running, self._running = self._running, None
        if running is not None:
            with suppress(TimeoutError):  # what is left goes nowhere: Redis is away, or very slow
                async with asyncio.timeout(GIVE_SECONDS):
                    await asyncio.gather(*(peer.give_all() for peer in list(self._peers.values())))
            running.cancel()
            await asyncio.wait([running])

    async def _run(self) -> None:
        delays = reconnect_delays()
        while True:
            try:
                await self._take_part()
            except* TrunklineError as errors:
                log.warning("apart from the other replicas", error=str(errors.exceptions[0]))
            except* Exception:  # whatever it is, this replica goes on, and begins anew
                log.exception("apart from the other replicas")
            if self._joined.is_set():
                delays = reconnect_delays()
            self._part()
            await asyncio.sleep(min(next(delays), MAX_APART_SECONDS))

    async def _take_part(self) -> None:
        exchange = self._connect()
        self._id = uuid4().hex
        try:
            async with asyncio.timeout(self._ttl):
                await exchange.open(self._id)
                began = monotonic()
                number, members = await exchange.join(self._name(), self._ttl)
            self.sequencer.load(max(self.sequencer.last, number << _SEQUENCE_BITS))
            self._valid_until = began + self._ttl
            self._parts += 1
            async with asyncio.TaskGroup() as self._tasks:
                for member in members:
                    self._greet(member.id, member.name, exchange, welcome=False)
                self._look_joined()
                self._tasks.create_task(self._receive(exchange))
                await self._renew(exchange, members)
        except TimeoutError as error:
            raise StorageUnavailableError("Redis did not answer in time") from error
        except asyncio.CancelledError:
            await self._leave(exchange)
            raise
        finally:
            await exchange.close()

    async def _leave(self, exchange: Exchange) -> None:
        """Says goodbye: nobody has to wait for the lease."""
        try:
            async with asyncio.timeout(1):
                farewell = items.encode_frame(items.Frame(self._id, [items.Goodbye()]))
                await asyncio.gather(*(exchange.send(id, farewell) for id in self._peers))
                await exchange.leave()
        except (TrunklineError, TimeoutError) as error:
            log.info("left without a goodbye: the lease ends by itself", error=str(error))

    def _part(self) -> None:
        """This part is over: forgets the others."""
        if self._is_part:
            self._apart_since = monotonic()
        self._is_part = False
        self._joined.clear()
        self._tasks = None
        self._valid_until = 0.0
        for peer in list(self._peers.values()):
            self._drop(peer, "")

    async def _renew(self, exchange: Exchange, members: list[Member]) -> None:
        while True:
            soonest = min((member.seconds for member in members if member.id in self._peers), default=self._ttl)
            await asyncio.sleep(min(self._ttl / _RENEWALS, soonest + 0.01))
            self._check_valid()
            began, loop_time = monotonic(), asyncio.get_running_loop().time()
            async with asyncio.timeout(self._valid_until - began):
                found = await exchange.renew(self._ttl)
            if found is None:
                raise StorageUnavailableError("the lease of this replica had run out")
            members = found
            self._valid_until = began + self._ttl
            there = {member.id for member in members}
            for peer in list(self._peers.values()):
                if peer.id not in there and peer.since < loop_time:
                    self._drop(peer, "its lease ran out")
            # Whoever was killed is found out by that, before its lease ends: Redis says that nobody listens there.
            for peer in self._peers.values():
                peer.put(items.Alive())

    def _check_valid(self) -> None:
        if monotonic() > self._valid_until:
            raise StorageUnavailableError("this replica stood still longer than its lease")

    async def _receive(self, exchange: Exchange) -> None:
        while True:
            raw = await exchange.receive()
            frame = items.decode_frame(raw)
            peer = self._peers.get(frame.sender)
            for item in frame.items:
                if isinstance(item, items.Hello) and peer is None and not item.welcome:
                    peer = self._greet(frame.sender, item.name, exchange, welcome=True)
                if peer is None:
                    break  # of a part that is over
                if isinstance(item, items.Goodbye):
                    self._drop(peer, "it left")
                    break
                peer.take(item)
            self._look_joined()

    def _greet(self, id: str, name: str, exchange: Exchange, *, welcome: bool) -> Peer:
        assert self._tasks is not None
        self._flush()  # the new one is told of everything below, and of nothing twice
        peer = self._peers[id] = Peer(id, name, self._id, self._home, self._tell_known)
        peer.put(items.Hello(self._name(), self._interest.all(), self._interest.version, welcome))
        for key in self._interest.groups():
            peer.tell_credit(key)
        self._tasks.create_task(self._send(peer, exchange))
        return peer

    async def _send(self, peer: Peer, exchange: Exchange) -> None:
        async def send(id: str, frame: bytes) -> bool:
            self._check_valid()
            return await exchange.send(id, frame)

        await peer.run(send)
        if not peer.is_gone:
            self._drop(peer, "it does not listen any more")

    def _drop(self, peer: Peer, why: str) -> None:
        if self._peers.pop(peer.id, None) is None:
            return
        if why:
            log.info("a replica is gone", replica=peer.name, id=peer.id, reason=why)
        peer.close()
        self._tell_known()
        self._look_joined()

    def _look_joined(self) -> None:
        if self._tasks is None or self._is_part or not all(peer.is_welcome for peer in self._peers.values()):
            return
        self._is_part = True
        self._apart += monotonic() - self._apart_since
        self._joined.set()
        log.info("takes part with the other replicas", id=self._id, others=[each.name for each in self.others()])

    # What the others are told.

    def _schedule(self) -> None:
        if self._peers and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _note_credit(self, key: GroupKey) -> None:
        self._credits.add(key)
        self._schedule()

    def _flush(self) -> None:
        """Tells what changed since this was last called."""
        self._is_scheduled = False
        self._ask_for_all()  # before they know of newcomers, and send what is for those
        if self._interest.next_version > self._interest.version:
            changes = self._interest.take_changes()
            told = items.Interest(self._interest.version, changes)
            for peer in self._peers.values():
                peer.put(told)
                for entry in changes:
                    if not entry.members:
                        peer.forget_credit((entry.pattern, entry.group))
        credits, self._credits = self._credits, set()
        for peer in self._peers.values():
            for key in credits:
                peer.tell_credit(key)

    def _ask_for_all(self) -> None:
        """Asks the others once for all who wait until they have sent what they had."""
        receiving, self._receiving = self._receiving, []

        def received() -> None:
            for tell in receiving:
                tell()

        if receiving:
            self._when_all(Peer.when_received, received)

    def _tell_known(self) -> None:
        known = min((peer.known for peer in self._peers.values()), default=None)
        while self._waiting and (known is None or self._waiting[0][0] <= known):
            self._waiting.popleft()[1]()
