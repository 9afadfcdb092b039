"""What waits, cancelled and moved: where the disk is full meanwhile, and what that costs others where much waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import create, eventually, get, holding, store_all
from tests.patience import PATIENCE
from trunkline.errors import OverloadedError
from trunkline.v1 import waiting_pb2

ALL = waiting_pb2.WaitingFilter()


async def move(stub: Any, name: str, to: str) -> Any:
    request = waiting_pb2.MoveWaitingMessagesRequest(durable=name, filter=ALL, to_durable=to)
    return await stub.MoveWaitingMessages(request, timeout=PATIENCE)


async def cancel(stub: Any, name: str, **which: Any) -> Any:
    request = waiting_pb2.CancelWaitingMessagesRequest(durable=name, filter=waiting_pb2.WaitingFilter(**which))
    return await stub.CancelWaitingMessages(request, timeout=PATIENCE)


async def listed(stub: Any, name: str, **fields: Any) -> Any:
    request = waiting_pb2.ListWaitingMessagesRequest(durable=name, **fields)
    return await stub.ListWaitingMessages(request, timeout=PATIENCE)


async def test_a_move_that_cannot_be_written_is_tried_again(
    socket_dir: Path, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the disk takes it: then each message is in the other one, once, and stays so after a restart."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        for name in ("a", "b"):
            await create(bus.stub, name, channel)
        await store_all(bus.stub, channel, range(20))
        await cancel(bus.stub, "b")
        gate.shut()
        moving = asyncio.ensure_future(move(bus.stub, "a", "b"))
        await gate.reached()
        gate.fails = OverloadedError("there is no room", details={"limit": "disk"})
        failed = len(gate.batches)
        gate.open()
        while len(gate.batches) < failed + 2:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
        assert not moving.done()
        gate.fails = None
        assert (await moving).moved == 20
        assert [(await get(bus.stub, name)).waiting for name in ("a", "b")] == [0, 20]
        await bus.restart()
        assert [(await get(bus.stub, name)).waiting for name in ("a", "b")] == [0, 20]
        async with holding(bus.stub, "b", channel) as holder:
            assert await holder.take_numbers(20) == [str(n) for n in range(20)]
            await store_all(bus.stub, channel, ["end"])
            assert await holder.take_numbers(1) == ["end"]


async def test_what_is_cancelled_stays_so_after_a_restart(kept: Bus, channel: str) -> None:
    """Beyond the place, and behind an ordering key; what was handed out past it leaves nothing behind on the disk."""
    await create(kept.stub, "d", channel)
    sequences = await store_all(kept.stub, channel, range(10))
    keyed = await store_all(kept.stub, channel, ["k0", "k1", "k2"], ordering_key="k")
    async with holding(kept.stub, "d", channel, credit=11) as holder:
        got = await holder.take(11)
        assert [each.n for each in got] == [*map(str, range(10)), "k0"]
        assert (await cancel(kept.stub, "d", sequences=[keyed[1], sequences[3]])) == (
            waiting_pb2.CancelWaitingMessagesResponse(cancelled=1, leased=1)
        )
        more = await store_all(kept.stub, channel, range(20, 30))
        assert (await cancel(kept.stub, "d", sequences=more[2:5])).cancelled == 3
        await kept.restart()
    async with holding(kept.stub, "d", channel) as holder:
        assert await holder.take_numbers(7) == ["20", "21", "25", "26", "27", "28", "29"]
    await kept.stop()
    assert kept.rows("SELECT count FROM cancelled ORDER BY sequence") == [(1,), (3,)]
    await kept.start()
    assert (await get(kept.stub, "d")).waiting == 1


async def test_a_page_costs_no_more_where_much_waits(stub: Any, channel: str) -> None:
    """And one that finds nothing ends, with a token to go on with; then all is cancelled at once."""
    await create(stub, "d", channel)
    for start in range(0, 20_000, 5_000):
        await store_all(stub, channel, range(start, start + 5_000))
    first = await listed(stub, "d", page_size=3)
    assert [each.message.json for each in first.messages] == ["0", "1", "2"]
    second = await listed(stub, "d", page_size=3, page_token=first.next_page_token)
    assert [each.message.json for each in second.messages] == ["3", "4", "5"]
    nothing = await listed(stub, "d", filter=waiting_pb2.WaitingFilter(sender_id="nobody"))
    assert not nothing.messages
    assert (await cancel(stub, "d", sender_id="nobody")).cancelled == 0
    assert (await cancel(stub, "d")).cancelled == 20_000
    await eventually(lambda: get(stub, "d"), lambda found: found.waiting == 0)
    assert not (await listed(stub, "d")).messages
