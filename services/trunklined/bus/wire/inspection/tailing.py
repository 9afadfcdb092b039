"""Tail: live traffic by pattern, as far as somebody can read it. What is beyond that is left out, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from time import monotonic
from typing import Final, NamedTuple

from trunkline.limits import FRAME_MESSAGES, MiB
from trunkline.v1 import inspection_pb2
from trunkline.wire.encoding import length_prefix, list_parts
from trunklined.access.limits import Bucket, Rate
from trunklined.bus.broker import Broker
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.bus.wire.translation import check_between

RATE: Final = 100
MAX_RATE: Final = 100_000
MESSAGES: Final = 10_000
BYTES: Final = 64 * MiB
UNBOUNDED: Final = float(2**53)
TELL_SECONDS: Final = 1.0
"""How often it is said at most how many messages were left out."""

_Response = inspection_pb2.TailResponse
_seen = length_prefix(_Response, "seen")
_messages = length_prefix(_Response.Seen, "messages")


class Terms(NamedTuple):
    """What somebody wants to see at the most."""

    rate: int
    messages: int
    bytes: int


def terms_of(request: inspection_pb2.TailRequest) -> Terms:
    """Returns the terms of a request, or raises InvalidMessageError where a figure is out of bounds."""
    figures = (("max_rate", RATE, MAX_RATE), ("max_messages", MESSAGES, UNBOUNDED), ("max_bytes", BYTES, UNBOUNDED))
    return Terms(
        *(
            int(check_between(name, getattr(request, name) if request.HasField(name) else usual, 1, most, ""))
            for name, usual, most in figures
        )
    )


class Tail:
    """What is published live, until its budget is used up.

    It takes what comes at once, so that nothing waits for it, and passes on what its rate allows.

    Args:
        broker: whose traffic it is.
        request: which of it, and how much.
        peer: who looks, for people.

    Raises:
        InvalidChannelError, InvalidMessageError: the pattern is malformed, a figure is out of bounds.
        OverloadedError: see `Broker.subscribe`.
    """

    def __init__(self, broker: Broker, request: inspection_pb2.TailRequest, peer: str) -> None:
        terms = terms_of(request)
        self._broker = broker
        self._left = terms
        self._bucket = Bucket(Rate(terms.rate, terms.rate), monotonic())
        self._awake = asyncio.Event()
        self._left_out = self._untold = 0
        self._told_at = monotonic()
        self._subscriber = Subscriber(0, peer, None, lambda _: self._awake.set(), observer=True)
        self._subscription = broker.subscribe(request.pattern, "", self._subscriber)
        self._begun = asyncio.Event()
        broker.peers.when_begun(self._begun.set)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yields encoded answers; ends when the budget is used up. The subscription ends with it."""
        try:
            await self._begun.wait()
            started = _Response.Started(subscription_id=self._subscription.id)
            yield _Response(started=started).SerializeToString()
            while self._left.messages > 0 and self._left.bytes > 0:
                await self._wait()
                for frame in self._drain():
                    yield frame
                if self._untold and monotonic() >= self._told_at + TELL_SECONDS:
                    yield self._tell()
            yield self._tell()
        finally:
            self._subscription.close()

    async def _wait(self) -> None:
        """Waits until something came, or it is time to say what was left out."""
        pause = self._told_at + TELL_SECONDS - monotonic() if self._untold else None
        try:
            async with asyncio.timeout(None if pause is None else max(0.0, pause)):
                await self._awake.wait()
        except TimeoutError:
            return
        self._awake.clear()

    def _drain(self) -> Iterator[bytes]:
        """Takes all that came; yields what may be passed on."""
        queue, clock = self._subscription.queue, self._broker.clock
        self._leave_out(queue.tell_dropped())
        while (batch := queue.take(self._subscriber, FRAME_MESSAGES, clock())) is not None:
            shown = self._allowed(batch)
            self._leave_out(len(batch.messages) - shown)
            if shown:
                yield _encode(batch, shown)

    def _allowed(self, batch: MessageBatch) -> int:
        """How many messages of a batch may be shown, from the first on; they are counted."""
        now, shown, size = monotonic(), 0, 0
        for message in batch.messages:
            if shown >= self._left.messages or size >= self._left.bytes or self._bucket.wait_for(1, now) > 0:
                break
            self._bucket.take(1)
            shown += 1
            size += len(message)
        self._left = self._left._replace(messages=self._left.messages - shown, bytes=self._left.bytes - size)
        return shown

    def _leave_out(self, count: int) -> None:
        self._left_out += count
        self._untold += count

    def _tell(self) -> bytes:
        """Says how many were left out."""
        left_out = _Response.LeftOut(messages=self._untold, total=self._left_out)
        self._untold, self._told_at = 0, monotonic()
        return _Response(left_out=left_out).SerializeToString()


def _encode(batch: MessageBatch, count: int) -> bytes:
    """The first messages of a batch as an answer."""
    head = _Response.Seen(channel=batch.channel, first_sequence=batch.first_sequence).SerializeToString()
    messages = list_parts(_messages, batch.messages[:count])
    return b"".join((_seen(len(head) + sum(map(len, messages))), head, *messages))
