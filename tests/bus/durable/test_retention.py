"""Retention: what is removed by age, bytes and count, and never while it is needed unless a rule is hard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from tests.bus.calls import message, refused
from tests.bus.durable.bus import Bus
from tests.bus.durable.calls import ALL, create, eventually, get, holding, letters, settings, store, store_all
from trunkline.v1 import bus_pb2
from trunkline.v1.durable_pb2 import Position

OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
LONG = settings(ack_wait=60, backoff=(60, 2, 60))


def bus_with(directory: Path, *rules: dict[str, Any], **words: Any) -> Bus:
    """A bus with these rules, and no window of message ids that would keep everything for a while."""
    return Bus(directory, "sqlite", retention=list(rules), dedup_seconds=0, **words)


async def kept(stub: Any) -> Any:
    """GetStats."""
    return await stub.GetStats(bus_pb2.GetStatsRequest())


async def test_the_oldest_go_beyond_a_count(socket_dir: Path) -> None:
    """Of a rule's channels together; where nobody needs them. Whoever starts there is told the oldest."""
    async with bus_with(socket_dir, {"pattern": "a:>", "max_messages": 10}) as bus:
        for n in range(30):
            await store_all(bus.stub, f"a:{n % 3}", [n])
        await store_all(bus.stub, "b:x", range(20))
        await eventually(lambda: kept(bus.stub), lambda now: now.journal_messages == 10 + 20)
        await store(bus.stub, "c:x", message("behind the commit that removes them"))
        early = create(bus.stub, "d", "a:>", position=Position(sequence=1))
        error = await refused(early, OUT_OF_RANGE, "COMPACTED")
        assert error.details["requested"] == 1
        assert 18 <= error.details["oldest"] <= 21
        await create(bus.stub, "all", "a:>", position=ALL)
        assert (await get(bus.stub, "all")).waiting == 10
        await create(bus.stub, "others", "b:>", position=ALL)
        assert (await get(bus.stub, "others")).waiting == 20


async def test_by_age_and_by_bytes(socket_dir: Path) -> None:
    """Each by its own rule; the first pattern that matches is the only one."""
    rules = ({"pattern": "old:>", "max_age": 0.5}, {"pattern": "*:x", "max_bytes": 2_000})
    async with bus_with(socket_dir, *rules) as bus:
        await store_all(bus.stub, "old:x", range(5))
        for n in range(50):
            await store(bus.stub, "big:x", message("y" * 200 + str(n)))
        await eventually(lambda: kept(bus.stub), lambda now: now.journal_bytes <= 2_000)
        assert (await kept(bus.stub)).journal_messages >= 5


async def test_what_is_needed_stays(socket_dir: Path) -> None:
    """What waits, is leased, is to be tried again, or waits behind another of its key; then it goes."""
    async with bus_with(socket_dir, {"pattern": ">", "max_messages": 0}) as bus:
        stub = bus.stub
        await create(stub, "d", "a", settings=LONG)
        await store_all(stub, "a", ["k1", "k2", "k3"], ordering_key="k")
        for n in range(3):
            await store_all(stub, "a", [n])
        async with holding(stub, "d", "a", credit=3) as holder:
            first, leased, failed = await holder.take(3)
            await holder.say("nak", [failed])
            await eventually(lambda: get(stub, "d"), lambda now: now.retrying == 1)
            await store_all(stub, "b", range(9))  # they go, which shows that it has looked
            await eventually(lambda: kept(stub), lambda now: now.journal_messages == 6)
            await holder.say("terminate", [leased], reason="never")
            await holder.grant(9)
            await holder.ack([first])
            rest = await holder.take(2)
            assert sorted(each.n for each in rest) == ["2", "k2"]
            await holder.ack(rest)
            await holder.ack(await holder.take(1))
        await eventually(lambda: kept(stub), lambda now: now.journal_messages == 1)
        assert (await kept(stub)).lost_to_limits == 0


async def test_a_hard_rule_removes_what_is_needed_and_says_so(socket_dir: Path) -> None:
    """It is counted, waits no more, and the rest is delivered."""
    async with bus_with(socket_dir, {"pattern": ">", "max_messages": 5, "hard": True}) as bus:
        await create(bus.stub, "d", "a")
        for n in range(20):
            await store_all(bus.stub, "a", [n])
        await eventually(lambda: kept(bus.stub), lambda now: now.journal_messages == 5)
        assert (await kept(bus.stub)).lost_to_limits == 15
        assert (await get(bus.stub, "d")).waiting == 5
        async with holding(bus.stub, "d", "a") as holder:
            assert await holder.take_numbers(5) == ["15", "16", "17", "18", "19"]


async def test_what_expired_goes_without_a_subscriber(socket_dir: Path) -> None:
    """It is a dead letter of who waited for it, and leaves the journal."""
    async with bus_with(socket_dir) as bus:
        await create(bus.stub, "d", "a")
        await store_all(bus.stub, "a", range(3), ttl_seconds=1)
        found = await eventually(lambda: letters(bus.stub), lambda found: len(found) == 3)
        assert {each.error for each in found} == {"its TTL was over before it was handed out"}
        await eventually(lambda: kept(bus.stub), lambda now: now.journal_messages == 0)
        assert (await get(bus.stub, "d")).waiting == 0


async def test_the_file_shrinks_again(socket_dir: Path) -> None:
    """Space that came free is given back to the disk."""
    async with bus_with(socket_dir, {"pattern": ">", "max_age": 8.0}) as bus:
        for _ in range(8):
            await store(bus.stub, "a", *(message("x" * 500_000) for _ in range(8)))
        assert (await kept(bus.stub)).journal_file_bytes > 30_000_000
        await eventually(lambda: kept(bus.stub), lambda now: now.journal_messages == 0)
        await eventually(lambda: kept(bus.stub), lambda now: now.journal_file_bytes < 15_000_000)


async def test_no_room_in_the_journal(socket_dir: Path) -> None:
    """Stored publishes are refused; what has a receipt is delivered, and when it is done there is room again."""
    rule = {"pattern": ">", "max_messages": 0}
    async with bus_with(socket_dir, rule, max_journal_bytes=1024 * 1024) as bus:
        stub = bus.stub
        await create(stub, "d", "a")
        stored = 0
        error: Any = None
        for _ in range(400):
            wanted = bus_pb2.PublishRequest(
                channel="a", messages=[message("x" * 20_000)], durability=bus_pb2.DURABILITY_STORED
            )
            try:
                stored += len((await stub.Publish(wanted)).receipts)
            except grpc.aio.AioRpcError as status:
                error = status
                break
        assert error is not None
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stored > 10
        async with holding(stub, "d", "a", credit=1000) as holder:
            got = await holder.take(stored)
            await holder.ack(got)
        assert len({each.sequence for each in got}) == stored

        async def once_more() -> bool:
            try:
                await store_all(stub, "a", ["again"])
            except grpc.aio.AioRpcError:
                return False
            return True

        await eventually(once_more, bool)
