"""Publisher: what one client publishes, from its bounded buffer to the receipts and refusals that come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

from trunkline.bus.grpc.frames import FrameBuilder, Stored
from trunkline.bus.grpc.receipts import Receipts, fail
from trunkline.delivery import Receipt
from trunkline.errors import OverloadedError, TrunklineError
from trunkline.limits import CLIENT_BUFFER_BYTES, DEFAULT_REQUEST_TIMEOUT
from trunkline.v1 import bus_pb2
from trunkline.wire.again import wait_of
from trunkline.wire.stream import Stream

log = logging.getLogger(__name__)

_STORED_WAVE: Final = 256
"""Of many messages to be stored at once, so many are sent while the others are still being encoded: then service and
client work at the same time."""

_STORED_PATIENCE: Final = DEFAULT_REQUEST_TIMEOUT
"""Seconds, from the first refusal on, for which a message to be stored is tried again; and for which it waits for a
lost stream to a sidecar."""


class Publisher:
    """Puts messages into the stream's open frame, and matches what the service answers to them.

    Args:
        stream: the stream.

    Attributes:
        frames: the open frame, shared with everything else that goes out.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._receipts = Receipts(stream.next_id)
        self.frames = FrameBuilder(stream.put, stream.schedule, self._receipts.expect)
        self._loop = asyncio.get_running_loop()  # asked for once: Python 3.11 asks the kernel for its pid each time
        self.published = 0
        """Live messages that were put into the buffer since the beginning."""
        self._confirmed = 0
        """How many of these the service is known to have taken."""
        self._refused: TrunklineError | None = None
        """The first refusal of something published since the last flush."""
        self._turn: asyncio.Future[None] | None = None
        """Done when the service takes more of this client, which has reached a limit. None: it does."""
        self._again: list[Stored] | None = None
        """What is stored when the stream is back, in order. None: it is there, or goes to nobody who stores again what
        was not answered."""
        self._given_up: asyncio.TimerHandle | None = None
        """When that is waited for no more."""
        self._buffer_is_full = False
        """The stream is lost, and what was published since fills the buffer."""

    def publish(self, channel: str, encoded: bytes) -> Coroutine[Any, Any, None] | None:
        """Puts a message into the buffer. Returns what the publisher must wait for; None: nothing.

        Raises:
            BusDisconnectedError: by what is returned: the stream is lost, and the buffer is full.
        """
        if self._buffer_is_full:
            return self._refuse()
        if self._turn is not None:
            return self._publish_in_turn(channel, encoded)
        self.published += 1
        return self._pace() if self.frames.publish(channel, encoded) else None

    async def store(self, channel: str, encoded: bytes) -> Receipt:
        """Publishes a message to be stored, and waits for its receipt. What the service refuses for now is published
        again when it says, for _STORED_PATIENCE. So is what a sidecar did not answer before the stream was lost: it is
        stored once, by its id.

        Raises:
            BusDisconnectedError: the stream is lost, or was lost before the receipt came: the outcome is not known.
            TrunklineError: the service refused it.
        """
        deadline: float | None = None
        while True:
            await self._in_turn()
            try:
                return await self._store(channel, encoded)
            except OverloadedError as error:
                now, wait = self._loop.time(), wait_of(error)
                deadline = now + _STORED_PATIENCE if deadline is None else deadline
                if wait is None or now + wait >= deadline:
                    raise
                self.slow_down(error)

    async def _store(self, channel: str, encoded: bytes) -> Receipt:
        receipt: asyncio.Future[Receipt] = self._loop.create_future()
        if self._again is not None:
            self._again.append(Stored(channel, [encoded], [receipt]))
            return await receipt
        stream = self._stream
        stream.check_up()
        if stream.waiting_bytes > CLIENT_BUFFER_BYTES:
            await stream.room(CLIENT_BUFFER_BYTES)
            stream.check_up()
        gathered = self.frames.store(channel, encoded, receipt)
        if not self._receipts or gathered % _STORED_WAVE == 0:
            stream.flush()
        return await receipt

    def take(self, id: int, published: bus_pb2.PublishResponse) -> None:
        """Takes the receipts of a frame."""
        self._receipts.take(id, published)

    def refuse(self, id: int, error: TrunklineError) -> bool:
        """Fails the receipts of a frame that was refused; False if the id is none of these."""
        return self._receipts.refuse(id, error)

    def remember(self, error: TrunklineError) -> None:
        """Keeps the error of something published that nobody waits for, for the next flush; the first one counts."""
        self._refused = self._refused or error

    def slow_down(self, error: TrunklineError) -> None:
        """Lets what is published wait until the service takes it, where a refusal says when that is."""
        if self._turn is None and (wait := wait_of(error)) is not None:
            self._turn = turn = self._loop.create_future()

            def go_on() -> None:
                self._turn = None
                if not turn.done():
                    turn.set_result(None)

            self._loop.call_later(wait, go_on)

    async def _in_turn(self) -> None:
        if self._turn is None:
            return
        with self._stream.in_use():
            while self._turn is not None:
                await asyncio.shield(self._turn)

    async def _publish_in_turn(self, channel: str, encoded: bytes) -> None:
        await self._in_turn()
        pause = self.publish(channel, encoded)
        if pause is not None:
            await pause

    def left(self) -> TrunklineError | None:
        """Returns the first refusal that no flush has told."""
        refused, self._refused = self._refused, None
        return refused

    @property
    def awaits_receipts(self) -> bool:
        """Whether a receipt is waited for."""
        return bool(self._receipts) or self.frames.has_receipts or bool(self._again)

    @property
    def is_unconfirmed(self) -> bool:
        """Whether something live was published that the service may not have taken."""
        return self.published > self._confirmed

    def confirm(self, published: int) -> None:
        """Notes that the service took so many of what was published; raises the first error since the last time."""
        self._confirmed = published
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def on_up(self) -> None:
        """The stream is up: the buffer empties."""
        self._buffer_is_full = False

    def store_again(self) -> None:
        """Stores on the stream, which is up, what the lost one did not answer; before all that comes from now on."""
        for channel, messages, receipts in self._take_again():
            for encoded, receipt in zip(messages, receipts, strict=True):
                if not receipt.done():  # else its publisher waits for it no more
                    self.frames.store(channel, encoded, receipt)

    def on_down(self, error: TrunklineError, *, stores_again: bool) -> None:
        """The stream is lost: no receipt comes any more, and what was published and not flushed may be lost.

        Args:
            error: why.
            stores_again: whether it is a sidecar's, which stores what is sent to it again: that waits for the stream.
        """
        if self.is_unconfirmed:
            self.remember(error)
        if not stores_again:
            self._fail(error)
            return
        self._again = [*self._receipts.take_all(), *self.frames.take_unsent()]
        self._given_up = self._loop.call_later(_STORED_PATIENCE, lambda: fail(self._take_again(), error))

    def close(self, error: TrunklineError) -> None:
        """Fails those who wait for a receipt, or to publish."""
        self._fail(error)
        if self._turn is not None and not self._turn.done():
            self._turn.set_exception(error)
            self._turn.exception()

    def _fail(self, error: TrunklineError) -> None:
        fail([*self._receipts.take_all(), *self.frames.take_unsent(), *self._take_again()], error)

    def _take_again(self) -> list[Stored]:
        again, self._again = self._again, None
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None
        return again or []

    async def _refuse(self) -> NoReturn:
        await asyncio.sleep(0)  # who tries again and again lets the stream come back
        raise self._stream.disconnected(f"its buffer of {CLIENT_BUFFER_BYTES} bytes is full")

    async def _pace(self) -> None:
        """Lets the stream write; waits while the buffer is full."""
        stream = self._stream
        if stream.is_up:
            await asyncio.sleep(0)
            await stream.room(CLIENT_BUFFER_BYTES)
        self._buffer_is_full = not stream.is_up and stream.waiting_bytes > CLIENT_BUFFER_BYTES
