"""What is published: checked and cut into batches, published or stored; and the receipts for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from trunkline.channels import matches
from trunkline.errors import TrunklineError
from trunkline.limits import FRAME_MESSAGES
from trunkline.v1 import bus_pb2
from trunklined.admission import admit, check_delivery, check_publish, refuse_delivery
from trunklined.bus.broker import Broker
from trunklined.bus.journal.dedup_window import DedupWindow, Known
from trunklined.bus.journal.publication import Publication, Repeated
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated
from trunklined.bus.wire.translation import durability_of, messages_of
from trunklined.rpc.long_work import TimeSlice
from trunklined.rpc.times import stamp_of

RECEIPT_BYTES: Final = 24
"""About the size of one encoded receipt."""
_Admitted = tuple[str, str, bytes, int, float | None, str | None, float | None]
"""Of a message to be stored: its id, its correlation id, itself as it is passed on, its level, when it expires (None:
never), its ordering key (None: none), and until when it is held back (None: it is not)."""


class Publisher:
    """Publishes for all calls that do.

    Its methods take a request as the public type, and its messages as they came, which is what subscribers get.

    Args:
        broker: where everything goes.
        max_message_bytes: limit of one encoded message.
        stored_patterns: channels of which everything is stored, unless the publisher says otherwise.
    """

    def __init__(self, broker: Broker, max_message_bytes: int, stored_patterns: Sequence[str]) -> None:
        self._broker = broker
        self._max_message_bytes = max_message_bytes
        self._stored_patterns = stored_patterns

    def is_stored(self, request: bus_pb2.PublishRequest) -> bool:
        """Returns whether a publish shall be stored: it says so, or it says nothing and a rule of the service does."""
        return is_stored(request, self._stored_patterns)

    async def publish(self, request: bus_pb2.PublishRequest, encoded: Sequence[bytes]) -> Publication:
        """Publishes messages that are not stored. Many of them give others their turn while they are checked.

        Raises:
            InvalidChannelError, InvalidMessageError, MessageTooLargeError: nothing was published.
        """
        publication = await to_publication(request, encoded, self._max_message_bytes, self._broker.clock())
        self._broker.publish(publication.channel, publication.batches, publication.correlated)
        return publication

    async def store(
        self,
        request: bus_pb2.PublishRequest,
        encoded: Sequence[bytes],
        done: Callable[[Publication, TrunklineError | None], None],
    ) -> None:
        """Stores messages and publishes them; `done` is called when they are durable, or with why they were not stored.
        Many of them give others their turn while they are checked.

        Raises:
            InvalidChannelError, InvalidMessageError, MessageTooLargeError: nothing was stored.
            OverloadedError: too much waits for the disk; nothing was stored.
        """
        now = self._broker.clock()
        admitted = await _admit_stored(request, encoded, self._max_message_bytes, now)
        publication = _to_stored_publication(request.channel, admitted, now, self._broker.journal.window)

        def settle(error: TrunklineError | None) -> None:
            publication.done = None  # else the two hold each other, until a collection of all garbage finds them
            done(publication, error)

        self._broker.store(publication, settle)

    async def admit_one(self, request: bus_pb2.PublishRequest) -> tuple[Publication | None, str]:
        """Checks one message that is to be stored; returns it as a publication, and its message id.

        None instead of a publication: it is past its TTL, or its id was stored on its channel within the window.

        Raises:
            InvalidMessageError, MessageTooLargeError: it is refused.
        """
        now = self._broker.clock()
        encoded = [request.messages[0].SerializeToString()]
        admitted = await _admit_stored(request, encoded, self._max_message_bytes, now)
        publication = _to_stored_publication(request.channel, admitted, now, self._broker.journal.window)
        message_id, _, _, _, expires_at, _, _ = admitted[0]
        if isinstance(publication.parts[0], Known) or (expires_at is not None and expires_at < now):
            return None, message_id
        return publication, message_id

    async def receipts(
        self, request: bus_pb2.PublishRequest, encoded: Sequence[bytes]
    ) -> asyncio.Future[bus_pb2.PublishResponse]:
        """Publishes or stores messages; the future has their receipts, or why they were not stored.

        Raises:
            As `publish` and `store`.
        """
        settled: asyncio.Future[bus_pb2.PublishResponse] = asyncio.get_running_loop().create_future()

        def settle(publication: Publication, error: TrunklineError | None) -> None:
            if settled.done():
                return
            if error is not None:
                settled.set_exception(error)
            else:
                response = bus_pb2.PublishResponse()
                self.fill_receipts(response, publication, stored=True)
                settled.set_result(response)

        if self.is_stored(request):
            await self.store(request, encoded, settle)
        else:
            publication = await self.publish(request, encoded)
            response = bus_pb2.PublishResponse()
            self.fill_receipts(response, publication, stored=False)
            settled.set_result(response)
        return settled

    def fill_receipts(self, response: Any, publication: Publication, *, stored: bool) -> None:
        """Fills a PublishResponse, public or passthrough, with the receipts of what was just published."""
        _fill_receipts(
            response,
            publication.parts if stored else publication.batches,
            publication.time,
            durability_of(self._broker) if stored else bus_pb2.DURABILITY_MEMORY,
            self._broker.count_interested(publication.channel, stored=stored),
        )


def is_stored(request: Any, patterns: Sequence[str]) -> bool:
    """Returns whether a publish shall be stored; see `Publisher.is_stored`."""
    durability = request.durability
    if durability == bus_pb2.DURABILITY_UNSPECIFIED:
        return bool(patterns) and any(matches(pattern, request.channel) for pattern in patterns)
    return bool(durability != bus_pb2.DURABILITY_MEMORY)


def _step_of(request: Any) -> int:
    """How many messages are checked before the clock is asked whether others wait: one of a large request, whose
    messages are parsed one by one."""
    return FRAME_MESSAGES if isinstance(request, bus_pb2.PublishRequest) else 1


async def to_publication(
    request: bus_pb2.PublishRequest, encoded: Sequence[bytes], max_bytes: int, now: float
) -> Publication:
    """Checks messages and cuts them into batches of equal priority and expiry.

    Args:
        encoded: its messages as they came; they are what is passed on.
        max_bytes: limit of one encoded message.
        now: UNIX time in seconds, for messages without a timestamp.

    Raises:
        InvalidMessageError, MessageTooLargeError: with the index of the message among several.
    """
    check_publish(request, len(encoded))
    channel = request.channel
    publication = Publication(channel, time=now)
    batches = publication.batches
    level, expires_at = -1, None
    take: Callable[[bytes], None]
    left, step, work = len(encoded), _step_of(request), TimeSlice()
    pairs = zip(messages_of(request, encoded), encoded, strict=True)
    try:
        while left > 0:
            for message, body in islice(pairs, step):
                admitted, its_level, its_expiry = admit(message, body, max_bytes, now)
                if message.HasField("deliver_at") or message.HasField("deliver_after"):
                    refuse_delivery(message)
                if message.correlation_id and (its_expiry is None or its_expiry >= now):
                    publication.correlated.append(Correlated(message.correlation_id, message.message_id, admitted))
                if its_level != level or its_expiry != expires_at:
                    level, expires_at = its_level, its_expiry
                    batches.append(MessageBatch(channel, level, [], 0, expires_at))
                    take = batches[-1].messages.append
                take(admitted)
            left -= step
            if left > 0 and work.is_over:
                await work.rest()
    except TrunklineError as error:
        error.details["index"] = sum(len(batch.messages) for batch in batches)
        raise
    for batch in batches:
        batch.size = sum(map(len, batch.messages))
    return publication


async def _admit_stored(
    request: bus_pb2.PublishRequest, encoded: Sequence[bytes], max_bytes: int, now: float
) -> list[_Admitted]:
    """Checks messages to be stored."""
    check_publish(request, len(encoded))
    admitted: list[_Admitted] = []
    left, step, work = len(encoded), _step_of(request), TimeSlice()
    pairs = zip(messages_of(request, encoded), encoded, strict=True)
    try:
        while left > 0:
            for message, body in islice(pairs, step):
                complete, level, expires_at = admit(message, body, max_bytes, now)
                key = message.ordering_key or None
                due = None
                if key is not None or message.HasField("deliver_at") or message.HasField("deliver_after"):
                    level, due = check_delivery(message, key, level, expires_at, now)
                admitted.append((message.message_id, message.correlation_id, complete, level, expires_at, key, due))
            left -= step
            if left > 0 and work.is_over:
                await work.rest()
    except TrunklineError as error:
        error.details["index"] = len(admitted)
        raise
    return admitted


def _to_stored_publication(channel: str, admitted: Sequence[_Admitted], now: float, window: DedupWindow) -> Publication:
    """Cuts messages to be stored into batches of equal priority and expiry; those that are there already are left out.

    What is there already is asked here, and not before something else is stored.
    """
    publication = Publication(channel)
    parts = publication.parts
    batch: MessageBatch | None = None
    ids: list[str] = []
    fresh: dict[str, tuple[MessageBatch, int]] = {}
    find = window.find
    for message_id, correlation_id, body, level, expires_at, key, due in admitted:
        known = find(channel, message_id, now)
        if known is not None:
            parts.append(known)
            batch = None
            continue
        if message_id in fresh:
            parts.append(Repeated(*fresh[message_id]))
            batch = None
            continue
        if due is not None:
            held = MessageBatch(channel, level, [body], len(body), expires_at, key=key)
            fresh[message_id] = held, 0
            publication.held_back.append((len(parts), due, held, message_id))
            parts.append(held)
            batch = None
            continue
        expired = expires_at is not None and expires_at < now
        if correlation_id and not expired:
            publication.correlated.append(Correlated(correlation_id, message_id, body))
        if (
            batch is None
            or batch.level != level
            or batch.expires_at != expires_at
            or key is not None
            or batch.key is not None
        ):
            batch = MessageBatch(channel, level, [], 0, expires_at, key=key)
            ids = []
            publication.batches.append(batch)
            publication.message_ids.append(ids)
            parts.append(batch)
        if not expired:
            fresh[message_id] = batch, len(ids)
        batch.messages.append(body)
        batch.size += len(body)
        ids.append(message_id)
    return publication


def _fill_receipts(
    response: Any,
    parts: Sequence[MessageBatch | Known | HeldBack | Repeated],
    time: float,
    durability: bus_pb2.Durability,
    interested: int,
) -> None:
    """Fills in a receipt for each message, in order.

    Args:
        parts: what the messages became.
        time: when they were taken, in UNIX time.
        durability: what they have reached; those past their TTL have sequence 0, and reach none.
        interested: how many subscriptions they are for.
    """
    add = response.receipts.add
    taken = stamp_of(time)
    for part in parts:
        stamp, count, reached, duplicate, matched = taken, 1, durability, False, 0
        if isinstance(part, MessageBatch):
            first, count = part.first_sequence, len(part.messages)
            if first:
                matched = interested
            else:
                reached = bus_pb2.DURABILITY_MEMORY
        elif isinstance(part, HeldBack):
            first = part.sequence
        elif isinstance(part, Known):
            first, stamp, duplicate = part.sequence, stamp_of(part.place.time), True
        else:
            first, duplicate = part.first.first_sequence + part.offset, True
        seconds, nanos = stamp.seconds, stamp.nanos
        for offset in range(count):
            # Field by field: keywords of `add` take half as long again, and a passthrough type takes no public time.
            receipt = add()
            receipt.sequence = first and first + offset
            receipt.durability = reached
            if duplicate:
                receipt.duplicate = True
            if matched:
                receipt.matched = matched
            each = receipt.time
            each.seconds = seconds
            each.nanos = nanos
