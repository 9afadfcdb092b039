"""The errors of Trunkline, the same in services, clients and on the wire.

    TrunklineError (also by the name of ConductorError)
    ├── MessageBusError
    │   ├── InvalidChannelError       INVALID_CHANNEL
    │   ├── InvalidMessageError       INVALID_MESSAGE
    │   ├── NoRespondersError         NO_RESPONDERS
    │   ├── RequestTimeoutError       REQUEST_TIMEOUT
    │   ├── RequestFailedError        REQUEST_FAILED
    │   ├── RequestCancelledError     REQUEST_CANCELLED
    │   ├── RequestNotFoundError      REQUEST_NOT_FOUND
    │   ├── ResponderLostError        RESPONDER_LOST
    │   ├── TaskNotFoundError         TASK_NOT_FOUND
    │   ├── StaleAckError             STALE_ACK
    │   ├── SubscriptionExistsError   SUBSCRIPTION_EXISTS
    │   ├── SubscriptionNotFoundError SUBSCRIPTION_NOT_FOUND
    │   ├── DeadLetterNotFoundError   DEAD_LETTER_NOT_FOUND
    │   ├── BusNotConnectedError      BUS_NOT_CONNECTED
    │   └── BusDisconnectedError      BUS_DISCONNECTED
    ├── StateError
    │   ├── InvalidRecordError        INVALID_RECORD
    │   ├── RecordNotFoundError       NOT_FOUND
    │   ├── RevisionMismatchError     REVISION_MISMATCH
    │   ├── LeaseHeldError            LEASE_HELD
    │   ├── LeaseLostError            LEASE_LOST
    │   ├── StateNotConnectedError    STATE_NOT_CONNECTED
    │   └── StateDisconnectedError    STATE_DISCONNECTED
    └── both a MessageBusError and a StateError
        ├── InvalidAddressError       INVALID_ADDRESS
        ├── TlsError                  TLS
        ├── MessageTooLargeError      MESSAGE_TOO_LARGE
        ├── CompactedError            COMPACTED
        ├── OverloadedError           OVERLOADED
        ├── StorageError              STORAGE
        │   └── StorageUnavailableError STORAGE_UNAVAILABLE
        ├── UnauthenticatedError      UNAUTHENTICATED
        ├── PermissionDeniedError     PERMISSION_DENIED
        └── InternalError             INTERNAL

A service raises one of these; `trunklined.rpc.errors` turns it into a gRPC status with one google.rpc.ErrorInfo, and
`trunkline.wire.status` turns that back into the same exception. Each class names its status once, here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

ERROR_DOMAIN = "trunkline"
"""The domain of our ErrorInfo on the wire."""

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""The trailer in which gRPC carries a google.rpc.Status (https://grpc.io/docs/guides/error/#richer-error-model)."""


RETRYABLE: Final = frozenset(
    {
        "BUS_DISCONNECTED",
        "STATE_DISCONNECTED",
        "OVERLOADED",
        "STORAGE_UNAVAILABLE",
        "KEYS_UNAVAILABLE",
        "NO_RESPONDERS",
        "REQUEST_TIMEOUT",
        "RESPONDER_LOST",
    }
)
"""Codes of errors after which the same call may succeed; every language's client has these."""


class TrunklineError(Exception):
    """The root of all errors that Trunkline raises on purpose.

    Args:
        message: for people; names the field and the value.
        error_code: for programs; the wire's `reason`. Default: the class's own.
        details: the figures, such as `{"size": 5000000, "limit": 4194304}`. JSON values only.
    """

    error_code: str = "TRUNKLINE_ERROR"
    status: ClassVar[str] = "UNKNOWN"
    """Name of the gRPC status code."""
    figures: ClassVar[frozenset[str]] = frozenset()
    """Keys of `details` whose values are numbers: the wire carries text, and these come back as numbers."""

    def __init__(self, message: str, error_code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code or type(self).error_code
        self.details: dict[str, Any] = dict(details or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.error_code, self.details)

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a change: the connection was lost, a limit was reached,
        whoever held a request is gone, or a handler said so of its failure. What became of a call whose connection was
        lost is not known: repeat it where it may be done twice."""
        return bool(self.details.get("retryable", self.error_code in RETRYABLE))

    @retryable.setter
    def retryable(self, said: bool) -> None:
        self.details["retryable"] = said

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description: error_type, message, error_code, details."""
        return {
            "error_type": type(self).__name__,
            "message": self.message,
            "error_code": self.error_code,
            "details": dict(self.details),
        }

    def metadata(self) -> dict[str, str]:
        """The details as the wire carries them: text stays text, anything else is JSON."""
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in self.details.items()}


ConductorError = TrunklineError
"""The same class by the name that programs written for ConductorAI catch, raise and derive from."""


