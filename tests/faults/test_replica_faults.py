"""Several buses over one journal in Redis, while each part is killed or stopped: real processes, real signals."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.bus.calls import message
from tests.bus.durable.calls import ALL, create, eventually, get, store
from tests.patience import PATIENCE
from tests.programs import RunningProgram, health, run_program
from tests.redis.replicas import SERVICE, Replicas
from tests.redis.servers import VALKEY, RedisServer, running
from tests.redis.traffic import CHANNEL, Ledger, asked, numbered, until
from trunkline import (
    AgentMessage,
    Durability,
    DurableMessage,
    GrpcMessageBus,
    OverloadedError,
    Receipt,
)
from trunkline.errors import BusDisconnectedError, StorageUnavailableError
from trunkline.v1 import bus_pb2, bus_pb2_grpc

log = logging.getLogger(__name__)

LEASE = 4.0
"""Seconds."""
SYNCED: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}
REPLICATED = Durability.REPLICATED


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running(**SYNCED) as server:
        yield server


@pytest.fixture
def replicas(redis: RedisServer) -> Iterator[Replicas]:
    """Three, with a lease that is soon over."""
    several = Replicas(redis, 3, "--journal-lease-seconds", str(LEASE), "--redis-wait", "3")
    try:
        yield several.start()
    finally:
        several.end()


async def until_kept(bus: GrpcMessageBus) -> None:
    """Waits until a receipt says that what is stored is on disk."""
    async with asyncio.timeout(PATIENCE):
        for number in itertools.count():
            if (await bus.publish("kept:now", numbered(number), stored=True)).durability is Durability.STORED:
                return
            await asyncio.sleep(0.1)


async def test_the_ledger(replicas: Replicas, redis: RedisServer) -> None:
    """While the owner, another replica and Redis itself are killed, and an owner stands still past its lease: each
    message with a receipt is delivered under one sequence and acked once, and none is new twice."""
    ledger = Ledger()
    async with (
        GrpcMessageBus(replicas.addresses[0]) as bus,
        ledger.work(replicas.addresses[0]),
        ledger.work(replicas.addresses[1]),
        ledger.work(replicas.addresses[2]),
    ):
        publishers = [asyncio.create_task(ledger.publish(address)) for address in replicas.addresses]
        try:
            await ledger.goes_on()
            owner = await asyncio.to_thread(replicas.settle)
            owner.kill()
            heir = await asyncio.to_thread(replicas.settle, owner)
            assert heir is not owner
            owner.restart()
            await ledger.goes_on()
            other = (await asyncio.to_thread(lambda: replicas.others))[0]
            other.kill()
            await ledger.goes_on()
            other.restart()
            before = dict(ledger.receipts)
            redis.kill()
            await asyncio.sleep(LEASE * 1.5)
            redis.start()
            await ledger.goes_on()
            sleeper = await asyncio.to_thread(replicas.settle)
            sleeper.pause()
            heir = await asyncio.to_thread(replicas.settle, sleeper)
            assert heir is not sleeper
            sleeper.resume()
            await ledger.goes_on()
            ledger.is_over = True
            await asyncio.wait_for(asyncio.gather(*publishers), PATIENCE)
            # What Redis keeps is read again when it is back; until then receipts say no more than is known.
            assert {each.durability for each in before.values()} == {Durability.STORED}
            await until_kept(bus)
        finally:
            for publisher in publishers:
                publisher.cancel()
        await until(lambda: {n for n, _, _ in ledger.deliveries} >= ledger.receipts.keys(), "all deliveries")
        end = time.monotonic() + PATIENCE
        while True:
            state = await asked(lambda: bus.durable("ledger"))
            if not (state.waiting or state.leased or state.retrying) or time.monotonic() > end:
                break
            await asyncio.sleep(0.1)
        letters = await asked(bus.count_dead_letters)
    sequences = Counter({n: len({s for m, s, _ in ledger.deliveries if m == n}) for n in ledger.receipts})
    assert (state.waiting, state.leased, state.retrying, letters) == (0, 0, 0, 0)
    assert state.acked == len(ledger.receipts)
    assert set(sequences.values()) == {1}
    assert [key for key, times in ledger.deliveries.items() if times > 1] == []
    for n, receipt in ledger.receipts.items():
        assert (n, receipt.sequence) in {(m, sequence) for m, sequence, _ in ledger.deliveries}
    log.info(
        "%d receipts, %d deliveries, lost 0, as new twice 0; refused meanwhile and published again: %s",
        *(len(ledger.receipts), ledger.deliveries.total(), dict(ledger.refusals)),
    )


async def test_an_owner_that_stood_still_hands_out_and_commits_nothing(replicas: Replicas) -> None:
    """It wakes with a publish to store and a subscriber that is hungry; the journal is another's."""
    owner = await asyncio.to_thread(replicas.settle)
    async with grpc.aio.insecure_channel(owner.address) as line:
        stub: Any = bus_pb2_grpc.BusServiceStub(line)
        await create(stub, "work", CHANNEL)
        subscriber = stub.Subscribe()
        start = bus_pb2.SubscribeRequest.Start(pattern=CHANNEL, durable="work")
        await subscriber.write(bus_pb2.SubscribeRequest(start=start))
        assert (await subscriber.read()).WhichOneof("frame") == "started"
        owner.pause()
        heir = await asyncio.to_thread(replicas.settle, owner)
        late = message("late", message_id="late")
        wanted = bus_pb2.PublishRequest(channel=CHANNEL, messages=[late], durability=bus_pb2.DURABILITY_STORED)
        publishing = asyncio.ensure_future(stub.Publish(wanted, timeout=PATIENCE))
        async with grpc.aio.insecure_channel(heir.address) as other_line:
            other: Any = bus_pb2_grpc.BusServiceStub(other_line)
            (early,) = await store(other, CHANNEL, message("early"))
            owner.resume()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await asyncio.wait_for(subscriber.read(), PATIENCE)
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
            await asyncio.wait({publishing})
            error = publishing.exception()
            if error is not None:
                assert isinstance(error, grpc.aio.AioRpcError)
                assert error.code() is grpc.StatusCode.UNAVAILABLE
            else:  # it was handed on to the owner of now, which is as good
                assert publishing.result().receipts[0].sequence > early.sequence
            (receipt,) = await store(other, CHANNEL, late)
            waiting = await get(other, "work")
            assert (waiting.waiting, waiting.leased) == (2, 0)
            assert receipt.sequence > early.sequence
    owner.wait_for("the journal is another replica's")


