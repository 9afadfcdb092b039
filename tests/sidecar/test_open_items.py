"""What waits for its answer on a forwarded stream, read off the frames that pass."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.patience import PATIENCE
from trunkline.v1 import bus_pb2, state_pb2
from trunklined.forwarding.open_items import OpenItems

BUS, STATE = "/trunkline.v1.BusService/OpenStream", "/trunkline.v1.StateService/OpenStateStream"


def up(*items: Any) -> bytes:
    return bus_pb2.OpenStreamRequest(items=items).SerializeToString()


def down(*items: Any) -> bytes:
    return bus_pb2.OpenStreamResponse(items=items).SerializeToString()


async def is_answered(items: OpenItems) -> bool:
    """Whether a drain that begins now need not wait."""
    waiting = asyncio.ensure_future(items.answered())
    await asyncio.sleep(0)
    return waiting.done() or not waiting.cancel()


async def test_requests_and_what_wants_a_receipt_are_waited_for() -> None:
    """Until each has its answer; subscriptions and unanswered publishes are not."""
    items = OpenItems(BUS)
    items.sent(up({"id": 1, "subscribe": {"start": {"pattern": "a"}}}, {"publish": {"channel": "a", "messages": [{}]}}))
    assert await is_answered(items)
    items.sent(up({"id": 2, "request": {"channel": "a", "message": {}}}, {"id": 3, "publish": {"channel": "a"}}))
    waiting = asyncio.ensure_future(items.answered())
    await asyncio.sleep(0)
    items.sent(up({"id": 4, "request": {"channel": "a"}}))  # begun too late to be waited for
    items.came(down({"id": 1, "subscription": {"lagged": {"dropped": 1}}}, {"id": 2, "reply": {"channel": "r"}}))
    await asyncio.sleep(0)
    assert not waiting.done()
    items.came(down({"id": 3, "error": {"reason": "OVERLOADED"}}))
    await asyncio.wait_for(waiting, PATIENCE)


async def test_a_request_stream_is_waited_for_until_its_end() -> None:
    """Its events are not the end; credit that comes too late opens nothing."""
    items = OpenItems(BUS)
    items.sent(up({"id": 2, "request_stream": {"request": {"channel": "a"}}}))
    waiting = asyncio.ensure_future(items.answered())
    await asyncio.sleep(0)
    items.came(down({"id": 2, "request_events": {"events": [{"progress": {}}]}}))
    await asyncio.sleep(0)
    assert not waiting.done()
    items.came(down({"id": 2, "request_end": {"events": [{"result": {}}]}}))
    await asyncio.wait_for(waiting, PATIENCE)
    items.sent(up({"id": 2, "request_credit": {"parts": 1}}))
    assert await is_answered(items)


async def test_a_cancelled_request_is_waited_for_no_more() -> None:
    """Nor is what is open on a stream that is over."""
    items = OpenItems(BUS)
    items.sent(up({"id": 2, "request": {"channel": "a"}}, {"id": 2, "cancel": {}}))
    assert await is_answered(items)
    items.sent(up({"id": 3, "request": {"channel": "a"}}))
    waiting = asyncio.ensure_future(items.answered())
    await asyncio.sleep(0)
    items.close()
    await asyncio.wait_for(waiting, PATIENCE)


async def test_every_item_of_a_store_is_waited_for() -> None:
    """Reads and writes alike."""
    items = OpenItems(STATE)
    frame = state_pb2.OpenStateStreamRequest(items=[{"id": 1, "get": {"id": "a"}}, {"id": 2, "save": {}}])
    items.sent(frame.SerializeToString())
    assert not await is_answered(items)
    answer = state_pb2.OpenStateStreamResponse(items=[{"id": 2, "saved": {"revision": 1}}, {"id": 1, "got": {}}])
    items.came(answer.SerializeToString())
    assert await is_answered(items)


@pytest.mark.parametrize("method", [BUS, "/trunkline.v1.BusService/PublishStream"])
async def test_what_cannot_be_read_is_passed_by(method: str) -> None:
    """Bytes that are no frame, and streams that have no items."""
    items = OpenItems(method)
    items.sent(b"\xff\xff")
    items.came(b"\xff\xff")
    assert await is_answered(items)
