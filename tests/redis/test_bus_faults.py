"""Buses over Redis with sentinels and over a cluster, when the master fails over, a slot moves, or Redis forgets."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.redis.replicas import Replicas
from tests.redis.servers import Cluster, RedisServer, Sentinels, cluster, running, sentinels
from tests.redis.traffic import CHANNEL, LIVE_CHANNEL, Ledger, LiveTraffic, asked, longest_pause, numbered, until
from trunkline import Durability, DurableMessage, GrpcMessageBus, StorageError, TrunklineError
from trunkline.errors import BusDisconnectedError, StorageUnavailableError

SYNCED: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}

FAILOVER = 5 * PATIENCE
"""Seconds. Sentinels that a busy machine held back for two seconds do nothing for the next thirty, each time."""

MARK = -1
"""The number of the message behind all others."""

BETWEEN = 1.0
"""Seconds for which a slot that moves is served by two masters."""


@pytest.fixture
def watched() -> Iterator[Sentinels]:
    with sentinels(replicas=2, **SYNCED) as servers:
        yield servers


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    with cluster(**SYNCED) as servers:
        yield servers


class Traffic:
    """Stored and live traffic through two replicas, both ways."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.live = LiveTraffic()
        self.tasks: list[asyncio.Task[None]] = []

    async def end(self) -> None:
        """Ends the publishers, when each has its receipt; subscribers are there still."""
        self.ledger.is_over = self.live.is_over = True
        await asyncio.wait_for(asyncio.gather(*self.tasks), PATIENCE)

    async def goes_on(self, patience: float = PATIENCE) -> None:
        """Returns when both do."""
        await asyncio.gather(self.ledger.goes_on(patience), self.live.goes_on(patience))

    def __str__(self) -> str:
        ledger, live = self.ledger, self.live
        return (
            f"stored: {len(ledger.receipts)} receipts, none for {longest_pause(ledger.moments):.1f} s, refused"
            f" {dict(ledger.refusals)}; live: {live.published} published, none heard for"
            f" {longest_pause(live.moments):.1f} s, {live.lost} lost"
        )


@asynccontextmanager
async def traffic(replicas: Replicas) -> AsyncIterator[Traffic]:
    """Goes on when the block begins; the block ends it."""
    made = Traffic()
    first, second = replicas.addresses
    async with AsyncExitStack() as stack:
        source, other = [await stack.enter_async_context(GrpcMessageBus(each)) for each in (first, second)]
        await other.subscribe(LIVE_CHANNEL, made.live.take)
        await stack.enter_async_context(made.ledger.work(first))
        await stack.enter_async_context(made.ledger.work(second))
        made.tasks += [asyncio.create_task(made.ledger.publish(address)) for address in (first, second)]
        made.tasks.append(asyncio.create_task(made.live.publish(source)))
        try:
            await made.goes_on()
            yield made
        finally:
            for task in made.tasks:
                task.cancel()


