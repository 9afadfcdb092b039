"""What becomes of a message that was given to a callback or to an iterator: the same for every bus."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from trunkline.bus.durable import DurableMessage
from trunkline.bus.request import Request
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


class Owner(Protocol):
    """The subscription whose worker runs a callback."""

    def is_ending(self) -> bool:
        """Whether its workers are asked to end."""

    def is_at_work(self) -> bool:
        """Whether the code that runs now is one of its workers."""


class DurableOwner(Owner, Holder, Protocol):
    """A durable subscription."""


class RespondingOwner(Owner, Protocol):
    """A subscription that answers requests."""

    def failed(self, request: Request, error: BaseException) -> None:
        """Ends a request with its failure."""


def is_torn_off(owner: Owner, message: AgentMessage, error: BaseException) -> bool:
    """Says what it means that a callback raised an error. The one place that tells a failure from the end; the table is
    in `docs/decisions.md`.

    A callback can end only its own message. Whatever it raises is that message's failure, and is logged: also
    `SystemExit`, and a `CancelledError`, wherever that came from. It is torn off (True) only where the subscription
    asked its workers to end; then the caller raises the error, to end. In the main thread `KeyboardInterrupt` means the
    whole program and passes through; so does the `GeneratorExit` of a worker that is thrown away.
    """
    match error:
        case asyncio.CancelledError() if owner.is_ending():
            return True
        case asyncio.CancelledError() if isinstance(message, Request) and message.is_called_off:
            log.debug("request %s on %r was called off", message.message_id, message.channel)
            return False
        case KeyboardInterrupt() if threading.current_thread() is threading.main_thread():
            raise error
        case GeneratorExit() if not owner.is_at_work():
            raise error
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


async def handle(owner: DurableOwner, callback: DurableCallback, message: DurableMessage) -> None:
    """Gives a durable message to a callback, and settles it by how that ends."""
    try:
        await callback(message)
    except BaseException as error:
        if is_torn_off(owner, message, error):
            owner.nakked(message, "cancelled: the client closed", 0.0)
            raise
        owner.nakked(message, error_text(error))
    else:
        owner.acked(message)


async def handle_live(owner: Owner, callback: Callable[[AgentMessage], Awaitable[None]], message: AgentMessage) -> None:
    """Gives a live message to a callback: nothing is settled, what it raises is logged."""
    try:
        await callback(message)
    except BaseException as error:
        if is_torn_off(owner, message, error):
            raise


async def handle_request(
    owner: RespondingOwner, callback: Callable[[Request], Awaitable[None]], request: Request
) -> None:
    """Gives a request to a callback, which answers it; a failure is told to who asked."""
    try:
        await callback(request)
    except BaseException as error:
        if is_torn_off(owner, request, error):
            raise
        if not request.is_called_off:
            owner.failed(request, error)


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
