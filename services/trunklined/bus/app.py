"""The bus as a program: its parts put together."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection, Iterable, Sequence

from grpc import aio
from prometheus_client.registry import Collector

from trunkline.errors import StorageError
from trunkline.limits import MIN_QUEUE_MEMORY_BYTES, QUEUE_MEMORY_PART
from trunklined.bus.broker import Broker, Limits
from trunklined.bus.config import Settings
from trunklined.bus.engines.sqlite import SqliteJournal
from trunklined.bus.journal.journal import JournalLimits
from trunklined.bus.journal.retention import RetentionRule
from trunklined.bus.metrics import BusCollector
from trunklined.bus.replicas.peers import ALONE, Peers
from trunklined.bus.replicas.replicas import Replicas
from trunklined.bus.wire.message_format import MESSAGE_FORMAT
from trunklined.bus.wire.servicer import SERVICE_NAME, BusServicer
from trunklined.rpc.draining import BUS_FINISHING_METHODS
from trunklined.rpc.health import Health
from trunklined.rpc.memory import available_memory
from trunklined.rpc.server import Program


class BusProgram:
    """See `trunklined.rpc.server.Program`."""

    name = "bus"
    service_names: Sequence[str] = (SERVICE_NAME,)
    finishing_methods: Collection[str] = BUS_FINISHING_METHODS

    def __init__(self, settings: Settings) -> None:
        self._replicas = make_replicas(settings) if settings.redis_url else None
        self._broker = make_broker(settings) if self._replicas is None else make_broker(settings, self._replicas)
        self._servicer = BusServicer(self._broker, settings.max_message_bytes, settings.stored_patterns, time.time())

    def register(self, server: aio.Server) -> None:
        """Adds BusService."""
        self._servicer.register(server)

    async def start(self) -> None:
        """Opens the journal, and finds the other replicas."""
        self._broker.journal.open()
        if self._replicas is not None:
            await self._replicas.start()

    async def drain(self, seconds: float) -> None:
        """Waits for replies to pending requests, then ends the streams."""
        await self._servicer.drain(seconds)

    async def close(self) -> None:
        """Leaves the other replicas, and closes the journal when what was taken is durable."""
        if self._replicas is not None:
            await self._replicas.close()
        await self._broker.journal.close()

    def report_to(self, health: Health) -> None:
        """Reports NOT_SERVING while the journal's storage fails; a full disk is no such failure."""
        self._broker.journal.commits.on_trouble = lambda error: health.turn(
            SERVICE_NAME, serving=not isinstance(error, StorageError)
        )

    def collectors(self) -> Iterable[Collector]:
        """The bus's metrics."""
        return [BusCollector(self._broker)]


def make_replicas(settings: Settings) -> Replicas:
    """The other replicas of a bus, over Redis; they are not looked for yet."""
    from trunklined.bus.replicas.redis import RedisExchange  # redis is installed where it is used

    target = settings.redis_target()
    name = f"{platform.node()}:{os.getpid()}"
    return Replicas(lambda: RedisExchange(target), lambda: name, settings.replica_ttl)


def make_broker(settings: Settings, peers: Peers = ALONE) -> Broker:
    """The domain of a bus; its journal is not opened yet."""
    return Broker(
        Limits(
            max_queued_messages=settings.max_queued_messages,
            max_queued_bytes=settings.max_queued_bytes,
            max_queue_memory_bytes=settings.max_queue_memory_bytes
            or max(MIN_QUEUE_MEMORY_BYTES, available_memory() // QUEUE_MEMORY_PART),
            max_subscriptions=settings.max_subscriptions,
            max_pending_requests=settings.max_pending_requests,
        ),
        SqliteJournal(settings.path if settings.engine == "sqlite" else None, max_bytes=settings.max_journal_bytes),
        JournalLimits(
            dedup_seconds=settings.dedup_seconds,
            dedup_messages=settings.dedup_messages,
            max_waiting_publishes=settings.max_waiting_publishes,
            max_durable_subscriptions=settings.max_durable_subscriptions,
            max_tasks=settings.max_tasks,
            retention=tuple(RetentionRule(**rule.model_dump()) for rule in settings.retention),
        ),
        MESSAGE_FORMAT,
        peers=peers,
    )


def build(settings: Settings) -> Program:
    """The bus, not yet started."""
    return BusProgram(settings)
