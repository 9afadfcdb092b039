"""Fields that are read when they are asked for: a message is the same, whether they were or not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from trunkline import AgentMessage, MessageType
from trunkline.bus.codec import decode_message
from trunkline.models.lazy import SOURCE, known_fields
from trunkline.v1.message_pb2 import Message

WIRE = Message(
    message_id="m",
    message_type="control",
    sender_id="s",
    json='{"n": 1}',
    timestamp={"seconds": 1},
    ordering_key="k",
    metadata_json='{"trace": "t"}',
)


def unread() -> AgentMessage:
    """A message as it came, of which nothing was asked."""
    return decode_message(WIRE, "c", 7)


def read() -> AgentMessage:
    """The same, of which every field was asked."""
    message = unread()
    for name in AgentMessage.model_fields:
        getattr(message, name)
    return message


@pytest.mark.parametrize(
    "look",
    [
        repr,
        dir,
        vars,
        dict,
        copy.copy,
        copy.deepcopy,
        lambda message: message.model_dump(),
        lambda message: message.model_dump_json(),
        lambda message: message.model_copy(update={"sender_id": "other"}),
        lambda message: pickle.loads(pickle.dumps(message)),
        lambda message: message.model_fields_set,
        lambda message: message.model_extra,
        lambda message: (message.channel, message.sequence, message.ordering_key),
        lambda message: (copy.copy(message).channel, pickle.loads(pickle.dumps(message)).sequence),
    ],
)
def test_who_looks_sees_a_whole_message(look: Callable[[AgentMessage], Any]) -> None:
    """Dumps, copies, pickles, and what Python tells of any object."""
    assert look(unread()) == look(read())
    assert SOURCE not in vars(unread())


def test_a_field_is_read_once() -> None:
    """What was read is the message's own: what is changed in it stays."""
    message = unread()
    message.payload["n"] = 2
    assert message.payload == {"n": 2}
    assert set(known_fields(message)) == {SOURCE, "payload"}
    assert message.model_dump()["payload"] == {"n": 2}


def test_assigning_checks_as_ever() -> None:
    """A wrong value is refused and changes nothing; a right one is taken."""
    message = unread()
    with pytest.raises(ValueError, match="ttl_seconds"):
        message.ttl_seconds = 0
    assert message == unread()
    message.sender_id = "other"
    assert (message.sender_id, message.payload, message.channel) == ("other", {"n": 1}, "c")


def test_what_is_no_field_is_no_attribute() -> None:
    """Also of the class, as pydantic has it."""
    assert not hasattr(unread(), "nonsense")
    assert not hasattr(AgentMessage, "payload")


def test_a_users_own_class_is_validated_whole() -> None:
    """Its fields have their defaults, and its validators run, whatever the message is made of."""

    class Own(AgentMessage):
        answer: int = 42

        @field_validator("sender_id")
        @classmethod
        def _upper(cls, value: str) -> str:
            return value.upper()

    own = Own(message_type=MessageType.CONTROL, sender_id="s", payload={"n": 1})
    assert (own.answer, own.sender_id, own.payload) == (42, "S", {"n": 1})


def test_it_is_a_field_of_a_users_model() -> None:
    """As it is, and written as JSON and back."""

    class Envelope(BaseModel):
        message: AgentMessage

    envelope = Envelope(message=unread())
    assert Envelope.model_validate_json(envelope.model_dump_json()) == Envelope(message=read())
