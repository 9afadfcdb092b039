"""What is requested: checked, how long it may wait, and its message as a batch; and the stream of its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from trunkline.delivery import RequestTerms
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, FRAME_BYTES, MAX_PART_CREDIT, MAX_REQUEST_TIMEOUT, PART_CREDIT
from trunkline.v1 import bus_pb2, message_pb2
from trunklined.access.gate import closed_gate
from trunklined.admission import admit, refuse_delivery
from trunklined.bus.broker import Broker
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.requests import PLAIN, PendingRequest
from trunklined.bus.wire.translation import (
    PassthroughRequestResponse,
    PassthroughRequestStreamResponse,
    seconds_in,
)

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
        credit: int = 0,
        on_events: Callable[[PendingRequest, list[bytes], bool], None] | None = None,
    ) -> PendingRequest:
        """Publishes a request's message and waits for its reply.

        Args:
            id: what the caller knows the request by.
            remaining: seconds that are left of the call's deadline; None: it has none.
            on_reply: called with the request, the reply's channel and the encoded reply.
            on_error: called with the request and what went wrong.
            credit, on_events: of one whose events are of interest; see `PendingRequest`.

        Raises:
            InvalidMessageError, MessageTooLargeError: the timeout or the message is refused.
            InvalidChannelError, NoRespondersError, OverloadedError: see `Broker.request`.
            OverloadedError: the caller has as many requests as it may.
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
            id,
            request.channel,
            message.message_id,
            message.correlation_id,
            timeout,
            on_reply,
            on_error,
            terms_of(request),
            credit,
            on_events,
        )
        batch = MessageBatch(request.channel, level, [body], len(body), expires_at)
        gate = closed_gate()
        slots = gate.open_request() if gate is not None else None
        if slots is not None:
            pending.on_settled = slots.give_back
        try:
            self._broker.request(pending, batch)
        except TrunklineError:
            if slots is not None and not pending.has_begun:
                slots.give_back()
            raise
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
            if not settled.done() or settled.cancelled():
                pending.leave()

    async def stream(
        self, request: bus_pb2.RequestStreamRequest, encoded: bytes, remaining: float | None, write: Any
    ) -> None:
        """Requests, and writes the events as they come; as they are written, more parts are allowed.

        Args:
            encoded: the request's message.
            write: writes one encoded RequestStreamResponse, and waits while the caller does not read.

        Raises:
            As `response`.
        """
        waiting: list[bytes] = []
        over: TrunklineError | bool = False
        arrived = asyncio.Event()

        def hear(_: PendingRequest, events: list[bytes], is_end: bool) -> None:
            nonlocal over
            waiting.extend(events)
            over = is_end
            arrived.set()

        def fail(_: PendingRequest, error: TrunklineError) -> None:
            nonlocal over
            over = error
            arrived.set()

        credit = credit_of("credit", request)
        pending = self.request(request.request, encoded, 0, remaining, _no_reply, fail, credit, hear)
        try:
            while waiting or not over:
                if not waiting:
                    arrived.clear()
                    await arrived.wait()
                    continue
                frame, size = PassthroughRequestStreamResponse(), 0
                while waiting and size < FRAME_BYTES:
                    event = waiting.pop(0)
                    frame.events.append(event)
                    size += len(event)
                await write(frame.SerializeToString())
                if not waiting and pending.is_pending and pending.credit <= credit // 2:
                    pending.grant(credit - pending.credit)
        finally:
            if pending.is_pending:
                pending.leave()
        if isinstance(over, TrunklineError):
            raise over


def _no_reply(*_: object) -> None:
    """Is not called: the reply is an event."""


def credit_of(field: str, request: Any) -> int:
    """Returns how many parts a request stream may be sent first, or raises InvalidMessageError."""
    return check_part_credit(field, request.credit) if request.HasField("credit") else PART_CREDIT


def check_part_credit(field: str, parts: int) -> int:
    """Returns a credit for parts, or raises InvalidMessageError where it is out of bounds."""
    if not 1 <= parts <= MAX_PART_CREDIT:
        raise InvalidMessageError(
            f"{field} is {parts}, it must be between 1 and {MAX_PART_CREDIT}",
            details={"field": field, "value": str(parts)},
        )
    return parts


def terms_of(request: bus_pb2.RequestRequest) -> RequestTerms:
    """Returns what is wished of a request beside its timeout.

    Raises:
        InvalidMessageError: an idle timeout out of bounds.
    """
    idle_timeout = None
    if request.HasField("idle_timeout"):
        idle_timeout = _check_timeout("idle_timeout", seconds_in("idle_timeout", request.idle_timeout))
    terms = RequestTerms(
        idle_timeout,
        request.wait_for_responder,
        request.repeatable,
        request.outlives_asker,
        request.traceback,
    )
    return PLAIN if terms == PLAIN else terms


def timeout_of(timeout: Duration | None, remaining: float | None) -> float:
    """Seconds that a request may wait: the earlier of its own timeout and what is left of the call's deadline.

    Of the call's a little is kept back, so that the error with its figures arrives before the client gives up itself.
    """
    if remaining is not None:
        remaining = max(0.0, remaining - min(remaining * 0.05, _ANSWER_MARGIN))
    if timeout is None:
        return DEFAULT_REQUEST_TIMEOUT if remaining is None else remaining
    seconds = _check_timeout("timeout", seconds_in("timeout", timeout))
    return seconds if remaining is None else min(seconds, remaining)


def _check_timeout(field: str, seconds: float) -> float:
    if not 0 < seconds <= MAX_REQUEST_TIMEOUT:
        raise InvalidMessageError(
            f"{field} is {seconds:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
            details={"field": field, "value": f"{seconds:g}"},
        )
    return seconds
