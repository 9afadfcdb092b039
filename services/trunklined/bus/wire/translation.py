"""Between the wire and the domain: what every call of the bus shares.

A frame of messages is parsed twice, on purpose: as its public type, which looks at every field, so that nothing passes
that a subscriber could not read; and as its passthrough type, for the bytes to pass on. The second costs a fifth of the
first. To parse the passthrough type alone, and then each message by itself, costs more than both for eight messages or
more: what the messages of a frame share is then made for each.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage

from trunkline.errors import InvalidMessageError
from trunkline.limits import FRAME_BYTES, MAX_FRAME_ITEMS
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.bus.broker import Broker
from trunklined.rpc.long_work import parts_of

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
        InvalidMessageError: they are none of this kind, hold text that is no UTF-8, or one of its lists has more than
            MAX_FRAME_ITEMS entries: that is found before they are decoded.
    """
    if len(raw) > FRAME_BYTES:  # else there is not enough of anything
        for name, path, numbers in _lists_of(kind.DESCRIPTOR):
            check_count(name, parts_of(raw, path, MAX_FRAME_ITEMS, numbers=numbers))
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidMessageError(
            f"the bytes are no {kind.DESCRIPTOR.name}: {error}", details={"field": "frame"}
        ) from error


def check_count(name: str, count: int) -> None:
    """Raises InvalidMessageError where one frame has more of something than is decoded."""
    if count > MAX_FRAME_ITEMS:
        raise InvalidMessageError(
            f"{name} of one frame are more than {MAX_FRAME_ITEMS}", details={"field": name, "value": str(count)}
        )


@cache
def _lists_of(kind: Descriptor) -> tuple[tuple[str, tuple[int, ...], bool], ...]:
    """Returns each list within a message: its name, the numbers of the fields that lead to it, and whether it is one of
    numbers."""
    found: list[tuple[str, tuple[int, ...], bool]] = []

    def look(message: Any, name: str, path: tuple[int, ...]) -> None:
        for field in message.fields:
            here, at = f"{name}{field.name}", (*path, field.number)
            nested = field.message_type
            if field.is_repeated:
                found.append((here, at, nested is None))
            if nested is not None:
                look(nested, f"{here}.", at)

    look(kind, "", ())
    return tuple(found)


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
