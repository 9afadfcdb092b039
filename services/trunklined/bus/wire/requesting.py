"""What is requested: how long it may wait, and its message as a run."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from trunkline.errors import InvalidMessageError
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT
from trunkline.v1 import bus_pb2, message_pb2
from trunklined.admission import admit
from trunklined.bus.run import Run
from trunklined.rpc.times import seconds_of

_ANSWER_MARGIN = 0.02
"""Seconds that an error may take to the client."""


def timeout_of(timeout: Duration | None, remaining: float | None) -> float:
    """Seconds that a request may wait: the earlier of its own timeout and what is left of the call's deadline.

    Of the call's a little is kept back, so that the error with its figures arrives before the client gives up itself.
    """
    if remaining is not None:
        remaining = max(0.0, remaining - min(remaining * 0.05, _ANSWER_MARGIN))
    if timeout is None:
        return DEFAULT_REQUEST_TIMEOUT if remaining is None else remaining
    seconds = seconds_of(timeout)
    if not 0 < seconds <= MAX_REQUEST_TIMEOUT:
        raise InvalidMessageError(
            f"timeout is {seconds:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
            details={"field": "timeout", "value": f"{seconds:g}"},
        )
    return seconds if remaining is None else min(seconds, remaining)


def to_request_run(wanted: bus_pb2.RequestRequest, encoded: bytes, max_bytes: int, now: float) -> Run:
    """A request's message as a run; where it has no correlation id, its message id becomes it."""
    if not wanted.HasField("message"):
        raise InvalidMessageError("message is not set", details={"field": "message"})
    message = wanted.message
    body, lane, expires_at = admit(message, encoded, max_bytes, now)
    if not message.correlation_id:
        message.correlation_id = message.message_id
        body += message_pb2.Message(correlation_id=message.message_id).SerializeToString()
    return Run(wanted.channel, lane, [body], len(body), expires_at)
