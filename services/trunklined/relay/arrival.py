"""What is kept of a message that is to be published: checked as the bus does, and all that counts from now settled."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from trunkline.errors import InvalidMessageError
from trunkline.v1 import message_pb2
from trunklined.admission import admit, check_delivery, too_large
from trunklined.relay.journal import Arrival
from trunklined.rpc.times import stamp_of


def to_arrival(channel: str, body: bytes, max_bytes: int, now: float) -> Arrival:
    """Returns what is kept of an encoded message, whose channel was checked or will be: with an id and a timestamp, and
    held back until a time and not for a while.

    Args:
        channel: where it is to be published.
        body: a trunkline.v1.Message.
        max_bytes: limit of one encoded message.
        now: UNIX time in seconds.

    Raises:
        InvalidMessageError, MessageTooLargeError: as the bus would.
    """
    try:
        message = message_pb2.Message.FromString(body)
    except DecodeError as error:
        raise InvalidMessageError(f"the bytes are no Message: {error}", details={"field": "messages"}) from error
    admitted, level, expires_at = admit(message, body, max_bytes, now)
    key = message.ordering_key or None
    _, due = check_delivery(message, key, level, expires_at, now)
    if message.HasField("deliver_after"):  # which would count from when the bus takes it
        message.ClearField("deliver_after")
        message.deliver_at.CopyFrom(stamp_of(due or now))
        admitted = message.SerializeToString()
    if len(admitted) > max_bytes:  # with what it lacked, the bus would refuse it
        raise too_large(message, admitted, max_bytes)
    return Arrival(channel, key, now, admitted)
