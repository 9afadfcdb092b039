"""What becomes of a durable message that was given to a callback or to an iterator: the same for every bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from trunkline.bus.durable import DurableMessage

log = logging.getLogger(__name__)

DurableCallback = Callable[[DurableMessage], Awaitable[None]]
"""What a durable `subscribe` calls with each message: returning acks it, raising naks it with the error."""


class Holder(Protocol):
    """Who holds messages of a durable subscription, and settles them without waiting."""

    async def next(self) -> DurableMessage | None:
        """The next message; None when nobody wants more. Raises why there is none any more."""

    def acked(self, message: DurableMessage) -> None:
        """It is done."""

    def nakked(self, message: DurableMessage, error: str, delay: float | None = None) -> None:
        """It failed."""

    def leave(self) -> None:
        """Nobody wants more."""


async def handle(holder: Holder, callback: DurableCallback, message: DurableMessage) -> None:
    """Gives a message to a callback, and settles it by how that ends."""
    try:
        await callback(message)
    except asyncio.CancelledError:
        holder.nakked(message, "cancelled: the client closed", 0.0)
        raise
    except Exception as error:
        log.exception(
            "callback failed on message %s from %s on %r, attempt %d",
            message.message_id,
            message.sender_id,
            message.channel,
            message.attempt,
        )
        holder.nakked(message, f"{type(error).__name__}: {error}")
    else:
        holder.acked(message)


async def steps_through(open: Callable[[], Awaitable[Holder]]) -> AsyncGenerator[DurableMessage, None]:
    """An iterator whose steps ack the message before; see `MessageBus.messages`.

    Args:
        open: registers interest, at the first step.
    """
    holder = await open()
    given: DurableMessage | None = None
    try:
        while (given := await holder.next()) is not None:
            yield given
            holder.acked(given)
    finally:
        if given is not None:
            holder.nakked(given, "the iterator was closed before the message was acked", 0.0)
        holder.leave()
