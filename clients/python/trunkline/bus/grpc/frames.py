"""FrameBuilder: what a bus client is about to send, gathered into frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from trunkline.limits import FRAME_BYTES, FRAME_MESSAGES
from trunkline.v1 import bus_pb2
from trunkline.wire.encoding import length_prefix, list_parts, number_tag, write_varint
from trunkline.wire.opaque import bus_passthrough

_ITEM: Final = bus_pb2.OpenStreamRequest.ClientItem
_items = length_prefix(bus_pb2.OpenStreamRequest, "items")
_publish = length_prefix(_ITEM, "publish")
_messages = length_prefix(bus_pb2.PublishRequest, "messages")
_ID: Final = number_tag(_ITEM, "id")
_OpenStreamRequest = bus_passthrough()["OpenStreamRequest"]
parse_frame: Callable[[bytes], Any] = bus_passthrough()["OpenStreamResponse"].FromString
"""Parses a frame of the service. Its messages stay bytes until each is opened: so who keeps a message does not keep the
frame that it came in."""


class Stored(NamedTuple):
    """Encoded messages of one channel that are to be stored, and the futures of their receipts."""

    channel: str
    messages: list[bytes]
    receipts: list[asyncio.Future[Any]]


class FrameBuilder:
    """One open frame: either messages to publish on one channel (all to be stored, or none), or other items. When the
    kind or the channel changes, or it is full, it is sealed and the next begins; so everything goes out in the order in
    which it came.

    Args:
        seal: takes a full frame, and whether it holds only what was published and is not awaited.
        kick: says that there is something to gather.
        expect: takes what of a frame is to be stored; returns the id that its answer will have.
    """

    __slots__ = (
        *("_channel", "_expect", "_frame", "_kick", "_messages", "_receipts", "_seal", "_sealed", "_sealed_size"),
        *("_size", "items"),
    )

    def __init__(
        self,
        seal: Callable[[bytes, bool], None],
        kick: Callable[[], None],
        expect: Callable[[Stored], int],
    ) -> None:
        self._seal = seal
        self._kick = kick
        self._expect = expect
        self._receipts: list[asyncio.Future[Any]] = []
        """Of the messages of the open frame, if they are to be stored."""
        self._channel = ""
        self._messages: list[bytes] = []
        self._frame = _OpenStreamRequest()
        self.items = 0
        """Items of the open frame."""
        self._size = 0
        self._sealed = 0
        """Messages, and below their bytes, in frames that were sealed before they were full, since `publish` last said
        that its caller must pause."""
        self._sealed_size = 0

    def publish(self, channel: str, encoded: bytes) -> bool:
        """Adds a message; True if a frame's worth was added since that was last said: time to let it be sent."""
        pause = False
        if self.items or channel != self._channel or self._receipts:
            pause = self._seal_early()
            self._channel = channel
        self._messages.append(encoded)
        self._size += len(encoded)
        gathered = len(self._messages)
        if gathered >= FRAME_MESSAGES or self._size >= FRAME_BYTES:
            self.seal()
            return True
        if gathered == 1:  # those that follow go with it
            self._kick()
        return pause

    def store(self, channel: str, encoded: bytes, receipt: asyncio.Future[Any]) -> int:
        """Adds a message to be stored, whose receipt resolves the future; returns how many gathered."""
        if self.items or channel != self._channel or (self._messages and not self._receipts):
            self.seal()
            self._channel = channel
        self._messages.append(encoded)
        self._receipts.append(receipt)
        self._size += len(encoded)
        gathered = len(self._messages)
        if gathered >= FRAME_MESSAGES or self._size >= FRAME_BYTES:
            self.seal()
        elif gathered == 1:
            self._kick()
        return gathered

    @property
    def has_receipts(self) -> bool:
        """Whether the open frame has messages to be stored."""
        return bool(self._receipts)

    def take_unsent(self) -> list[Stored]:
        """What of the open frame is to be stored, which thereby is taken out."""
        if not self._receipts:
            return []
        unsent = Stored(self._channel, self._messages, self._receipts)
        self._messages, self._receipts = [], []
        self._size = 0
        return [unsent]

    def _seal_early(self) -> bool:
        self._sealed += len(self._messages)
        self._sealed_size += self._size
        self.seal()
        if self._sealed < FRAME_MESSAGES and self._sealed_size < FRAME_BYTES:
            return False
        self._sealed = self._sealed_size = 0
        return True

    def item(self, id: int, size: int = 0) -> Any:
        """A new ClientItem, to be filled in before anything is awaited. `size`: about its bytes."""
        if self._messages or self.items >= FRAME_MESSAGES or self._size >= FRAME_BYTES:
            self.seal()
        if not self.items:  # those that follow go with it
            self._kick()
        self.items += 1
        self._size += size
        return self._frame.items.add(id=id)

    def forget_items(self) -> None:
        """Drops what is not published messages: it meant a stream that is no more."""
        if self.items:
            self._frame = _OpenStreamRequest()
            self.items = self._size = 0

    def seal(self) -> None:
        """Closes the open frame, if there is anything in it."""
        published = bool(self._messages) and not self._receipts
        for frame in self.gather(0):
            self._seal(frame, published)

    def gather(self, _room: int) -> list[bytes]:
        """The open frame, which thereby is closed; nothing if it is empty."""
        if not self._messages and not self.items:
            return []
        if self._messages:
            encoded = self._encode_publish()
        else:
            frame, self._frame = self._frame, _OpenStreamRequest()
            encoded = frame.SerializeToString()
        self.items = self._size = 0
        return [encoded]

    def _encode_publish(self) -> bytes:
        id = b""
        if self._receipts:
            id = _ID + write_varint(self._expect(Stored(self._channel, self._messages, self._receipts)))
        head = _encode_publish_head(self._channel, bool(self._receipts))
        parts = list_parts(_messages, self._messages)
        self._messages, self._receipts = [], []
        size = len(head) + sum(map(len, parts))
        publish = _publish(size)
        return b"".join((_items(len(id) + len(publish) + size), id, publish, head, *parts))


@lru_cache(maxsize=256)
def _encode_publish_head(channel: str, stored: bool) -> bytes:
    """What a PublishRequest says beside its messages."""
    durability = bus_pb2.DURABILITY_STORED if stored else bus_pb2.DURABILITY_UNSPECIFIED
    return bus_pb2.PublishRequest(channel=channel, durability=durability).SerializeToString()
