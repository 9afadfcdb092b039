"""The relay between two bare streams, as a program: `python -m scripts.bench.peers.bare_relay PORT`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc import aio

from scripts.bench.peers.bare import ANSWER, ASK


class Relay(grpc.GenericRpcHandler):
    """Passes each frame of whoever asks to whoever answers, and back."""

    def __init__(self) -> None:
        self._contexts: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        method = handler_call_details.method
        other = {ASK: ANSWER, ANSWER: ASK}.get(method)
        if other is None:
            return None

        async def pass_on(frames: AsyncIterator[bytes], context: Any) -> None:
            self._contexts[method] = context
            await context.send_initial_metadata(())
            async for frame in frames:
                await self._contexts[other].write(frame)

        return grpc.stream_stream_rpc_method_handler(pass_on)


async def serve(port: int) -> None:
    """Serves until it is ended."""
    server = aio.server()
    server.add_generic_rpc_handlers((Relay(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
