"""Mover: when a client goes from one connection to another, as its service asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

C = TypeVar("C")


class Mover(Generic[C]):
    """One move at a time. A connection that is asked while it is being moved to is moved from when it is there: its
    replica stops, too.

    Args:
        address: returns where the service is, for people.
        current: returns the connection of now.
        move: goes elsewhere from a connection.
    """

    def __init__(
        self, address: Callable[[], str], current: Callable[[], C | None], move: Callable[[C], Awaitable[None]]
    ) -> None:
        self._address = address
        self._current = current
        self._move = move
        self._asked: set[C] = set()
        """Connections that were asked to move, and did not begin to."""
        self._moving: asyncio.Task[None] | None = None
        self._stays = False
        self._leaving: set[asyncio.Task[None]] = set()

    def begin_anew(self) -> None:
        """Forgets who was asked: the client connects."""
        self._asked.clear()

    def ask(self, connection: C) -> None:
        """The service asks to go on elsewhere."""
        self._asked.add(connection)
        self._move_if_asked()

    def leave(self, end: Coroutine[Any, Any, None]) -> None:
        """Ends a connection that another has taken the place of, beside all else."""
        leaving = asyncio.create_task(end, name=f"left {self._address()}")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    @asynccontextmanager
    async def staying(self, patience: float = 0.0) -> AsyncIterator[None]:
        """Moves no more, while the client disconnects; at the end all connections that were left are closed.

        Args:
            patience: seconds that a move that has begun may take still.
        """
        self._stays = True
        try:
            if (moving := self._moving) is not None:
                if patience:
                    await asyncio.wait({moving}, timeout=patience)
                await _ended(moving)
            yield
            for task in list(self._leaving):
                await _ended(task)
        finally:
            self._stays = False

    def _move_if_asked(self) -> None:
        connection = self._current()
        if connection is not None and connection in self._asked and self._moving is None and not self._stays:
            self._asked.clear()
            self._moving = asyncio.create_task(self._go(connection), name=f"move from {self._address()}")

    async def _go(self, connection: C) -> None:
        try:
            await self._move(connection)
        except Exception:  # a defect here must not end the connection that there is
            log.exception("the connection to %s was not moved: something unexpected went wrong here", self._address())
        finally:
            self._moving = None
            self._move_if_asked()


async def _ended(task: asyncio.Task[None]) -> None:
    """Ends a task, and waits for its end."""
    task.cancel()
    await asyncio.wait({task})
