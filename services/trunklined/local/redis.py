"""RedisMessageBus: the bus over Redis, without a service between."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from trunkline.bus.grpc.bus import GrpcMessageBus
from trunkline.bus.grpc.session import BusSession
from trunklined.bus.app import build
from trunklined.bus.config import Settings
from trunklined.rpc.logging import log_by_stdlib
from trunklined.rpc.server import serving

HERE: Final = "127.0.0.1:0"
"""For replicas that are all on this machine."""
DRAIN_SECONDS: Final = 1.0
"""What calls of other replicas get to finish when it leaves."""


class RedisMessageBus(GrpcMessageBus):
    """A bus whose messages pass through Redis: this process is one of its replicas, from `connect` to `disconnect`.

    Others are processes with the same URL and prefix, and bus services whose engine is Redis: whoever listens at one of
    them gets what is published at another. What is stored is kept in Redis; one replica at a time owns it, and the
    others reach it by gRPC: so each serves at an address. The program's event loop does the replica's work; one that is
    blocked for longer than a few seconds counts as gone until it goes on. Needs the extra `redis`.

    Args:
        redis_url: where Redis is: redis://[user:password@]host:port/db, redis+sentinel://host:port,host:port/service,
            redis+cluster://host:port,host:port, or rediss… for TLS.
        prefix: what every key in Redis begins with: one for each installation.
        listen: where this replica serves the others, host:port. Default: this machine alone, at any free port.
        advertised_address: where the others reach it, if that is another address than `listen`.

    Raises:
        ValueError: the URL, the prefix or an address is none; names it.
        StorageError: by `connect`: this Redis cannot be trusted with messages, or does not answer; says what to do.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        *,
        prefix: str = "trunkline",
        listen: str = HERE,
        advertised_address: str = "",
    ) -> None:
        self._settings = Settings.in_process(
            redis_url, prefix, address=listen, advertised_address=advertised_address, drain_seconds=DRAIN_SECONDS
        )
        super().__init__()
        self.address = listen
        self._replica: AsyncExitStack | None = None

    async def _begin(self) -> BusSession:
        log_by_stdlib()
        async with AsyncExitStack() as stack:
            self.address = await stack.enter_async_context(serving(build(self._settings), self._settings))
            session = await super()._begin()
            self._replica = stack.pop_all()
        return session

    async def disconnect(self) -> None:
        loop_is_closed = self._session is not None and self._session.stream.loop_is_closed
        await super().disconnect()
        replica, self._replica = self._replica, None
        if replica is not None and not loop_is_closed:  # with its loop it has ended
            await replica.aclose()
