"""The bus as a program: its parts put together."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from grpc import aio
from prometheus_client.registry import Collector

from trunkline.errors import BusDisconnectedError, StorageError
from trunkline.limits import MIN_QUEUE_MEMORY_BYTES, QUEUE_MEMORY_PART
from trunklined.access.control import AccessControl
from trunklined.bus.broker import Broker, Limits
from trunklined.bus.config import Settings
from trunklined.bus.engines.engine import JournalEngine
from trunklined.bus.engines.sqlite import SqliteJournal
from trunklined.bus.journal.journal import JournalLimits
from trunklined.bus.journal.retention import RetentionRule
from trunklined.bus.metrics import BusCollector, OwnershipCollector
from trunklined.bus.ownership import Ownership
from trunklined.bus.replicas.peers import ALONE, Peers
from trunklined.bus.replicas.replicas import Replicas
from trunklined.bus.wire.access import BrokerFacts, guarded_calls
from trunklined.bus.wire.journal_route import JournalRoute
from trunklined.bus.wire.message_format import MESSAGE_FORMAT
from trunklined.bus.wire.replica_servicer import ReplicaServicer
from trunklined.bus.wire.servicer import SERVICE_NAME, BusServicer
from trunklined.forwarding.forwarder import Forwarder
from trunklined.rpc.access import Guarded
from trunklined.rpc.draining import BUS_FINISHING_METHODS
from trunklined.rpc.health import Health
from trunklined.rpc.listening import reachable
from trunklined.rpc.memory import available_memory
from trunklined.rpc.moving import Moving
from trunklined.rpc.server import Program
from trunklined.rpc.upstream import upstream_options

NO_OWNER: Final = "no replica that owns the journal is reached; if Redis is not, the log says so"
"""Why a replica does not serve."""


class BusProgram:
    """See `trunklined.rpc.server.Program`."""

    name = "bus"
    service_names: Sequence[str] = (SERVICE_NAME,)
    finishing_methods: Collection[str] = BUS_FINISHING_METHODS

    def __init__(self, settings: Settings) -> None:
        self._advertised_address = settings.advertised_address
        self._replicas = make_replicas(settings) if settings.redis_url else None
        self._broker = make_broker(settings, peers=self._replicas or ALONE)
        self._stored_patterns = settings.stored_patterns
        self._servicer = BusServicer(self._broker, settings.max_message_bytes, settings.stored_patterns, time.time())

    def guard(self, control: AccessControl) -> Guarded:
        """Returns what each call needs."""
        return guarded_calls(BrokerFacts(self._broker), self._stored_patterns)

    def register(self, server: aio.Server) -> None:
        """Adds BusService."""
        self._servicer.register(server)

    def listens_at(self, address: str) -> None:
        """Takes the address for the one that people find this replica at, where there may be others."""
        if self._replicas is not None:
            self._servicer.address = self._advertised_address or address

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
        report_trouble(self._broker, health)

    def collectors(self) -> Iterable[Collector]:
        """The bus's metrics."""
        return [BusCollector(self._broker)]


