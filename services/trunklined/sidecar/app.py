"""The sidecar as a program: its parts put together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from grpc import aio
from prometheus_client.registry import Collector

from trunkline.addresses import UNIX
from trunkline.bus.grpc.bus import GrpcMessageBus
from trunkline.errors import BusDisconnectedError, StateDisconnectedError
from trunkline.message_channel.unix_socket.line_server import LineServer, open_socket
from trunklined.forwarding.forwarder import Forwarder
from trunklined.rpc.draining import BUS_FINISHING_METHODS
from trunklined.rpc.health import Health
from trunklined.rpc.identity import name_of_user
from trunklined.rpc.server import Program
from trunklined.rpc.upstream import upstream_options
from trunklined.sidecar import servicer
from trunklined.sidecar.config import Settings
from trunklined.sidecar.door import Door
from trunklined.sidecar.lines.bridge import LineBridge
from trunklined.sidecar.lines.bridges import LineBridges
from trunklined.sidecar.metrics import Parts, SidecarCollector
from trunklined.sidecar.offline.store_and_forward import StoreAndForward


class SidecarProgram:
    """See `trunklined.rpc.server.Program`."""

    name = "sidecar"
    service_names: Sequence[str] = (servicer.BUS.full_name, servicer.STATE.full_name)
    finishing_methods: Collection[str] = BUS_FINISHING_METHODS

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._health: Health | None = None
        options = upstream_options(settings.keepalive_interval, settings.keepalive_timeout)
        self._bus = self._forwarder(servicer.BUS.full_name, settings.bus_address, BusDisconnectedError, options)
        self._state = self._forwarder(servicer.STATE.full_name, settings.state_address, StateDisconnectedError, options)
        self._store = StoreAndForward.of(settings, self._bus) if settings.store_path else None
        self._door: Door | None = None
        if settings.listens_at != settings.serves_at:
            public, own = (each.removeprefix(UNIX) for each in (settings.serves_at, settings.listens_at))
            self._door = Door(public, own, settings.access)
        self._lines: LineBridges | None = None
        if settings.socket_path:
            self._lines = LineBridges(self._bridge, by_user=settings.on_behalf_of)

    def register(self, server: aio.Server) -> None:
        """Adds BusService and StateService."""
        servicer.register(server, servicer.BUS, self._bus, self._store.handlers if self._store else None)
        servicer.register(server, servicer.STATE, self._state)

    def report_to(self, health: Health) -> None:
        """Reports to a health service: a service is serving while its upstream is connected."""
        self._health = health
        for forwarder in (self._bus, self._state):
            self._report(forwarder.service, forwarder.is_connected)

    async def start(self) -> None:
        """Opens the backlog, begins to connect, and opens the UNIX sockets.

        Raises:
            StorageError: the backlog's file is another sidecar's, or cannot be opened or trusted.
            SocketInUseError: a live program has that socket.
        """
        if self._store is not None:
            await self._store.backlog.open()
            self._store.drain.start()
        self._bus.start()
        self._state.start()
        if self._lines is not None:
            settings = self._settings
            access = settings.access
            socket_file = await asyncio.to_thread(
                open_socket,
                settings.socket_path,
                mode=access.mode,
                group=access.group,
                backlog=settings.max_connections,
            )
            server = LineServer(
                socket_file,
                self._lines,
                name=self.name,
                allowed_uids=access.uids,
                allowed_gids=access.gids,
                max_connections=settings.max_connections,
                max_line_bytes=settings.max_message_bytes,
            )
            await self._lines.start(server)
        if self._door is not None:
            await self._door.open()

    async def drain(self, seconds: float) -> None:
        """Gives what is under way `seconds`: calls, and commands on the UNIX socket. Then ends the streams."""
        if self._store is not None:
            self._store.routing.stop()
        async with asyncio.TaskGroup() as tasks:
            for forwarder in (self._bus, self._state):
                tasks.create_task(forwarder.drain(seconds))
            if self._lines is not None:
                tasks.create_task(self._lines.drain(seconds))

    async def close(self) -> None:
        """Closes clients and upstreams; idempotent."""
        if self._door is not None:
            await self._door.close()
        if self._lines is not None:
            await self._lines.close()
        if self._store is not None:
            await self._store.drain.close()
        await self._bus.close()
        await self._state.close()
        if self._store is not None:
            await self._store.backlog.close()

    def collectors(self) -> Iterable[Collector]:
        """Returns the sidecar's metrics."""
        return [SidecarCollector(Parts((self._bus, self._state), self._lines, self._store, self._door))]

    def _forwarder(
        self,
        service: str,
        address: str,
        disconnected: type[BusDisconnectedError] | type[StateDisconnectedError],
        options: list[tuple[str, int]],
    ) -> Forwarder:
        return Forwarder(
            service,
            address,
            disconnected,
            options,
            partial(self._upstream_changed, service),
            servicer.may_finish,
            program="the sidecar",
            says_whose=self._settings.on_behalf_of,
        )

    def _bridge(self, uid: int | None) -> LineBridge:
        """Makes the way to the bus of the users of the line socket; None: all of them, as this program."""
        bus = GrpcMessageBus(self._settings.bus_address, on_behalf_of=None if uid is None else name_of_user(uid))
        return LineBridge(bus, self._settings.command_timeout)

    def _upstream_changed(self, service: str, connected: bool) -> None:
        if self._store is not None and service == servicer.BUS.full_name:
            self._store.routing.bus_changed(connected)
        self._report(service, connected)

    def _report(self, service: str, connected: bool) -> None:
        if self._health is not None:
            address = (self._bus if service == servicer.BUS.full_name else self._state).address
            self._health.turn(service, "" if connected else f"{service} at {address} is not reached")


def build(settings: Settings) -> Program:
    """Makes the sidecar, not yet started."""
    return SidecarProgram(settings)
