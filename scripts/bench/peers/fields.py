"""The fields of an AgentMessage, as somebody writes them who has no AgentMessage: with msgspec and with pydantic.

Each message is made with an id and a time of its own, is sent as JSON, and is read back into its type. Nothing of ours
is loaded here: AutoGen's roles use the model too, in an environment without us.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

from scripts.bench.payload import TEXT


class Kind(StrEnum):
    """What a message is for."""

    TASK_ASSIGNMENT = "task_assignment"
    TASK_RESULT = "task_result"
    STATUS_UPDATE = "status_update"
    ERROR = "error"
    FEEDBACK = "feedback"
    CONTROL = "control"


class Level(StrEnum):
    """Its priority."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def new_id() -> str:
    """An id of its own."""
    return str(uuid4())


def now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


class Model(BaseModel):
    """A message as pydantic's model."""

    message_id: str = Field(default_factory=new_id)
    message_type: Kind
    sender_id: str
    recipient_id: str | None = None
    payload: dict[str, Any] = Field(default_factory=dict)
    correlation_id: str | None = None
    priority: Level = Level.MEDIUM
    timestamp: datetime = Field(default_factory=now)
    ttl_seconds: int | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    data: bytes | None = None
    content_type: str | None = None


def new_model() -> Model:
    """What a publisher sends."""
    return Model(message_type=Kind.TASK_RESULT, sender_id="bench", payload={"data": TEXT})


def reply_to(request: Model) -> Model:
    """What a responder answers: a message of its own, tied to the request, with the payload that came."""
    return Model(
        message_type=Kind.TASK_RESULT,
        sender_id="responder",
        recipient_id=request.sender_id,
        correlation_id=request.message_id,
        payload={"data": request.payload["data"]},
    )