class ReplicaProgram:
    """A bus that shares its journal with others over Redis; see `trunklined.rpc.server.Program`."""

    name = "bus"
    service_names: Sequence[str] = (SERVICE_NAME,)
    finishing_methods: Collection[str] = BUS_FINISHING_METHODS

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._health: Health | None = None
        self._control: AccessControl | None = None
        self._replica_key = ""
        from trunklined.bus.engines.redis_ownership import RedisOwnership  # its library is an extra
        from trunklined.redis.script import Copies

        self._lease = RedisOwnership(
            settings.redis_target(),
            ttl=settings.journal_lease_seconds,
            copies=Copies(settings.journal_copies, settings.journal_copy_seconds, settings.journal_copies_synced),
            max_bytes=settings.max_journal_bytes,
        )
        self._replicas = make_replicas(settings)
        self._broker = make_broker(settings, self._lease.new_engine(), self._replicas)
        self._ownership = Ownership(self._broker, self._lease)
        self._route = JournalRoute(self._ownership, self._new_forwarder, settings.redis_wait)
        self._moving = Moving(
            settings.max_stream_age,
            settings.stream_grace_seconds,
            lambda: bool(self._replicas.others()),
            lambda: BusDisconnectedError("the stream is old, and did not move when it was asked to"),
        )
        self._servicer = ReplicaServicer(
            self._broker, settings.max_message_bytes, settings.stored_patterns, time.time(), self._moving, self._route
        )
        self._servicer.address = settings.advertised_address

    def guard(self, control: AccessControl) -> Guarded:
        """Returns what each call needs. By `control` other replicas are known, once Redis has said by what."""
        self._control = control
        facts = BrokerFacts(self._broker, lambda: self._route.is_here)
        return guarded_calls(facts, self._settings.stored_patterns)

    def register(self, server: aio.Server) -> None:
        """Adds BusService."""
        self._servicer.register(server)

    def listens_at(self, address: str) -> None:
        """Takes the address for the one that other replicas reach it at, unless another is set."""
        self._servicer.address = self._servicer.address or reachable(address)

    async def start(self) -> None:
        """Looks whether Redis can be trusted, begins to try for the journal, and finds the other replicas."""
        self._ownership.on_gained = self._gained
        owned = self._ownership
        owned.address = self._servicer.address
        await self._lease.open(owned.address, owned.begin, owned.end, owned.note_lost_commits)
        self._replica_key = await self._lease.replica_key()
        if self._control is not None:
            self._control.replica_key = self._replica_key
        self._route.start()
        await self._replicas.start()

    async def move(self, seconds: float) -> None:
        """Asks the streams to go to other replicas."""
        await self._moving.move_all(seconds)

    async def drain(self, seconds: float) -> None:
        """Waits for replies to pending requests and for receipts, then ends the streams."""
        await self._servicer.drain(seconds)

    async def close(self) -> None:
        """Leaves the other replicas, closes the journal when what was taken is durable, and gives it to them."""
        await self._replicas.close()
        await self._ownership.close()
        await self._route.close()
        await self._lease.close()

    def report_to(self, health: Health) -> None:
        """Reports NOT_SERVING while the journal cannot be reached, or its storage fails; a full one is no failure."""
        self._health = health
        self._route.on_change = lambda reachable: health.turn(SERVICE_NAME, "" if reachable else NO_OWNER)
        self._route.on_change(self._route.is_reachable)

    def collectors(self) -> Iterable[Collector]:
        """The bus's metrics."""
        return [BusCollector(self._broker), OwnershipCollector(self._ownership)]

    def _gained(self) -> None:
        self._route.look()
        if self._health is not None:
            report_trouble(self._broker, self._health)

    def _new_forwarder(self, address: str, on_change: Callable[[bool], None]) -> Forwarder:
        settings = self._settings
        return Forwarder(
            SERVICE_NAME,
            address,
            BusDisconnectedError,
            upstream_options(settings.keepalive_interval, settings.keepalive_timeout),
            on_change,
            lambda method, request: True,
            program="the way to the journal's owner",
            replica_key=self._replica_key,
        )


def report_trouble(broker: Broker, health: Health) -> None:
    """Reports NOT_SERVING while the journal's storage fails; a full disk is no such failure."""
    broker.journal.commits.on_trouble = lambda error: health.turn(
        SERVICE_NAME, error.message if isinstance(error, StorageError) else ""
    )


def make_replicas(settings: Settings) -> Replicas:
    """The other replicas of a bus, over Redis; they are not looked for yet."""
    from trunklined.bus.replicas.redis import RedisExchange  # redis is installed where it is used

    target = settings.redis_target()
    name = f"{platform.node()}:{os.getpid()}"
    return Replicas(lambda: RedisExchange(target), lambda: name, settings.replica_ttl)


def make_broker(
    settings: Settings,
    engine: JournalEngine | None = None,
    peers: Peers = ALONE,
    clock: Callable[[], float] = time.time,
) -> Broker:
    """The domain of a bus; its journal is not opened yet.

    Args:
        engine: what keeps the journal. None: SQLite, as the settings say.
        peers: the other replicas.
        clock: UNIX time in seconds.
    """
    path = settings.path if settings.engine == "sqlite" else None
    return Broker(
        Limits(
            max_queued_messages=settings.max_queued_messages,
            max_queued_bytes=settings.max_queued_bytes,
            max_queue_memory_bytes=settings.max_queue_memory_bytes
            or max(MIN_QUEUE_MEMORY_BYTES, available_memory() // QUEUE_MEMORY_PART),
            max_subscriptions=settings.max_subscriptions,
            max_pending_requests=settings.max_pending_requests,
            max_recent_bytes=settings.max_recent_bytes,
        ),
        engine or SqliteJournal(path, max_bytes=settings.max_journal_bytes),
        JournalLimits(
            dedup_seconds=settings.dedup_seconds,
            dedup_messages=settings.dedup_messages,
            max_waiting_publishes=settings.max_waiting_publishes,
            max_durable_subscriptions=settings.max_durable_subscriptions,
            max_tasks=settings.max_tasks,
            retention=tuple(RetentionRule(**rule.model_dump()) for rule in settings.retention),
        ),
        MESSAGE_FORMAT,
        clock,
        peers,
    )


def build(settings: Settings) -> Program:
    """The bus, not yet started."""
    return ReplicaProgram(settings) if settings.engine == "redis" else BusProgram(settings)
