"""BusService and StateService as the sidecar serves them: each of their calls, by its kind, handed to a forwarder.

The calls are read off the services' descriptors, so a call that is added to the protos is forwarded without a line
here. Requests and responses are not decoded, but a Publish that comes while the sidecar drains.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from grpc import aio

from trunkline.v1 import bus_pb2, state_pb2
from trunklined.forwarding.forwarder import Context, Forwarder
from trunklined.rpc.draining import BUS_FINISHING_METHODS

BUS: Final[ServiceDescriptor] = bus_pb2.DESCRIPTOR.services_by_name["BusService"]
STATE: Final[ServiceDescriptor] = state_pb2.DESCRIPTOR.services_by_name["StateService"]

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # not subscriptable at run time


def register(
    server: aio.Server, service: ServiceDescriptor, forwarder: Forwarder, instead: Mapping[str, Handler] | None = None
) -> None:
    """Adds a service whose calls go to one forwarder, but those that something else serves instead."""
    handlers = {method.name: _handler(method, service.full_name, forwarder) for method in service.methods}
    handlers |= instead or {}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def may_finish(method: str, request: bytes) -> bool:
    """Returns whether a unary call may finish what other calls began: it settles messages, or brings what could be a
    reply."""
    if method not in BUS_FINISHING_METHODS:
        return False
    if not method.endswith("/Publish"):
        return True
    try:
        messages = bus_pb2.PublishRequest.FromString(request).messages
    except DecodeError:
        return False
    return any(message.correlation_id for message in messages)


def _handler(method: MethodDescriptor, service: str, forwarder: Forwarder) -> Handler:
    path = f"/{service}/{method.name}"
    if method.client_streaming:
        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(_of_stream(forwarder.stream_stream, path))
        return grpc.stream_unary_rpc_method_handler(_of_stream(forwarder.stream_unary, path))
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_of_one(forwarder.unary_stream, path))
    return grpc.unary_unary_rpc_method_handler(_of_one(forwarder.unary, path))


def _of_one(forward: Callable[[str, bytes, Context], Awaitable[Any]], path: str) -> Any:
    async def serve(request: bytes, context: Context) -> Any:
        return await forward(path, request, context)

    return serve


def _of_stream(forward: Callable[[str, Context], Awaitable[Any]], path: str) -> Any:
    async def serve(requests: object, context: Context) -> Any:
        return await forward(path, context)  # which reads the requests off the context

    return serve