async def held(address: str, wanted: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """All that the journal has, by number and sequence; waits until what is wanted was read."""
    found: set[tuple[int, int]] = set()
    marker = numbered(MARK)
    async with GrpcMessageBus(address) as bus:

        async def note(came: DurableMessage) -> None:
            found.add((int(str(came.payload["n"])), came.sequence))

        await bus.subscribe(CHANNEL, note, durable="reader", start="all")
        await until(lambda: found >= wanted, "what was receipted")
        last = await asked(lambda: bus.publish(CHANNEL, marker, stored=True))
        await until(lambda: (MARK, last.sequence) in found, "what came last")  # all before it was read, if it is there
    return found


async def test_a_failover_under_load(watched: Sentinels) -> None:
    """The master is killed. What is stored and what is live goes on by itself on both replicas, and nothing is lost of
    which a receipt says that a copy was confirmed."""
    lasting = ("--journal-copies", "1", "--redis-timeout", "2")
    with Replicas(watched, 2, *lasting) as replicas:
        async with traffic(replicas) as made:
            watched.master.kill()
            await made.goes_on(FAILOVER)
            await made.end()
            owner = await asyncio.to_thread(replicas.settle)
        print(made)  # noqa: T201
        receipts = made.ledger.receipts
        confirmed = {n: each for n, each in receipts.items() if each.durability is Durability.REPLICATED}
        found = await held(owner.address, {(n, each.sequence) for n, each in confirmed.items()})
        lost = [n for n, each in receipts.items() if (n, each.sequence) not in found]
        print(f"{len(confirmed)} receipts were REPLICATED, 0 of them lost; of the others {len(lost)} lost")  # noqa: T201
        assert len(confirmed) > len(receipts) / 2
        assert not lost or any("Redis has lost commits" in program.output() for program in replicas.programs)
        sequences = [sequence for _, sequence in found]
        assert len(set(sequences)) == len(sequences)


async def test_a_slot_moves_under_load(nodes: Cluster) -> None:
    """That of the journal, and that of what replicas say to each other, each to another master, key by key. All waits
    and goes on by itself; nothing stored is lost, and nothing is new twice."""
    with Replicas(nodes, 2) as replicas:
        async with traffic(replicas) as made:
            for key in ("{trunkline:journal}", "{trunkline:live}"):
                before, after = await asyncio.to_thread(nodes.move_slot, key, lambda: time.sleep(BETWEEN))
                assert before is not after
                await made.goes_on()
            await made.end()
            ledger = made.ledger
            await until(lambda: {n for n, _, _ in ledger.deliveries} >= ledger.receipts.keys(), "all deliveries")
        print(made)  # noqa: T201
        assert {(n, each.sequence) for n, each in ledger.receipts.items()} <= {(n, s) for n, s, _ in ledger.deliveries}
        assert len({sequence for _, sequence, _ in ledger.deliveries}) == len({n for n, _, _ in ledger.deliveries})
        assert [key for key, times in ledger.deliveries.items() if times > 1] == []
        assert all(each.durability is Durability.STORED for each in ledger.receipts.values())


class Restorable:
    """A Redis that can be put back to what it had before."""

    def __init__(self, redis: RedisServer, copies: Path) -> None:
        self.redis = redis
        self._kept = redis.directory / "appendonlydir"
        self._copy = copies / "appendonlydir"

    def keep(self) -> None:
        """Keeps what it has now."""
        shutil.copytree(self._kept, self._copy)

    def put_back(self) -> None:
        """It is killed, and has what was kept."""
        self.redis.kill()
        shutil.rmtree(self._kept)
        shutil.copytree(self._copy, self._kept)


@pytest.fixture
def restorable() -> Iterator[Restorable]:
    with TemporaryDirectory(prefix="trunkline-") as copies, running(**SYNCED) as redis:
        yield Restorable(redis, Path(copies))


@pytest.mark.parametrize("lease", [60.0, 1.0], ids=["the owner is the same", "its lease ends meanwhile"])
async def test_lost_commits_are_told(restorable: Restorable, lease: float) -> None:
    """Redis comes back with less than it had answered: whether the owner finds that at its next commit, or has lost its
    lease by then, the log says so, durable subscribers are told, and no sequence is used twice."""
    redis = restorable.redis
    with Replicas(redis, 2, "--journal-lease-seconds", str(lease)) as replicas:
        told: asyncio.Queue[TrunklineError] = asyncio.Queue()
        came: asyncio.Queue[object] = asyncio.Queue()

        async def work(message: DurableMessage) -> None:
            came.put_nowait(message.payload["n"])

        async with AsyncExitStack() as stack:
            buses = [await stack.enter_async_context(GrpcMessageBus(each)) for each in replicas.addresses]
            for number, each in enumerate(buses):
                await each.subscribe(CHANNEL, work, durable=f"work-{number}", on_error=told.put_nowait)
            messages = [numbered(n) for n in range(4)]
            kept = await asked(lambda: buses[0].publish(CHANNEL, messages[0], stored=True))
            async with asyncio.timeout(PATIENCE):
                assert [await came.get() for _ in buses] == [0, 0]
            await asyncio.to_thread(restorable.keep)
            owner = await asyncio.to_thread(replicas.settle)
            await asked(lambda: buses[1].publish(CHANNEL, messages[1], stored=True))
            gone = await asked(lambda: buses[1].publish(CHANNEL, messages[2], stored=True))
            await asyncio.to_thread(restorable.put_back)
            if lease < 60:
                await asyncio.to_thread(owner.wait_for, "the journal is another replica's")
            await asyncio.to_thread(redis.start)
            receipt = await asked(lambda: buses[0].publish(CHANNEL, messages[3], stored=True))
            assert receipt.sequence > gone.sequence > kept.sequence
            async with asyncio.timeout(PATIENCE):
                errors = [await told.get() for _ in buses]
                while await came.get() != 3:
                    pass
        for error in errors:
            assert isinstance(error, StorageError)
            assert error.details["why"] == "lost commits"
            assert error.details["commits"] >= 2
        assert any("Redis has lost commits" in program.output() for program in replicas.programs)


async def test_what_is_stored_waits_for_redis_as_the_setting_says() -> None:
    """At once, or until Redis is back: both within the caller's deadline."""
    with running(**SYNCED) as redis, Replicas(redis, 1, "--redis-wait", "0") as hasty:
        async with GrpcMessageBus(hasty.addresses[0]) as bus:
            redis.kill()
            began = time.monotonic()
            with pytest.raises((StorageUnavailableError, BusDisconnectedError)) as refused:
                await bus.publish(CHANNEL, numbered(1), stored=True)
            print(f"refused after {time.monotonic() - began:.2f} s: {refused.value}")  # noqa: T201
            redis.start()
            await asked(lambda: bus.publish(CHANNEL, numbered(1), stored=True))
    lasting = ("--redis-wait", str(2 * PATIENCE), "--journal-lease-seconds", "60")
    with running(**SYNCED) as redis, Replicas(redis, 1, *lasting) as patient:
        async with GrpcMessageBus(patient.addresses[0]) as bus:
            redis.kill()
            waiting = asyncio.create_task(bus.publish(CHANNEL, numbered(1), stored=True))
            await asyncio.sleep(3.0)  # longer than others wait that do not
            assert not waiting.done()
            redis.start()
            assert (await asyncio.wait_for(waiting, PATIENCE)).durability is Durability.STORED
