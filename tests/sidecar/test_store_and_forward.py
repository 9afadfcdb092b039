"""Stored publishes through the sidecar while the bus is away: every way to publish, and what else goes on."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram, run_program
from tests.sidecar.outage import away, consuming, kill, store, stored, stub_of, until_health
from trunkline import BusDisconnectedError, Durability, GrpcMessageBus, TrunklineError
from trunkline.v1 import bus_pb2
from trunkline.wire.status import error_from_item


async def test_a_client_stores_through_the_outage(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """The receipt says that the sidecar stored it; when the bus is back, all is there, in order and once."""
    async with GrpcMessageBus(sidecar.address) as client:
        before = await store(client, channel, 0)
        assert (before.sequence, before.held_by_sidecar) == (1, False)
        async with away(bus, sidecar):
            for n in range(1, 100):
                receipt = await store(client, channel, n)
                assert receipt.held_by_sidecar
                assert (receipt.sequence, receipt.durability) == (0, Durability.STORED)
            assert not client.is_connected
        assert client.published_count == 100
        async with consuming(bus, channel) as consumer:
            await consumer.have(100)
            after = await store(client, channel, 100)
            assert (after.sequence, after.held_by_sidecar) == (101, False)
            await consumer.have(101)
            assert consumer.numbers(channel) == list(range(101))


async def test_the_command_line_says_what_is_held(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """Of one, of many, and to scripts; what is held is not called expired."""

    async def said(*options: str) -> str:
        wanted = ("publish", channel, "{}", "--stored", *options)
        ran = await asyncio.to_thread(run_program, *wanted, module="trunkline.cli", TRUNKLINE_BUS=sidecar.address)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    async with away(bus, sidecar):
        assert (await said("--message-id", "one")).startswith("held one: the sidecar hands it on")
        assert "3 of 3 are held by the sidecar" in await said("--count", "3")
        receipt = json.loads(await said("--format", "json"))
        assert (receipt["sequence"], receipt["held_by_sidecar"], receipt["matched"]) == (0, True, 0)


async def test_every_way_to_publish_is_held(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """Publish and PublishStream too; messages without an id or a time get both; a stream answers in order."""
    async with stub_of(sidecar) as stub:
        async with away(bus, sidecar):
            answer = await stub.Publish(stored(f"{channel}:unary", range(10)), timeout=5)
            assert [receipt.held_by_sidecar for receipt in answer.receipts] == [True] * 10
            assert {receipt.durability for receipt in answer.receipts} == {bus_pb2.DURABILITY_STORED}
            assert abs(answer.receipts[0].time.seconds - time.time()) < 60

            stream = stub.PublishStream()
            for n in range(10):
                publish = stored(f"{channel}:stream", [n])
                if n == 5:
                    publish.durability = bus_pb2.DURABILITY_UNSPECIFIED
                if n == 7:
                    publish.channel = "no::channel"
                await stream.write(bus_pb2.PublishStreamRequest(publish=publish))
            await stream.done_writing()
            answers = [await stream.read() for _ in range(10)]
            said = [each.WhichOneof("frame") for each in answers]
            assert said == ["published"] * 5 + ["error", "published", "error", "published", "published"]
            assert [answers[n].error.reason for n in (5, 7)] == ["BUS_DISCONNECTED", "INVALID_CHANNEL"]
            assert await stream.read() is aio.EOF
            assert await stream.code() is grpc.StatusCode.OK
        async with consuming(bus, f"{channel}:>") as consumer:
            await consumer.have(18)
            assert consumer.numbers(f"{channel}:unary") == list(range(10))
            assert consumer.numbers(f"{channel}:stream") == [0, 1, 2, 3, 4, 6, 8, 9]


async def test_a_mix_of_traffic_survives(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """One client through the sidecar does everything at once: subscriptions come back by themselves, live messages
    wait in bounds, requests fail at once, and `flush` says which is which."""
    lost, back = asyncio.Event(), asyncio.Event()
    reasons: list[TrunklineError] = []

    def on_lost(reason: TrunklineError) -> None:
        reasons.append(reason)
        lost.set()

    client = GrpcMessageBus(sidecar.address, on_disconnected=on_lost, on_reconnected=back.set)
    live, durable = Inbox(), Inbox()
    async with client:
        await client.subscribe(f"{channel}:live", live)
        await client.subscribe(f"{channel}:stored", durable, durable="mixed")
        await client.publish(f"{channel}:unflushed", numbered("in doubt"))
        await kill(bus, sidecar)
        await asyncio.wait_for(lost.wait(), PATIENCE)
        await store(client, f"{channel}:stored", 1)
        with pytest.raises(BusDisconnectedError):
            await client.flush()  # which says that what was published may be lost
        await client.flush()
        with pytest.raises(BusDisconnectedError):
            await client.request(f"{channel}:live", numbered("request"), timeout=5)
        await client.publish(f"{channel}:live", numbered(1))
        late = asyncio.create_task(client.subscribe(f"{channel}:late", live))
        with pytest.raises(BusDisconnectedError):
            await client.flush()
        await store(client, f"{channel}:stored", 2)
        assert not back.is_set()
        assert not late.done()
        await asyncio.to_thread(bus.start)
        await asyncio.wait_for(back.wait(), PATIENCE)
        assert client.is_connected
        await asyncio.wait_for(late, PATIENCE)
        await client.publish(f"{channel}:late", numbered(2))
        await live.have(2)
        assert live.numbers == [1, 2]
        await durable.have(2)
        assert durable.numbers == [1, 2]
        assert len(reasons) == 1
        await client.flush()


async def test_connect_and_disconnect_while_the_bus_is_away(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """A program that begins in an outage can store; it is not connected, and says so; it comes to be by itself."""
    back = asyncio.Event()
    inbox = Inbox()
    await kill(bus, sidecar)
    async with GrpcMessageBus(sidecar.address) as passing:
        assert (await store(passing, channel, 0)).held_by_sidecar
    async with GrpcMessageBus(sidecar.address, on_reconnected=back.set) as client:
        assert not client.is_connected
        assert (await store(client, channel, 1)).held_by_sidecar
        subscribing = asyncio.create_task(client.subscribe(channel, inbox, durable="late", start="all"))
        await asyncio.to_thread(bus.start)
        await asyncio.wait_for(back.wait(), PATIENCE)
        assert client.is_connected
        await asyncio.wait_for(subscribing, PATIENCE)
        await inbox.have(2)
        assert inbox.numbers == [0, 1]


async def test_a_delay_counts_from_when_it_was_taken(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """deliver_after does not begin anew when the bus is back: the outage has used it up."""
    async with GrpcMessageBus(sidecar.address) as client, away(bus, sidecar):
        await store(client, channel, "later", deliver_after=3600)
        await store(client, channel, "soon", deliver_after=0.05)
        await store(client, channel, "now")
        await asyncio.sleep(0.1)  # until the short one is over
    async with consuming(bus, channel) as consumer, stub_of(bus) as stub:
        await consumer.have(2)
        assert sorted(consumer.numbers(channel)) == ["now", "soon"]
        assert (await stub.GetStats(bus_pb2.GetStatsRequest())).held_back == 1


async def test_a_stream_of_publishes_goes_on_at_the_bus(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """PublishStream opened in an outage: one stream, its receipts first the sidecar's, then the bus's."""
    async with stub_of(sidecar) as stub:
        await kill(bus, sidecar)
        stream = stub.PublishStream()

        async def publish(n: int, durability: bus_pb2.Durability) -> Any:
            frame = stored(channel, [n])
            frame.durability = durability
            await stream.write(bus_pb2.PublishStreamRequest(publish=frame))
            return await asyncio.wait_for(stream.read(), PATIENCE)

        assert (await publish(0, bus_pb2.DURABILITY_STORED)).published.receipts[0].held_by_sidecar
        error = error_from_item((await publish(1, bus_pb2.DURABILITY_MEMORY)).error)
        assert isinstance(error, BusDisconnectedError)
        await asyncio.to_thread(bus.start)
        await until_health(sidecar, "SERVING")
        await asyncio.to_thread(sidecar.wait_for, "what was held is forwarded")  # what comes earlier is held behind it
        answer = await publish(2, bus_pb2.DURABILITY_STORED)
        assert [receipt.sequence for receipt in answer.published.receipts] == [2]
        answer = await publish(3, bus_pb2.DURABILITY_MEMORY)
        assert answer.published.receipts[0].durability == bus_pb2.DURABILITY_MEMORY
        await stream.done_writing()
        assert await stream.read() is aio.EOF
    async with consuming(bus, channel) as consumer:
        await consumer.have(2)
        assert consumer.numbers(channel) == [0, 2]
