"""The way to one upstream service: raw bytes there and back, of every kind of call.

Nothing of a call is changed but its deadline, and nothing is decoded but the ids of what client libraries have open.
The caller's metadata goes up, but for who it says it is: each connection says that anew. The upstream's status, message
and trailing metadata (with its ErrorInfo) come back as they are. An upstream that is lost, or says that it goes away,
is raised as BUS_DISCONNECTED or STATE_DISCONNECTED, so that who forwards may do better than to pass it on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

import grpc
from grpc import aio

from trunkline.addresses import UNIX
from trunkline.errors import TrunklineError
from trunkline.limits import COMPRESSED
from trunkline.wire.status import error_from_rpc
from trunklined.forwarding.open_items import OpenItems
from trunklined.rpc.identity import HOP, REPLICA_KEY, handed_on
from trunklined.rpc.upstream import Upstream

Context = aio.ServicerContext[Any, Any]
Metadata = tuple[tuple[str, str | bytes], ...]

UPSTREAM_WAIT: Final = 2.0
"""Seconds that a call waits for an upstream that is not connected (or its own deadline, if that is earlier); then
UNAVAILABLE."""

DEADLINE_MARGIN: Final = 0.02
DEADLINE_SHARE: Final = 0.025
"""A deadline shrinks by this many seconds, or by this share of it where that is more, so that the upstream's own error
still reaches the caller; never by more than a tenth of it. (gRPC rounds a deadline up by as much as 1% on each wire:
twice here, which would undo less.)"""

_WROTE_TOO_LATE: Final = "Internal error from Core"
"""What gRPC says, with INTERNAL, of a call whose connection was lost before it wrote to it."""

_KEPT: Final = ("grpc-trace-bin", "grpc-tags-bin")
_HOP: Final = ("user-agent", "te", "content-type", "content-length", "host", *HOP)
"""Metadata of one connection, which the next one has of its own; so have all other names that begin with grpc-."""


class Call(Protocol):
    """The part of an upstream call that is used here; each of the four kinds has it."""

    def cancel(self) -> bool: ...


class Forwarder:
    """Forwards calls to one upstream service, and knows whether it is connected.

    Args:
        service: its full name, such as "trunkline.v1.BusService".
        address: where it is.
        disconnected: the error of a caller when the upstream is not there, or goes away.
        options: channel arguments.
        on_change: called with True when the upstream is connected, with False when it is lost, and when it is not there
            at first.
        may_finish: whether a unary call, of a method and with an encoded request, may finish what other calls began:
            it is let in while those are waited for.
        program: who forwards, in words.
        replica_key: what replicas of a service know one another by, where the upstream is one. None: it is none.
        says_whose: whether the upstream is told whose the calls are, as a replica always is. Else they are handed on as
            this program's own.
    """

    def __init__(
        self,
        service: str,
        address: str,
        disconnected: type[TrunklineError],
        options: list[tuple[str, int]],
        on_change: Callable[[bool], None],
        may_finish: Callable[[str, bytes], bool],
        *,
        program: str,
        replica_key: str | None = None,
        says_whose: bool = False,
    ) -> None:
        self.service = service
        self.address = address
        self._disconnected = disconnected
        self._upstream = Upstream(service, address, options, on_change)
        self._may_finish = may_finish
        self._program = program
        self._own = () if replica_key is None else ((REPLICA_KEY, replica_key),)
        self._says_whose = says_whose or replica_key is not None
        self._streams: dict[Call, OpenItems] = {}
        self._unary: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._moving: asyncio.Task[bool] | None = None
        """While another connection to the upstream is being made."""
        self._finishes = False
        """While it stops: whether something that was under way still is."""

    @property
    def is_connected(self) -> bool:
        """Whether the upstream is connected now."""
        return self._upstream.is_connected

    def start(self) -> None:
        """Begins to connect, and connects again whenever the connection is lost."""
        self._upstream.start()

    async def drain(self, seconds: float) -> None:
        """Refuses new calls, waits up to `seconds` for what is under way, then ends the streams with UNAVAILABLE.

        Under way are unary calls, and on the streams of client libraries what waits for its answer. Until it has come,
        streams stay, and calls that may finish it are let in.
        """
        self._stopping = self._finishes = True
        open_items = [asyncio.ensure_future(items.answered()) for items in self._streams.values()]
        if under_way := {*self._unary, *open_items}:
            await asyncio.wait(under_way, timeout=seconds)
        for each in open_items:
            each.cancel()
        self._finishes = False
        for call in list(self._streams):
            call.cancel()

    def check_open(self, method: str, request: bytes = b"") -> None:
        """Raises the error of a call that is refused, since this program stops."""
        if self._stopping and not (self._finishes and self._may_finish(method, request)):
            raise self._stops()

    async def close(self) -> None:
        """Ends every call. Idempotent."""
        if self._moving is not None:
            self._moving.cancel()
        await self._upstream.close()

    async def send(self, method: str, request: bytes, timeout: float) -> bytes:
        """Makes a call of this program's own, with one request and one response.

        Raises:
            grpc.aio.AioRpcError: the upstream answered with an error, or was lost.
            TrunklineError: this program lets go of the upstream.
        """
        with self._upstream.in_use():
            return await self._send(method, request, timeout)

    async def _send(self, method: str, request: bytes, timeout: float) -> bytes:
        call = self._upstream.stub(method)(request, timeout=timeout, metadata=self._own_metadata())
        try:
            response: bytes = await call
            return response
        except asyncio.CancelledError:
            if self._stopping and not _is_cancelled():
                raise self._stops() from None
            raise
        finally:
            if not call.done():
                call.cancel()

    async def unary(self, method: str, request: bytes, context: Context) -> bytes:
        """Forwards a call with one request and one response.

        Raises:
            TrunklineError: of the class `disconnected`: the upstream is not there, was lost or goes away.
        """
        self.check_open(method, request)
        task = asyncio.current_task()
        assert task is not None
        self._unary.add(task)
        try:
            return await self._forward(method, request, context)
        finally:
            self._unary.discard(task)

    async def _forward(self, method: str, request: bytes, context: Context) -> bytes:
        start = await self._method(method, context, False, False)
        with self._upstream.in_use():
            return await self._answer_unary(start(request, **self._options_of(context)), context)

    async def _answer_unary(self, call: Any, context: Context) -> bytes:
        try:
            response: bytes = await call
        except aio.AioRpcError as error:
            await self._fail(context, error)
        except asyncio.CancelledError:
            if self._stopping and not _is_cancelled():
                raise self._stops() from None
            raise
        finally:
            if not call.done():
                call.cancel()
        if trailers := await call.trailing_metadata():
            context.set_trailing_metadata(tuple(trailers))
        return response

    async def unary_stream(self, method: str, request: bytes, context: Context) -> None:
        """Forwards a call with one request and many responses."""
        start = await self._method(method, context, False, True)
        self.check_open(method)
        call = start(request, **self._options_of(context))
        await self._answer(call, context, OpenItems(method))

    async def stream_unary(self, method: str, context: Context) -> bytes:
        """Forwards a call with many requests and one response."""
        start = await self._method(method, context, True, False)
        self.check_open(method)
        call = start(**self._options_of(context))
        upward = asyncio.create_task(_pass_up(call, context, OpenItems(method)))
        try:
            response: bytes = await call
        except aio.AioRpcError as error:
            await self._fail(context, error)
        finally:
            upward.cancel()
            call.cancel()
        return response

    async def stream_stream(self, method: str, context: Context, *, tries_again: bool = False) -> None:
        """Forwards a call with many requests and many responses.

        Args:
            method: the call's.
            context: the caller's.
            tries_again: whether who calls this does so by itself where the upstream refuses the call since it goes
                away; else that raises once another replica is connected, if there is one, to which the caller comes.

        Raises:
            TrunklineError: as `unary`.
        """
        call = await self.open(method, context)
        items = OpenItems(method)
        upward = asyncio.create_task(_pass_up(call, context, items))
        try:
            await self._answer(call, context, items, tries_again=tries_again)
        finally:
            upward.cancel()
            await asyncio.wait({upward})  # nothing is read off the context any more

    async def open(self, method: str, context: Context) -> Any:
        """Begins a call with many requests and many responses, for who passes them on; returns it."""
        start = await self._method(method, context, True, True)
        self.check_open(method)
        return start(**self._options_of(context))

    def _own_metadata(self) -> Metadata:
        """The metadata of a call of this program's own."""
        return (*self._upstream.metadata(), *self._own)

    def _stops(self) -> TrunklineError:
        return self._disconnected(f"{self._program} is stopping", details={"service": self.service})

    async def _answer(self, call: Any, context: Context, items: OpenItems, *, tries_again: bool = False) -> None:
        """Passes the responses on, one at a time: what the caller does not take waits in the upstream."""
        with self._upstream.in_use() as is_current:
            await self._pass_down(call, context, items, is_current, tries_again)

    async def _pass_down(
        self, call: Any, context: Context, items: OpenItems, is_current: Callable[[], bool], tries_again: bool
    ) -> None:
        self._streams[call] = items
        try:
            metadata = tuple(await call.initial_metadata() or ())
            if call.done() and (code := await call.code()) is not grpc.StatusCode.OK:
                if code is grpc.StatusCode.UNAVAILABLE and is_current():  # that replica stops; the caller tries again
                    moving = self._go_elsewhere()
                    if not tries_again:
                        await asyncio.wait({moving})
            else:  # at once: to a client they say that its stream was accepted
                await context.send_initial_metadata(metadata)
            while (response := await call.read()) is not aio.EOF:
                if items.asks_to_move(response) and is_current():
                    await asyncio.wait({self._go_elsewhere()})
                await context.write(response)
                items.came(response)
            code = await call.code()
            trailers = await call.trailing_metadata()
            if code is not grpc.StatusCode.OK:
                await self._fail(context, aio.AioRpcError(code, aio.Metadata(), trailers, await call.details()))
            if trailers:
                context.set_trailing_metadata(tuple(trailers))
        except aio.AioRpcError as error:
            await self._fail(context, error)
        except asyncio.CancelledError:
            if self._stopping and not _is_cancelled():
                raise self._stops() from None
            raise
        finally:
            del self._streams[call]
            items.close()
            call.cancel()

    def _go_elsewhere(self) -> asyncio.Task[bool]:
        """Lets new calls go to another replica, where there is one. When that is done, a client that moves, moves
        there."""
        if self._moving is None:
            self._moving = asyncio.ensure_future(self._upstream.move(UPSTREAM_WAIT))
            self._moving.add_done_callback(self._moved)
        return self._moving

    def _moved(self, _: object) -> None:
        self._moving = None

    async def _method(self, method: str, context: Context, request_stream: bool, response_stream: bool) -> Any:
        if not self._upstream.is_connected:
            await self._wait(context)
        return self._upstream.stub(method, request_stream, response_stream)

    def _options_of(self, context: Context) -> dict[str, Any]:
        """Returns the options of an upstream call: timeout, metadata, and compression where the caller has it."""
        metadata = _passed_on(context) + self._own_metadata()
        if self._says_whose:
            metadata += handed_on(context)
        is_compressed = COMPRESSED in metadata and not self.address.startswith(UNIX)
        return {
            "timeout": _shrunk(context),
            "metadata": metadata,
            "compression": grpc.Compression.Gzip if is_compressed else None,
        }

    async def _wait(self, context: Context) -> None:
        left = context.time_remaining()
        try:
            await asyncio.wait_for(
                self._upstream.connected(), UPSTREAM_WAIT if left is None else min(UPSTREAM_WAIT, left)
            )
        except TimeoutError:
            raise self._disconnected(
                f"{self.service} at {self.address} is not reached",
                details={"service": self.service, "address": self.address},
            ) from None

    async def _fail(self, context: Context, status: aio.AioRpcError) -> NoReturn:
        """Ends the call with the upstream's status, or raises that the upstream is lost or goes away."""
        code, said = status.code(), status.details() or ""
        if code is grpc.StatusCode.CANCELLED and self._stopping:
            raise self._stops()
        if code is grpc.StatusCode.UNAVAILABLE:
            error = error_from_rpc(status, self._disconnected)
            if isinstance(error, self._disconnected):
                raise self._lost(said) if "grpc_status" in error.details else error
        elif code is grpc.StatusCode.INTERNAL and said == _WROTE_TOO_LATE:
            raise self._lost(said)
        await context.abort(code, said, tuple(status.trailing_metadata() or ()))

    def _lost(self, why: str) -> TrunklineError:
        """The error of a call whose connection was lost: the upstream did not say why."""
        return self._disconnected(
            f"the connection to {self.service} was lost: {why or 'no reason was given'}",
            details={"service": self.service, "address": self.address},
        )


async def _pass_up(call: Any, context: Context, items: OpenItems) -> None:
    """Passes the requests on, one at a time, and then the half-close."""
    try:
        while (request := await context.read()) is not aio.EOF:
            items.sent(request)
            await call.write(request)
        await call.done_writing()
    except (aio.AioRpcError, asyncio.InvalidStateError):
        return  # the upstream ended the call; its status is read on the other side


def _shrunk(context: Context) -> float | None:
    left = context.time_remaining()
    if left is None:
        return None
    return max(0.0, left - min(max(DEADLINE_MARGIN, left * DEADLINE_SHARE), left / 10))


def _passed_on(context: Context) -> Metadata:
    return tuple(
        (key, value)
        for key, value in context.invocation_metadata() or ()
        if key in _KEPT or not (key.startswith(("grpc-", ":")) or key in _HOP)
    )


def _is_cancelled() -> bool:
    """Whether this very task is being cancelled, and not only the upstream's call."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
