"""Between the wire and the domain: what every call of the bus shares."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage

from trunkline.errors import InvalidMessageError
from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_twins
from trunklined.bus.broker import Broker

_twins = bus_twins()
OpaqueConnectRequest = _twins["ConnectRequest"]
OpaquePublishRequest = _twins["PublishRequest"]
OpaquePublishStreamRequest = _twins["PublishStreamRequest"]
OpaqueSubscribeResponse = _twins["SubscribeResponse"]
OpaqueConnectResponse = _twins["ConnectResponse"]
OpaqueRequestResponse = _twins["RequestResponse"]

M = TypeVar("M", bound=WireMessage)


def parse(kind: type[M], raw: bytes) -> M:
    """The message that some bytes say.

    Raises:
        InvalidMessageError: they say none of this kind, or hold text that is no UTF-8.
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
    """What a stored message has."""
    return bus_pb2.DURABILITY_STORED if broker.journal.engine.durability == "stored" else bus_pb2.DURABILITY_MEMORY
