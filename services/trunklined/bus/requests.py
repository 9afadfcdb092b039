"""PendingRequests: who waits for a reply, by correlation id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trunkline.errors import InvalidMessageError, OverloadedError, RequestTimeoutError, TrunklineError
from trunklined.rpc.histogram import Histogram

LATENCY_BOUNDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the buckets of the time from a request to its reply, in seconds."""


@dataclass(frozen=True, slots=True)
class Correlated:
    """A published message that carries a correlation id, and may therefore be a reply."""

    correlation_id: str
    message_id: str
    message: bytes


class PendingRequest:
    """One request that waits for its reply; it is settled once, by reply, error or `cancel()`.

    Args:
        id: what its caller knows it by.
        on_reply: called with the request, the reply's channel and the encoded reply.
        on_error: called with the request and what went wrong.
    """

    __slots__ = (
        "_pending",
        "_since",
        "_timer",
        "channel",
        "correlation_id",
        "id",
        "message_id",
        "on_error",
        "on_reply",
        "timeout",
    )

    def __init__(
        self,
        id: int,
        channel: str,
        message_id: str,
        correlation_id: str,
        timeout: float,
        on_reply: Callable[[PendingRequest, str, bytes], None],
        on_error: Callable[[PendingRequest, TrunklineError], None],
    ) -> None:
        self.id = id
        self.channel = channel
        self.message_id = message_id
        self.correlation_id = correlation_id
        self.timeout = timeout
        self.on_reply = on_reply
        self.on_error = on_error
        self._pending: PendingRequests | None = None
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, pending: PendingRequests, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to wait; the deadline counts from here."""
        self._since = time.perf_counter()
        self._pending = pending
        self._timer = loop.call_later(self.timeout, self._expire)

    def cancel(self) -> bool:
        """Forgets the request without a word; False if it was settled already."""
        pending, self._pending = self._pending, None
        if pending is None:
            return False
        pending.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        return True

    def reply(self, channel: str, message: bytes) -> None:
        """Settles it with a reply."""
        pending = self._pending
        if pending is not None and self.cancel():
            pending.latency.observe(time.perf_counter() - self._since)
            self.on_reply(self, channel, message)

    def fail(self, error: TrunklineError) -> None:
        """Settles it with an error."""
        if self.cancel():
            self.on_error(self, error)

    def _expire(self) -> None:
        if self._pending is None:
            return
        self._pending.timeouts += 1
        self.fail(
            RequestTimeoutError(
                f"no reply on {self.channel!r} within {self.timeout:g} s",
                details={
                    "channel": self.channel,
                    "correlation_id": self.correlation_id,
                    "timeout_seconds": self.timeout,
                },
            )
        )


class PendingRequests:
    """Bounded; beyond it new requests are refused with OVERLOADED."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._by_correlation: dict[str, PendingRequest] = {}
        self._settled: asyncio.Future[None] | None = None
        """Where somebody waits until none is pending."""
        self.timeouts = 0
        self.latency = Histogram(LATENCY_BOUNDS)

    def __contains__(self, correlation_id: str) -> bool:
        return correlation_id in self._by_correlation

    def __len__(self) -> int:
        return len(self._by_correlation)

    def add(self, request: PendingRequest) -> None:
        """Starts to wait for a request's reply.

        Raises:
            InvalidMessageError: another pending request has the same correlation id.
            OverloadedError: too many requests are pending.
        """
        if request.correlation_id in self._by_correlation:
            raise InvalidMessageError(
                f"correlation_id {request.correlation_id!r} is in use by another pending request",
                details={"field": "correlation_id", "value": request.correlation_id},
            )
        if len(self._by_correlation) >= self._maximum:
            raise OverloadedError(
                f"{self._maximum} requests are pending already",
                details={"limit": "max_pending_requests", "maximum": self._maximum},
            )
        self._by_correlation[request.correlation_id] = request
        request.start(self, asyncio.get_running_loop())

    def forget(self, request: PendingRequest) -> None:
        """Takes a request out."""
        del self._by_correlation[request.correlation_id]
        if self._settled is not None and not self._by_correlation and not self._settled.done():
            self._settled.set_result(None)

    async def settled(self) -> None:
        """Waits until none is pending; for one who lets no new ones in."""
        if self._by_correlation:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    def resolve(self, channel: str, correlated: list[Correlated]) -> None:
        """Gives each message that answers a pending request to it. A request does not answer itself."""
        for message in correlated:
            request = self._by_correlation.get(message.correlation_id)
            if request is not None and request.message_id != message.message_id:
                request.reply(channel, message.message)

    def fail_all(self, error: TrunklineError) -> None:
        """Settles everything that waits with one error."""
        for request in list(self._by_correlation.values()):
            request.fail(error)
