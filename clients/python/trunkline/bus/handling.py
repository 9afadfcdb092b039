"""What becomes of a message that was given to a callback or to an iterator: the same for every bus."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from trunkline.bus.durable import DurableMessage
from trunkline.models import AgentMessage
from trunkline.text import error_text

log = logging.getLogger(__name__)

M = TypeVar("M", bound=AgentMessage)

DurableCallback = Callable[[DurableMessage], Awaitable[None]]
"""What a durable `subscribe` calls with each message: returning acks it, raising naks it with the error."""


class Holder(Protocol):
    """What holds messages of a durable subscription, and settles them without waiting."""

    async def next(self) -> DurableMessage | None:
        """Returns the next message; None when the subscription was closed. Raises why no more will come."""

    def acked(self, message: DurableMessage) -> None:
        """Acks a message."""

    def nakked(self, message: DurableMessage, error: str, delay: float | None = None) -> None:
        """Naks a message with its error."""

    def leave(self) -> None:
        """Takes no more messages."""


def is_torn_off(message: AgentMessage, error: BaseException) -> bool:
    """Says what it means that a callback raised an error. The one place that tells a failure from the end; the table is
    in `docs/decisions.md`.

    A callback can end only its own message. Whatever it raises is that message's failure, and is logged: also
    `SystemExit`, and a `CancelledError` that it brought from elsewhere, such as a task that somebody else cancelled.
    It is torn off (True) only where the task that runs it, its worker, was itself asked to end; then the caller raises
    the error, to end. `KeyboardInterrupt` and `GeneratorExit` mean the whole program and pass through.
    """
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        raise error
    if isinstance(error, asyncio.CancelledError):
        worker = asyncio.current_task()
        if worker is not None and worker.cancelling():
            return True
    _log_failure(message, error)
    return False


def _log_failure(message: AgentMessage, error: BaseException) -> None:
    attempt = f", attempt {message.attempt}" if isinstance(message, DurableMessage) else ""
    log.error(
        "callback failed on message %s from %s on %r%s: %s",
        message.message_id,
        message.sender_id,
        message.channel,
        attempt,
        error_text(error),
        exc_info=error,
    )


async def handle(holder: Holder, callback: DurableCallback, message: DurableMessage) -> None:
    """Gives a durable message to a callback, and settles it by how that ends."""
    try:
        await callback(message)
    except BaseException as error:
        if is_torn_off(message, error):
            holder.nakked(message, "cancelled: the client closed", 0.0)
            raise
        holder.nakked(message, error_text(error))
    else:
        holder.acked(message)


async def handle_live(callback: Callable[[AgentMessage], Awaitable[None]], message: AgentMessage) -> None:
    """Gives a live message to a callback: nothing is settled, what it raises is logged."""
    try:
        await callback(message)
    except BaseException as error:
        if is_torn_off(message, error):
            raise


def check_callback(callback: Any) -> None:
    """Raises TypeError where a callback is no async function: one that is called and returns nothing to wait for would
    lose every message that it fails on."""
    called = callback
    while isinstance(called, functools.partial):
        called = called.func
    if inspect.isclass(called) or not (
        inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(type(called).__call__)
    ):
        raise TypeError(f"callback is {callback!r}, it must be an async function of one message: async def …(message)")
