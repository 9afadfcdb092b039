"""AgentMessage: the envelope that agents send each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, PrivateAttr

from trunkline.models.enums import MessageType, Priority
from trunkline.models.fields import Id, JsonObject, Time, new_id, now
from trunkline.models.json import decode_json, encode_json
from trunkline.models.lazy import SOURCE, LazyModel, known_fields, set_known

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_PAYLOAD: Final = b"{}"
_UNSET: Final = object()
_NAMES: Final = frozenset({MessageType, str})
_TYPES: Final[Mapping[str, MessageType]] = {each.value: each for each in MessageType}


class AgentMessage(LazyModel):
    """One message.

    Args:
        message_type: what it is for; a `MessageType`, or any other name as text.
        sender_id: who sent it.
        recipient_id: whom it is meant for. None: everybody.
        payload: a JSON object.
        correlation_id: ties a reply to its request. None: none.
        priority: the higher goes first of what waits for one subscriber. Default medium.
        timestamp: timezone-aware, kept in UTC. Default: now.
        ttl_seconds: seconds after `timestamp` from which it must not be delivered, at least 1. None: never expires.
        metadata: a JSON object, for tracing and the like.
        message_id: default a new UUID.
        data: a payload that is no JSON object, as bytes; then `payload` is empty. Other languages may send such.
        content_type: media type of `data`.

    Raises:
        pydantic.ValidationError: a field that cannot be taken (naive time, a payload that is no JSON); names it.
    """

    message_id: Id = Field(default_factory=new_id)
    message_type: Annotated[MessageType | str, Field(union_mode="left_to_right")]
    sender_id: str
    recipient_id: Id | None = None
    payload: JsonObject = Field(default_factory=dict)
    correlation_id: Id | None = None
    priority: Priority = Priority.MEDIUM
    timestamp: Time = Field(default_factory=now)
    ttl_seconds: int | None = Field(default=None, ge=1, le=2**31 - 1)
    metadata: JsonObject = Field(default_factory=dict)
    data: bytes | None = None
    content_type: str | None = None

    _channel: str = PrivateAttr(default="")
    _sequence: int = PrivateAttr(default=0)
    _ordering_key: str | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # for type checkers, pydantic's own signature stands

        def __init__(
            self,
            /,
            *,
            message_type=_UNSET,
            sender_id=_UNSET,
            payload=_UNSET,
            recipient_id=None,
            correlation_id=None,
            priority=Priority.MEDIUM,
            **rest,
        ):
            # A program that sends many messages makes them of values that are plainly right: of the very types that
            # validation would give back. Such a message is filled in a third of the time, and its payload is written
            # once, here; anything else, right or wrong, is validated. The tests hold the two ways to the same result.
            if (
                not rest
                and type(self) is AgentMessage
                and type(message_type) in _NAMES
                and type(sender_id) is str
                and type(priority) is Priority
                and (recipient_id is None or (type(recipient_id) is str and recipient_id))
                and (correlation_id is None or (type(correlation_id) is str and correlation_id))
                and (json := _NO_PAYLOAD if payload is _UNSET else _json_of(payload)) is not None
            ):
                name, time = _TYPES.get(message_type, message_type), time_ns()
                made = (MADE_READERS, new_id(), name, sender_id, recipient_id, json, correlation_id, priority, time)
                set_known(self, {SOURCE: made})
                return
            if message_type is not _UNSET:
                rest["message_type"] = message_type
            if sender_id is not _UNSET:
                rest["sender_id"] = sender_id
            if payload is not _UNSET:
                rest["payload"] = payload
            super().__init__(recipient_id=recipient_id, correlation_id=correlation_id, priority=priority, **rest)

    @property
    def channel(self) -> str:
        """The channel on which it was received, which may be one of many that a pattern matches; empty if it was made
        here. No field: it takes no part in equality and dumps."""
        channel: str = self._private("_channel", "")
        return channel

    @property
    def sequence(self) -> int:
        """Its place in the order of what the bus took, from 1; 0 if it was made here. No field, as `channel`."""
        sequence: int = self._private("_sequence", 0)
        return sequence

    @property
    def ordering_key(self) -> str | None:
        """The ordering key that it was stored with; None: it has none, or was made here. No field, as `channel`."""
        key: str | None = self._private("_ordering_key", None)
        return key

    def _private(self, name: str, default: Any) -> Any:
        source = known_fields(self).get(SOURCE)
        if source is None or (read := source[0].get(name)) is None:
            private = self.__pydantic_private__
            return private[name] if private else default
        return read(source)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # mutable

    def is_expired(self, at: datetime | None = None) -> bool:
        """Whether its age is over its TTL; False without one. `at` defaults to now."""
        if self.ttl_seconds is None:
            return False
        return ((at or now()) - self.timestamp).total_seconds() > self.ttl_seconds

    def create_response(
        self, sender_id: str, message_type: MessageType | str, payload: dict[str, Any] | None = None
    ) -> AgentMessage:
        """The reply to this message: to its sender, with its priority, tied to it by its correlation id (or, where it
        has none, its message id). TTL and metadata are not taken over."""
        return AgentMessage(
            message_type=message_type,
            sender_id=sender_id,
            recipient_id=self.sender_id or None,
            payload=payload or {},
            correlation_id=self.correlation_id or self.message_id,
            priority=self.priority,
        )


MESSAGE_FIELDS: Final = set(AgentMessage.model_fields)
"""The names of all fields; shared by the messages that are filled without validation."""


def _json_of(payload: object) -> bytes | None:
    """Returns a payload as JSON; None where only validation can say what is wrong with it."""
    if type(payload) is not dict:
        return None
    try:
        return encode_json(payload)
    except (ValueError, TypeError, RecursionError):
        return None


MADE_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "message_id": itemgetter(1),
    "message_type": itemgetter(2),
    "sender_id": itemgetter(3),
    "recipient_id": itemgetter(4),
    "payload": lambda made: decode_json(made[5]),
    "correlation_id": itemgetter(6),
    "priority": itemgetter(7),
    "timestamp": lambda made: _EPOCH + timedelta(microseconds=made[8] // 1_000),
    "ttl_seconds": lambda _: None,
    "metadata": lambda _: {},
    "data": lambda _: None,
    "content_type": lambda _: None,
    SOURCE: lambda _: None,
}
"""How the fields of a message made here are read: its payload is kept as JSON, its time as nanoseconds since 1970."""


def as_made(message: AgentMessage) -> tuple[Any, ...] | None:
    """Returns what a message made here keeps (see `MADE_READERS`) while that is all of it: it has no TTL, no metadata
    and no data, and nothing of it can have been changed. Else None."""
    known = known_fields(message)
    made: tuple[Any, ...] | None = known.get(SOURCE)
    if made is None or made[0] is not MADE_READERS or "payload" in known or "metadata" in known:
        return None
    return made
