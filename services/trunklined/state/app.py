"""The state service as a program: its parts put together; the one place that names engines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from grpc import aio
from prometheus_client.registry import Collector

from trunkline.errors import StateDisconnectedError
from trunklined.access.control import AccessControl
from trunklined.relay.journal import Stock
from trunklined.relay.link import BusLink
from trunklined.relay.outbox import Link, OutboxRelay
from trunklined.rpc.access import Guarded
from trunklined.rpc.health import Health
from trunklined.rpc.moving import Moving
from trunklined.rpc.server import Program
from trunklined.state.config import Settings
from trunklined.state.engines.engine import ANSWER_BYTES, Engine
from trunklined.state.metrics import StateCollector
from trunklined.state.records import History
from trunklined.state.store import Store, StoreLimits
from trunklined.state.watch import Watchers
from trunklined.state.wire.access import guarded_calls
from trunklined.state.wire.servicer import SERVICE_NAME, StateServicer


class StateProgram:
    """The state service; see `trunklined.rpc.server.Program`."""

    name = "state"
    service_names: Sequence[str] = (SERVICE_NAME,)

    def __init__(self, settings: Settings) -> None:
        self._store = make_store(settings)
        is_shared = settings.engine == "redis"
        self._moving = Moving(
            settings.max_stream_age,
            settings.stream_grace_seconds,
            lambda: is_shared,  # who else serves the store is not known
            lambda: StateDisconnectedError("the stream is old, and did not move when it was asked to"),
        )
        self._servicer = StateServicer(self._store, settings.max_message_bytes, time.time(), self._moving)

    def guard(self, control: AccessControl) -> Guarded:
        """Returns what each call needs."""
        return guarded_calls()

    def register(self, server: aio.Server) -> None:
        """Adds StateService."""
        self._servicer.register(server)

    async def start(self) -> None:
        """Opens the engine; raises `StorageError` if the engine does not open."""
        await self._store.open()

    async def move(self, seconds: float) -> None:
        """Asks the streams to go to other replicas, where there may be some."""
        await self._moving.move_all(seconds)

    async def drain(self, seconds: float) -> None:
        """Finishes the submitted writes, then ends the streams."""
        await self._servicer.drain(seconds)

    async def close(self) -> None:
        """Stops handing messages to the bus and closes the engine."""
        await self._store.close()

    def report_to(self, health: Health) -> None:
        """Reports NOT_SERVING while the storage is away."""
        self._store.on_trouble = lambda trouble: health.turn(SERVICE_NAME, trouble.message if trouble else "")

    def collectors(self) -> Iterable[Collector]:
        """Returns the collector of the state service's metrics."""
        return [StateCollector(self._store, self._servicer)]


def make_store(settings: Settings, link: Link | None = None) -> Store:
    """The domain of a state service, not yet opened.

    Args:
        settings: its settings.
        link: the way to the bus, for the messages of writes; default: to the bus that the settings name.
    """
    engine = make_engine(settings)
    if link is None and settings.bus_address:
        link = BusLink(settings.bus_address)
    watchers = Watchers(
        engine,
        max_changes=settings.max_watch_queue,
        max_bytes=settings.max_watch_queue_bytes,
        progress_seconds=settings.watch_progress_seconds,
    )
    limits = StoreLimits(settings.max_waiting_writes, settings.max_waiting_bytes)
    return Store(engine, watchers, limits, None if link is None else OutboxRelay(engine.outbox, link))


def make_engine(settings: Settings) -> Engine:
    """Makes the engine that the settings name, not yet opened; loads no other engine."""
    history = History(settings.watch_history, settings.watch_history_bytes)
    outbox = Stock(
        "the outbox takes no more messages until the bus has some",
        settings.max_outbox_messages,
        settings.max_outbox_bytes,
        messages_limit="max_outbox_messages",
        bytes_limit="max_outbox_bytes",
    )
    if settings.engine == "memory":
        from trunklined.state.engines.memory import MemoryEngine

        return MemoryEngine(history=history, page_bytes=ANSWER_BYTES, answer_bytes=ANSWER_BYTES, outbox=outbox)
    if settings.engine == "redis":
        from trunklined.state.engines.redis.engine import RedisEngine

        return RedisEngine(
            settings.redis_target(),
            history=history,
            page_bytes=ANSWER_BYTES,
            answer_bytes=ANSWER_BYTES,
            outbox=outbox,
        )
    from trunklined.state.engines.sqlite import SqliteEngine

    return SqliteEngine(
        settings.path,
        history=history,
        page_bytes=ANSWER_BYTES,
        answer_bytes=ANSWER_BYTES,
        outbox=outbox,
        max_bytes=settings.max_store_bytes,
    )


def build(settings: Settings) -> Program:
    """Makes the state service, not yet started."""
    return StateProgram(settings)
