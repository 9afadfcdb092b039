"""Between the wire and the domain: what every call of the bus shares.

A frame of messages is parsed twice, on purpose: as its public type, which looks at every field, so that nothing passes
that a subscriber could not read; and as its passthrough type, for the bytes to pass on. The second costs a fifth of the
first. To parse the passthrough type alone, and then each message by itself, costs more than both for eight messages or
more: what the messages of a frame share is then made for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as WireMessage
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import InvalidMessageError
from trunkline.limits import FRAME_BYTES, MAX_ANSWER_BYTES, MAX_ERROR_BYTES, MAX_REPORTED_EVENTS
from trunkline.v1 import bus_pb2, message_pb2
from trunkline.wire.opaque import bus_passthrough
from trunklined.admission import invalid_message, parse
from trunklined.bus.broker import Broker
from trunklined.rpc.long_work import TimeSlice, check_lists, split
from trunklined.rpc.times import check_duration, check_time, seconds_of, time_of

_types = bus_passthrough()
PassthroughOpenStreamRequest = _types["OpenStreamRequest"]
PassthroughPublishRequest = _types["PublishRequest"]
PassthroughPublishStreamRequest = _types["PublishStreamRequest"]
PassthroughClientItem = _types["OpenStreamRequest.ClientItem"]
PassthroughOpenStreamResponse = _types["OpenStreamResponse"]
PassthroughRequestResponse = _types["RequestResponse"]
PassthroughRequestStreamResponse = _types["RequestStreamResponse"]
PassthroughRespondRequest = _types["RespondRequest"]
PassthroughSubscribeRequest = _types["SubscribeRequest"]

M = TypeVar("M", bound=WireMessage)


def parse_twice(kind: type[M], passthrough: Any, raw: bytes) -> tuple[M | Any, Any]:
    """Parses the bytes as a message of some kind, and as its passthrough type; see the module.

    Where they are more than MAX_ANSWER_BYTES both are the passthrough type: each copies all of them, which keeps others
    waiting. (A large publish is left to `parse_publish`, which copies nothing as a whole.)

    Raises:
        InvalidMessageError: as `parse`.
    """
    if len(raw) > MAX_ANSWER_BYTES:
        passing = parse(passthrough, raw)
        return passing, passing
    return parse(kind, raw), passthrough.FromString(raw)


async def parse_publish(raw: bytes) -> tuple[Any, Sequence[bytes]]:
    """Returns a PublishRequest, for `messages_of`, and its messages as they came; those of a large one are copied one
    by one, and others have their turn in between. Raises as `parse`."""
    if len(raw) <= MAX_ANSWER_BYTES:
        request, passing = parse_twice(bus_pb2.PublishRequest, PassthroughPublishRequest, raw)
        return request, passing.messages
    check_lists(raw, bus_pb2.PublishRequest, invalid_message)
    return await _parse_large(raw)


async def parse_large_frame(frame: Any, kind: Any, raw: bytes | memoryview) -> tuple[Any, Any, Sequence[bytes]] | None:
    """Returns a frame of a stream that is more than MAX_ANSWER_BYTES since it publishes: without its publish; and that,
    as `parse_publish` returns it. None: the frame is another.

    Args:
        frame: the passthrough type.
        kind: the public one; what it holds of lists was counted before.
        raw: the encoded frame.

    Raises:
        InvalidMessageError: as `parse`.
    """
    publishes, rest = await split(raw, kind.PUBLISH_FIELD_NUMBER)
    if len(publishes) != 1 or len(rest) > FRAME_BYTES:
        return None
    request, encoded = await _parse_large(publishes[0])
    return parse(frame, rest), request, encoded


async def _parse_large(raw: bytes | memoryview) -> tuple[Any, Sequence[bytes]]:
    messages, rest = await split(raw, bus_pb2.PublishRequest.MESSAGES_FIELD_NUMBER)
    encoded: list[bytes] = []
    work = TimeSlice()
    for message in messages:
        encoded.append(bytes(message))
        if work.is_over:
            await work.rest()
    return parse(PassthroughPublishRequest, rest), encoded


def messages_of(request: Any, encoded: Sequence[bytes]) -> Iterable[message_pb2.Message]:
    """The messages of a PublishRequest as `parse_twice` returns it, parsed as they are asked for where they are not."""
    if isinstance(request, bus_pb2.PublishRequest):
        return request.messages
    return (parse(message_pb2.Message, body) for body in encoded)


def seconds_in(field: str, duration: Duration) -> float:
    """Returns the seconds of a duration, or raises InvalidMessageError where it is none."""
    check_duration(field, duration, invalid_message)
    return seconds_of(duration)


def time_in(field: str, stamp: Timestamp) -> float:
    """Returns a UNIX time in seconds, or raises InvalidMessageError where it is beyond the years 1 to 9999."""
    check_time(field, stamp, invalid_message)
    return time_of(stamp)


def check_between(name: str, value: float, lowest: float, highest: float, unit: str = " s") -> float:
    """Returns a figure, or raises InvalidMessageError where it is out of bounds."""
    if not lowest <= value <= highest:  # also true of NaN
        raise InvalidMessageError(
            f"{name} is {value:g}{unit}, it must be between {lowest:g} and {highest:g}{unit}",
            details={"field": name, "value": f"{value:g}"},
        )
    return value


def check_events(field: str, count: int) -> None:
    """Raises InvalidMessageError where there are more events than one answer or report may bring."""
    if count > MAX_REPORTED_EVENTS:
        raise invalid_message(field, f"has {count} entries, at most {MAX_REPORTED_EVENTS} are allowed", count)


def cut_text(text: str) -> str:
    """Returns what is kept of an error, a reason or a name: MAX_ERROR_BYTES of it."""
    encoded = text.encode()
    return text if len(encoded) <= MAX_ERROR_BYTES else encoded[:MAX_ERROR_BYTES].decode(errors="ignore")


_DURABILITIES: Final = {
    "memory": bus_pb2.DURABILITY_MEMORY,
    "stored": bus_pb2.DURABILITY_STORED,
    "replicated": bus_pb2.DURABILITY_REPLICATED,
}


def durability_of(broker: Broker) -> bus_pb2.Durability:
    """Returns the durability that the messages of the last commit reached."""
    return _DURABILITIES[broker.journal.engine.durability]
