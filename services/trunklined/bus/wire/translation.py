"""Between the wire and the domain: what every call of the bus shares.

A frame of messages is parsed twice, on purpose: as its public type, which looks at every field, so that nothing passes
that a subscriber could not read; and as its passthrough type, for the bytes to pass on. The second costs a fifth of the
first. To parse the passthrough type alone, and then each message by itself, costs more than both for eight messages or
more: what the messages of a frame share is then made for each.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage

from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.bus.broker import Broker

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


def durability_of(broker: Broker) -> bus_pb2.Durability:
    """Returns the durability that a stored message reaches."""
    return bus_pb2.DURABILITY_STORED if broker.journal.engine.durability == "stored" else bus_pb2.DURABILITY_MEMORY
