"""OpenItems: what of a forwarded OpenStream stream waits for its answer, so that a drain can wait for it too."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError

from trunkline.v1 import bus_pb2, state_pb2
from trunkline.v1.move_pb2 import Move
from trunkline.wire.opaque import PassthroughTypes

_UNANSWERED: Final = frozenset({"subscribe", "request_credit"})
"""Items of a client that have no answer of their own."""

_MOVE: Final = bus_pb2.OpenStreamResponse(
    items=[bus_pb2.OpenStreamResponse.ServerItem(move=Move())]
).SerializeToString()
"""What a client is asked by that promised to move, of either service; among other items, too."""


@cache
def frames_of(method: str) -> tuple[Any, Any] | None:
    """Returns the frames of a stream of items, up and down, read no deeper than each item's id and kind; None for calls
    that are no such stream."""
    match method:
        case "/trunkline.v1.BusService/OpenStream":
            return _shallow(bus_pb2.DESCRIPTOR, "OpenStreamRequest", "OpenStreamResponse")
        case "/trunkline.v1.StateService/OpenStateStream":
            return _shallow(state_pb2.DESCRIPTOR, "OpenStateStreamRequest", "OpenStateStreamResponse")
    return None


def _shallow(file: FileDescriptor, up: str, down: str) -> tuple[Any, Any]:
    items = {f"{up}.ClientItem": file.message_types_by_name[up], f"{down}.ServerItem": file.message_types_by_name[down]}
    types = PassthroughTypes(
        file,
        {
            name: tuple(
                field.name
                for field in frame.nested_types_by_name[name.partition(".")[2]].fields
                if field.message_type is not None
            )
            for name, frame in items.items()
        },
    )
    return types[up], types[down]


def items_of(frame: Any, raw: bytes) -> Any:
    """Returns the items of an encoded frame; none where it cannot be read."""
    try:
        return frame.FromString(raw).items
    except DecodeError:
        return ()  # who gets it says what is wrong with it


class OpenItems:
    """The items that a client sent and that were not answered yet: requests, stored publishes, reads and writes. A
    subscription is none: it never is.

    Args:
        method: of the stream; nothing is read of one that has no items.
    """

    def __init__(self, method: str) -> None:
        self._frames = frames_of(method)
        self._open: set[int] = set()
        self._awaited: set[int] = set()
        """Of them, those that a drain waits for."""
        self._answered: asyncio.Future[None] | None = None

    def sent(self, raw: bytes) -> None:
        """Notes a frame of the client."""
        for item in () if self._frames is None else items_of(self._frames[0], raw):
            if not item.id:
                continue
            kind = item.WhichOneof("item")
            if kind == "cancel":
                self._settle(item.id)
            elif kind not in _UNANSWERED:
                self._open.add(item.id)

    def came(self, raw: bytes) -> None:
        """Notes a frame of the service, which was passed on."""
        if self._frames is not None and self._open:
            for item in items_of(self._frames[1], raw):
                if item.WhichOneof("item") != "request_events":  # more follow
                    self._settle(item.id)

    def asks_to_move(self, raw: bytes) -> bool:
        """Whether a frame of the service asks the client to go on elsewhere."""
        return (
            self._frames is not None
            and _MOVE in raw  # else nothing is parsed for it
            and any(item.WhichOneof("item") == "move" for item in items_of(self._frames[1], raw))
        )

    def close(self) -> None:
        """Notes that the stream is over: nothing more is answered."""
        self._open.clear()
        self._awaited.clear()
        self._notify()

    async def answered(self) -> None:
        """Waits until all that is open now is answered, or the stream is over. What comes later is not waited for."""
        self._awaited = set(self._open)
        if self._awaited:
            self._answered = asyncio.get_running_loop().create_future()
            await self._answered

    def _settle(self, id: int) -> None:
        self._open.discard(id)
        if self._awaited:
            self._awaited.discard(id)
            if not self._awaited:
                self._notify()

    def _notify(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
