"""The messages of writes on the wire: their translation with its checks, and the figures of the outbox."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from trunkline.channels import check_channel
from trunkline.errors import InvalidChannelError, InvalidMessageError, MessageTooLargeError
from trunkline.limits import FRAME_BYTES, MAX_FRAME_ITEMS
from trunkline.records import check_write_messages, invalid_publish, invalid_record
from trunkline.v1 import state_pb2
from trunklined.relay.arrival import to_arrival
from trunklined.relay.journal import Arrival, Journal
from trunklined.relay.outbox import OutboxRelay
from trunklined.rpc.long_work import parts_of
from trunklined.rpc.times import stamp_of

WRITES_OF_BATCH: Final = (
    state_pb2.BatchRequest.Operation.SAVE_FIELD_NUMBER,
    state_pb2.BatchRequest.Operation.DELETE_FIELD_NUMBER,
)
"""The fields of a batch's operation that write."""

SHOWN_STUCK: Final = 20
"""Messages that the bus refused, of those that GetStateStats shows: the last ones."""


def check_published(raw: bytes, *writes: tuple[int, ...]) -> None:
    """Raises `InvalidRecordError` for an encoded message whose writes publish too much to be decoded. Of FRAME_BYTES
    and less nothing is counted.

    Args:
        raw: the encoded message.
        writes: the numbers of the fields that lead to its SaveRequests and DeleteRequests.
    """
    if len(raw) <= FRAME_BYTES:
        return
    for path in writes:  # a field that a write of this kind does not have is counted too: it costs as much
        for number in (state_pb2.SaveRequest.PUBLISH_FIELD_NUMBER, state_pb2.DeleteRequest.PUBLISH_FIELD_NUMBER):
            if parts_of(raw, (*path, number), MAX_FRAME_ITEMS) > MAX_FRAME_ITEMS:
                raise invalid_record("publish", f"has more than {MAX_FRAME_ITEMS} entries")


def to_arrivals(publish: Sequence[Any], max_bytes: int) -> list[Arrival]:
    """Translates the OutboxMessages of one write, checked as the bus does.

    Raises:
        InvalidRecordError: too many, or one that the bus would refuse; the error names the field.
        MessageTooLargeError: a message is larger than `max_bytes`.
    """
    check_write_messages(len(publish))
    now = time.time()
    return [_to_arrival(index, each, max_bytes, now) for index, each in enumerate(publish)]


def _to_arrival(index: int, each: Any, max_bytes: int, now: float) -> Arrival:
    try:
        check_channel(each.channel)
        return to_arrival(each.channel, each.message, max_bytes, now)
    except MessageTooLargeError as error:
        error.details["field"] = f"publish[{index}]"
        raise
    except (InvalidChannelError, InvalidMessageError) as error:
        raise invalid_publish(index, error) from error


async def to_outbox(outbox: Journal, relay: OutboxRelay) -> state_pb2.Outbox:
    """Returns what an outbox holds, and what became of what it held."""
    stock = outbox.stock
    figures = state_pb2.Outbox(
        bus_address=relay.link.address,
        bus_connected=relay.link.is_connected,
        waiting=stock.messages,
        waiting_bytes=stock.bytes,
        stuck=stock.refused,
        relayed=relay.relay.forwarded,
        possible_duplicates=relay.relay.possible_duplicates,
    )
    if stock.oldest_at is not None:
        figures.oldest_at.CopyFrom(stamp_of(stock.oldest_at))
    for refusal in await outbox.refusals(SHOWN_STUCK) if stock.refused else ():
        figures.last_stuck.add(
            channel=refusal.channel,
            message_id=refusal.message_id,
            refused_at=stamp_of(refusal.refused_at),
            reason=refusal.reason,
            error=refusal.error,
        )
    return figures
