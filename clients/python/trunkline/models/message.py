"""AgentMessage: the envelope that agents send each other."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, PrivateAttr

from trunkline.models.enums import MessageType, Priority
from trunkline.models.fields import Id, JsonObject, Model, Time, fill_model, new_id, now
from trunkline.models.json import is_plain

_UNSET: Final = object()


class AgentMessage(Model):
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
            recipient_id=_UNSET,
            correlation_id=_UNSET,
            priority=_UNSET,
            **rest,
        ):
            # A program that sends many messages makes them of values that are plainly right: of the very types that
            # validation would give back. Such a message is filled in half the time; anything else, right or wrong, is
            # validated. The tests hold the two ways to the same result.
            if (
                not rest
                and type(message_type) is MessageType
                and type(sender_id) is str
                and (payload is _UNSET or is_plain(payload))
                and (recipient_id is _UNSET or recipient_id is None or (type(recipient_id) is str and recipient_id))
                and (
                    correlation_id is _UNSET
                    or correlation_id is None
                    or (type(correlation_id) is str and correlation_id)
                )
                and (priority is _UNSET or type(priority) is Priority)
            ):
                given = {
                    "message_id": new_id(),
                    "message_type": message_type,
                    "sender_id": sender_id,
                    "recipient_id": None if recipient_id is _UNSET else recipient_id,
                    "payload": {} if payload is _UNSET else dict(payload),
                    "correlation_id": None if correlation_id is _UNSET else correlation_id,
                    "priority": Priority.MEDIUM if priority is _UNSET else priority,
                    "timestamp": now(),
                    "ttl_seconds": None,
                    "metadata": {},
                    "data": None,
                    "content_type": None,
                }
                fill_model(self, given, MESSAGE_FIELDS)
                return
            if message_type is not _UNSET:
                rest["message_type"] = message_type
            if sender_id is not _UNSET:
                rest["sender_id"] = sender_id
            if payload is not _UNSET:
                rest["payload"] = payload
            if recipient_id is not _UNSET:
                rest["recipient_id"] = recipient_id
            if correlation_id is not _UNSET:
                rest["correlation_id"] = correlation_id
            if priority is not _UNSET:
                rest["priority"] = priority
            super().__init__(**rest)

    @property
    def channel(self) -> str:
        """The channel on which it was received, which may be one of many that a pattern matches; empty if it was made
        here. No field: it takes no part in equality and dumps."""
        private = self.__pydantic_private__
        return private["_channel"] if private else ""

    @property
    def sequence(self) -> int:
        """Its place in the order of what the bus took, from 1; 0 if it was made here. No field, as `channel`."""
        private = self.__pydantic_private__
        return private["_sequence"] if private else 0

    @property
    def ordering_key(self) -> str | None:
        """The ordering key that it was stored with; None: it has none, or was made here. No field, as `channel`."""
        private = self.__pydantic_private__
        return private["_ordering_key"] if private else None

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
