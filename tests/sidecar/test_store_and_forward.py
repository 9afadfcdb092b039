"""Stored publishes through the sidecar while the bus is away, with real programs that are killed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import aio

from tests.bus.calls import reached, refused
from tests.conftest import StartProgram
from tests.contract.inbox import Inbox, numbered
from tests.programs import RunningProgram, run_program
from tests.sidecar.outage import PATIENCE, away, consuming, kill, metrics_of, store, stored, stub_of, until_health
from trunkline import BusDisconnectedError, Durability, GrpcMessageBus, OverloadedError, TrunklineError
from trunkline.limits import DEDUP_SECONDS
from trunkline.status import error_from_item
from trunkline.v1 import bus_pb2, bus_pb2_grpc


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"forward:{uuid4().hex}"


@pytest.fixture
def bus(killable_bus: RunningProgram) -> RunningProgram:
    return killable_bus


@pytest.fixture
def sidecar(killable_sidecar: RunningProgram) -> RunningProgram:
    return killable_sidecar


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


async def test_what_need_not_be_stored_fails_as_without_a_store(bus: RunningProgram, sidecar: RunningProgram) -> None:
    """A publish in memory, or by the bus's own rule, which the sidecar does not know."""
    unavailable = grpc.StatusCode.UNAVAILABLE
    async with stub_of(sidecar) as stub, away(bus, sidecar):
        for durability in (bus_pb2.DURABILITY_UNSPECIFIED, bus_pb2.DURABILITY_MEMORY):
            publish = stored("a", [1])
            publish.durability = durability
            await refused(stub.Publish(publish), unavailable, "BUS_DISCONNECTED")
        await refused(stub.GetStats(bus_pb2.GetStatsRequest()), unavailable, "BUS_DISCONNECTED")


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"channel": "a::b"}, "INVALID_CHANNEL", "a::b"),
        ({"messages": []}, "INVALID_MESSAGE", "messages is empty"),
        ({"messages": [{"json": "x" * 5_000_000}]}, "MESSAGE_TOO_LARGE", "4194304"),
        ({"messages": [{"json": "{}", "priority": 9}]}, "INVALID_MESSAGE", "priority 9"),
        ({"messages": [{"json": "{}"}, {"json": "{}", "ttl_seconds": 0}]}, "INVALID_MESSAGE", "ttl_seconds is 0"),
        ({"messages": [{"json": "{}", "deliver_after": {"seconds": -1}}]}, "INVALID_MESSAGE", "deliver_after is -1"),
        ({"messages": [{"json": "{}", "ordering_key": "k" * 256}]}, "INVALID_MESSAGE", "256 bytes"),
        ({"durability": 9}, "INVALID_MESSAGE", "durability 9"),
    ],
)
async def test_what_the_bus_would_refuse_is_refused_at_once(
    sidecar_program: RunningProgram,
    start_program: StartProgram,
    socket_dir: Path,
    change: dict[str, Any],
    reason: str,
    says: str,
) -> None:
    """With the bus's own words: the same request to a bus says the same."""
    lonely = start_program("sidecar", *_lonely(socket_dir), address=f"unix:{socket_dir}/lonely.sock")
    await until_health(lonely, "NOT_SERVING")
    words: dict[str, Any] = {"channel": "a", "messages": [{"json": "{}"}], "durability": bus_pb2.DURABILITY_STORED}
    request = bus_pb2.PublishRequest(**(words | change))
    said = []
    options = [("grpc.max_send_message_length", 2**26)]
    for program in (lonely, sidecar_program):
        async with aio.insecure_channel(program.address, options=options) as line:
            call = bus_pb2_grpc.BusServiceStub(line).Publish(request, timeout=5)
            error = await refused(call, grpc.StatusCode.INVALID_ARGUMENT, reason)
            assert says in error.message
            said.append(error.to_dict())
    assert said[0] == said[1]


def _lonely(directory: Path) -> tuple[str, ...]:
    """Options of a sidecar whose upstreams are not there."""
    nobody = ("--bus-address", f"unix:{directory}/nobody.sock", "--state-address", f"unix:{directory}/nobody.sock")
    return (*nobody, "--socket-path", "", "--store-path", f"{directory}/lonely.db")


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