async def test_an_owner_that_ends_gracefully_gives_the_journal_to_another(redis: RedisServer) -> None:
    """At once: nobody waits for its lease, which would last a minute."""
    with Replicas(redis, 2, "--journal-lease-seconds", "60") as replicas:
        owner = await asyncio.to_thread(replicas.settle)
        heir = replicas.others[0]
        began = time.monotonic()
        await asyncio.to_thread(owner.stop)
        async with GrpcMessageBus(heir.address) as bus:
            assert (await asked(lambda: bus.publish(CHANNEL, numbered(1), stored=True))).sequence
        assert time.monotonic() - began < 60


async def test_redis_is_gone_and_comes_back(replicas: Replicas, redis: RedisServer) -> None:
    """Stored publishes fail clearly and soon, live traffic in one replica goes on, and all comes back by itself."""
    address = replicas.others[0].address
    async with GrpcMessageBus(address) as bus, GrpcMessageBus(address) as other:
        heard: list[object] = []

        async def hear(came: AgentMessage) -> None:
            heard.append(came.payload["n"])

        await bus.subscribe("faults:live", hear)
        await asked(lambda: bus.create_durable("work", CHANNEL))
        first, second, third = numbered(1), numbered(2), numbered(4)
        await asked(lambda: bus.publish(CHANNEL, first, stored=True))
        redis.kill()
        await asyncio.to_thread(_wait_for_health, replicas.programs, "NOT_SERVING")
        with pytest.raises((BusDisconnectedError, StorageUnavailableError)):
            await bus.publish(CHANNEL, second, stored=True)
        await other.publish("faults:live", numbered(3))
        await until(lambda: heard == [3], "what is live")
        redis.start()
        await asyncio.to_thread(_wait_for_health, replicas.programs, "SERVING")
        receipt = await asked(lambda: bus.publish(CHANNEL, third, stored=True))
        assert receipt.durability is Durability.STORED
        state = await asked(lambda: bus.durable("work"))
        assert state.waiting == 2
        await bus.publish("faults:live", numbered(5))
        await until(lambda: heard == [3, 5], "what is live")


def _wait_for_health(programs: list[RunningProgram], wanted: str) -> None:
    end = time.monotonic() + PATIENCE
    while any(health(each.address, SERVICE) != wanted for each in programs):
        assert time.monotonic() < end, f"the health was never {wanted}"
        time.sleep(0.05)


