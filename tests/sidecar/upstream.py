"""An upstream that tells what reached it, and a sidecar before it, both real servers in the test's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from trunklined.rpc.errors import ErrorInterceptor
from trunklined.sidecar.app import SidecarProgram
from trunklined.sidecar.config import Settings

SERVICE = "trunkline.v1.BusService"


class Upstream:
    """Serves raw bytes under the bus's names, and keeps what it saw."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.time_remaining: float | None = None
        self.requests: list[bytes] = []
        self.half_closed = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.received = asyncio.Event()
        self.sent = 0

    def register(self, server: aio.Server) -> None:
        handlers: Any = {
            "Publish": grpc.unary_unary_rpc_method_handler(self.publish),
            "Request": grpc.unary_unary_rpc_method_handler(self.hang),
            "PublishStream": grpc.stream_stream_rpc_method_handler(self.echo),
            "Subscribe": grpc.stream_stream_rpc_method_handler(self.flood),
            "OpenStream": grpc.stream_stream_rpc_method_handler(self.swallow),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def _saw(self, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining = context.time_remaining()

    async def publish(self, request: bytes, context: Any) -> bytes:
        """Answers with what came, and with metadata."""
        self._saw(context)
        if request == b"fail":
            await context.abort(grpc.StatusCode.DATA_LOSS, "on purpose", (("why-bin", b"\xff"),))
        context.set_trailing_metadata((("after", "word"),))
        return request

    async def hang(self, request: bytes, context: Any) -> bytes:
        """Never answers."""
        self._saw(context)
        self.received.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def echo(self, requests: Any, context: Any) -> None:
        """Each frame back; a last one at the half-close."""
        while (request := await context.read()) is not aio.EOF:
            self.requests.append(request)
            await context.write(request)
        self.half_closed.set()
        await context.write(b"half-closed")

    async def flood(self, requests: Any, context: Any) -> None:
        """64 KiB frames for as long as they are taken."""
        try:
            while True:
                await context.write(b"x" * 65_536)
                self.sent += 1
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def swallow(self, requests: Any, context: Any) -> None:
        """Accepts, says nothing and reads nothing."""
        await context.send_initial_metadata((("hello", "there"),))
        await asyncio.Event().wait()


@asynccontextmanager
async def sidecar_before(upstream: Upstream, directory: Path) -> AsyncIterator[aio.Channel]:
    """A channel to a sidecar before this upstream."""
    behind = aio.server()
    upstream.register(behind)
    behind.add_insecure_port(f"unix:{directory}/up.sock")
    await behind.start()
    settings = Settings(
        address=f"unix:{directory}/side.sock",
        bus_address=f"unix:{directory}/up.sock",
        state_address=f"unix:{directory}/nobody.sock",
        socket_path="",
        store_path="",
    )
    program = SidecarProgram(settings)
    server = aio.server(interceptors=[ErrorInterceptor()])
    program.register(server)
    server.add_insecure_port(settings.address)
    await program.start()
    await server.start()
    try:
        async with aio.insecure_channel(settings.address) as channel:
            yield channel
    finally:
        await server.stop(0)
        await program.close()
        await behind.stop(0)
