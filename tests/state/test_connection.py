"""OpenStateStream: the multiplexed stream of client libraries."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.patience import PATIENCE, OwnTime
from tests.state.samples import agent
from trunkline.errors import StateDisconnectedError
from trunkline.limits import FRAME_BYTES, MAX_FRAME_ITEMS
from trunkline.v1 import state_pb2 as wire
from trunkline.v1 import state_pb2_grpc
from trunkline.wire.status import error_from_rpc
from trunklined.state.store import Store
from trunklined.state.wire.servicer import StateServicer

AGENT_STATE = wire.RECORD_KIND_AGENT_STATE

Stub = state_pb2_grpc.StateServiceStub


class Stream:
    """One OpenStateStream stream, read into answers by id."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.answers: dict[int, wire.OpenStateStreamResponse.ServerItem] = {}

    async def send(self, *items: dict[str, Any]) -> None:
        await self.call.write(wire.OpenStateStreamRequest(items=items))

    async def answer(self, id: int) -> wire.OpenStateStreamResponse.ServerItem:
        async with asyncio.timeout(PATIENCE):
            while id not in self.answers:
                frame = await self.call.read()
                assert frame is not aio.EOF
                for item in frame.items:
                    assert item.id not in self.answers
                    self.answers[item.id] = item
        return self.answers[id]


@pytest.fixture
async def stream(stub: Stub) -> AsyncIterator[Stream]:
    call = stub.OpenStateStream()
    await call.initial_metadata()
    yield Stream(call)
    call.cancel()


async def test_what_one_stream_wrote_it_reads(stream: Stream) -> None:
    """In the same frame, before the write was answered."""
    await stream.send(
        {"id": 1, "save": {"agent_state": agent("a", status="one")}},
        {"id": 2, "get": {"kind": 1, "id": "a"}},
        {"id": 3, "list": {"kind": 1}},
        {"id": 4, "save": {"agent_state": agent("a", status="two")}},
        {"id": 5, "get": {"kind": 1, "id": "a"}},
        {"id": 6, "delete": {"kind": 1, "id": "a"}},
        {"id": 7, "get": {"kind": 1, "id": "a"}},
    )
    assert (await stream.answer(1)).saved.revision == 1
    assert (await stream.answer(2)).got.record.agent_state.status == "one"
    assert (await stream.answer(3)).listed.revision >= 1
    assert (await stream.answer(5)).got.record.agent_state.status == "two"
    assert (await stream.answer(6)).deleted == wire.DeleteResponse(deleted=True, revision=3)
    assert (await stream.answer(7)).error.reason == "NOT_FOUND"


async def test_errors_come_as_items_and_the_stream_goes_on(stream: Stream) -> None:
    """Each with the reason, the figures and the code of a unary call."""
    await stream.send(
        {"id": 1},
        {"id": 2, "save": {}},
        {"id": 3, "get": {"kind": 9, "id": "a"}},
        {"id": 4, "list": {"kind": 1, "page_size": 0}},
        {"id": 5, "batch": {}},
        {"id": 6, "delete": {"kind": 1, "id": "a", "expected_revision": 0}},
        {"id": 7, "save": {"agent_state": agent(), "expected_revision": 3}},
        {
            "id": 8,
            "batch": {"operations": [{"save": {"agent_state": agent(), "expected_revision": 3}}], "atomic": True},
        },
        {"id": 9, "save": {"agent_state": agent()}},
    )
    for id, reason in enumerate(["INVALID_RECORD"] * 6 + ["REVISION_MISMATCH"] * 2, start=1):
        error = (await stream.answer(id)).error
        assert (error.reason, error.code) == (reason, 3 if reason == "INVALID_RECORD" else 10)
    assert (await stream.answer(8)).error.metadata["operation"] == "0"
    assert (await stream.answer(9)).saved.revision == 1


async def test_a_frame_that_is_no_frame_ends_the_stream_and_hits_nobody_else(
    channel: aio.Channel, stream: Stream
) -> None:
    """INVALID_RECORD; other streams go on."""
    call: Any = channel.stream_stream("/trunkline.v1.StateService/OpenStateStream")()
    await call.write(b"\xff\xff\xff")
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()
    assert error_from_rpc(caught.value).error_code == "INVALID_RECORD"
    await stream.send({"id": 1, "get": {"kind": 1, "id": "a"}})
    assert (await stream.answer(1)).error.reason == "NOT_FOUND"


async def test_a_client_that_half_closes_gets_all_its_answers(stream: Stream) -> None:
    """Then the stream ends with OK."""
    await stream.send(*({"id": id, "save": {"agent_state": agent(f"r{id}")}} for id in range(1, 101)))
    await stream.call.done_writing()
    await stream.answer(100)
    assert {id: item.saved.revision for id, item in stream.answers.items()} == {id: id for id in range(1, 101)}
    assert await stream.call.read() is aio.EOF
    assert await stream.call.code() is grpc.StatusCode.OK


