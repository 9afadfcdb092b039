"""JournalRoute: the way to the journal, which is here, or with the replica that owns it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import structlog
from grpc import aio

from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.wire.status import error_from_rpc
from trunkline.wire.writer import StreamWriter
from trunklined.bus.ownership import Ownership
from trunklined.forwarding.forwarder import Forwarder

T = TypeVar("T")

LOOK_SECONDS: Final = 0.1
"""How often it is looked who owns the journal."""


class JournalRoute:
    """Knows the way, and follows the journal where it goes.

    Args:
        ownership: which replica has the journal.
        new_forwarder: makes the way to a replica, by its address; what it is called with besides is to be told when
            that is connected or lost.
        wait: seconds that what needs the journal waits for a replica that owns it, if its own deadline is not earlier.
    """

    def __init__(
        self,
        ownership: Ownership,
        new_forwarder: Callable[[str, Callable[[bool], None]], Forwarder],
        wait: float,
    ) -> None:
        self.on_change: Callable[[bool], None] = lambda reachable: None
        """Called when the journal can be reached, and when not."""
        self.ownership = ownership
        self._new_forwarder = new_forwarder
        self.wait = wait
        """Seconds; see above."""
        self._forwarder: Forwarder | None = None
        self._changed = asyncio.Event()
        self._was_reachable = False
        self._watcher: asyncio.Task[None] | None = None

    @property
    def is_here(self) -> bool:
        """Whether the journal is open here."""
        return self.ownership.is_here

    @property
    def is_reachable(self) -> bool:
        """Whether the journal is open here, or the replica that owns it is connected. One of which it is not known that
        it still does keeps what it has until it is known who does."""
        forwarder = self._forwarder
        if self.is_here or forwarder is None:
            return self.is_here
        return forwarder.is_connected and forwarder.address == self.ownership.owner

    def start(self) -> None:
        """Begins to follow the journal."""
        self._watcher = asyncio.create_task(self._watch(), name="journal-route")

    async def close(self) -> None:
        """Ends what goes to another replica; idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await self._drop()

    async def drain(self, seconds: float) -> None:
        """Gives what is under way to another replica so long, then ends it."""
        if self._forwarder is not None:
            await self._forwarder.drain(seconds)

    async def find(self, seconds: float | None = None) -> Forwarder | None:
        """Returns the way to the replica that owns the journal; None: it is here. Waits until one does, at most so
        long, and no longer than the route waits.

        Raises:
            BusDisconnectedError: none did.
        """
        limit = self.wait if seconds is None else min(self.wait, seconds)
        try:
            async with asyncio.timeout(limit):
                while not self.is_reachable:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise BusDisconnectedError(
                f"no replica owned the journal for {limit:g} s", details={"why": "no owner"}
            ) from None
        return None if self.is_here else self._forwarder

    async def opens_here(self, seconds: float | None) -> bool:
        """Returns whether the journal is open here; waits while it is about to be: others know who owns it before it
        has read it. At most so long, and no longer than the route waits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.wait if seconds is None else min(self.wait, seconds)):
                while not self.is_here and self.ownership.owner == self.ownership.address:
                    self._changed.clear()
                    await self._changed.wait()
        return self.is_here

    async def open_stream(self, forwarder: Forwarder, method: str, context: Any) -> Any:
        """Begins a stream to the replica that owns the journal, for a client's; returns it when it is accepted.

        Raises:
            TrunklineError: it is not: that replica stops, or has the journal no more.
        """
        call = await forwarder.open(method, context)
        try:
            await call.initial_metadata()
            if not call.done():
                return call
            await call.read()
        except aio.AioRpcError as status:
            raise error_from_rpc(status, BusDisconnectedError) from status
        except asyncio.CancelledError:
            call.cancel()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        raise BusDisconnectedError("the way to the journal's owner was closed", details={"why": "no owner"})

    async def run(self, call: Awaitable[T]) -> T:
        """Awaits something of the journal that is here; raises where the journal goes to another replica meanwhile."""
        ended = self.ownership.ended
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ended.result()
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            owner = self.ownership.owner
            there = owner if owner != self.ownership.address and not self.is_here else None
            if there is not None and (self._forwarder is None or self._forwarder.address != there):
                await self._drop()
                structlog.get_logger().info("the journal is owned by another replica", owner=there)
                self._forwarder = self._new_forwarder(there, lambda _: self.look())
                self._forwarder.start()
            elif self.is_here and self._forwarder is not None:
                await self._drop()
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Takes note that the journal can be reached now, or not any more."""
        if self.is_reachable != self._was_reachable:
            self._was_reachable = self.is_reachable
            self.on_change(self._was_reachable)
        if self._was_reachable:
            self._changed.set()

    async def _drop(self) -> None:
        forwarder, self._forwarder = self._forwarder, None
        if forwarder is not None:
            await forwarder.drain(0)
            await forwarder.close()


class OwnerStream:
    """A stream to the replica that owns the journal, for the stream of one client.

    Args:
        call: the stream, begun.
        came: takes a frame that came; waits while the client does not read.
        lost: told when the stream is over, and why.
        join: whether frames can be joined; see `StreamWriter`.
    """

    def __init__(
        self,
        call: Any,
        came: Callable[[bytes], Coroutine[Any, Any, None]],
        lost: Callable[[TrunklineError], None],
        *,
        join: bool,
    ) -> None:
        self._call = call
        self._came = came
        self._lost = lost
        self._writer = StreamWriter(call.write, join=join)
        self._reader = asyncio.create_task(self._read())

    def put(self, frame: bytes) -> None:
        """Sends a frame behind those before it."""
        self._writer.put(frame)

    async def room(self, limit: int) -> None:
        """Waits until at most so many bytes wait to be sent."""
        await self._writer.room(limit)

    def close(self) -> None:
        """Ends it; `lost` is not told. Idempotent."""
        self._reader.cancel()
        self._call.cancel()
        self._writer.close()

    async def _read(self) -> None:
        try:
            while (raw := await self._call.read()) is not aio.EOF:
                await self._came(raw)
            why: TrunklineError = BusDisconnectedError("the journal's owner ended the stream")
        except aio.AioRpcError as status:
            why = error_from_rpc(status, BusDisconnectedError)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            why = BusDisconnectedError("the way to the journal's owner was closed")
        finally:
            self._call.cancel()
            self._writer.close()
        # Whatever it was, to the client it is a lost connection: it connects again, and finds the owner of then.
        self._lost(
            BusDisconnectedError(f"the replica that owns the journal was lost: {why.message}", details=why.details)
        )