class MessageBusError(TrunklineError):
    """Anything that went wrong on the message bus."""

    error_code = "MESSAGE_BUS_ERROR"


class StateError(TrunklineError):
    """Anything that went wrong in the state store."""

    error_code = "STATE_ERROR"


class InvalidChannelError(MessageBusError):
    """A channel or pattern that is empty, too long or malformed."""

    error_code = "INVALID_CHANNEL"
    status = "INVALID_ARGUMENT"


class InvalidMessageError(MessageBusError):
    """A message or a frame with a field that cannot be taken, or a payload that is read as what it is not. Details:
    field and value; index, of several messages; of a payload that is read, message_id, channel, content_type and, where
    it is broken, position."""

    error_code = "INVALID_MESSAGE"
    status = "INVALID_ARGUMENT"
    figures = frozenset({"index", "position"})


class NoRespondersError(MessageBusError):
    """Nobody subscribes to the request's channel."""

    error_code = "NO_RESPONDERS"
    status = "FAILED_PRECONDITION"


class RequestTimeoutError(MessageBusError):
    """No reply came before the request's deadline, or no sign of life within its idle timeout. Details: channel,
    correlation_id, and timeout_seconds or idle_timeout_seconds."""

    error_code = "REQUEST_TIMEOUT"
    status = "DEADLINE_EXCEEDED"
    figures = frozenset({"timeout_seconds", "idle_timeout_seconds"})


class RequestFailedError(MessageBusError):
    """Whoever answers a request said that it failed. Details: request_id, type (of the error), text, code, retryable;
    traceback, where it was asked for."""

    error_code = "REQUEST_FAILED"
    status = "UNKNOWN"
    figures = frozenset({"retryable"})


class RequestCancelledError(MessageBusError):
    """The request was cancelled by somebody else than who asked. Details: request_id, by, reason."""

    error_code = "REQUEST_CANCELLED"
    status = "CANCELLED"


class RequestNotFoundError(MessageBusError):
    """No request with this id is pending, or not for who answers it. Details: request_id, and why: "not pending" or
    "accepted by another"."""

    error_code = "REQUEST_NOT_FOUND"
    status = "NOT_FOUND"


class ResponderLostError(MessageBusError):
    """Whoever held the request is gone; whether it was done is not known. Details: channel, request_id, responder."""

    error_code = "RESPONDER_LOST"
    status = "ABORTED"


class TaskNotFoundError(MessageBusError):
    """There is no such task: it is kept no longer, or never was. Details: task_id."""

    error_code = "TASK_NOT_FOUND"
    status = "NOT_FOUND"


class StaleAckError(MessageBusError):
    """Whoever settles a message does not hold it (any more); nothing was changed. Details: durable, sequence, attempt,
    and why: "never handed out", "settled", "given back", "lease expired", "handed on" or "not deliverable"."""

    error_code = "STALE_ACK"
    status = "FAILED_PRECONDITION"
    figures = frozenset({"sequence", "attempt", "current_attempt"})


class SubscriptionExistsError(MessageBusError):
    """A durable name is in use with another pattern or other settings. Details: durable, pattern, existing_pattern; of
    settings: field, value, existing_value."""

    error_code = "SUBSCRIPTION_EXISTS"
    status = "ALREADY_EXISTS"


class SubscriptionNotFoundError(MessageBusError):
    """There is no durable subscription of this name, or it was deleted. Details: durable."""

    error_code = "SUBSCRIPTION_NOT_FOUND"
    status = "NOT_FOUND"


class DeadLetterNotFoundError(MessageBusError):
    """There is no dead letter with this id. Details: dead_letter_id."""

    error_code = "DEAD_LETTER_NOT_FOUND"
    status = "NOT_FOUND"
    figures = frozenset({"dead_letter_id"})


class BusNotConnectedError(MessageBusError):
    """A call on a bus object before `connect()` or after `disconnect()`."""

    error_code = "BUS_NOT_CONNECTED"
    status = "FAILED_PRECONDITION"


class BusDisconnectedError(MessageBusError):
    """The connection was lost while the call was pending; what became of it is not known."""

    error_code = "BUS_DISCONNECTED"
    status = "UNAVAILABLE"


class InvalidRecordError(StateError):
    """A record, id, filter or page that cannot be taken."""

    error_code = "INVALID_RECORD"
    status = "INVALID_ARGUMENT"


class RecordNotFoundError(StateError):
    """There is no such record. Only on the wire: Python callers get None."""

    error_code = "NOT_FOUND"
    status = "NOT_FOUND"


class RevisionMismatchError(StateError):
    """The record does not have the expected revision. Details: kind, id, expected, actual (0: no record)."""

    error_code = "REVISION_MISMATCH"
    status = "ABORTED"
    figures = frozenset({"expected", "actual"})


