"""Bus: a bus program that serves in the test's process, so that it starts in milliseconds and can be looked into."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from grpc import aio

from trunkline.limits import MAX_FRAME_BYTES
from trunkline.v1 import bus_pb2_grpc
from trunklined.bus.app import BusProgram, ReplicaProgram
from trunklined.bus.config import Settings
from trunklined.bus.engines.redis import ROOM
from trunklined.bus.engines.sqlite import SqliteJournal
from trunklined.bus.engines.working_copy import TABLES, WorkingCopy
from trunklined.bus.write_batch import WriteBatch
from trunklined.redis.link import SyncLink
from trunklined.rpc.errors import ErrorInterceptor

OPTIONS = [("grpc.max_receive_message_length", MAX_FRAME_BYTES), ("grpc.max_send_message_length", MAX_FRAME_BYTES)]


class Bus:
    """Serves on a UNIX socket; stopped and started again, it finds its file (sqlite), its rows in Redis (redis) or
    nothing (memory).

    Args:
        directory: for its socket and its file; with a short name.
        engine: sqlite, redis or memory.
        settings: others than the defaults.
    """

    def __init__(self, directory: Path, engine: str = "sqlite", **settings: Any) -> None:
        self.path = directory / "bus.db"
        self.address = f"unix:{directory}/bus.sock"
        self.engine = engine
        self.stub: Any = None
        self._settings = settings
        self._running: tuple[BusProgram | ReplicaProgram, aio.Server, aio.Channel] | None = None

    async def start(self) -> Bus:
        settings = Settings(engine=self.engine, path=self.path, **self._settings)
        program: BusProgram | ReplicaProgram
        if self.engine == "redis":
            program = ReplicaProgram(settings)
            program.listens_at(self.address)
        else:
            program = BusProgram(settings)
        await program.start()
        server = aio.server(interceptors=[ErrorInterceptor()], options=OPTIONS)
        program.register(server)
        server.add_insecure_port(self.address)
        await server.start()
        line = aio.insecure_channel(self.address, options=OPTIONS)
        self.stub = bus_pb2_grpc.BusServiceStub(line)
        self._running = program, server, line
        return self

    async def stop(self) -> None:
        """Gracefully, as SIGTERM does; idempotent."""
        if self._running is not None:
            program, server, line = self._running
            self._running = None
            await asyncio.gather(server.stop(1.0), program.drain(1.0))
            await line.close()
            await program.close()

    async def restart(self) -> Any:
        """Stops and starts it; returns the new stub."""
        await self.stop()
        await self.start()
        return self.stub

    def rows(self, query: str) -> list[Any]:
        """What its file holds, or Redis, while it is stopped."""
        if self.engine == "redis":
            return self._rows_in_redis(query)
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def _rows_in_redis(self, query: str) -> list[Any]:
        target = Settings(engine="redis", **self._settings).redis_target()
        copy, link = WorkingCopy(None), SyncLink(target, ROOM)
        try:
            for table in TABLES:
                values: Any = link.client.hvals(link.key(table))
                copy.fill(table, [msgspec.msgpack.decode(value) for value in values])
            return copy.writer.execute(query).fetchall()
        finally:
            copy.close()
            link.close()

    async def __aenter__(self) -> Bus:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class Gate:
    """Holds the journal's commits at the disk, or makes them fail, as a slow or a full one does."""

    def __init__(self) -> None:
        self.fails: BaseException | None = None
        """What the commits raise."""
        self.batches: list[WriteBatch] = []
        self.reads: Counter[str] = Counter()
        """How often parcels that are due were asked for."""
        self._changed = threading.Condition()
        self._is_shut = False
        self._behind = False
        self._passes = 0
        self._waits = False

    def shut(self, *, behind: bool = False) -> None:
        """The next commits wait; behind: when they are on the disk, before anybody hears of it."""
        with self._changed:
            self._is_shut, self._behind, self._passes = True, behind, 0

    async def reached(self) -> None:
        """Returns when a commit waits."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self._waits, 10)

        assert await asyncio.to_thread(wait), "no commit came"

    def step(self) -> None:
        """The commit that waits goes on; the next one waits."""
        with self._changed:
            self._passes += 1
            self._waits = False
            self._changed.notify_all()

    def open(self) -> None:
        """What waits goes on, and what follows."""
        with self._changed:
            self._is_shut = self._waits = False
            self._changed.notify_all()

    def pass_through(self) -> None:
        """A commit is here."""
        with self._changed:
            if self._is_shut:
                self._waits = True
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._passes or not self._is_shut, 10), "the gate was left shut"
                self._passes = max(0, self._passes - 1)

    def commit(self, commit: Callable[[], None]) -> None:
        """A commit, as the disk is now."""
        behind = self._behind
        if not behind:
            self.pass_through()
        if self.fails is not None:
            raise self.fails
        commit()
        if behind:
            self.pass_through()

    def install(self, patch: pytest.MonkeyPatch) -> Gate:
        """Buses that are made from now on have it before their disk."""
        gate = self

        class GatedJournal(SqliteJournal):
            def apply(self, batch: WriteBatch) -> None:
                gate.batches.append(batch)
                super().apply(batch)

            def commit(self) -> None:
                gate.commit(super().commit)

            def due(self, *words: Any) -> Any:
                gate.reads["due"] += 1
                return super().due(*words)

        patch.setattr("trunklined.bus.app.SqliteJournal", GatedJournal)
        return self
