"""RemoteWatch: a watch of a StateService that outlives its connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from trunkline.errors import OverloadedError, StateDisconnectedError, StateNotConnectedError
from trunkline.state.filter import WatchFilter
from trunkline.state.grpc.frames import WatchFrame, to_change, to_watch_request
from trunkline.state.state_manager import Change
from trunkline.state.watch_cursor import WatchCursor
from trunkline.wire.again import wait_of
from trunkline.wire.reconnect import reconnect_delays
from trunkline.wire.stream import FrameReader, Stream

log = logging.getLogger(__name__)


class RemoteWatch:
    """One watch. If its stream is lost, or the service ends the stream because it is read too slowly, a new stream
    resumes the watch; see `WatchCursor`.

    Args:
        stream: returns the connection of now.
        filter: the records to report.
        after_revision: the revision to start after; None: with the records.
        on_move: told that the service asks to go on elsewhere.
    """

    def __init__(
        self,
        stream: Callable[[], Stream],
        filter: WatchFilter,
        after_revision: int | None,
        on_move: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._on_move = on_move
        self._filter = filter
        self._cursor = WatchCursor(after_revision, is_filtered=bool(filter.fields.values()))
        self._ended = False
        self._frames_of_now: FrameReader | None = None

    def end(self) -> None:
        """Ends the stream; its reader gets `StateNotConnectedError`. Idempotent."""
        self._ended = True
        if self._frames_of_now is not None:
            self._frames_of_now.cancel()

    def move(self) -> None:
        """Resumes on the connection of now."""
        if self._frames_of_now is not None:
            self._frames_of_now.cancel()

    async def changes(self) -> AsyncIterator[Change]:
        """Yields the changes of the watch, without end.

        Raises:
            StateNotConnectedError: the watch was ended.
            CompactedError: the changes after its last revision are no longer stored.
        """
        delays = reconnect_delays()
        while True:
            wait = 0.0
            try:
                async for frame in self._frames():
                    delays = reconnect_delays()
                    kind = frame.WhichOneof("frame")
                    if kind == "progress":
                        self._cursor.advance(frame.progress.revision)
                        continue
                    if kind == "move":
                        self._on_move()
                        continue
                    for change in self._cursor.take(to_change(frame)):
                        yield change
            except (StateDisconnectedError, OverloadedError) as error:
                log.debug("the watch goes on with a new stream: %s", error)
                wait = wait_of(error) or 0.0
            if self._ended:
                raise StateNotConnectedError("the state manager was disconnected")
            await asyncio.sleep(max(wait, next(delays)))

    async def _frames(self) -> AsyncIterator[Any]:
        """Yields the frames of one stream."""
        request = to_watch_request(self._filter, self._cursor.after)
        self._cursor.begin()
        self._frames_of_now = frames = self._stream().read("Watch", request, WatchFrame.FromString)
        try:
            while (frame := await frames.read()) is not None:
                yield frame
        finally:
            frames.cancel()
