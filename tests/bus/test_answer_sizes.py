"""Answers of many entries, as a client with gRPC's own limit of 4 MiB takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.bus.calls import Start, message, publish
from tests.bus.durable.calls import create, eventually, settle, store
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from trunkline.limits import FRAME_BYTES, MAX_ANSWER_BYTES
from trunkline.v1 import bus_pb2, bus_pb2_grpc, dead_letter_pb2, durable_pb2
from trunkline.v1.bus_pb2 import OpenStreamRequest, SubscribeRequest

Item = OpenStreamRequest.ClientItem
NAME = "n" * 255
KiB = 1024


@pytest.fixture
async def plain(start_program: StartProgram) -> AsyncIterator[Any]:
    """A raw stub of a bus of this test alone, which sets no limits."""
    async with grpc.aio.insecure_channel(start_program("bus").address) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


async def _die(stub: Any, *sizes: int) -> None:
    """Makes dead letters of messages of these sizes."""
    await create(stub, "dead", "dead:all")
    for size in sizes:
        (receipt,) = await store(stub, "dead:all", message("x" * size))
        call = stub.Subscribe()
        await call.write(SubscribeRequest(start=Start(pattern="dead:all", durable="dead", credit=1)))
        while (await asyncio.wait_for(call.read(), PATIENCE)).WhichOneof("frame") != "deliveries":
            pass
        await settle(stub, "dead", terminate=durable_pb2.Terminate(sequences=[receipt.sequence], reason="r" * 4096))
        call.cancel()


async def _pages(stub: Any, **wanted: Any) -> list[dead_letter_pb2.ListDeadLettersResponse]:
    request, pages = dead_letter_pb2.ListDeadLettersRequest(page_size=1_000, **wanted), []
    while True:
        pages.append(await stub.ListDeadLetters(request, timeout=PATIENCE))
        request.page_token = pages[-1].next_page_token
        if not request.page_token:
            return pages


async def test_pages_of_dead_letters_end_below_what_clients_take(plain: Any) -> None:
    """With their envelopes; all come, page by page, the newest first; one large letter does not take its neighbours
    along."""
    sizes = [*[900 * KiB] * 9, 4_000 * KiB, 50 * KiB, 50 * KiB]
    await _die(plain, *sizes)
    pages = await _pages(plain)
    assert [letter.dead_letter_id for page in pages for letter in page.dead_letters] == [*range(12, 0, -1)]
    assert max(page.ByteSize() for page in pages) < MAX_ANSWER_BYTES
    assert [len(page.dead_letters) for page in pages] == [2, 1, 4, 4, 1]
    brief = await _pages(plain, brief=True)
    assert [len(page.dead_letters) for page in brief] == [12]
    assert {page.total for page in (*pages, *brief)} == {12}
    done = await plain.RedriveDeadLetters(
        dead_letter_pb2.RedriveDeadLettersRequest(filter=dead_letter_pb2.DeadLetterFilter()), timeout=PATIENCE
    )
    assert [*done.dead_letter_ids] == [*range(1, 13)]


async def test_pages_of_subscriptions_end_below_what_clients_take(plain: Any) -> None:
    """With the longest names and patterns that there are, the largest page fits."""
    call = plain.OpenStream()
    wanted = [Item(id=id, subscribe={"start": {"pattern": NAME, "group": NAME}}) for id in range(1, 1_002)]
    await call.write(OpenStreamRequest(items=wanted))
    ask = bus_pb2.ListSubscriptionsRequest(page_size=1_000)
    page = await eventually(lambda: plain.ListSubscriptions(ask), lambda page: page.next_page_token)
    assert len(page.subscriptions) == 1_000
    assert page.ByteSize() < MAX_ANSWER_BYTES
    for number in range(1_001):
        await create(plain, f"{number:04}" + NAME[4:], NAME)
    page = await plain.ListDurableSubscriptions(durable_pb2.ListDurableSubscriptionsRequest(page_size=1_000))
    assert (len(page.subscriptions), bool(page.next_page_token)) == (1_000, True)
    assert page.ByteSize() < MAX_ANSWER_BYTES


async def test_frames_of_a_stream_are_below_what_clients_take(plain: Any) -> None:
    """Of thousands of refusals, and of a large message behind others: it goes alone."""
    call = plain.OpenStream()
    await call.write(OpenStreamRequest(items=[Item(id=1, subscribe={"start": {"pattern": "large:>"}})]))
    await asyncio.wait_for(call.read(), PATIENCE)
    await call.write(OpenStreamRequest(items=[Item(id=id + 2, publish={"channel": "é" * 255}) for id in range(30_000)]))
    await publish(plain, "large:a", *(message("x" * 4_000) for _ in range(50)))
    await publish(plain, "large:b", message("x" * (MAX_ANSWER_BYTES - 1_000)))
    refusals = messages = 0
    while refusals < 30_000 or messages < 51:
        frame = await asyncio.wait_for(call.read(), PATIENCE)
        assert frame is not grpc.aio.EOF
        refusals += sum(item.HasField("error") for item in frame.items)
        delivered = [len(item.subscription.deliveries.messages) for item in frame.items]
        messages += sum(delivered)
        assert frame.ByteSize() <= 2 * FRAME_BYTES or (len(frame.items), messages) == (1, 51)
    call.cancel()
