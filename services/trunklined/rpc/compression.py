"""Compressed calls: only where the settings allow them, and answers only where the caller asked.

A caller that may compress decides how much memory a frame takes: gRPC unpacks a frame before it checks its size, and
64 MiB of zeros unpack to 64 GiB. So a service refuses compressed calls unless its settings allow them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from trunkline.addresses import UNIX
from trunkline.limits import COMPRESSED

if TYPE_CHECKING:  # only the stubs know what these are made of
    Handler = grpc.RpcMethodHandler[Any, Any]

_ALGORITHMS = {"off": 0b001, "gzip": 0b101}
"""Bits of gRPC's algorithms: none, deflate, gzip."""


def enabled_algorithms(compression: str) -> int:
    """Returns the channel argument `grpc.compression_enabled_algorithms_bitset` for a setting. A call in another
    algorithm ends with UNIMPLEMENTED, before anything is unpacked."""
    return _ALGORITHMS[compression]


class CompressionInterceptor(aio.ServerInterceptor):
    """Compresses the answers of calls that ask for it; not over a UNIX socket, where bytes cost less than packing them.

    It must precede interceptors whose handlers are no coroutines.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or COMPRESSED not in tuple(handler_call_details.invocation_metadata or ()):
            return handler
        found: Any = handler
        sides = ("unary", "stream")
        kind = f"{sides[bool(handler.request_streaming)]}_{sides[bool(handler.response_streaming)]}"
        behaviour = _compressing(getattr(handler, kind), is_unary=not handler.response_streaming)
        return found._replace(**{kind: behaviour})  # type: ignore[no-any-return]


def _compressing(behaviour: Callable[[Any, Any], Awaitable[Any]], *, is_unary: bool) -> Callable[..., Awaitable[Any]]:
    async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        if not context.peer().startswith(UNIX):
            context.set_compression(grpc.Compression.Gzip)
            if is_unary:  # one answer that goes out together with the metadata is not compressed
                await context.send_initial_metadata(())
        return await behaviour(request, context)

    return answer
