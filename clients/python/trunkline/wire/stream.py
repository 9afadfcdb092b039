"""Stream: the client's end of a multiplexed stream (`OpenStream`), which reconnects automatically."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.message import Message

from trunkline.addresses import UNIX
from trunkline.errors import OverloadedError, PermissionDeniedError, TlsError, TrunklineError, UnauthenticatedError
from trunkline.limits import (
    COMPRESSED,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_TIMEOUT,
    MAX_FRAME_BYTES,
    MOVES,
    RECONNECT_DELAY_MAX,
    RECONNECT_DELAY_MIN,
)
from trunkline.tls.options import Tls
from trunkline.wire import fork
from trunkline.wire.again import wait_of
from trunkline.wire.channel import Connector
from trunkline.wire.reconnect import reconnect_delays
from trunkline.wire.replies import PendingReplies
from trunkline.wire.status import error_from_rpc
from trunkline.wire.token import UNSAID, Caller
from trunkline.wire.writer import StreamWriter

log = logging.getLogger(__name__)

Compression = Literal["gzip"]
"""The compression of a connection's traffic."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_INTERVAL * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", int(RECONNECT_DELAY_MIN * 1000)),
    ("grpc.min_reconnect_backoff_ms", int(RECONNECT_DELAY_MIN * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(RECONNECT_DELAY_MAX * 1000)),
    ("grpc.use_local_subchannel_pool", 1),
)
"""The options of every gRPC channel of the client; each object has a connection of its own."""


def check_compression(compression: str | None) -> None:
    """Raises ValueError for an unknown compression."""
    if compression not in (None, "gzip"):
        raise ValueError(f"compression is {compression!r}, it must be 'gzip' or None")


class StreamUser(Protocol):
    """The user of a stream. Its methods are called in the stream's event loop and must not block."""

    def on_up(self) -> None:
        """Is called when the stream is up, first or again, to `put` what must be sent before anything else."""

    def on_frame(self, frame: Any) -> None:
        """Takes a frame that arrived."""

    def on_down(self, error: TrunklineError) -> None:
        """Is called when the stream is lost, after pending replies failed. Not called by `close`."""

    def gather(self, room: int) -> list[bytes]:
        """Returns more encoded frames to send, about `room` bytes of them; empty if there are none."""


class FrameReader(Protocol):
    """The frames that answer one call."""

    async def read(self) -> Any:
        """The next frame; None when the service ended the stream, or `cancel` was called. Raises TrunklineError."""

    def cancel(self) -> None:
        """Ends the stream; idempotent."""


class _RemoteFrames:
    """The frames of a server-streaming call over gRPC."""

    def __init__(self, call: Any, lost: type[TrunklineError]) -> None:
        self._call = call
        self._lost = lost
        self._cancelled = False

    async def read(self) -> Any:
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as status:
            raise error_from_rpc(status, self._lost) from status
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            if not self._cancelled:
                raise self._lost("the connection was made anew") from None
            return None
        return None if frame is grpc.aio.EOF else frame

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()


def response_class(request: Message) -> Any:
    """The class of the answer to a unary call: unique to it, and called as its request is."""
    name = f"{request.DESCRIPTOR.full_name.removesuffix('Request')}Response"
    descriptor: Any = request.DESCRIPTOR.file.pool.FindMessageTypeByName(name)
    return message_factory.GetMessageClass(descriptor)


