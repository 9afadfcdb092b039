"""What keeps long work from keeping everybody waiting: a bound on the parts of a message before it is decoded, pieces
of a large one that are decoded one by one, and slices of time for what handles them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from trunkline.errors import TrunklineError
from trunkline.limits import FRAME_BYTES, MAX_FRAME_ITEMS
from trunklined.rpc.times import Invalid

SLICE_SECONDS: Final = 0.002
"""How long a piece of work keeps the event loop before others have their turn."""

_VARINT: Final = 0
_BYTES: Final = 2
_FIXED: Final = {1: 8, 5: 4}
"""Wire types (https://protobuf.dev/programming-guides/encoding/); the fixed ones with their bytes."""

_LENGTHS: Final = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING)
"""Types of which each entry of a list has its own tag and length."""

_CONTINUED: Final = bytes(range(0x80, 0x100))
"""Octets of a number that others of it follow."""

TURNS: Final = 4
"""Turns of the loop that others have between two slices."""

T = TypeVar("T", bytes, memoryview)

_LEAST: Final = 64
"""Bytes of a part that is searched for parts of its own: a smaller one has at most 31."""


class TimeSlice:
    """Gives the event loop back to others when a piece of long work has kept it for SLICE_SECONDS.

    `if work.is_over: await work.rest()` between two steps.
    """

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = time.monotonic() + SLICE_SECONDS
        """When it is over, by the monotonic clock, for steps that are as short as to ask `is_over`."""

    @property
    def is_over(self) -> bool:
        """Whether the loop was kept long enough."""
        return time.monotonic() >= self.until

    async def rest(self) -> None:
        """Lets everything else that is ready run once, and begins anew."""
        await rest()
        self.until = time.monotonic() + SLICE_SECONDS


async def rest() -> None:
    """Lets everything else that is ready run, and what follows from it at once: a call of another takes some turns of
    the loop from its frame to its answer."""
    # Futures, not sleep(0): its bare yield is for tasks only, and the writers of streams drive coroutines by hand.
    loop = asyncio.get_running_loop()
    for _ in range(TURNS):
        waiter: asyncio.Future[None] = loop.create_future()
        loop.call_soon(_wake, waiter)
        await waiter


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def parts_of(raw: bytes, path: tuple[int, ...], limit: int, *, numbers: bool = False) -> int:
    """Counts the nested messages at a path of an encoded message, without decoding them; stops beyond `limit`.

    An empty nested message takes two bytes on the wire and a hundred in memory, a number one byte and eight: a message
    must be refused for their number before it is decoded.

    Args:
        raw: an encoded message. Where it is malformed, counting stops: its decoder refuses it.
        path: field numbers, such as (1, 6, 1) for field 1 of field 6 of field 1.
        limit: a count above it is returned as `limit + 1` or more.
        numbers: the path leads to repeated numbers, packed or not.
    """
    least = 1 if numbers else 2
    return 0 if len(raw) <= least * limit else _count(raw, 0, len(raw), path, limit, numbers)


def check_lists(raw: bytes, kind: type[Message], invalid: Invalid) -> None:
    """Raises `invalid` for an encoded message of which a list has more than MAX_FRAME_ITEMS entries.

    Of FRAME_BYTES and less nothing is counted: to decode that takes no more than some milliseconds, whatever it holds.
    """
    if len(raw) <= FRAME_BYTES:
        return
    for name, path, numbers in _lists_of(kind.DESCRIPTOR):
        if parts_of(raw, path, MAX_FRAME_ITEMS, numbers=numbers) > MAX_FRAME_ITEMS:
            raise too_many(name, invalid)


def too_many(name: str, invalid: Invalid) -> TrunklineError:
    """Makes the error of a list of more than MAX_FRAME_ITEMS entries."""
    return invalid(name, f"has more than {MAX_FRAME_ITEMS} entries", f"over {MAX_FRAME_ITEMS}")


