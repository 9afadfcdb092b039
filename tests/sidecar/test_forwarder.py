"""What the sidecar does to a call: nothing but to shrink its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.patience import PATIENCE, Stopwatch
from tests.sidecar.upstream import SERVICE, Upstream, sidecar_before
from trunkline.errors import StateDisconnectedError
from trunkline.wire.status import error_from_rpc


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def channel(upstream: Upstream, socket_dir: Path) -> AsyncIterator[aio.Channel]:
    async with sidecar_before(upstream, socket_dir) as channel:
        yield channel


async def test_raw_bytes_and_metadata_pass_both_ways(channel: Any, upstream: Upstream) -> None:
    """Bytes that are no protobuf at all come through; so do text and binary metadata, and trailers back."""
    call = channel.unary_unary(f"/{SERVICE}/Publish")(b"\xff\x00", metadata=(("key", "word"), ("raw-bin", b"\xfe")))
    assert await call == b"\xff\x00"
    assert upstream.metadata["key"] == "word"
    assert upstream.metadata["raw-bin"] == b"\xfe"
    assert ("after", "word") in tuple(await call.trailing_metadata())


async def test_a_status_comes_back_unchanged(channel: Any) -> None:
    """Code, message and trailing metadata are the upstream's."""
    with pytest.raises(aio.AioRpcError) as failed:
        await channel.unary_unary(f"/{SERVICE}/Publish")(b"fail")
    assert failed.value.code() is grpc.StatusCode.DATA_LOSS
    assert failed.value.details() == "on purpose"
    assert ("why-bin", b"\xff") in tuple(failed.value.trailing_metadata())


@pytest.mark.parametrize("timeout", [0.5, 5.0, 10.0, 60.0, 1000.0])
async def test_a_deadline_is_passed_on_and_shrinks(channel: Any, upstream: Upstream, timeout: float) -> None:
    """The upstream has less time than the caller, by a little."""
    await channel.unary_unary(f"/{SERVICE}/Publish")(b"x", timeout=timeout)
    assert upstream.time_remaining is not None
    assert timeout * 0.9 - 0.3 < upstream.time_remaining < timeout - 0.01


async def test_no_deadline_stays_none(channel: Any, upstream: Upstream) -> None:
    """A call without a deadline gets none on its way."""
    await channel.unary_unary(f"/{SERVICE}/Publish")(b"x")
    assert upstream.time_remaining is None


async def test_an_upstream_that_hangs_ends_with_the_deadline(channel: Any, upstream: Upstream) -> None:
    """No call hangs; the upstream's call is ended too."""

    async def ask() -> None:
        with pytest.raises(aio.AioRpcError) as failed:
            await channel.unary_unary(f"/{SERVICE}/Request")(b"x", timeout=0.3)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await Stopwatch(0.25, 2).measure_async(ask)
    await asyncio.wait_for(upstream.cancelled.wait(), PATIENCE)


async def test_a_cancelled_call_is_cancelled_upstream(channel: Any, upstream: Upstream) -> None:
    """A caller that gives up leaves nothing behind."""
    call = channel.unary_unary(f"/{SERVICE}/Request")(b"x")
    await asyncio.wait_for(upstream.received.wait(), PATIENCE)
    call.cancel()
    await asyncio.wait_for(upstream.cancelled.wait(), PATIENCE)


async def test_streams_pass_frame_by_frame_and_half_close(channel: Any, upstream: Upstream) -> None:
    """Each frame is answered before the next is sent; the half-close reaches the upstream, its last word the caller."""
    call = channel.stream_stream(f"/{SERVICE}/PublishStream")()
    for number in range(20):
        await call.write(b"%d" % number)
        assert await call.read() == b"%d" % number
    await call.done_writing()
    assert await call.read() == b"half-closed"
    assert upstream.half_closed.is_set()
    assert await call.read() is aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_streams_headers_come_at_once(channel: Any) -> None:
    """A client learns that its stream was accepted before anything is said on it."""
    call = channel.stream_stream(f"/{SERVICE}/OpenStream")()
    headers = await asyncio.wait_for(call.initial_metadata(), PATIENCE)
    assert ("hello", "there") in tuple(headers)
    call.cancel()


async def test_a_slow_reader_slows_the_upstream(channel: Any, upstream: Upstream) -> None:
    """What is not taken waits in the upstream: the sidecar holds no more than the windows of its connections."""
    call = channel.stream_stream(f"/{SERVICE}/Subscribe")()
    assert await call.read() == b"x" * 65_536
    sent = -1
    while sent != upstream.sent:  # until it stands still
        sent = upstream.sent
        await asyncio.sleep(0.2)
    assert sent < 1_000
    for _ in range(sent + 10):
        assert await call.read() == b"x" * 65_536
    call.cancel()
    await asyncio.wait_for(upstream.cancelled.wait(), PATIENCE)


async def test_a_slow_upstream_slows_the_caller(channel: Any) -> None:
    """The same upward: a caller's writes wait when the upstream does not read."""
    call = channel.stream_stream(f"/{SERVICE}/OpenStream")()
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(4_000):
            await asyncio.wait_for(call.write(b"x" * 65_536), 1)
            written += 1

    with pytest.raises(TimeoutError):
        await write()
    assert 0 < written < 1_000
    call.cancel()


async def test_an_upstream_that_is_not_there_is_said_in_time(channel: Any) -> None:
    """UNAVAILABLE with STATE_DISCONNECTED, within the caller's deadline or two seconds, whichever is earlier."""
    for timeout, at_most in ((0.3, 0.29), (None, 3.0)):

        async def ask(timeout: float | None = timeout) -> None:
            with pytest.raises(aio.AioRpcError) as failed:
                await channel.unary_unary("/trunkline.v1.StateService/Get")(b"", timeout=timeout)
            if timeout is None:
                assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
                assert isinstance(error_from_rpc(failed.value), StateDisconnectedError)

        await Stopwatch(0, at_most + 0.5).measure_async(ask)


async def test_an_unknown_call_is_unimplemented(channel: Any) -> None:
    """Only the calls of the two services are forwarded."""
    with pytest.raises(aio.AioRpcError) as failed:
        await channel.unary_unary(f"/{SERVICE}/Nothing")(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