class LeaseHeldError(StateError):
    """The lease is held by another. Details: name, holder, number, remaining_seconds (until it ends unless it is
    renewed)."""

    error_code = "LEASE_HELD"
    status = "ALREADY_EXISTS"
    figures = frozenset({"number", "remaining_seconds"})


class LeaseLostError(StateError):
    """The lease is not held with this number (any more); nothing was written. Details: name, number, current (the
    number that holds it now; 0: nobody, or not known)."""

    error_code = "LEASE_LOST"
    status = "ABORTED"
    figures = frozenset({"number", "current"})


class StateNotConnectedError(StateError):
    """A call on a state manager before `connect()` or after `disconnect()`."""

    error_code = "STATE_NOT_CONNECTED"
    status = "FAILED_PRECONDITION"


class StateDisconnectedError(StateError):
    """The connection was lost while the call was pending; what became of a write is not known."""

    error_code = "STATE_DISCONNECTED"
    status = "UNAVAILABLE"


class InvalidAddressError(MessageBusError, StateError, ValueError):
    """An address that is neither `host:port`, `tls://host:port` nor `unix:/path`; never on the wire. Details: field and
    value."""

    error_code = "INVALID_ADDRESS"
    status = "INVALID_ARGUMENT"


class TlsError(MessageBusError, StateError):
    """A TLS handshake failed, or a certificate or a key cannot be taken; never on the wire. Details: reason
    (untrusted_authority, wrong_name, expired, not_tls, tls_required, certificate_required, certificate_refused,
    handshake_failed or invalid_files), and address or field."""

    error_code = "TLS"
    status = "UNAVAILABLE"


class MessageTooLargeError(MessageBusError, StateError):
    """Over the size limit. Details: size and limit, in bytes; index, of several messages."""

    error_code = "MESSAGE_TOO_LARGE"
    status = "INVALID_ARGUMENT"
    figures = frozenset({"size", "limit", "index"})


class CompactedError(MessageBusError, StateError):
    """What was asked for is no longer kept. Details: oldest, the oldest that can be served."""

    error_code = "COMPACTED"
    status = "OUT_OF_RANGE"
    figures = frozenset({"oldest", "requested"})


class OverloadedError(MessageBusError, StateError):
    """A limit was reached. Details: limit (its name) and maximum; where the service says when to try again, retry_after
    in seconds; where it is the caller's own, its identity."""

    error_code = "OVERLOADED"
    status = "RESOURCE_EXHAUSTED"
    figures = frozenset({"maximum", "retry_after"})

    @property
    def retry_after(self) -> float | None:
        """Seconds after which to try again. None: that is not known."""
        found = self.details.get("retry_after")
        return float(found) if isinstance(found, int | float) else None


class StorageError(MessageBusError, StateError):
    """A file of a service cannot be opened or trusted: newer version, damage, or another server holds it."""

    error_code = "STORAGE"
    status = "FAILED_PRECONDITION"
    figures = frozenset({"found", "supported"})


class StorageUnavailableError(StorageError):
    """What a service keeps its data in does not answer, or not as it must; it comes back by itself. Its text says
    whether nothing was done, or that this is not known."""

    error_code = "STORAGE_UNAVAILABLE"
    status = "UNAVAILABLE"


class UnauthenticatedError(MessageBusError, StateError):
    """The caller did not say who it is, or not in a way that is trusted."""

    error_code = "UNAUTHENTICATED"
    status = "UNAUTHENTICATED"


class PermissionDeniedError(MessageBusError, StateError):
    """The caller may not do what it asked for."""

    error_code = "PERMISSION_DENIED"
    status = "PERMISSION_DENIED"


class InternalError(MessageBusError, StateError):
    """Something unexpected in a service. Details: error_id, under which the service's log has the rest."""

    error_code = "INTERNAL"
    status = "INTERNAL"


def _with_code(base: type[TrunklineError]) -> dict[str, type[TrunklineError]]:
    found: dict[str, type[TrunklineError]] = {}
    for below in base.__subclasses__():
        found |= {below.error_code: below} | _with_code(below)
    return found


ERRORS: Mapping[str, type[TrunklineError]] = _with_code(TrunklineError)
"""Every class by its `error_code`."""


def from_wire(reason: str, message: str, metadata: Mapping[str, str]) -> TrunklineError:
    """The exception that a service raised, from what the wire carried of it. The inverse of `metadata()`.

    An unknown reason (a newer service's) becomes a plain `TrunklineError` with that `error_code`.
    """
    cls = ERRORS.get(reason, TrunklineError)
    return cls(
        message, reason, {key: _figure(value) if key in cls.figures else value for key, value in metadata.items()}
    )


def _figure(text: str) -> Any:
    """The number that a text says; a text that says none (a newer service's) stays as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
