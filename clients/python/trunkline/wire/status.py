"""What a service said went wrong, as the exception that it raised: the inverse of `trunklined.rpc.errors`."""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from trunkline.errors import (
    ERROR_DOMAIN,
    STATUS_DETAILS_KEY,
    BusDisconnectedError,
    MessageTooLargeError,
    OverloadedError,
    RequestTimeoutError,
    TrunklineError,
    from_wire,
)
from trunkline.v1 import error_pb2

Disconnected = type[TrunklineError]

_TOO_LARGE_MARKS: Final = ("message larger than max", "CLIENT: Sent message larger", "SERVER: Sent message larger")
"""What gRPC's own size limits say in their RESOURCE_EXHAUSTED (src/core/ext/filters/message_size)."""


def error_from_rpc(error: grpc.RpcError, disconnected: Disconnected = BusDisconnectedError) -> TrunklineError:
    """The domain error of a failed call.

    Where the service said it (an ErrorInfo of domain "trunkline"), the same class with the same details. Else by the
    status: UNAVAILABLE and CANCELLED by the peer become `disconnected`, DEADLINE_EXCEEDED `RequestTimeoutError`, gRPC's
    own size limit `MessageTooLargeError`, another RESOURCE_EXHAUSTED `OverloadedError`, anything else a plain
    `TrunklineError` with the status' name as its code.

    Args:
        error: a call's error, of `grpc.aio` or of the synchronous face.
        disconnected: the class for a lost connection.
    """
    code, said = _code(error), _details(error)
    told = _told(error, said)
    if told is not None:
        return told
    details = {"grpc_status": code.name}
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return disconnected(f"the service is unavailable: {said or code.name}", details=details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RequestTimeoutError("no answer came before the deadline", details=details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if any(mark in said for mark in _TOO_LARGE_MARKS):
            return MessageTooLargeError(f"over gRPC's size limit: {said}", details=details)
        return OverloadedError(said or "a limit was reached", details=details)
    return TrunklineError(said or f"the call ended with {code.name}", code.name, details)


def error_from_item(item: error_pb2.Error) -> TrunklineError:
    """The domain error of one item of a stream or a batch."""
    return from_wire(item.reason, item.message, item.metadata)


def _told(error: grpc.RpcError, said: str) -> TrunklineError | None:
    """What the ErrorInfo says; None where there is none of ours."""
    for key, value in _trailers(error):
        if key != STATUS_DETAILS_KEY:
            continue
        try:
            status = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                    return from_wire(info.reason, status.message or said, info.metadata)
        except (DecodeError, ValueError):
            # A proxy's or a stranger's detail under our key; the status itself still says what happened.
            return None
    return None


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    code = getattr(error, "code", None)
    found = code() if callable(code) else None
    return found if isinstance(found, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _details(error: grpc.RpcError) -> str:
    details = getattr(error, "details", None)
    return (details() if callable(details) else None) or ""


def _trailers(error: grpc.RpcError) -> list[tuple[str, Any]]:
    trailing_metadata = getattr(error, "trailing_metadata", None)
    return [(key, value) for key, value in (trailing_metadata() if callable(trailing_metadata) else None) or ()]
