"""BacklogFile: the tables of what is held, in one SQLite file. All of it runs in one thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from trunklined.sqlite.file import roll_back
from trunklined.sqlite.format import Format
from trunklined.sqlite.synced_file import SyncedFile

SCHEMA: Final = """
-- One row for each message that waits for the bus, in the order in which they were taken. `sent_at`: when it was first
-- sent to the bus without an answer since.
CREATE TABLE held (
    id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    key TEXT,
    taken_at REAL NOT NULL,
    sent_at REAL,
    message BLOB NOT NULL
);
-- Messages that the bus refused for good, as trunkline.v1.Message, for an operator to look at and to delete.
CREATE TABLE refused (
    id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    taken_at REAL NOT NULL,
    refused_at REAL NOT NULL,
    message_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    message BLOB NOT NULL
);
-- One row.
CREATE TABLE backlog (commits INTEGER NOT NULL);
INSERT INTO backlog VALUES (0);
"""


def _verify(connection: sqlite3.Connection) -> str | None:
    if connection.execute("SELECT count(*) FROM backlog").fetchone()[0] != 1:
        return "it has lost its count of commits"
    return None


FORMAT: Final = Format(
    noun="sidecar's backlog",
    service="sidecar",
    application_id=0x54524E53,  # `TRNS`
    schema=SCHEMA,
    version=1,
    auto_vacuum=True,
    verify=_verify,
)

WINDOW_MESSAGES: Final = 1_024
WINDOW_BYTES: Final = 1024 * 1024
"""The oldest messages and bytes of what is held, of which batches are sent at the same time; the last message may go
beyond the bytes."""

MAX_BATCHES: Final = 64
"""Batches that are sent at the same time, one for each channel."""


class Arrival(NamedTuple):
    """A message that was taken: its channel, its ordering key, when (UNIX time in seconds), and itself, encoded."""

    channel: str
    key: str | None
    taken_at: float
    message: bytes


class Held(NamedTuple):
    """A message that is held. `sent_at`: when it was first sent to the bus without an answer since."""

    id: int
    channel: str
    key: str | None
    sent_at: float | None
    message: bytes


class Contents(NamedTuple):
    """How many messages there are, and their bytes."""

    held: int
    held_bytes: int
    refused: int
    refused_bytes: int


class BacklogFile:
    """Keeps messages in one SQLite file, each commit of which is synced.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = SyncedFile(path, FORMAT)
        self._connection: sqlite3.Connection
        self._commits = 0

    def open(self) -> Contents:
        """Opens the file, made where there is none, and returns what it holds.

        Raises:
            StorageError: see `SyncedFile.opening`.
        """
        with self._file.opening() as connection:
            self._connection = connection
            self._commits = connection.execute("SELECT commits FROM backlog").fetchone()[0]
            self._file.check(self._commits)
            counts = [
                connection.execute(f"SELECT count(*), coalesce(sum(length(message)), 0) FROM {table}").fetchone()
                for table in ("held", "refused")
            ]
        return Contents(*counts[0], *counts[1])

    def close(self) -> None:
        """Closes the file; idempotent."""
        self._file.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Makes what is done within durable when it ends, and undoes it when it raises.

        Raises:
            OverloadedError: no room on the disk. StorageError: any other error of the database.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("UPDATE backlog SET commits = ?", (self._commits + 1,))
            self._file.check_place()
            self._connection.execute("COMMIT")
        except BaseException as error:
            roll_back(self._connection)
            if isinstance(error, sqlite3.Error):
                raise self._file.translate(error) from error
            raise
        self._commits += 1
        self._file.note(self._commits)

    def keep(self, arrivals: Sequence[Arrival]) -> None:
        """Holds messages, behind those that are held."""
        with self._transaction() as connection:
            connection.executemany("INSERT INTO held VALUES (NULL, ?, ?, ?, NULL, ?)", arrivals)

    def next(self, done: Sequence[Held], limit: int, now: float) -> list[list[Held]]:
        """Forgets what the bus has, and notes that the next batches are being sent, in one commit; returns those
        batches, which can be sent at the same time.

        Args:
            done: what the bus has.
            limit: messages of the batches at the most.
            now: UNIX time in seconds.
        """
        with self._transaction() as connection:
            connection.executemany("DELETE FROM held WHERE id = ?", [(each.id,) for each in done])
            batches = first_batches(self._window(limit))
            fresh = [(now, each.id) for batch in batches for each in batch if each.sent_at is None]
            connection.executemany("UPDATE held SET sent_at = ? WHERE id = ?", fresh)
        return batches

    def _window(self, limit: int) -> list[Held]:
        window, room = [], WINDOW_BYTES
        rows = self._connection.execute(
            "SELECT id, channel, key, sent_at, message FROM held ORDER BY id LIMIT ?", (min(limit, WINDOW_MESSAGES),)
        )
        for held in map(Held._make, rows):
            window.append(held)
            room -= len(held.message)
            if room < 0:
                break
        return window

    def unsend(self, batch: Sequence[Held]) -> None:
        """Notes that the bus has stored none of a batch."""
        with self._transaction() as connection:
            connection.executemany("UPDATE held SET sent_at = NULL WHERE id = ?", [(each.id,) for each in batch])

    def refuse(self, held: Held, message_id: str, reason: str, error: str, now: float) -> None:
        """Sets aside a message that the bus will never take."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO refused SELECT NULL, channel, taken_at, ?, ?, ?, ?, message FROM held WHERE id = ?",
                (now, message_id, reason, error, held.id),
            )
            connection.execute("DELETE FROM held WHERE id = ?", (held.id,))

    def tidy(self) -> None:
        """Gives unused room of the file back to the disk."""
        # A script, because `execute` would step the first of them once, which frees one page.
        self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")


def first_batches(window: Sequence[Held]) -> list[list[Held]]:
    """Returns what of the oldest messages can be sent at the same time: one batch for each channel, up to the first
    message whose ordering key goes with another channel, or with a message that stays behind.

    So messages of one channel, and of one ordering key, keep their order, and traffic on many channels is as fast as on
    one.
    """
    batches: dict[str, list[Held]] = {}
    key_goes_with: dict[str, str | None] = {}
    ended: set[str] = set()
    for held in window:
        channel, key = held.channel, held.key
        if channel not in batches and len(batches) == MAX_BATCHES:
            ended.add(channel)
        if channel not in ended and (key is None or key_goes_with.setdefault(key, channel) == channel):
            batches.setdefault(channel, []).append(held)
        else:
            ended.add(channel)
            if key is not None:
                key_goes_with[key] = None
    return list(batches.values())
