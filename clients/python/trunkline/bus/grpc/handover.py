"""Handover: how a live subscription goes from one stream to another, and nothing is lost, doubled or out of order.

For a while both streams have it. What the new one brings waits until the old one has brought its last; what is known
from there is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

KNOWN_SECONDS: Final = 60.0
"""How long it is known what came on the stream before. What a replica is late with by more comes twice."""


class Overlap:
    """What two streams may both bring of one subscription, by its sequences, which are the same at all replicas."""

    def __init__(self) -> None:
        self._came: set[int] | None = None
        """What comes on the stream that is about to be left. None: it was left."""
        self._known: deque[tuple[float, set[int]]] = deque()
        """What came there, and until when that is known."""

    def begin(self) -> None:
        """From now on the other stream may bring what this one does."""
        if self._came is None:
            self._came = set()

    def end(self) -> None:
        """This stream has brought its last."""
        came, self._came = self._came, None
        if came:
            self._known.append((time.monotonic() + KNOWN_SECONDS, came))

    def forget(self) -> None:
        """The other stream is given up: it has brought nothing."""
        self._came = None

    def sift(self, run: deque[Any]) -> deque[Any]:
        """Returns what is not known of messages that came, each a tuple with its sequence behind its bytes."""
        known = self._known
        while known and known[0][0] < time.monotonic():
            known.popleft()
        for _, sequences in known:
            if not sequences.isdisjoint(each[1] for each in run):
                run = deque(each for each in run if each[1] not in sequences)
        if self._came is not None:
            self._came.update(each[1] for each in run)
        return run


class Handover:
    """What waits until the stream has ended that is left.

    Of a group each stream brings what the other does not. So both wait, and what has come is put in order: one
    publisher's sequences rise.

    Args:
        take: takes a frame for good.
        overlap: what both streams may bring. None: each brings its own.
    """

    def __init__(self, take: Callable[[Any], None], overlap: Overlap | None) -> None:
        self._take = take
        self._overlap = overlap
        self._frames: list[Any] = []
        self.is_moved = False
        """Whether the new stream is the one that counts."""
        self.finished = asyncio.Event()
        self.last_held = 0
        """Messages of the old stream that wait here."""

    def hold(self, frame: Any) -> None:
        """Keeps a frame of the stream that counts."""
        if self.is_moved:
            self.hold_new(frame)
        else:
            self.hold_last(frame)

    def hold_new(self, frame: Any) -> None:
        """Keeps a frame of the new stream."""
        self._frames.append(frame)

    def hold_last(self, frame: Any) -> None:
        """Keeps a frame of the old one."""
        self.last_held += len(frame.deliveries.messages)
        self._frames.append(frame)

    def finish(self) -> None:
        """The old stream has brought its last: gives out what waits."""
        frames, self._frames = self._frames, []
        if self._overlap is not None:
            self._overlap.end()
        else:
            frames.sort(key=lambda frame: int(frame.deliveries.first_sequence))
        for frame in frames:
            self._take(frame)
        self.finished.set()

    def forget(self) -> None:
        """The new stream is given up, and the old one goes on."""
        if self._overlap is not None:
            self._overlap.forget()
            self._frames.clear()
            self.finished.set()
        else:
            self.finish()