@cache
def _lists_of(kind: Any) -> tuple[tuple[str, tuple[int, ...], bool], ...]:
    """Returns each list within a message: its name, the numbers of the fields that lead to it, and whether it is one of
    numbers."""
    found: list[tuple[str, tuple[int, ...], bool]] = []

    def look(message: Any, name: str, path: tuple[int, ...]) -> None:
        for field in message.fields:
            here, at = f"{name}{field.name}", (*path, field.number)
            if field.is_repeated:
                found.append((here, at, field.type not in _LENGTHS))
            if field.message_type is not None:
                look(field.message_type, f"{here}.", at)

    look(kind, "", ())
    return tuple(found)


async def split(raw: bytes | memoryview, number: int) -> tuple[list[memoryview], bytes]:
    """Returns the nested messages that a field of an encoded message has, uncopied, and the message without them. Many
    of them give others their turn. What is malformed stays in the message, for its decoder to refuse."""
    view = memoryview(raw)
    wanted = number << 3 | _BYTES
    found: list[memoryview] = []
    rest: list[memoryview] = []
    at, end = 0, len(view)
    work = TimeSlice()
    while at < end:
        tag, behind = _varint(view, at, end)
        value, behind = _value(view, tag, behind, end)
        if behind > end:
            rest.append(view[at:])
            break
        if tag == wanted:
            found.append(view[value:behind])
            if work.is_over:
                await work.rest()
        else:
            rest.append(view[at:behind])
        at = behind
    return found, b"".join(rest)


def pieces_of(raw: T, size: int) -> Iterator[T]:
    """Cuts an encoded message into messages of about `size` bytes between two of its fields, in order.

    Encoded messages joined are one with the fields of both, so to handle the pieces one after the other is to handle a
    frame that is a list of items, but takes the memory of one piece at a time, and others have their turn in between.
    An item is not cut. What is malformed is left to the decoder, from there on as one piece.
    """
    start = at = 0
    end = len(raw)
    while end - start > size:
        tag, behind = _varint(raw, at, end)
        _, behind = _value(raw, tag, behind, end)
        if behind > end:
            break
        if behind - start > size and at > start:
            yield raw[start:at]
            start = at
        at = behind
        if at - start > size:
            yield raw[start:at]
            start = at
    if start < end or not raw:
        yield raw[start:]


def _count(raw: bytes, at: int, end: int, path: tuple[int, ...], limit: int, numbers: bool) -> int:
    wanted, rest = path[0] << 3 | _BYTES, path[1:]
    count = 0
    while at < end and count <= limit:
        tag = raw[at]
        if tag == wanted and end - at > 1 and (size := raw[at + 1]) < 0x80:  # most parts: a fifth of the time
            at += 2
        else:
            tag, at = _varint(raw, at, end)
            size = -1
        kind = tag & 7
        if kind == _BYTES:
            if size < 0:
                size, at = _varint(raw, at, end)
            if size > end - at:
                return count
            if tag == wanted:
                if not rest:
                    count += len(raw[at : at + size].translate(None, _CONTINUED)) if numbers else 1
                elif size >= _LEAST:
                    count += _count(raw, at, at + size, rest, limit - count, numbers)
            at += size
        elif kind == _VARINT:
            _, at = _varint(raw, at, end)
            count += numbers and not rest and tag >> 3 == path[0]
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            return count
    return count


def _value(raw: bytes | memoryview, tag: int, at: int, end: int) -> tuple[int, int]:
    """Returns where the value of a field begins, and the place behind it: beyond the end where it is malformed."""
    kind = tag & 7
    if kind == _VARINT:
        return at, _varint(raw, at, end)[1]
    if kind == _BYTES:
        length, at = _varint(raw, at, end)
    else:
        length = _FIXED.get(kind, end)
    return at, at + length


def _varint(raw: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """Returns the number that begins at a place, and the place behind it; a malformed one leads beyond the end."""
    value = shift = 0
    while at < end and shift < 70:
        octet = raw[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
    return 0, end + 1
