"""RemoteWatch: a watch of a StateService that outlives its connection."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

from trunkline.errors import OverloadedError, StateDisconnectedError, StateNotConnectedError
from trunkline.limits import RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN
from trunkline.state.filter import Interest
from trunkline.state.grpc.frames import WatchFrame, to_change, to_watch_request
from trunkline.state.state_manager import Change, ChangeType, Kind
from trunkline.wire.stream import FrameReader, Line

log = logging.getLogger(__name__)

_Key = tuple[Kind | None, str | None]


class RemoteWatch:
    """One watch. Where its stream is lost, or the service ended it because it was read too slowly, it goes on behind
    the last revision that it gave; before SYNCED, with the records that were not given yet.

    Args:
        line: the connection.
        interest: what it is about.
        after_revision: None: begin with the records.
    """

    def __init__(self, line: Line, interest: Interest, after_revision: int | None) -> None:
        self._line = line
        self._interest = interest
        self._after = after_revision
        self._given: dict[_Key, int] = {}
        """Until SYNCED: which records were given, at which revision."""
        self._synced = False
        self._ended = False
        self._frames_of_now: FrameReader | None = None

    def end(self) -> None:
        """Ends the stream; whoever reads it gets `StateNotConnectedError`. Idempotent."""
        self._ended = True
        if self._frames_of_now is not None:
            self._frames_of_now.cancel()

    async def changes(self) -> AsyncIterator[Change]:
        """Everything that the watch is told."""
        bound = RECONNECT_DELAY_MIN
        while True:
            try:
                async for frame in self._frames():
                    bound = RECONNECT_DELAY_MIN
                    for change in self._take(frame):
                        yield change
            except (StateDisconnectedError, OverloadedError) as error:
                log.debug("the watch goes on with a new stream: %s", error)
            if self._ended:
                raise StateNotConnectedError("the state manager was disconnected")
            await asyncio.sleep(random.uniform(0, bound))
            bound = min(bound * 2, RECONNECT_DELAY_MAX)

    async def _frames(self) -> AsyncIterator[Any]:
        """One life of the stream."""
        request = to_watch_request(self._interest, self._after)
        self._frames_of_now = frames = self._line.read("Watch", request, WatchFrame.FromString)
        self._seen: set[_Key] = set()
        try:
            while (frame := await frames.read()) is not None:
                yield frame
        finally:
            frames.cancel()

    def _take(self, frame: Any) -> list[Change]:
        if frame.WhichOneof("frame") == "progress":
            if self._synced:
                self._after = max(self._after or 0, frame.progress.revision)
            return []
        change = to_change(frame)
        if change.type is ChangeType.SYNCED:
            return self._sync(change)
        if self._after is not None:
            self._after = change.revision
            return [change]
        key = change.kind, change.id
        self._seen.add(key)
        if self._given.get(key) == change.revision:
            return []
        self._given[key] = change.revision
        return [change]

    def _sync(self, change: Change) -> list[Change]:
        """All that was there is told. What was given before a loss and was not there any more has gone meanwhile."""
        gone = [] if self._after is not None else [key for key in self._given if key not in self._seen]
        self._given.clear()
        first, self._synced = not self._synced, True
        self._after = max(self._after or 0, change.revision)
        left = [Change(self._how_it_left(), change.revision, kind, id) for kind, id in gone]
        return [*left, change] if first else left

    def _how_it_left(self) -> ChangeType:
        """With a filter, nobody can tell whether it was deleted; it matches no more in any case."""
        return ChangeType.LEFT if self._interest.wanted.asked() else ChangeType.DELETED
