"""The state store within one process: in memory, for tests and small programs; or over Redis, without a service."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message

from trunkline.bus.message_bus import MessageBus
from trunkline.errors import StateDisconnectedError
from trunkline.limits import CLIENT_DISCONNECT_SECONDS, MAX_MESSAGE_BYTES
from trunkline.state.grpc.base import BaseStateManager
from trunkline.state.grpc.frames import ServerFrame
from trunkline.v1 import state_pb2
from trunkline.wire.stream import Stream
from trunklined.local.link import LocalLink
from trunklined.local.stream import LocalStream
from trunklined.rpc.logging import log_by_stdlib
from trunklined.state.app import make_store
from trunklined.state.config import Settings
from trunklined.state.store import Store
from trunklined.state.wire.connection import StateConnection
from trunklined.state.wire.operations import to_frame, to_watch_filter
from trunklined.state.wire.servicer import StateServicer

CALL_SECONDS = 30.0


class LocalStateManager(BaseStateManager):
    """The StateService's own domain, run in this process: what passes here passes over gRPC too.

    Args:
        where: the place of the records, for people.
        settings: of the service.
        bus: see `InMemoryStateManager`.
    """

    def __init__(self, where: str, settings: Settings, bus: MessageBus | None) -> None:
        super().__init__(where, CALL_SECONDS)
        self._settings = settings
        self._bus = bus
        self._store: Store | None = None

    def _connected(self) -> Stream:
        stream = super()._connected()
        stream.check_loop()
        return stream

    async def disconnect(self) -> None:
        store, self._store = self._store, None
        if self._stream is not None and self._stream.loop_is_closed:
            self._stream = None  # with its loop everything has ended
            return
        await super().disconnect()
        if store is not None:
            await store.drain(CLIENT_DISCONNECT_SECONDS if self._bus is not None else 0)
            await store.close()

    async def _begin(self) -> LocalStream:
        link = None if self._bus is None else LocalLink(self._bus)
        log_by_stdlib()
        store = make_store(self._settings, link)
        await store.open()
        self._store = store
        servicer = StateServicer(store, MAX_MESSAGE_BYTES, time.time())

        async def statistics(raw: bytes, context: Any) -> Message:
            return await servicer.get_stats(state_pb2.GetStateStatsRequest.FromString(raw), context)

        async def acquire_lease(raw: bytes, context: Any) -> Message:
            return await servicer.acquire_lease(state_pb2.AcquireLeaseRequest.FromString(raw), context)

        async def list_leases(raw: bytes, context: Any) -> Message:
            return await servicer.list_leases(state_pb2.ListLeasesRequest.FromString(raw), context)

        async def watch(raw: bytes) -> AsyncGenerator[bytes, None]:
            filter, after = to_watch_filter(state_pb2.WatchRequest.FromString(raw))
            async with aclosing(store.watch(filter, after)) as events:
                async for event in events:
                    yield to_frame(event)

        stream = LocalStream(
            ServerFrame.FromString,
            self,
            StateDisconnectedError,
            lambda write: StateConnection(store, write, MAX_MESSAGE_BYTES),
            {"GetStateStats": statistics, "AcquireLease": acquire_lease, "ListLeases": list_leases},
            {"Watch": watch},
            in_task=True,
        )
        await stream.open(0)
        return stream


class InMemoryStateManager(LocalStateManager):
    """A store in this process, on the service's memory engine.

    Records are kept encoded, so no caller shares an object with another. They are gone after `disconnect()`.

    Args:
        bus: takes the messages of writes (`publish`), as stored ones; its owner connects it, in the same event loop.
            None: writes that carry messages are refused.
    """

    def __init__(self, *, bus: MessageBus | None = None) -> None:
        super().__init__("this process", Settings.model_construct(engine="memory"), bus)


class RedisStateManager(LocalStateManager):
    """A store in Redis, without a service between: this process is one of the replicas of the state.

    Others are processes with the same URL and prefix, and state services whose engine is Redis: what one writes, all
    read and watch. Needs the extra `redis`.

    Args:
        redis_url: where Redis is: redis://[user:password@]host:port/db, redis+sentinel://host:port,host:port/service,
            redis+cluster://host:port,host:port, or rediss… for TLS.
        prefix: what every key in Redis begins with: one for each installation.
        bus: as `InMemoryStateManager` has it. The messages wait in Redis, and one replica at a time hands them on.

    Raises:
        ValueError: the URL or the prefix is none; names it.
        StorageError: by `connect`: this Redis cannot be trusted with records, or does not answer; says what to do.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        *,
        prefix: str = "trunkline",
        bus: MessageBus | None = None,
    ) -> None:
        settings = Settings.in_process(redis_url, prefix)
        super().__init__(str(settings.redis_target()), settings, bus)
