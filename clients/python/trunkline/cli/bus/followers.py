"""Followers: subscriptions that a person follows, shown message by message until something ends them."""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from trunkline.cli.bus.message_lines import Printer
from trunkline.cli.exit_codes import FAILED, INTERRUPTED, TIMED_OUT
from trunkline.cli.output import counted
from trunkline.delivery import Start
from trunkline.errors import StaleAckError, TrunklineError

if TYPE_CHECKING:
    from trunkline import AgentMessage, DurableMessage, MessageBus

WINDOW: Final = 64
"""Messages that may be sent ahead to be shown and acked: few, for other subscribers want some too."""
MAX_HELD: Final = 1_024
"""Messages that are shown without an ack: no more are taken from the other subscribers."""


class Follower(ABC):
    """One subscription that is shown until it is stopped.

    Args:
        bus: connected.
        count: how many messages are shown before it ends; None: no end.
    """

    def __init__(self, bus: MessageBus, pattern: str, count: int | None, printer: Printer) -> None:
        self._bus = bus
        self._pattern = pattern
        self._count = count
        self._left = count
        self._printer = printer
        self._stopped = asyncio.Event()
        self._code = 0
        self._error: Exception | None = None

    async def run(self, timeout: float | None) -> int:
        """Follows until the count is reached, the time is over, or it is interrupted; returns the exit code.

        Raises:
            TrunklineError: the service refused the subscription, or ended it.
            OSError: nobody reads what is shown.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._subscribe()
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.stop, INTERRUPTED)
                await self._stopped.wait()
        except TimeoutError:
            self.stop(TIMED_OUT if self._count is not None else 0)
        await self._end()
        if self._error is not None:
            raise self._error
        return self._code

    def stop(self, code: int, error: Exception | None = None) -> None:
        """Ends it: `run` returns the code, or raises the error. The first call counts."""
        if not self._stopped.is_set():
            self._code, self._error = code, error
            self._stopped.set()

    @abstractmethod
    async def _subscribe(self) -> None:
        """Subscribes, and says so."""

    async def _end(self) -> None:
        """Takes no more."""
        await self._bus.unsubscribe(self._pattern)

    async def _show(self, message: AgentMessage, attempt: int = 0) -> bool:
        """Shows a message; False if it was not, since it was stopped or nobody reads any more. Once stopped, which is
        also with the last message that counts, no more are taken."""
        shown = False
        if not self._stopped.is_set():
            try:
                self._printer.message(message, attempt)
                shown = True
            except (OSError, ValueError) as error:
                self.stop(FAILED, error)
        if shown and self._left is not None:
            self._left -= 1
            if not self._left:
                self.stop(0)
        if self._stopped.is_set():
            await self._bus.unsubscribe(self._pattern)
        return shown

    def _fail(self, error: TrunklineError) -> None:
        """Ends it with the error with which the service ended it."""
        self.stop(FAILED, error)


class LiveFollower(Follower):
    """A live subscription: what passes from now on. It only looks on."""

    def __init__(self, bus: MessageBus, pattern: str, count: int | None, printer: Printer, group: str | None) -> None:
        super().__init__(bus, pattern, count, printer)
        self._group = group

    async def _subscribe(self) -> None:
        # Of a group, a count takes no more than so many messages from the other members: so one after the other.
        credit = 1 if self._group is not None and self._count is not None else None
        await self._bus.subscribe(
            self._pattern,
            self._take,
            group=self._group,
            credit=credit,
            on_lagged=self._printer.lagged,
            on_error=self._fail,
            observer=True,
        )
        self._printer.started(self._pattern)

    async def _take(self, message: AgentMessage) -> None:
        await self._show(message)


class DurableFollower(Follower):
    """Takes part in a durable subscription.

    Args:
        durable: its name.
        start: where it starts, if it is made here.
    """

    what_becomes: str
    """What becomes of the messages that are shown, for people."""
    most: int
    """Messages that it may hold at once."""

    def __init__(
        self, bus: MessageBus, pattern: str, count: int | None, printer: Printer, durable: str, start: Start
    ) -> None:
        super().__init__(bus, pattern, count, printer)
        self._durable = durable
        self._start = start

    async def _subscribe(self) -> None:
        credit = self.most if self._count is None else min(self.most, self._count)
        await self._bus.subscribe(
            self._pattern,
            self._take,
            durable=self._durable,
            start=self._start,
            credit=credit,
            concurrency=self._concurrency(credit),
            on_error=self._fail,
        )
        self._printer.started(self._pattern, self._durable, self.what_becomes)

    def _concurrency(self, credit: int) -> int:
        """Returns how many messages may be with `_take` at once."""
        return 1

    @abstractmethod
    async def _take(self, message: DurableMessage) -> None:
        """Shows a message."""

    def _fail(self, error: TrunklineError) -> None:
        if isinstance(error, StaleAckError):
            self._printer.refused(error)
        else:
            super()._fail(error)


class AckingFollower(DurableFollower):
    """Acks what it has shown."""

    what_becomes = "what is shown is acked"
    most = WINDOW

    async def _take(self, message: DurableMessage) -> None:
        if not await self._show(message, message.attempt):
            await message.release()


class HoldingFollower(DurableFollower):
    """Holds what it has shown, and gives it back at the end without an attempt counted."""

    what_becomes = "nothing is acked, it is given back at the end"
    most = MAX_HELD

    def __init__(
        self, bus: MessageBus, pattern: str, count: int | None, printer: Printer, durable: str, start: Start
    ) -> None:
        super().__init__(bus, pattern, count, printer, durable, start)
        self._held: dict[int, tuple[DurableMessage, asyncio.Event]] = {}
        """By sequence, with what is set when it is held no more."""

    def _concurrency(self, credit: int) -> int:
        return credit

    async def _take(self, message: DurableMessage) -> None:
        if not await self._show(message, message.attempt):
            await message.release()
            return
        let_go = asyncio.Event()
        self._held[message.sequence] = message, let_go
        if len(self._held) == MAX_HELD:
            text = f"{MAX_HELD:,} messages are held: no more are shown"
            self._printer.note(text, {"event": "full", "held": MAX_HELD}, "yellow")
        await let_go.wait()

    def _fail(self, error: TrunklineError) -> None:
        super()._fail(error)
        for sequence in error.details.get("sequences", ()):
            if sequence in self._held:
                self._held.pop(sequence)[1].set()

    async def _end(self) -> None:
        await super()._end()
        given_back = len(self._held) if self._bus.is_connected else 0
        for message, let_go in self._held.values():
            await message.release()
            let_go.set()
        if given_back:
            text = f"gave back {counted(given_back, 'message')}"
            self._printer.note(text, {"event": "given_back", "messages": given_back}, "bright_black")
