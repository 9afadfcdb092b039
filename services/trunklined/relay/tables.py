"""The tables of a journal, in a SQLite database that may hold others too, and the journal over them."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from trunkline.errors import TrunklineError
from trunklined.relay.journal import (
    WINDOW_BYTES,
    WINDOW_MESSAGES,
    Arrival,
    Contents,
    Held,
    HeldChannel,
    Refusal,
    Stock,
    Window,
    first_batches,
)

T = TypeVar("T")

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
"""


class Run(Protocol):
    """Does a step in a transaction of its own, and returns its result when it is durable."""

    def __call__(self, step: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


class TableJournal:
    """A `Journal` over the tables of SCHEMA.

    Args:
        stock: counts what is held.
        run: does the steps, one after the other.
    """

    def __init__(self, stock: Stock, run: Run) -> None:
        self.stock = stock
        self._run_step = run

    @property
    def is_ours(self) -> bool:
        """See `Journal`: nobody else has the tables."""
        return True

    async def turn(self) -> None:
        """See `Journal`."""

    async def next(self, done: Sequence[Held], limit: int, now: float) -> list[list[Held]]:
        """See `Journal`."""
        window = await self._run_step(lambda connection: _next(connection, done, limit, now))
        self.stock.drop(done)
        self.stock.oldest_at = window.oldest_at
        return window.batches

    async def unsend(self, batch: Sequence[Held]) -> None:
        """See `Journal`."""
        await self._run_step(lambda connection: _unsend(connection, batch))

    async def refuse(self, held: Held, message_id: str, error: TrunklineError, now: float) -> None:
        """See `Journal`."""
        await self._run_step(lambda connection: _refuse(connection, held, message_id, error, now))
        self.stock.set_aside(held)

    async def refusals(self, limit: int) -> list[Refusal]:
        """See `Journal`."""
        return await self._run_step(lambda connection: refusals_of(connection, limit))


def contents_of(connection: sqlite3.Connection) -> Contents:
    """Returns what the tables hold."""
    counts: list[Any] = [
        connection.execute(f"SELECT count(*), coalesce(sum(length(message)), 0) FROM {table}").fetchone()
        for table in ("held", "refused")
    ]
    oldest = connection.execute("SELECT taken_at FROM held ORDER BY id LIMIT 1").fetchone()
    (held, held_bytes), (refused, refused_bytes) = counts
    return Contents(held, held_bytes, refused, refused_bytes, oldest and oldest[0])


def refusals_of(connection: sqlite3.Connection, limit: int) -> list[Refusal]:
    """Returns the messages that were refused last, the last one first."""
    rows = connection.execute(
        "SELECT channel, message_id, refused_at, reason, error FROM refused ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [Refusal(*row) for row in rows]


def channels_of(connection: sqlite3.Connection, limit: int) -> list[HeldChannel]:
    """Returns the channels of which most messages are held, those with the most first."""
    rows = connection.execute(
        "SELECT channel, count(*), sum(length(message)), min(taken_at) FROM held"
        " GROUP BY channel ORDER BY count(*) DESC, channel LIMIT ?",
        (limit,),
    )
    return [HeldChannel(*row) for row in rows]


def add(connection: sqlite3.Connection, arrivals: Sequence[Arrival], sent_at: float | None = None) -> None:
    """Holds messages, behind those that are held. `sent_at`: when they were sent to the bus without an answer since."""
    connection.executemany(
        "INSERT INTO held VALUES (NULL, ?, ?, ?, ?, ?)",
        [(each.channel, each.key, each.taken_at, sent_at, each.message) for each in arrivals],
    )


def _next(connection: sqlite3.Connection, done: Sequence[Held], limit: int, now: float) -> Window:
    connection.executemany("DELETE FROM held WHERE id = ?", [(each.id,) for each in done])
    window, room, oldest_at = [], WINDOW_BYTES, None
    for taken_at, *row in connection.execute(
        "SELECT taken_at, id, channel, key, sent_at, message FROM held ORDER BY id LIMIT ?",
        (min(limit, WINDOW_MESSAGES),),
    ):
        held = Held(*row)
        oldest_at = taken_at if oldest_at is None else oldest_at
        window.append(held)
        room -= len(held.message)
        if room < 0:
            break
    batches = first_batches(window)
    fresh = [(now, each.id) for batch in batches for each in batch if each.sent_at is None]
    connection.executemany("UPDATE held SET sent_at = ? WHERE id = ?", fresh)
    return Window(batches, oldest_at)


def _unsend(connection: sqlite3.Connection, batch: Sequence[Held]) -> None:
    connection.executemany("UPDATE held SET sent_at = NULL WHERE id = ?", [(each.id,) for each in batch])


def _refuse(connection: sqlite3.Connection, held: Held, message_id: str, error: TrunklineError, now: float) -> None:
    connection.execute(
        "INSERT INTO refused SELECT NULL, channel, taken_at, ?, ?, ?, ?, message FROM held WHERE id = ?",
        (now, message_id, error.error_code, error.message, held.id),
    )
    connection.execute("DELETE FROM held WHERE id = ?", (held.id,))
