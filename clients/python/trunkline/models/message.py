"""AgentMessage: the envelope that agents send each other."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from trunkline.models.enums import MessageType, Priority
from trunkline.models.fields import Id, JsonObject, Model, Time, new_id, now


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
