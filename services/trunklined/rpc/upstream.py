"""Upstream: a program's connection to another service."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import grpc
import structlog
from grpc import aio

from trunkline.errors import TlsError
from trunkline.limits import MAX_FRAME_BYTES
from trunkline.wire.channel import Connector

RECONNECT_MIN_MS: Final = 50
RECONNECT_MAX_MS: Final = 1_000
"""gRPC waits between two attempts to connect, from the one to the other."""
LOOK_SECONDS: Final = 5.0
"""While there is no connection: how often it is asked whether TLS is the reason, and whether certificates changed."""

_FAILED: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE


def upstream_options(keepalive_interval: float, keepalive_timeout: float) -> list[tuple[str, int]]:
    """Returns gRPC channel arguments (grpc/impl/channel_arg_names.h)."""
    return [
        ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
        ("grpc.max_send_message_length", MAX_FRAME_BYTES),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        ("grpc.keepalive_time_ms", round(keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", round(keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]


class Upstream:
    """Connects to another service, and connects again whenever the connection is lost; with TLS, of what the files of
    its certificates have then.

    Args:
        name: of the service, for the log.
        address: where it is.
        options: gRPC channel arguments.
        on_change: called with True when it is connected, with False when it is lost, and when it is not there at first.
    """

    def __init__(
        self,
        name: str,
        address: str,
        options: list[tuple[str, int]],
        on_change: Callable[[bool], None] = lambda connected: None,
    ) -> None:
        self.address = address
        self._name = name
        self._connector = Connector(address, options)
        self._on_change = on_change
        self._channel: aio.Channel | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._calls: dict[tuple[str, bool, bool], Any] = {}
        self._told = ""
        """Why it refused, as it was logged last."""
        self._users: Counter[aio.Channel] = Counter()
        """Calls of each connection; see `in_use`."""
        self._left: set[aio.Channel] = set()
        """Connections that no new calls go to; each is closed with its last call."""
        self._closing: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata with which each call says who makes it: this program's own token, if it has one.

        Raises:
            UnauthenticatedError: its file cannot be read.
        """
        return self._connector.metadata()

    @property
    def is_connected(self) -> bool:
        """Whether the service is connected now."""
        return self._ready.is_set()

    def start(self) -> None:
        """Begins to connect.

        Raises:
            TlsError: the certificates that the environment names cannot be taken.
        """
        self._channel = self._connector.open()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self._name}")

    async def close(self) -> None:
        """Closes the connection, and ends every call. Idempotent."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
        channel, self._channel = self._channel, None
        for each in (*self._left, *([] if channel is None else [channel])):
            await each.close()
        self._left.clear()
        self._ready.clear()

    async def connected(self) -> None:
        """Waits until the service is connected."""
        await self._ready.wait()

    @contextmanager
    def in_use(self) -> Iterator[Callable[[], bool]]:
        """Keeps the connection of now until the block ends, also where new calls go to another one meanwhile. Yields
        what says whether they still go to this one."""
        channel = self._channel
        assert channel is not None
        self._users[channel] += 1
        try:
            yield lambda: channel is self._channel
        finally:
            self._users[channel] -= 1
            self._close_if_left(channel)

    async def move(self, seconds: float) -> bool:
        """Lets new calls go by another connection, which another replica may answer. The one of now stays where there
        is none after so many seconds: then this returns False."""
        try:
            channel = self._connector.open()
        except TlsError:
            return False
        try:
            async with asyncio.timeout(seconds):
                while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    await channel.wait_for_state_change(state)
        except BaseException as error:
            await channel.close()
            if isinstance(error, TimeoutError):
                return False
            raise
        old, self._channel = self._channel, channel
        self._calls.clear()
        self._moved.set()
        if old is not None:
            self._left.add(old)
            self._close_if_left(old)
        return True

    def _close_if_left(self, channel: aio.Channel) -> None:
        if self._users[channel] > 0:
            return
        del self._users[channel]
        if channel in self._left:
            self._left.discard(channel)
            closing = asyncio.ensure_future(channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def stub(self, method: str, request_stream: bool = False, response_stream: bool = False) -> Any:
        """Returns what starts calls of a method, of encoded messages. To be asked for each call: another connection may
        have another."""
        key = (method, request_stream, response_stream)
        found = self._calls.get(key)
        if found is None:
            assert self._channel is not None
            kinds = {
                (False, False): self._channel.unary_unary,
                (False, True): self._channel.unary_stream,
                (True, False): self._channel.stream_unary,
                (True, True): self._channel.stream_stream,
            }
            found = self._calls[key] = kinds[request_stream, response_stream](method)
        return found

    async def _watch(self) -> None:
        log = structlog.get_logger().bind(service=self._name, address=self.address)
        is_known = False
        while True:
            assert self._channel is not None
            state = self._channel.get_state(try_to_connect=True)
            ready = state is grpc.ChannelConnectivity.READY
            if ready != self._ready.is_set() if is_known else ready or state is _FAILED:
                is_known, self._told = True, ""
                (self._ready.set if ready else self._ready.clear)()
                log.info("upstream connected" if ready else "upstream lost")
                self._on_change(ready)
            change = asyncio.ensure_future(self._channel.wait_for_state_change(state))
            moved = asyncio.ensure_future(self._moved.wait())
            asking = asyncio.ensure_future(self._ask(log)) if state is _FAILED else None
            try:
                awaited = (change, moved, asking) if asking else (change, moved)
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                self._moved.clear()
                if asking is not None and asking.done():
                    await self._renew()
            finally:
                change.cancel()
                moved.cancel()
                if asking is not None:
                    asking.cancel()

    async def _ask(self, log: Any) -> None:
        """Asks why there is no connection, and logs each answer once; returns when there are other certificates."""
        while not self._connector.is_outdated:
            refused = await self._connector.why_refused()
            if refused is not None and self._told != refused.message:
                self._told = refused.message
                log.error("upstream refused", reason=refused.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def _renew(self) -> None:
        """Makes the channel anew, of other certificates."""
        if (renewed := self._connector.reopen()) is not None:
            old, self._channel = self._channel, renewed
            self._calls.clear()
            if old is not None:
                await old.close()
