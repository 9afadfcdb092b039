"""SQLite without anything around it: what one synced commit costs on this disk, the floor under a stored message."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.payload import PAYLOAD
from scripts.bench.peer import Call, Peer, Service


class SQLite(Peer):
    """One row a commit, in WAL and with synchronous=FULL as our services have it, in the role's own process."""

    title = "bare SQLite commit"
    messages = 0

    def versions(self) -> Sequence[str]:
        return [f"sqlite {sqlite3.sqlite_version}"]

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    def server(self, service: Service, port: int, scratch: Path) -> None:
        return None

    async def open(self, service: Service, port: int) -> None:
        self._connection = sqlite3.connect("bare.db", isolation_level=None)  # a role runs in its folder
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE messages (sequence INTEGER PRIMARY KEY, message BLOB NOT NULL)")

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def storer(self, channel: str) -> Call:
        if self._connection is None:
            raise RuntimeError("the database is not open")
        execute = self._connection.execute

        async def store(_: int) -> None:
            execute("INSERT INTO messages (message) VALUES (?)", (PAYLOAD,))

        return store
