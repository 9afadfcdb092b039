"""The synchronous MessageBus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trunkline.grpc_bus import GrpcMessageBus
from trunkline.limits import BUS_PORT, DEFAULT_REQUEST_TIMEOUT
from trunkline.models import AgentMessage
from trunkline.sync.face import Face


class MessageBus(Face):
    """`GrpcMessageBus`, synchronous; see there for arguments and errors.

    A callback is a plain function and runs in a thread of its subscription, so it may publish and request.
    """

    def __init__(self, address: str = f"127.0.0.1:{BUS_PORT}", **options: Any) -> None:
        self._bus = GrpcMessageBus(address, **options)
        super().__init__(self._bus)
        self._threads: dict[str, list[ThreadPoolExecutor]] = {}

    def disconnect(self) -> None:
        """See `GrpcMessageBus.disconnect`. Callbacks that run are not waited for."""
        super().disconnect()
        for pattern in list(self._threads):
            self._stop_threads(pattern)

    def publish(self, channel: str, message: AgentMessage) -> None:
        """See `GrpcMessageBus.publish`."""
        self._wait(self._bus.publish(channel, message))

    def subscribe(
        self,
        channel: str,
        callback: Callable[[AgentMessage], object],
        *,
        group: str | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
    ) -> None:
        """See `GrpcMessageBus.subscribe`."""
        threads = ThreadPoolExecutor(max(1, concurrency), thread_name_prefix=f"trunkline {channel}")

        async def call(message: AgentMessage) -> None:
            await asyncio.get_running_loop().run_in_executor(threads, callback, message)

        try:
            self._wait(
                self._bus.subscribe(
                    channel, call, group=group, concurrency=concurrency, credit=credit, on_lagged=on_lagged
                )
            )
        except BaseException:
            threads.shutdown(wait=False)
            raise
        self._threads.setdefault(channel, []).append(threads)

    def unsubscribe(self, channel: str) -> None:
        """See `GrpcMessageBus.unsubscribe`."""
        self._wait(self._bus.unsubscribe(channel))
        self._stop_threads(channel)

    def request(self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT) -> AgentMessage:
        """See `GrpcMessageBus.request`."""
        return self._wait(self._bus.request(channel, message, timeout))

    def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        observer: bool = False,
    ) -> Iterator[AgentMessage]:
        """See `GrpcMessageBus.messages`."""
        messages = self._bus.messages(pattern, group=group, credit=credit, on_lagged=on_lagged, observer=observer)
        return self._iterate(messages)

    def flush(self) -> None:
        """See `GrpcMessageBus.flush`."""
        self._wait(self._bus.flush())

    @property
    def published_count(self) -> int:
        """See `GrpcMessageBus.published_count`."""
        return self._bus.published_count

    def _stop_threads(self, pattern: str) -> None:
        for threads in self._threads.pop(pattern, ()):
            threads.shutdown(wait=False, cancel_futures=True)