async def test_redis_at_its_bound_of_memory_takes_acks_and_no_publishes() -> None:
    with running(appendonly="yes", appendfsync="everysec") as redis:
        replicas = Replicas(redis, 1)
        try:
            address = replicas.start().addresses[0]
            async with GrpcMessageBus(address) as bus, grpc.aio.insecure_channel(address) as line:
                stub: Any = bus_pb2_grpc.BusServiceStub(line)
                await create(stub, "work", CHANNEL, position=ALL)
                with redis.client() as client:
                    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 4 * 1024 * 1024)
                receipts: list[Receipt] = []

                async def fill() -> None:
                    for n in range(1_000):
                        big = AgentMessage(message_type="x", sender_id="me", payload={"n": n, "text": "x" * 65_536})
                        receipts.append(await bus.publish(CHANNEL, big, stored=True))

                with pytest.raises(OverloadedError) as refused:
                    await fill()
                stored = len(receipts)
                assert refused.value.details["limit"] == "redis_maxmemory"
                assert receipts[-1].durability is Durability.MEMORY
                done: list[object] = []

                async def work(came: DurableMessage) -> None:
                    done.append(came.payload["n"])

                await bus.subscribe(CHANNEL, work, durable="work")
                state = await eventually(lambda: get(stub, "work"), lambda found: found.acked >= stored)
                assert (state.acked, done) == (stored, list(range(stored)))
                with redis.client() as client:
                    client.config_set("maxmemory", 0)
                assert (await bus.publish(CHANNEL, numbered("small"), stored=True)).sequence > receipts[-1].sequence
        finally:
            replicas.end()


async def test_receipts_say_replicated_where_a_copy_was_confirmed() -> None:
    """And what Redis itself keeps, where none was in time."""
    with running(appendonly="yes", appendfsync="always") as redis, running(replicaof=f"127.0.0.1 {redis.port}") as copy:
        redis.wait_until(lambda client: client.info("replication").get("slave0", {}).get("state") == "online")
        replicas = Replicas(redis, 1, "--journal-copies", "1", "--journal-copy-seconds", "1")
        try:
            async with GrpcMessageBus(replicas.start().addresses[0]) as bus:
                async with asyncio.timeout(PATIENCE):  # on a busy machine, a copy may be late
                    receipt = await bus.publish(CHANNEL, numbered(1), stored=True)
                    while receipt.durability is not Durability.REPLICATED:
                        receipt = await bus.publish(CHANNEL, numbered(1), stored=True)
                copy.kill()
                receipt = await bus.publish(CHANNEL, numbered(2), stored=True)
                assert receipt.durability is Durability.STORED
        finally:
            replicas.end()


async def test_valkey_says_replicated_where_a_copy_was_synced() -> None:
    """With `--journal-copies-synced` a copy that is in the replica's memory alone does not count."""
    with (
        running(program=VALKEY, **SYNCED) as valkey,
        running(program=VALKEY, replicaof=f"127.0.0.1 {valkey.port}", **SYNCED) as copy,
    ):
        valkey.wait_until(lambda client: client.info("replication").get("slave0", {}).get("state") == "online")
        options = ("--journal-copies", "1", "--journal-copies-synced", "--journal-copy-seconds", "1")
        with Replicas(valkey, 1, *options) as replicas:
            async with GrpcMessageBus(replicas.addresses[0]) as bus:
                async with asyncio.timeout(PATIENCE):  # on a busy machine, a copy may be late
                    while (await bus.publish(CHANNEL, numbered(1), stored=True)).durability is not REPLICATED:
                        pass
                with copy.client() as client:
                    client.config_set("appendonly", "no")
                receipt = await bus.publish(CHANNEL, numbered(2), stored=True)
                assert receipt.durability is Durability.STORED


async def test_synced_copies_need_a_server_that_knows_of_them(redis: RedisServer) -> None:
    """Redis 7.0 does not: the bus does not start, and says why in one line."""
    with redis.client() as client:
        if client.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "waitaof"):
            pytest.skip("this Redis knows them")
    options = (
        "--engine",
        "redis",
        "--redis-url",
        redis.url,
        "--journal-copies",
        "1",
        "--journal-copies-synced",
    )
    ended = await asyncio.to_thread(run_program, "bus", "--address", "127.0.0.1:0", *options)
    assert ended.returncode == 2
    assert "journal_copies_synced" in ended.stderr.replace("-", "_")
