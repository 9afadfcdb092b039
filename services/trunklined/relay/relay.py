"""Relay: hands the bus what a journal holds, in order, until nothing is held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from trunkline.errors import OverloadedError, TrunklineError
from trunkline.limits import DEDUP_SECONDS
from trunkline.v1 import message_pb2
from trunkline.wire.again import wait_of
from trunkline.wire.reconnect import reconnect_delays
from trunklined.relay.journal import WINDOW_MESSAGES, Held, Journal

Publish = Callable[[str, Sequence[bytes]], Awaitable[Sequence[bool]]]
"""Stores encoded messages on a channel of the bus; returns of each whether the bus had it already.

Raises `RefusedError` for messages that the bus will never take, `OverloadedError` where it stored none of them; after
any other error it is unknown whether it did."""


class RefusedError(Exception):
    """The bus will never take a message, for this `reason`."""

    def __init__(self, reason: TrunklineError) -> None:
        super().__init__(reason.message)
        self.reason = reason


class Relay:
    """Sends what is held: of each channel one batch at a time, the next when the bus has the one before, so that no
    failure changes the order.

    What was sent and not answered, since either side was killed in between, is sent again; the bus knows the message
    ids and stores nothing twice. It knows them for a while only (2 minutes by default): that a batch is being sent is
    therefore noted in the journal, and what may be there twice after a longer pause is counted and logged.

    Args:
        journal: what is held.
        publish: the way to the bus.
        on_progress: called when the bus took a batch.
        clock: UNIX time in seconds.
    """

    def __init__(
        self,
        journal: Journal,
        publish: Publish,
        on_progress: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.forwarded = 0
        """Messages that the bus took."""
        self.refused = 0
        """Messages that the bus will never take."""
        self.possible_duplicates = 0
        """Messages that the bus may have stored twice."""
        self.has_failed = False
        """Whether the bus has taken nothing since a failure."""
        self._journal = journal
        self._publish = publish
        self._on_progress = on_progress
        self._clock = clock
        self._delays = reconnect_delays()
        self._done: list[Held] = []
        """Messages that the bus has and the journal still holds."""
        self._log: Any = structlog.get_logger()

    async def empty(self) -> None:
        """Sends until nothing that is durable is held. What it raises leaves what the bus has not taken where it is."""
        singly = 0
        forwarded = self.forwarded
        while True:
            batches = await self._journal.next(self._done, 1 if singly else WINDOW_MESSAGES, self._clock())
            self._done = []
            if not batches:
                break
            singly = max(0, singly - 1) + await self._send_all(batches)
        if self.forwarded > forwarded:
            self._log.info("what was held is forwarded", messages=self.forwarded - forwarded)

    async def pause(self, error: Exception) -> None:
        """Logs why what is held could not be sent, and waits before the next attempt."""
        self.has_failed = True
        delay = max(next(self._delays), wait_of(error) or 0.0)
        self._log.warning(
            "what is held could not be forwarded",
            error=str(error),
            held=self._journal.stock.messages,
            retry_in=round(delay, 3),
            exc_info=not isinstance(error, TrunklineError),
        )
        await asyncio.sleep(delay)

    def succeeded(self) -> None:
        """Notes that the bus takes what is held: the next delay is the shortest again."""
        if self.has_failed:
            self.has_failed = False
            self._delays = reconnect_delays()

    async def _send_all(self, batches: Sequence[Sequence[Held]]) -> int:
        """Returns how many messages are in batches that were refused. These go singly: one of each is at fault, and
        which one shows then."""
        outcomes = await asyncio.gather(*map(self._send, batches), return_exceptions=True)
        failed: BaseException | None = None
        singly = 0
        for batch, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, RefusedError):
                if len(batch) == 1:
                    await self._refuse(batch[0], outcome.reason)
                else:
                    singly += len(batch)
            else:
                failed = failed or outcome
        if failed is not None:
            raise failed
        return singly

    async def _send(self, batch: Sequence[Held]) -> None:
        now = self._clock()
        try:
            duplicates = await self._publish(batch[0].channel, [held.message for held in batch])
        except OverloadedError:
            await self._journal.unsend(batch)  # the bus answered itself: nothing was stored
            raise
        self.succeeded()
        self._on_progress()
        self.forwarded += len(batch)
        self._done += batch
        self._note_duplicates(
            [
                held
                for held, is_duplicate in zip(batch, duplicates, strict=False)
                if held.sent_at is not None and now - held.sent_at >= DEDUP_SECONDS and not is_duplicate
            ]
        )

    def _note_duplicates(self, possible: Sequence[Held]) -> None:
        if possible:
            self.possible_duplicates += len(possible)
            self._log.warning(
                "messages may be stored twice: they were sent before, and the answer never came",
                messages=len(possible),
                message_ids=[_message_id(held) for held in possible[:10]],
            )

    async def _refuse(self, held: Held, error: TrunklineError) -> None:
        message_id = _message_id(held)
        await self._journal.refuse(held, message_id, error, self._clock())
        self.refused += 1
        self._log.error(
            "the bus refused a message that was held; it is set aside",
            message_id=message_id,
            channel=held.channel,
            reason=error.error_code,
            error=error.message,
        )


def _message_id(held: Held) -> str:
    return message_pb2.Message.FromString(held.message).message_id
