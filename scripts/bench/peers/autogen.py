"""AutoGen's distributed runtime: agents in two worker processes, and a host between them, over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.bench.peer import Call, Peer, Reception, Server, Service
from scripts.tools import AUTOGEN, find

if TYPE_CHECKING:
    from scripts.bench.peers.autogen_worker import Worker


class AutoGen(Peer):
    """Its messages are pydantic models, which it writes as JSON. Its host and its roles run in an environment of their
    own, which `scripts/tools.py` makes; only there its library is loaded."""

    title = "AutoGen, gRPC runtime"
    messages = 5_000
    requests = 5_000

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def versions(self) -> Sequence[str]:
        pins = dict(pin.split("==") for pin in AUTOGEN)
        return [f"autogen-ext {pins['autogen-ext[grpc]']} on grpcio {pins['grpcio']}"]

    def python(self) -> str:
        return find("autogen") or "autogen (python scripts/tools.py autogen)"

    def server(self, service: Service, port: int, scratch: Path) -> Server:
        return Server((self.python(), "-m", "scripts.bench.peers.autogen_host", str(port)))

    async def open(self, service: Service, port: int) -> None:
        from scripts.bench.peers.autogen_worker import Worker

        self._worker = Worker(port)
        await self._worker.start()

    async def close(self) -> None:
        if self._worker is not None:
            await self._worker.stop()

    @property
    def worker(self) -> Worker:
        """The worker that `open` started."""
        if self._worker is None:
            raise RuntimeError("the worker is not started")
        return self._worker

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        return await self.worker.subscribe(channel, count)

    async def publish(self, channel: str, count: int) -> None:
        await self.worker.publish(channel, count)

    async def respond(self, channel: str) -> None:
        await self.worker.respond()

    async def requester(self, channel: str) -> Call:
        return self.worker.request