async def test_a_client_that_vanishes_leaves_nothing_behind(stub: Stub, servicer: StateServicer, store: Store) -> None:
    """What it wrote is done; the stream is forgotten."""
    call = stub.OpenStateStream()
    await call.write(wire.OpenStateStreamRequest(items=[{"id": 1, "save": {"agent_state": agent("a")}}]))
    async with asyncio.timeout(PATIENCE):
        while not store.engine.holdings.revision:  # noqa: ASYNC110  # the store has no event for it
            await asyncio.sleep(0)
        call.cancel()
        while servicer.connections:  # noqa: ASYNC110  # nor has the servicer
            await asyncio.sleep(0)
    assert (await stub.Get(wire.GetRequest(kind=AGENT_STATE, id="a"))).record.revision == 1


async def test_a_client_that_does_not_read_is_bounded(stub: Stub, servicer: StateServicer) -> None:
    """Its gets are not read from the disk faster than it takes the answers; others are served meanwhile."""
    big = agent("big", metadata_json='{"x":"' + "y" * 60_000 + '"}')
    await stub.Save(wire.SaveRequest(agent_state=big))
    call = stub.OpenStateStream()
    await call.initial_metadata()
    await call.write(
        wire.OpenStateStreamRequest(items=[{"id": id, "get": {"kind": 1, "id": "big"}} for id in range(1, 2001)])
    )
    assert (await stub.Get(wire.GetRequest(kind=AGENT_STATE, id="big"))).record.revision == 1
    gets = (await stub.GetStateStats(wire.GetStateStatsRequest())).gets
    assert gets < 1000
    answered = 0
    async with asyncio.timeout(PATIENCE):
        while answered < 2000:
            answered += len((await call.read()).items)
    call.cancel()


async def test_draining_ends_the_stream_as_unavailable_after_its_answers(
    stream: Stream, servicer: StateServicer
) -> None:
    """What was taken is answered first."""
    await stream.send({"id": 1, "save": {"agent_state": agent("a")}})
    assert (await stream.answer(1)).saved.revision == 1
    drain = asyncio.create_task(servicer.drain(5))
    with pytest.raises(aio.AioRpcError) as caught:
        await stream.answer(2)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await drain


async def _others(stub: Stub, seconds: float) -> float:
    """The longest that another client's save and get took, asked again and again for some time; what other processes
    took of it does not count."""
    loop = asyncio.get_running_loop()
    end, longest = loop.time() + seconds, 0.0
    while loop.time() < end:
        took = OwnTime(os.getpid())
        await stub.Save(wire.SaveRequest(agent_state=agent("other")))
        await stub.Get(wire.GetRequest(kind=AGENT_STATE, id="other"))
        longest = max(longest, took.seconds())
    return longest


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("frame.items", b"\x0a\x00" * 2_000_000),
        ("frame.items", wire.OpenStateStreamRequest(items=[{"id": 1}] * (MAX_FRAME_ITEMS + 1)).SerializeToString()),
        (
            "frame.operations",
            wire.OpenStateStreamRequest(
                items=[{"id": id, "batch": {"operations": [{}] * 8_192}} for id in range(5)]
            ).SerializeToString(),
        ),
    ],
)
async def test_a_frame_of_too_many_items_ends_the_stream_at_once(
    field: str, raw: bytes, channel: aio.Channel, stub: Stub
) -> None:
    """It is not even decoded: two bytes on the wire are a hundred in memory, and work for everybody to wait for."""
    call: Any = channel.stream_stream("/trunkline.v1.StateService/OpenStateStream")()
    await call.initial_metadata()
    others = asyncio.create_task(_others(stub, 1.0))
    await call.write(raw)
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()
    error = error_from_rpc(caught.value, StateDisconnectedError)
    assert (error.error_code, error.details["field"]) == ("INVALID_RECORD", field)
    assert await others < 0.5  # a tenth of that, where the machine has nothing else to do


async def test_a_frame_of_as_many_items_as_are_allowed_lets_others_through(stream: Stream, stub: Stub) -> None:
    """Each is refused with an error of its own, in frames that a client takes; meanwhile others are served."""
    others = asyncio.create_task(_others(stub, 1.0))
    await stream.send(*({"id": id} for id in range(MAX_FRAME_ITEMS)))
    sizes = []
    async with asyncio.timeout(60):
        while len(stream.answers) < MAX_FRAME_ITEMS:
            frame = await stream.call.read()
            sizes.append(frame.ByteSize())
            stream.answers |= {item.id: item for item in frame.items}
    assert {item.error.reason for item in stream.answers.values()} == {"INVALID_RECORD"}
    assert max(sizes) <= 2 * FRAME_BYTES
    assert await others < 0.5


async def test_gets_of_one_frame_are_answered_in_frames_that_clients_take(stream: Stream) -> None:
    """gRPC's clients take 4 MiB, unless they are told otherwise."""
    big = agent("big", metadata_json='{"x":"' + "y" * 60_000 + '"}')
    await stream.send(
        {"id": 1, "save": {"agent_state": big}}, *({"id": n, "get": {"kind": 1, "id": "big"}} for n in range(2, 102))
    )
    sizes, answered = [], 0
    while answered < 101:
        frame = await stream.call.read()
        sizes.append(frame.ByteSize())
        answered += len(frame.items)
    assert max(sizes) <= 2 * FRAME_BYTES
