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
from trunklined.rpc.interceptor import Interceptor, with_behaviour

if TYPE_CHECKING:
    from trunklined.rpc.interceptor import Handler

_ALGORITHMS = {"off": 0b001, "gzip": 0b101}
"""Bits of gRPC's algorithms: none, deflate, gzip."""


def enabled_algorithms(compression: str) -> int:
    """Returns the channel argument `grpc.compression_enabled_algorithms_bitset` for a setting. A call in another
    algorithm ends with UNIMPLEMENTED, before anything is unpacked."""
    return _ALGORITHMS[compression]


class CompressionInterceptor(Interceptor):
    """Compresses the answers of calls that ask for it; not over a UNIX socket, where bytes cost less than packing them.

    It must precede interceptors whose handlers are no coroutines.
    """

    def _concerns(self, details: grpc.HandlerCallDetails) -> bool:
        return COMPRESSED in tuple(details.invocation_metadata or ())

    def _wrap(self, handler: Handler, method: str) -> Handler:
        is_unary = not handler.response_streaming
        return with_behaviour(handler, lambda behaviour: _compressing(behaviour, is_unary=is_unary))


def _compressing(behaviour: Callable[[Any, Any], Awaitable[Any]], *, is_unary: bool) -> Callable[..., Awaitable[Any]]:
    async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        if not context.peer().startswith(UNIX):
            context.set_compression(grpc.Compression.Gzip)
            if is_unary:  # one answer that goes out together with the metadata is not compressed
                await context.send_initial_metadata(())
        return await behaviour(request, context)

    return answer
