"""Moving: long streams are asked to go elsewhere, when they are old and when the program stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from trunkline.errors import TrunklineError
from trunkline.limits import MOVES
from trunkline.v1 import move_pb2
from trunklined.rpc.times import duration_of

AGE_SPREAD: Final = 0.2
"""An age differs from the setting by this share at the most, up or down: streams that began together part."""


class _Stream:
    """One long stream; see `Moving.stream`."""

    def __init__(self, ask: Callable[[move_pb2.Move], None], ended: asyncio.Future[None], moves: bool) -> None:
        self.ask = ask
        self.ended = ended
        self.moves = moves
        self.is_asked = False
        self.timer: asyncio.TimerHandle | None = None


class Moving:
    """The long streams of a program, and who asks them to move: see `Move` in move.proto.

    Args:
        max_age: seconds after which a stream is asked, give or take AGE_SPREAD; 0: never.
        grace: seconds that an old stream has, of a client that did not promise to move.
        elsewhere: whether there is another replica to move to.
        too_old: makes the error of a stream whose grace is over.
    """

    def __init__(
        self,
        max_age: float = 0.0,
        grace: float = 0.0,
        elsewhere: Callable[[], bool] = lambda: False,
        too_old: Callable[[], TrunklineError] | None = None,
    ) -> None:
        self._max_age = max_age
        self._grace = grace
        self._elsewhere = elsewhere
        self._too_old = too_old
        self._streams: set[_Stream] = set()
        self._fewer = asyncio.Event()
        self._all_move = False
        """Whether the program stops: what was let in just before, and begins now, is asked too."""

    @contextmanager
    def stream(
        self,
        context: Any,
        ask: Callable[[move_pb2.Move], None],
        ended: asyncio.Future[None],
        *,
        ages: bool = True,
    ) -> Iterator[None]:
        """Follows a stream within the block.

        Args:
            context: of its call.
            ask: sends the client what asks it to move.
            ended: ends it, with an error.
            ages: whether it is asked for its age too.
        """
        stream = _Stream(ask, ended, MOVES in (context.invocation_metadata() or ()))
        self._streams.add(stream)
        if self._all_move:
            self._ask(stream, move_pb2.Move())
        elif ages and self._max_age:
            self._arm(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)
            if stream.timer is not None:
                stream.timer.cancel()
            self._fewer.set()

    async def move_all(self, seconds: float) -> None:
        """Asks all streams, and waits until those that promised to move have, `seconds` at the most. Nothing is asked
        and waited for where there is no other replica."""
        if not self._elsewhere():
            return
        self._all_move = True
        for stream in list(self._streams):
            if stream.timer is not None:
                stream.timer.cancel()
            if not stream.is_asked:
                self._ask(stream, move_pb2.Move())
        with suppress(TimeoutError):  # what is left had its time
            async with asyncio.timeout(seconds):
                while any(stream.moves for stream in self._streams):
                    self._fewer.clear()
                    await self._fewer.wait()

    def _arm(self, stream: _Stream) -> None:
        age = self._max_age * random.uniform(1 - AGE_SPREAD, 1 + AGE_SPREAD)
        stream.timer = asyncio.get_running_loop().call_later(age, self._grow_old, stream)

    def _grow_old(self, stream: _Stream) -> None:
        if not self._elsewhere():
            self._arm(stream)
        elif stream.moves:
            self._ask(stream, move_pb2.Move())
        else:
            self._ask(stream, move_pb2.Move(grace=duration_of(self._grace)))
            stream.timer = asyncio.get_running_loop().call_later(self._grace, self._end, stream)

    def _ask(self, stream: _Stream, move: move_pb2.Move) -> None:
        stream.is_asked = True
        stream.ask(move)

    def _end(self, stream: _Stream) -> None:
        if self._too_old is not None and not stream.ended.done():
            stream.ended.set_exception(self._too_old())
