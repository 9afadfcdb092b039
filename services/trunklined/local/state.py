"""InMemoryStateManager: the state store within one process, for tests and small programs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from trunkline.bus.message_bus import MessageBus
from trunkline.errors import StateDisconnectedError
from trunkline.limits import CLIENT_DISCONNECT_SECONDS, MAX_MESSAGE_BYTES
from trunkline.state.grpc.base import BaseStateManager
from trunkline.state.grpc.frames import ServerFrame
from trunkline.v1 import state_pb2
from trunkline.wire.stream import Stream
from trunklined.local.link import LocalLink
from trunklined.local.stream import LocalStream
from trunklined.state.app import make_store
from trunklined.state.config import Settings
from trunklined.state.store import Store
from trunklined.state.wire.connection import StateConnection
from trunklined.state.wire.operations import to_frame, to_watch_filter
from trunklined.state.wire.servicer import StateServicer

CALL_SECONDS = 30.0


class InMemoryStateManager(BaseStateManager):
    """The StateService's own domain, run in this process on its memory engine: what passes here passes over gRPC too.

    Records are kept encoded, so no caller shares an object with another. They are gone after `disconnect()`.

    Args:
        bus: takes the messages of writes (`publish`), as stored ones; its owner connects it, in the same event loop.
            None: writes that carry messages are refused.
    """

    def __init__(self, *, bus: MessageBus | None = None) -> None:
        super().__init__("this process", CALL_SECONDS)
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
        store = self._store = make_store(Settings.model_construct(engine="memory"), link)
        await store.open()
        servicer = StateServicer(store, MAX_MESSAGE_BYTES, time.time())

        async def statistics(raw: bytes, context: Any) -> state_pb2.GetStateStatsResponse:
            return await servicer.get_stats(state_pb2.GetStateStatsRequest.FromString(raw), context)

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
            {"GetStateStats": statistics},
            {"Watch": watch},
            in_task=True,
        )
        await stream.open(0)
        return stream