class Stream(PendingReplies):
    """One long stream and the replies that are pending on it, which fail when it is lost.

    The service sends its initial metadata when it has accepted the stream; that is when the stream is up.

    Args:
        address: `host:port`, `tls://host:port` or `unix:/path`.
        method: full name of the streaming call, such as `/trunkline.v1.BusService/OpenStream`.
        parse: decodes a frame.
        user: takes frames and events.
        lost: the class of the error of what was pending when the stream was lost.
        compression: "gzip" compresses the traffic, both ways; None: no compression.
        wait_for_ready: `open` waits for a service that cannot be reached yet; False: it raises at once.
        tls: what is trusted and shown at a `tls://` address. None: what the environment says.
        caller: who calls.
    """

    def __init__(
        self,
        address: str,
        method: str,
        parse: Callable[[bytes], Any],
        user: StreamUser,
        lost: type[TrunklineError],
        compression: Compression | None = None,
        wait_for_ready: bool = True,
        tls: Tls | None = None,
        caller: Caller = UNSAID,
    ) -> None:
        super().__init__()
        self.address = address
        self._is_compressed = bool(compression)
        self._method = method
        self._service = method.rpartition("/")[0]
        self._parse = parse
        self._user = user
        self._lost = lost
        self._wait_for_ready = wait_for_ready
        self._tls = tls
        self._caller = caller
        self._overloaded: TrunklineError | None = None
        """Why the service does not take the stream yet."""
        self._refusal: TrunklineError | None = None
        """Why the service does not take this client any more, after it did."""
        self._connector: Connector | None = None
        self._channel: grpc.aio.Channel | None = None
        self._told = ""
        """Why the connection is not restored, as it was logged last."""
        self._runner: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_over = False
        """Whether it will not come back: it was closed, or its event loop was."""
        self._over = asyncio.Event()
        """Set when its runner has ended."""
        self._is_abandoned = False
        """Whether it is a copy in a forked process: its loop and its channel are those of the parent."""
        self._writer: StreamWriter | None = None
        self._is_held = False
        """Whether what is put waits; see `hold`."""
        self._is_last = False
        """Whether it is not restored when it is lost; see `retire`."""
        self.opens_at_once = False
        """Whether `open` raises where the service is reached and does not take the stream, else it asks again."""
        self.uses = 0
        """Whoever needs the connection still; see `in_use`."""
        self._left = asyncio.Event()
        self._kept: list[bytes] = []
        self._up = asyncio.Event()
        self.greeting: tuple[tuple[str, str | bytes], ...] = ()
        """The initial metadata with which the service accepted the stream."""

    @property
    def is_up(self) -> bool:
        """Whether the stream is accepted and not lost."""
        return self._up.is_set()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of each call: compression, and who makes it."""
        token = self._connector.metadata() if self._connector is not None else ()
        return (COMPRESSED, *token) if self._is_compressed else token

    async def call(self, name: str, request: Message, timeout: float) -> Any:
        """The answer to a unary call beside the stream, by its name; its class is the request's, with `Response` for
        `Request`. What the service refuses for now is asked again when it says.

        Raises:
            TrunklineError: what the service answered instead; of the class `lost`: it cannot be reached.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            try:
                with self.in_use():
                    return await self._call(name, request, deadline - loop.time())
            except OverloadedError as error:
                await self.pause(error, deadline)

    async def _call(self, name: str, request: Message, timeout: float) -> Any:
        start: Any = self._open_channel().unary_unary(
            f"{self._service}/{name}", type(request).SerializeToString, response_class(request).FromString
        )
        try:
            return await start(request, timeout=timeout, metadata=self.metadata)
        except grpc.aio.AioRpcError as status:
            raise error_from_rpc(status, self._lost) from status
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise self.disconnected("it was made anew") from None

    async def pause(self, error: OverloadedError, deadline: float) -> None:
        """Waits until what was refused for now may be asked for again.

        Args:
            deadline: of the caller, by the loop's clock.

        Raises:
            OverloadedError: the service did not say when, or it is not before the deadline.
            TrunklineError: of the class `lost`: the stream has ended meanwhile, and does not come back.
        """
        wait = wait_of(error)
        if wait is None or asyncio.get_running_loop().time() + wait >= deadline:
            raise error
        with self.in_use(), suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._over.wait()
            raise self.disconnected("it was closed")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps the connection meanwhile, where another has taken its place: something goes out, or comes, by it."""
        self.uses += 1
        try:
            yield
        finally:
            self.uses -= 1
            self._left.set()

    def read(self, name: str, request: Message, parse: Callable[[bytes], Any]) -> FrameReader:
        """Starts a call beside the stream whose answer is a stream of frames."""
        start: Any = self._open_channel().unary_stream(
            f"{self._service}/{name}", type(request).SerializeToString, parse
        )
        return _RemoteFrames(start(request, wait_for_ready=True, metadata=self._long_metadata), self._lost)

    @property
    def _long_metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that stays."""
        return (*self.metadata, MOVES)

    def _open_channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise RuntimeError("the stream is not open")
        return self._channel

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that were put and not yet written."""
        return self._writer.size if self._writer is not None else sum(map(len, self._kept))

    async def open(self, timeout: float) -> None:
        """Connects, and stays connected until `close`.

        Raises:
            TlsError: the service and this client do not come together by TLS; certificates or keys cannot be taken.
            TrunklineError: of the class `lost`: the service did not answer within `timeout` seconds, or could not be
                reached and is not to be waited for; or the error with which the service refused the stream.
        """
        fork.check(self._lost)
        fork.note_connection(self)
        is_compressed = self._is_compressed and not self.address.startswith(UNIX)
        options = dict(CHANNEL_OPTIONS)
        if not self._wait_for_ready:  # the first attempt must do: it gets more than the time to the next one
            options["grpc.min_reconnect_backoff_ms"] = int(timeout * 1000)
        compression = grpc.Compression.Gzip if is_compressed else None
        self._connector = Connector(self.address, options.items(), self._tls, compression, self._caller)
        self._channel = self._connector.open()
        self._loop = asyncio.get_running_loop()
        first: asyncio.Future[None] = self._loop.create_future()
        self._runner = asyncio.ensure_future(self._run(first))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(first)
        except TimeoutError:
            await self.close()
            if self._overloaded is not None:
                raise self._overloaded from None
            raise self._lost(
                f"{self.address} did not answer within {timeout:g} s",
                details={"address": self.address, "timeout_seconds": timeout},
            ) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the stream and fails what is pending; idempotent."""
        if self._is_abandoned:
            return
        runner, self._runner = self._runner, None
        if runner is not None and not runner.done():
            runner.cancel()
            await asyncio.wait({runner})
        channel, self._channel = self._channel, None
        if channel is not None and not self.loop_is_closed:
            await channel.close()
        self._kept.clear()

    def hold(self) -> None:
        """Sends nothing more until `release`: what is put waits, so that something else goes before it."""
        self._is_held = True
        if self._writer is not None:
            self._writer.hold()

    def release(self) -> None:
        """Sends what waits, and goes on."""
        self._is_held = False
        if self._writer is not None:
            self._writer.release()

    def retire(self) -> None:
        """Says that another stream has taken its place: when it is lost, it is not restored."""
        self._is_last = True

    async def leave(self) -> None:
        """Ends the stream; the connection stays while it is in use, and is closed then."""
        try:
            if self._runner is not None:
                self._runner.cancel()
                await asyncio.wait({self._runner})
            while self.uses:
                self._left.clear()
                await self._left.wait()
        finally:
            await self.close()

    def abandon(self) -> None:
        """Is called in a forked process: what it has is its parent's, and must not be touched."""
        self._is_abandoned = self.is_over = True
        self._up.clear()
        self._writer = None

    def put(self, frame: bytes, keep: bool = False) -> None:
        """Sends an encoded frame after all frames that were put before.

        If the stream is lost first, `take_kept` returns a frame with `keep`; others are dropped (their replies failed).
        """
        if self._writer is not None:
            self._writer.put(frame, keep)
        elif keep:
            self._kept.append(frame)

    def take_kept(self) -> list[bytes]:
        """Returns the unsent frames with `keep`, those put while the stream was down too, oldest first; for `on_up`."""
        kept, self._kept = self._kept, []
        return kept

    def schedule(self) -> None:
        """Schedules a call of the user's `gather`."""
        if self._writer is not None:
            self._writer.schedule()

    def flush(self) -> None:
        """Sends what was put at once, before the end of the loop's turn."""
        if self._writer is not None:
            self._writer.flush()

    async def room(self, limit: int) -> None:
        """Waits until at most `limit` bytes wait to be written, or the stream is lost."""
        if self._writer is not None:
            await self._writer.room(limit)

    async def wait_up(self) -> None:
        """Waits until the stream is up."""
        await self._up.wait()

    def check_up(self) -> None:
        """Raises the error of the class `lost` where the stream is lost."""
        if not self.is_up:
            self.check_loop()
            raise self.disconnected("it is being restored")

    @property
    def loop_is_closed(self) -> bool:
        """Whether the event loop that the stream was opened in is closed, or is that of the process which this one was
        forked from."""
        return self._is_abandoned or (self._loop is not None and self._loop.is_closed())

    def check_loop(self) -> None:
        """Raises the error of the class `lost` where the event loop that the stream was opened in is closed: then it
        does not come back. So too in a forked process. Raises the service's refusal where it does not take this client
        any more."""
        if self._is_abandoned:
            fork.check(self._lost)
        if self._refusal is not None:
            raise self._refusal
        if self.loop_is_closed:
            raise self._lost(
                f"the connection to {self.address} was opened in another event loop, which is closed: "
                "call disconnect() before a loop ends (`async with` does), and connect() in the next one",
                details={"address": self.address},
            )

    def disconnected(self, why: str) -> TrunklineError:
        """Makes the error of a call that failed because the stream is lost."""
        return self._lost(f"the connection to {self.address} was lost: {why}", details={"address": self.address})

    async def _run(self, first: asyncio.Future[None]) -> None:
        delays = reconnect_delays()
        try:
            while True:
                reason = await self._stream(first)
                if not (first.done() or self._wait_for_ready) and isinstance(reason, self._lost):
                    assert self._connector is not None
                    reason = await self._connector.why_refused() or reason
                wait = wait_of(reason) or 0.0
                self._overloaded = reason if wait else None
                is_away = self._wait_for_ready and isinstance(reason, self._lost)
                asks_again = not self.opens_at_once and (is_away or wait > 0)
                if not first.done() and not asks_again:
                    first.set_exception(reason)  # refused, not unreachable: trying again would not help
                    return
                if isinstance(reason, TlsError):
                    self._tell(reason)
                if self._is_refused(reason):
                    self._refusal = reason
                    log.error("%s is not called any more: %s", self.address, reason)
                    self._go_down(reason)
                    self._user.on_down(reason)
                    return
                lost = reason if isinstance(reason, self._lost) else self.disconnected(str(reason))
                was_up = self.is_up
                self._go_down(lost)
                if was_up:
                    delays = reconnect_delays()
                    self._user.on_down(lost)
                if self._is_last:
                    return
                await asyncio.sleep(max(wait, next(delays)))
        finally:
            self.is_over = True
            self._over.set()
            self._go_down(self._lost(f"disconnected from {self.address}", details={"address": self.address}))

    async def _watch_refusals(self) -> TrunklineError:
        """Waits, while no connection can be made, until it shows that TLS is the reason, or until there are other
        certificates to try."""
        connector = self._connector
        assert connector is not None
        for delay in reconnect_delays():
            await asyncio.sleep(delay)
            if self._open_channel().get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                continue
            if connector.is_outdated:
                return self.disconnected("its certificates have changed")
            if (refused := await connector.why_refused()) is not None:
                return refused
        raise AssertionError("the delays have no end")

    async def _accepted(self, call: Any) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the initial metadata with which the service accepts a call.

        Raises:
            TrunklineError: no connection can be made by TLS, or it is to be tried with other certificates.
        """
        if self.address.startswith(UNIX):
            return tuple(await call.initial_metadata() or ())
        greeting = asyncio.ensure_future(call.initial_metadata())
        refusal = asyncio.ensure_future(self._watch_refusals())
        try:
            await asyncio.wait((greeting, refusal), return_when=asyncio.FIRST_COMPLETED)
            if not greeting.done():
                raise refusal.result()
            return tuple(greeting.result() or ())
        finally:
            greeting.cancel()
            refusal.cancel()

    async def _renew(self) -> None:
        """Makes the channel anew where its certificates have changed."""
        assert self._connector is not None
        if (renewed := self._connector.reopen()) is not None:
            old, self._channel = self._open_channel(), renewed
            await old.close()

    def _is_refused(self, reason: TrunklineError) -> bool:
        """Whether the service does not take this client any more, so that to try again is of no use: it has said so, to
        the token that there is."""
        assert self._connector is not None
        return isinstance(reason, UnauthenticatedError | PermissionDeniedError) and not self._connector.has_other_token

    def _tell(self, refused: TlsError) -> None:
        """Logs why the connection is not restored, once for each reason."""
        if self._told != str(refused):
            self._told = str(refused)
            log.error("the connection is not restored: %s", refused)

    async def _stream(self, first: asyncio.Future[None]) -> TrunklineError:
        """Opens the stream and reads it to its end; returns why it ended."""
        await self._renew()
        connect: Any = self._open_channel().stream_stream(self._method, None, self._parse)
        try:
            call = connect(wait_for_ready=self._wait_for_ready or first.done(), metadata=self._long_metadata)
        except UnauthenticatedError as unreadable:  # the token's file
            return unreadable
        try:
            self.greeting = await self._accepted(call)
            if not call.done():  # else it was refused: the headers came with the status, which the read below raises
                writer = self._writer = StreamWriter(call.write, self._user.gather)
                if self._is_held:
                    writer.hold()
                self._up.set()
                self._told = ""
                self._user.on_up()
                writer.schedule()
                if not first.done():
                    first.set_result(None)
            while (came := await call.read()) is not grpc.aio.EOF:
                self._user.on_frame(came)
                # To ask for the next frame takes as long as a short message's whole way. So the tasks that this frame
                # woke run first (one turn of the loop), and what they sent is written first (another).
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        except grpc.aio.AioRpcError as status:
            return error_from_rpc(status, self._lost)
        except TrunklineError as refused:
            return refused
        except Exception as error:  # a defect here must not end the stream for good
            log.exception("the stream to %s is opened anew: something unexpected went wrong here", self.address)
            return self.disconnected(f"{type(error).__name__} in the client; its log has it")
        finally:
            call.cancel()
        return self.disconnected("the service ended the stream")

    def _go_down(self, error: TrunklineError) -> None:
        self._up.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            self._kept.extend(writer.close())
        self.fail_all(error)


def _is_cancelled() -> bool:
    """Whether this very task is being cancelled, and not only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
