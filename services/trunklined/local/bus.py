"""InMemoryMessageBus: a bus within one program, for development and tests."""

from __future__ import annotations

import time
from typing import Any, Final

from trunkline.bus.grpc.base import BaseBus
from trunkline.bus.grpc.frames import parse_frame
from trunkline.bus.grpc.session import BusSession
from trunkline.errors import BusDisconnectedError
from trunkline.limits import MAX_MESSAGE_BYTES
from trunkline.wire.stream import StreamUser
from trunklined.bus.app import make_broker
from trunklined.bus.broker import Broker
from trunklined.bus.config import Settings
from trunklined.bus.wire.connection import BusConnection
from trunklined.bus.wire.servicer import BusServicer
from trunklined.local.session import LocalConnection, LocalSession
from trunklined.local.stream import LocalStream

SETTINGS: Final = Settings.model_construct(engine="memory")
"""The defaults of the service; the environment is not asked."""
_PEER: Final = ""
"""What the bus knows its only subscriber's address as."""


class InMemoryMessageBus(BaseBus):
    """The BusService's own domain, run in this process: what passes here passes over gRPC too, and arrives as the same.

    `publish` returns when the callbacks that it caused are done; made inside a callback of this bus, it returns at
    once, so that callbacks may publish on their own channel. Each callback gets a copy of its own.

    What is stored is kept in memory until `disconnect()`, and receipts say so. `connect()` on a connected bus begins
    anew: subscriptions, pending requests and the count are gone, what is stored stays.
    """

    def __init__(self) -> None:
        super().__init__("this process", MAX_MESSAGE_BYTES)
        self._broker: Broker | None = None

    async def connect(self) -> None:
        async with self._connecting:
            if self._session is not None:
                await (self.disconnect() if self._session.stream.loop_is_closed else self._session.close())
            self._published = 0
            self._session = await self._begin()

    async def disconnect(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None and self._session is not None and self._session.stream.loop_is_closed:
            self._session = None  # with its loop everything has ended
            broker.journal.engine.close()
            return
        await super().disconnect()
        if broker is not None:
            await broker.journal.close()

    def _connected(self) -> BusSession:
        session = super()._connected()
        session.stream.check_loop()
        return session

    async def _begin(self) -> LocalSession:
        if self._broker is None:
            self._broker = make_broker(SETTINGS)
            self._broker.journal.open()
        broker = self._broker
        servicer = BusServicer(broker, MAX_MESSAGE_BYTES, (), time.time())

        def open_stream(user: StreamUser) -> LocalStream:
            def accept(write: Any) -> BusConnection:
                return servicer.accept(_PEER, write, LocalConnection)

            frames = {"Tail": lambda raw: servicer.tail_frames(raw, _PEER)}
            return LocalStream(parse_frame, user, BusDisconnectedError, accept, servicer.unary_calls(), frames)

        session = LocalSession(open_stream, broker)
        await session.stream.open(0)
        return session
