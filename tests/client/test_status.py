"""What the client makes of a failed call's status: through a synchronous stub and grpc_testing's channel."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import grpc_testing  # type: ignore[import-untyped]  # it carries no types
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from trunkline.errors import (
    ERRORS,
    STATUS_DETAILS_KEY,
    BusDisconnectedError,
    MessageTooLargeError,
    OverloadedError,
    RequestTimeoutError,
    StateDisconnectedError,
    TrunklineError,
)
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.wire.status import error_from_rpc

SERVICE = bus_pb2.DESCRIPTOR.services_by_name["BusService"]
GET_STATS = SERVICE.methods_by_name["GetStats"]


def failed(code: grpc.StatusCode, said: str, trailers: tuple[tuple[str, Any], ...] = ()) -> grpc.RpcError:
    """The error that a real synchronous stub raises when the service ends the call like that."""
    channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
    caught: list[grpc.RpcError] = []

    def call() -> None:
        stub: Any = bus_pb2_grpc.BusServiceStub(channel)
        try:
            stub.GetStats(bus_pb2.GetStatsRequest(), timeout=10)
        except grpc.RpcError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    _, _, rpc = channel.take_unary_unary(GET_STATS)
    rpc.send_initial_metadata(())
    rpc.terminate(None, trailers, code, said)
    thread.join(10)
    [error] = caught
    return error


def details_of(reason: str, domain: str = "trunkline", **metadata: str) -> tuple[tuple[str, bytes], ...]:
    """A service's trailing metadata with one ErrorInfo."""
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    return ((STATUS_DETAILS_KEY, status_pb2.Status(message="the words", details=[packed]).SerializeToString()),)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_the_error_that_the_service_raised_comes_back(code: str) -> None:
    """Each class, by its reason, with words, text and figures."""
    cls = ERRORS[code]
    figures = dict.fromkeys(cls.figures, "5")
    error = error_from_rpc(failed(grpc.StatusCode.UNKNOWN, "x", details_of(code, channel="a:b", **figures)))
    assert type(error) is cls
    assert (error.message, error.error_code) == ("the words", code)
    assert error.details == {"channel": "a:b"} | dict.fromkeys(cls.figures, 5)


@pytest.mark.parametrize(
    ("code", "said", "wanted"),
    [
        (grpc.StatusCode.UNAVAILABLE, "gone", BusDisconnectedError),
        (grpc.StatusCode.CANCELLED, "", BusDisconnectedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", RequestTimeoutError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)", MessageTooLargeError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", OverloadedError),
    ],
)
def test_a_status_without_details_says_what_it_can(
    code: grpc.StatusCode, said: str, wanted: type[TrunklineError]
) -> None:
    """Where no service of ours spoke, the status itself decides."""
    error = error_from_rpc(failed(code, said))
    assert type(error) is wanted
    assert error.details == {"grpc_status": code.name}


def test_the_caller_says_which_class_a_lost_connection_is() -> None:
    """The state's client gets the state's error."""
    assert type(error_from_rpc(failed(grpc.StatusCode.UNAVAILABLE, "x"), StateDisconnectedError)) is (
        StateDisconnectedError
    )


@pytest.mark.parametrize(
    "trailers",
    [details_of("OVERLOADED", domain="somebody.else"), ((STATUS_DETAILS_KEY, b"\xff\xff\xff"),), (("other", "x"),)],
    ids=["another domain", "garbage", "other metadata"],
)
def test_strangers_details_are_not_ours(trailers: tuple[tuple[str, Any], ...]) -> None:
    """A proxy's or a stranger's details change nothing: any other status is a plain error named after it."""
    error = error_from_rpc(failed(grpc.StatusCode.UNIMPLEMENTED, "no such call", trailers))
    assert type(error) is TrunklineError
    assert (error.error_code, error.message) == ("UNIMPLEMENTED", "no such call")
