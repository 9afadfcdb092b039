"""What a handler raises reaches the caller as the same error, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.patience import PATIENCE
from tests.rpc.greeter import Greeter
from trunkline import errors
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.wire.status import error_from_item, error_from_rpc
from trunklined.rpc.errors import MAX_DETAILS_BYTES, MAX_TEXT_BYTES, to_item, to_status
from trunklined.rpc.metrics import RpcMetrics

Stub = bus_pb2_grpc.BusServiceStub
SERVICE = "/trunkline.v1.BusService"
PUBLISH = f"{SERVICE}/Publish"


async def _publish(stub: Stub, channel: str) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Publish(bus_pb2.PublishRequest(channel=channel))
    return caught.value


def _values(metrics: RpcMetrics) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for m in metrics.collect() for s in m.samples}


async def _until(true: Callable[[], bool]) -> None:
    """A call's end is counted when its handler is gone, which may be just after its caller has the answer."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)  # nothing tells


async def test_a_domain_error_carries_one_error_info(stub: Stub) -> None:
    """Status, reason, domain and figures are as DESIGN's table says."""
    error = await _publish(stub, "refuse")
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "nobody listens on 'refuse'"
    metadata = error.trailing_metadata()
    assert metadata is not None
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert len(status.details) == 1
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("trunkline", "NO_RESPONDERS")
    assert dict(info.metadata) == {"channel": "refuse", "count": "0"}


async def test_a_domain_error_comes_back_as_the_same_class(stub: Stub) -> None:
    """The client raises what the service raised."""
    back = error_from_rpc(await _publish(stub, "refuse"))
    assert type(back) is errors.NoRespondersError
    assert back.details["channel"] == "refuse"


async def test_an_unexpected_error_is_told_by_an_id_only(stub: Stub) -> None:
    """No other exception text reaches a client; the log has it under the id."""
    with capture_logs() as logged:
        error = await _publish(stub, "bug")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error)
    back = error_from_rpc(error)
    assert type(back) is errors.InternalError
    assert back.details["error_id"] in [line.get("error_id") for line in logged]


async def test_a_stream_ends_with_the_error_behind_its_answers(stub: Stub) -> None:
    """Each call kind is covered; what was answered before the error arrives."""
    call = stub.PublishStream()
    await call.write(bus_pb2.PublishStreamRequest(publish=bus_pb2.PublishRequest(channel="ok")))
    assert (await call.read()).published.receipts[0].sequence == 1
    await call.write(bus_pb2.PublishStreamRequest(publish=bus_pb2.PublishRequest(channel="refuse")))
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()
    assert type(error_from_rpc(caught.value)) is errors.NoRespondersError


async def test_a_handler_that_reads_and_writes_is_covered(stub: Stub, greeter: Greeter) -> None:
    """A coroutine handler of a stream raises like an iterating one."""
    greeter.draining.set()
    call = stub.OpenStream()
    await call.write(bus_pb2.OpenStreamRequest(items=[bus_pb2.OpenStreamRequest.ClientItem(id=1)]))
    assert await call.read() == bus_pb2.OpenStreamResponse()
    await call.write(bus_pb2.OpenStreamRequest())
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert type(error_from_rpc(caught.value)) is errors.BusDisconnectedError


async def test_bytes_that_are_no_protobuf_are_an_invalid_message(channel: aio.Channel) -> None:
    """A hostile request says what is wrong with it, not what the parser said; the server goes on."""
    publish: Any = channel.unary_unary(PUBLISH)
    with pytest.raises(aio.AioRpcError) as unary:
        await publish(b"\xff\xff\xff")
    stream: Any = channel.stream_stream(f"{SERVICE}/PublishStream")()
    await stream.write(b"\xff\xff\xff")
    with pytest.raises(aio.AioRpcError) as streamed:
        await stream.read()
    for caught in (unary, streamed):
        assert type(error_from_rpc(caught.value)) is errors.InvalidMessageError
    assert (await publish(b"")) != b""


async def test_an_error_of_any_size_reaches_the_caller(stub: Stub) -> None:
    """Trailers have a limit; texts are cut at whole characters rather than the status being lost."""
    error = await _publish(stub, "huge")
    back = error_from_rpc(error)
    assert type(back) is errors.NoRespondersError
    assert back.message.endswith("€…")
    assert back.details["field0"].endswith("€…")


