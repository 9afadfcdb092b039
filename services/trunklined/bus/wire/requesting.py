"""What is requested: checked, how long it may wait, and its message as a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration

from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT
from trunkline.v1 import bus_pb2, message_pb2
from trunklined.admission import admit, refuse_delivery
from trunklined.bus.broker import Broker
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.requests import PendingRequest
from trunklined.bus.wire.translation import PassthroughRequestResponse, seconds_in

_ANSWER_MARGIN = 0.02
"""Seconds that an error may take to the client."""


class Requester:
    """Requests for all calls that do.

    Its methods take a request as the public type, and its message as it came, which is what subscribers get.

    Args:
        broker: where everything goes.
        max_message_bytes: limit of one encoded message.
    """

    def __init__(self, broker: Broker, max_message_bytes: int) -> None:
        self._broker = broker
        self._max_message_bytes = max_message_bytes

    def request(
        self,
        request: bus_pb2.RequestRequest,
        encoded: bytes,
        id: int,
        remaining: float | None,
        on_reply: Callable[[PendingRequest, str, bytes], None],
        on_error: Callable[[PendingRequest, TrunklineError], None],
    ) -> PendingRequest:
        """Publishes a request's message and waits for its reply.

        Args:
            id: what the caller knows the request by.
            remaining: seconds that are left of the call's deadline; None: it has none.
            on_reply: called with the request, the reply's channel and the encoded reply.
            on_error: called with the request and what went wrong.

        Raises:
            InvalidMessageError, MessageTooLargeError: the timeout or the message is refused.
            InvalidChannelError, NoRespondersError, OverloadedError: see `Broker.request`.
        """
        timeout = timeout_of(request.timeout if request.HasField("timeout") else None, remaining)
        if not request.HasField("message"):
            raise InvalidMessageError("message is not set", details={"field": "message"})
        message = request.message
        body, level, expires_at = admit(message, encoded, self._max_message_bytes, self._broker.clock())
        if message.HasField("deliver_at") or message.HasField("deliver_after"):
            refuse_delivery(message)
        if not message.correlation_id:
            message.correlation_id = message.message_id
            body += message_pb2.Message(correlation_id=message.message_id).SerializeToString()
        pending = PendingRequest(
            id, request.channel, message.message_id, message.correlation_id, timeout, on_reply, on_error
        )
        self._broker.request(pending, MessageBatch(request.channel, level, [body], len(body), expires_at))
        return pending

    async def response(self, request: bus_pb2.RequestRequest, encoded: bytes, remaining: float | None) -> bytes:
        """Requests and waits for the reply; returns it as an encoded RequestResponse.

        A caller that is cancelled leaves nothing behind.

        Raises:
            As `request`; RequestTimeoutError: no reply in time. BusDisconnectedError: the service stops.
        """
        settled: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def reply(_: PendingRequest, channel: str, message: bytes) -> None:
            if not settled.done():
                settled.set_result(PassthroughRequestResponse(channel=channel, message=message).SerializeToString())

        def fail(_: PendingRequest, error: TrunklineError) -> None:
            if not settled.done():
                settled.set_exception(error)

        pending = self.request(request, encoded, 0, remaining, reply, fail)
        try:
            return await settled
        finally:
            pending.cancel()


def timeout_of(timeout: Duration | None, remaining: float | None) -> float:
    """Seconds that a request may wait: the earlier of its own timeout and what is left of the call's deadline.

    Of the call's a little is kept back, so that the error with its figures arrives before the client gives up itself.
    """
    if remaining is not None:
        remaining = max(0.0, remaining - min(remaining * 0.05, _ANSWER_MARGIN))
    if timeout is None:
        return DEFAULT_REQUEST_TIMEOUT if remaining is None else remaining
    seconds = seconds_in("timeout", timeout)
    if not 0 < seconds <= MAX_REQUEST_TIMEOUT:
        raise InvalidMessageError(
            f"timeout is {seconds:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
            details={"field": "timeout", "value": f"{seconds:g}"},
        )
    return seconds if remaining is None else min(seconds, remaining)
