"""Between the wire and the domain: what every call of the bus shares.

A frame of messages is parsed twice, on purpose: as its public type, which looks at every field, so that nothing passes
that a subscriber could not read; and as its passthrough type, for the bytes to pass on. The second costs a fifth of the
first. To parse the passthrough type alone, and then each message by itself, costs more than both for eight messages or
more: what the messages of a frame share is then made for each.
"""

from __future__ import annotations

import json
from typing import TypeVar
from uuid import uuid4

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage

from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2, message_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.bus.broker import Broker
from trunklined.bus.durable.desk import Description
from trunklined.bus.records import DeadLetter
from trunklined.rpc.times import stamp_of

_types = bus_passthrough()
PassthroughConnectRequest = _types["ConnectRequest"]
PassthroughPublishRequest = _types["PublishRequest"]
PassthroughPublishStreamRequest = _types["PublishStreamRequest"]
PassthroughSubscribeResponse = _types["SubscribeResponse"]
PassthroughConnectResponse = _types["ConnectResponse"]
PassthroughRequestResponse = _types["RequestResponse"]

M = TypeVar("M", bound=WireMessage)


def parse(kind: type[M], raw: bytes) -> M:
    """Parses the bytes as a message of some kind.

    Raises:
        InvalidMessageError: they are none of this kind, or hold text that is no UTF-8.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidMessageError(
            f"the bytes are no {kind.DESCRIPTOR.name}: {error}", details={"field": "frame"}
        ) from error


def check_between(name: str, value: float, lowest: float, highest: float, unit: str = " s") -> float:
    """Returns a figure, or raises InvalidMessageError where it is out of bounds."""
    if not lowest <= value <= highest:  # also true of NaN
        raise InvalidMessageError(
            f"{name} is {value:g}{unit}, it must be between {lowest:g} and {highest:g}{unit}",
            details={"field": name, "value": f"{value:g}"},
        )
    return value


def describe(body: bytes) -> Description:
    """Returns the fields by which people find an encoded message: its ids, type and sender."""
    message = message_pb2.Message.FromString(body)
    return Description(message.message_id, message.message_type, message.sender_id, message.correlation_id)


def announcement(letter: DeadLetter, dead_letters: int) -> bytes:
    """Makes the encoded message that announces a dead letter, with the number of all dead letters."""
    entry = {
        "dead_letter_id": letter.id,
        "durable": letter.durable,
        "pattern": letter.pattern,
        "channel": letter.channel,
        "sequence": letter.sequence,
        "reason": letter.reason.name,
        "error": letter.error,
        "attempts": [each._asdict() for each in letter.attempts],
        "redrives": letter.redrives,
        "message_id": letter.message_id,
        "message_type": letter.message_type,
        "sender_id": letter.sender_id,
    }
    message = message_pb2.Message(
        message_id=str(uuid4()),
        message_type="error",
        sender_id="trunkline-bus",
        priority=message_pb2.PRIORITY_HIGH,
        json=json.dumps({"entry": entry, "queue_size": dead_letters}, ensure_ascii=False),
    )
    message.timestamp.CopyFrom(stamp_of(letter.dead_at))
    return message.SerializeToString()


def durability_of(broker: Broker) -> bus_pb2.Durability:
    """Returns the durability that a stored message reaches."""
    return bus_pb2.DURABILITY_STORED if broker.journal.engine.durability == "stored" else bus_pb2.DURABILITY_MEMORY
