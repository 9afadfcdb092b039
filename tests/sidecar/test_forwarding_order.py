"""Bus and sidecar are killed while messages are held or on their way: none is lost, stored twice, or out of order."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path

import grpc
import pytest
from grpc import aio

from tests.bus.calls import reached
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.sidecar.outage import away, consuming, kill, metrics_of, store, stored, stub_of, until_health
from trunkline import GrpcMessageBus
from trunkline.limits import DEDUP_SECONDS
from trunkline.v1 import bus_pb2


async def test_a_killed_sidecar_keeps_what_it_receipted(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """SIGKILL of the sidecar in the middle of an outage: what had a receipt arrives, in order and once."""
    receipted = 0
    async with GrpcMessageBus(sidecar.address) as client, away(bus, sidecar):
        for _ in range(3):
            for _ in range(50):
                await store(client, channel, receipted)
                receipted += 1
            await asyncio.to_thread(sidecar.restart)
    async with consuming(bus, channel) as consumer:
        await consumer.have(receipted)
        assert consumer.numbers(channel) == list(range(receipted))


async def test_killed_in_the_middle_of_forwarding(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """Bus and sidecar are killed while the backlog is on its way: each message is stored once, in order."""
    count = 30_000
    async with stub_of(sidecar) as stub, away(bus, sidecar):
        for first in range(0, count, 1_000):
            await stub.Publish(stored(channel, range(first, first + 1_000)), timeout=5)
    async with stub_of(bus) as stub:
        stored_so_far = 0
        for victim in (sidecar, bus, sidecar):
            sent = await reached(stub, lambda figures: figures.stored > stored_so_far)  # noqa: B023  # awaited here
            await asyncio.to_thread(victim.restart)
            assert sent.stored < count
            stored_so_far = 0 if victim is bus else (await stub.GetStats(bus_pb2.GetStatsRequest())).stored
    async with consuming(bus, channel) as consumer:
        await consumer.have(count)
        assert consumer.numbers(channel) == list(range(count))


async def test_what_was_sent_before_is_sent_again_and_stored_once(
    bus: RunningProgram, sidecar: RunningProgram, socket_dir: Path, channel: str
) -> None:
    """A sidecar that dies between the bus's receipt and its own note of it: the bus knows the messages."""
    async with stub_of(sidecar) as stub:
        await kill(bus, sidecar)
        await stub.Publish(stored(channel, range(1_500)), timeout=5)
    sidecar.kill()
    files = [socket_dir / f"sidecar.db{suffix}" for suffix in ("", "-wal", "-tail")]
    before = {path: path.read_bytes() for path in files}
    await asyncio.gather(asyncio.to_thread(sidecar.start), asyncio.to_thread(bus.start))
    await asyncio.to_thread(sidecar.wait_for, "what was held is forwarded")
    sidecar.kill()
    for path, contents in before.items():
        path.write_bytes(contents)
    await asyncio.to_thread(sidecar.start)
    async with stub_of(bus) as stub, consuming(bus, channel) as consumer:
        figures = await reached(stub, lambda figures: figures.duplicates == 1_500)
        assert figures.stored == 1_500
        await consumer.have(1_500)
        assert consumer.numbers(channel) == list(range(1_500))