async def test_a_cancelled_stream_closes_its_handler(stub: Stub, greeter: Greeter, metrics: RpcMetrics) -> None:
    """A caller that goes away leaves nothing behind, and its call is counted."""
    call = stub.PublishStream()
    await call.write(bus_pb2.PublishStreamRequest(publish=bus_pb2.PublishRequest(channel="ok")))
    await call.read()
    call.cancel()
    await greeter.stream_closed.wait()
    assert greeter.closed_streams == 1
    await _until(lambda: _values(metrics).get(("trunkline_rpc_open_calls", f"{SERVICE}/PublishStream")) == 0)


async def test_calls_are_counted_by_method_and_status(stub: Stub, metrics: RpcMetrics) -> None:
    """OK and failed calls count apart; latency is kept of both."""
    await stub.Publish(bus_pb2.PublishRequest(channel="ok"))
    await stub.Publish(bus_pb2.PublishRequest(channel="ok"))
    await _publish(stub, "refuse")
    await _until(lambda: _values(metrics)["trunkline_rpc_open_calls", PUBLISH] == 0)
    values = _values(metrics)
    assert values["trunkline_rpc_calls_total", PUBLISH, "OK"] == 2
    assert values["trunkline_rpc_calls_total", PUBLISH, "FAILED_PRECONDITION"] == 1
    assert values["trunkline_rpc_seconds_count", PUBLISH] == 3
    assert values["trunkline_rpc_seconds_bucket", PUBLISH, "+Inf"] == 3


@pytest.mark.parametrize("error_class", errors.ERRORS.values(), ids=lambda cls: cls.__name__)
def test_every_error_comes_back_from_an_item(error_class: type[errors.TrunklineError]) -> None:
    """An item of a stream says what a status says: class, message, figures and code."""
    details = {"field": "x"} | dict.fromkeys(sorted(error_class.figures), 7)
    item = to_item(error_class("what was wrong", details=details))
    back = error_from_item(item)
    assert type(back) is error_class
    assert (back.message, back.details) == ("what was wrong", details)
    assert item.code == to_status(back).code


@given(st.text(max_size=3000), st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=3000), max_size=12))
def test_a_status_fits_into_trailers(message: str, details: dict[str, str]) -> None:
    """Whatever an error says, its status has a bound."""
    status = to_status(errors.InvalidRecordError(message, details=details))
    assert len(status.message.encode()) <= MAX_TEXT_BYTES
    assert status.ByteSize() <= MAX_TEXT_BYTES + MAX_DETAILS_BYTES + 200


class _Failed(grpc.RpcError):
    """A call's error as the synchronous face raises it."""

    def __init__(self, code: grpc.StatusCode, details: str = "", trailers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._said = (code, details, trailers)

    def code(self) -> grpc.StatusCode:
        return self._said[0]

    def details(self) -> str:
        return self._said[1]

    def trailing_metadata(self) -> Any:
        return self._said[2]


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", errors.StateDisconnectedError),
        (grpc.StatusCode.CANCELLED, "", errors.StateDisconnectedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", errors.RequestTimeoutError),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (5 vs. 4)",
            errors.MessageTooLargeError,
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "CLIENT: Sent message larger than max (5 vs. 4)",
            errors.MessageTooLargeError,
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", errors.OverloadedError),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", errors.TrunklineError),
    ],
)
def test_a_status_without_our_detail_becomes_what_fits(
    code: grpc.StatusCode, details: str, expected: type[errors.TrunklineError]
) -> None:
    """What gRPC itself or a proxy says has no ErrorInfo of ours."""
    back = error_from_rpc(_Failed(code, details), errors.StateDisconnectedError)
    assert type(back) is expected
    assert back.details["grpc_status"] == code.name


def test_a_strangers_detail_is_passed_over() -> None:
    """Garbage or another domain's ErrorInfo under the key does not hide what the status says."""
    foreign = any_pb2.Any()
    foreign.Pack(error_details_pb2.ErrorInfo(reason="NO_RESPONDERS", domain="example.org"))
    for raw in (b"\xff\xff", status_pb2.Status(details=[foreign]).SerializeToString()):
        failed = _Failed(grpc.StatusCode.UNAVAILABLE, "gone", (("grpc-status-details-bin", raw),))
        assert type(error_from_rpc(failed)) is errors.BusDisconnectedError


def test_what_is_no_call_at_all_is_still_an_error() -> None:
    """A bare RpcError has neither code nor details."""
    assert error_from_rpc(grpc.RpcError()).error_code == "UNKNOWN"