async def test_the_bounds_are_said(
    bus: RunningProgram, start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """Beyond max_stored_messages or max_stored_bytes OVERLOADED, with the figures; what was held is still forwarded."""
    limits = ("--max-stored-messages", "10", "--max-stored-bytes", "2000")
    files = ("--socket-path", "", "--store-path", f"{socket_dir}/small.db", "--bus-address", bus.address)
    small = start_program("sidecar", *files, *limits, address=f"unix:{socket_dir}/small.sock")
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    async with stub_of(small) as stub, GrpcMessageBus(small.address) as client:
        async with away(bus, small):
            await stub.Publish(stored(channel, range(9)), timeout=5)
            error = await refused(stub.Publish(stored(channel, range(2))), exhausted, "OVERLOADED")
            assert error.details == {"limit": "max_stored_messages", "maximum": 10, "held": "9"}
            error = await refused(stub.Publish(stored(channel, ['"' + "x" * 2000 + '"'])), exhausted, "OVERLOADED")
            assert (error.details["limit"], error.details["maximum"]) == ("max_stored_bytes", 2000)
            await store(client, channel, 9)
            with pytest.raises(OverloadedError, match="max_stored_messages is 10"):
                await store(client, channel, 10)
        async with consuming(bus, channel) as consumer:
            await consumer.have(10)
            assert (await store(client, channel, 10)).sequence == 11
            await consumer.have(11)
            assert consumer.numbers(channel) == list(range(11))


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
        await kill(bus, sidecar)
        await asyncio.wait_for(lost.wait(), PATIENCE)
        await store(client, f"{channel}:stored", 1)
        with pytest.raises(BusDisconnectedError):
            await client.flush()  # which tells of the loss
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


async def test_nothing_overtakes_what_is_held(bus: RunningProgram, sidecar: RunningProgram, channel: str) -> None:
    """Publishers that never pause, on several channels, through two outages: each one's messages arrive in order."""
    stop = asyncio.Event()

    async def publish(client: GrpcMessageBus, name: str) -> int:
        n = 0
        while not stop.is_set():
            await store(client, f"{channel}:{name}", n, ordering_key=name)
            n += 1
        return n

    async with GrpcMessageBus(sidecar.address) as one, GrpcMessageBus(sidecar.address) as two:
        clients = {"a": one, "b": one, "c": two}
        publishers = {name: asyncio.create_task(publish(client, name)) for name, client in clients.items()}
        async with consuming(bus, f"{channel}:>") as consumer:
            for _ in range(2):
                await consumer.have(len(consumer.came) + 100)
                async with away(bus, sidecar):
                    await asyncio.sleep(0.3)  # meanwhile they publish
                await until_health(sidecar, "SERVING")
            await consumer.have(len(consumer.came) + 100)
            stop.set()
            counts = {name: await publisher for name, publisher in publishers.items()}
            await consumer.have(sum(counts.values()))
            for name, count in counts.items():
                assert _once(consumer.numbers(f"{channel}:{name}")) == list(range(count))


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


async def test_a_refused_message_does_not_block_the_others(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """A bus with a smaller limit refuses one of what the sidecar held: it is set aside, counted and logged."""
    bus = start_program("bus", "--path", f"{socket_dir}/bus.db", "--max-message-bytes", "1024")
    path = Path(socket_dir, "sidecar.db")
    files = ("--socket-path", "", "--store-path", str(path), "--metrics-address", "127.0.0.1:0")
    sidecar = start_program("sidecar", *files, "--bus-address", bus.address, address=f"unix:{socket_dir}/sidecar.sock")
    async with stub_of(sidecar) as stub:
        async with away(bus, sidecar):
            await stub.Publish(stored(channel, [0, 1]), timeout=5)
            large = stored(channel, ['"' + "x" * 2000 + '"'], message_id="too-large")
            await stub.Publish(large, timeout=5)
            await stub.Publish(stored(channel, [2, 3]), timeout=5)
        async with consuming(bus, channel) as consumer:
            await consumer.have(4)
            assert consumer.numbers(channel) == [0, 1, 2, 3]
    await asyncio.to_thread(sidecar.wait_for, "what was held is forwarded")
    logged = [event for event in sidecar.events() if event.get("message_id") == "too-large"]
    assert [(event["level"], event["reason"], event["channel"]) for event in logged] == [
        ("error", "MESSAGE_TOO_LARGE", channel)
    ]
    metrics = await asyncio.to_thread(metrics_of, sidecar)
    for name, figure in (("refused_total", 1), ("forwarded_total", 4), ("kept_total", 5), ("held_messages", 0)):
        assert f"trunkline_sidecar_{name} {figure}.0" in metrics
    assert sidecar.stop() == 0
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT channel, message_id, reason, length(message) > 2000 FROM refused").fetchall()
    connection.close()
    assert rows == [(channel, "too-large", "MESSAGE_TOO_LARGE", 1)]


async def test_a_bus_that_takes_no_more_blocks_nothing_else(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """The bus is back, but its journal is full: what is held stays held, and everything else passes, also on streams
    that were opened in the outage."""
    full = ("--path", f"{socket_dir}/bus.db", "--max-journal-bytes", str(2**20))
    bus = start_program("bus", *full)
    files = ("--socket-path", "", "--store-path", f"{socket_dir}/sidecar.db")
    sidecar = start_program("sidecar", *files, "--bus-address", bus.address, address=f"unix:{socket_dir}/sidecar.sock")
    async with stub_of(sidecar) as stub:
        with suppress(aio.AioRpcError):
            while True:
                await stub.Publish(stored(f"{channel}:fill", ['"' + "x" * 50_000 + '"']), timeout=5)
        await kill(bus, sidecar)
        async with GrpcMessageBus(sidecar.address) as client:
            assert (await store(client, f"{channel}:held", '"' + "y" * 200_000 + '"')).held_by_sidecar
            inbox = Inbox()
            subscribing = asyncio.create_task(client.subscribe(f"{channel}:live", inbox))
            await asyncio.to_thread(bus.start)
            await asyncio.wait_for(subscribing, PATIENCE)
            await asyncio.to_thread(sidecar.wait_for, "what is held could not be forwarded")
            await client.publish(f"{channel}:live", numbered(1))
            await inbox.have(1)
            assert (await store(client, f"{channel}:held", 2)).held_by_sidecar
            await stub.GetStats(bus_pb2.GetStatsRequest(), timeout=5)


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
        answer = await publish(2, bus_pb2.DURABILITY_STORED)
        assert [receipt.sequence for receipt in answer.published.receipts] == [2]
        answer = await publish(3, bus_pb2.DURABILITY_MEMORY)
        assert answer.published.receipts[0].durability == bus_pb2.DURABILITY_MEMORY
        await stream.done_writing()
        assert await stream.read() is aio.EOF
    async with consuming(bus, channel) as consumer:
        await consumer.have(2)
        assert consumer.numbers(channel) == [0, 2]


async def test_a_drain_in_an_outage_ends_streams_and_keeps_all(
    bus: RunningProgram, sidecar: RunningProgram, channel: str
) -> None:
    """SIGTERM of the sidecar while it stands in: streams end with UNAVAILABLE, exit code 0, and nothing is lost."""
    await kill(bus, sidecar)
    async with stub_of(sidecar) as stub:
        stream = stub.Connect()
        await stream.write(bus_pb2.ConnectRequest(items=[{"id": 1, "publish": stored(channel, [1])}]))
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


async def test_without_a_store_nothing_is_held(
    bus: RunningProgram, start_program: StartProgram, socket_dir: Path
) -> None:
    """An empty store_path: stored publishes fail while the bus is away, like all others."""
    files = ("--socket-path", "", "--store-path", "", "--bus-address", bus.address)
    plain = start_program("sidecar", *files, address=f"unix:{socket_dir}/plain.sock")
    async with stub_of(plain) as stub, away(bus, plain):
        await refused(stub.Publish(stored("a", [1])), grpc.StatusCode.UNAVAILABLE, "BUS_DISCONNECTED")


def test_one_file_serves_one_sidecar(sidecar: RunningProgram, socket_dir: Path) -> None:
    """A second one does not start, and says which process has it."""
    address = f"unix:{socket_dir}/second.sock"
    second = run_program(
        "sidecar", "--address", address, "--socket-path", "", "--store-path", f"{socket_dir}/sidecar.db"
    )
    assert second.returncode == 1
    assert f"(pid {sidecar.pid}); one file serves one sidecar" in second.stderr