async def test_what_may_be_stored_twice_is_said(
    bus: RunningProgram, start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """A batch was sent and not answered, and the outage is longer than the bus knows message ids: it is sent again,
    since losing it would be worse, counted, and logged with its ids."""
    path = Path(socket_dir, "old.db")
    files = ("--socket-path", "", "--store-path", str(path), "--metrics-address", "127.0.0.1:0")
    sidecar = start_program("sidecar", *files, "--bus-address", bus.address, address=f"unix:{socket_dir}/old.sock")
    async with stub_of(sidecar) as stub:
        await kill(bus, sidecar)
        await stub.Publish(stored(channel, [0], message_id="in-doubt"), timeout=5)
        await stub.Publish(stored(channel, [1]), timeout=5)
    sidecar.kill()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE held SET sent_at = ? WHERE id = 1", (time.time() - 2 * DEDUP_SECONDS,))
    connection.close()
    await asyncio.gather(asyncio.to_thread(sidecar.start), asyncio.to_thread(bus.start))
    async with consuming(bus, channel) as consumer:
        await consumer.have(2)
    await asyncio.to_thread(sidecar.wait_for, "what was held is forwarded")
    said = [event for event in sidecar.events() if "may be stored twice" in event["event"]]
    assert [(event["messages"], event["message_ids"]) for event in said] == [(1, ["in-doubt"])]
    assert "trunkline_sidecar_possible_duplicates_total 1.0" in await asyncio.to_thread(metrics_of, sidecar)


async def test_nothing_overtakes_what_is_held(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """Publishers that never pause, on several channels, through two outages: each one's messages arrive in order."""
    stop = asyncio.Event()
    published = Counter[str]()
    more = asyncio.Condition()

    async def publish(client: GrpcMessageBus, name: str) -> None:
        while not stop.is_set():
            await store(client, f"{channel}:{name}", published[name], ordering_key=name)
            async with more:
                published[name] += 1
                more.notify_all()

    async def go_on() -> None:
        """Returns when each has published some more."""
        before = published.copy()
        async with asyncio.timeout(PATIENCE), more:
            await more.wait_for(lambda: all(published[name] >= before[name] + 20 for name in clients))

    async with GrpcMessageBus(sidecar.address) as one, GrpcMessageBus(sidecar.address) as two:
        clients = {"a": one, "b": one, "c": two}
        publishers = [asyncio.create_task(publish(client, name)) for name, client in clients.items()]
        async with consuming(bus, f"{channel}:>") as consumer:
            for _ in range(2):
                await consumer.have(len(consumer.came) + 100)
                async with away(bus, sidecar):
                    await go_on()
                await until_health(sidecar, "SERVING")
            await consumer.have(len(consumer.came) + 100)
            stop.set()
            await asyncio.gather(*publishers)
            await consumer.have_different(published.total())
            for name in clients:
                assert _once(consumer.numbers(f"{channel}:{name}")) == list(range(published[name]))


def _once(numbers: list[int]) -> list[int]:
    """Without those that were handed out again, since the bus was killed before it heard of the ack."""
    return list(dict.fromkeys(numbers))


async def test_ordering_keys_keep_their_order(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """Across channels: messages of one key are forwarded in the order in which they were held."""
    chance = random.Random(3)
    wanted: dict[str, list[int]] = {"k": [], "l": []}
    async with stub_of(sidecar) as stub, away(bus, sidecar):
        for n in range(200):
            key, where = chance.choice(("k", "l", "")), chance.choice("abc")
            await stub.Publish(stored(f"{channel}:{where}", [n], ordering_key=key), timeout=5)
            if key:
                wanted[key].append(n)
    by_number = {n: key for key, numbers in wanted.items() for n in numbers}
    async with consuming(bus, f"{channel}:>") as consumer:
        await consumer.have(200)
        for key, numbers in wanted.items():
            assert [n for _, n in consumer.came if by_number.get(n) == key] == numbers
        for where in "abc":
            keyless = [n for n in consumer.numbers(f"{channel}:{where}") if n not in by_number]
            assert keyless == sorted(keyless)


async def test_a_drain_in_an_outage_ends_streams_and_keeps_all(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """SIGTERM of the sidecar while it stands in: streams end with UNAVAILABLE, exit code 0, and nothing is lost."""
    await kill(bus, sidecar)
    async with stub_of(sidecar) as stub:
        stream = stub.OpenStream()
        await stream.write(bus_pb2.OpenStreamRequest(items=[{"id": 1, "publish": stored(channel, [1])}]))
        answer = await asyncio.wait_for(stream.read(), PATIENCE)
        assert answer.items[0].published.receipts[0].held_by_sidecar
        stopping = asyncio.create_task(asyncio.to_thread(sidecar.stop))
        with pytest.raises(aio.AioRpcError) as ended:
            await asyncio.wait_for(stream.read(), PATIENCE)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await stopping == 0
    await asyncio.gather(asyncio.to_thread(sidecar.start), asyncio.to_thread(bus.start))
    async with consuming(bus, channel) as consumer:
        await consumer.have(1)
