"""The codec and the passthrough types: what goes over the wire comes back the same."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import AgentMessage, MessageType, Priority
from trunkline.bus.codec import decode_message
from trunkline.errors import InvalidMessageError
from trunkline.message_encoding import encode_message
from trunkline.models import message as message_module
from trunkline.models.json import JSON_TYPE
from trunkline.models.message import as_made
from trunkline.v1 import bus_pb2
from trunkline.v1.message_pb2 import Message
from trunkline.wire.opaque import bus_passthrough

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.integers(-(2**200), 2**200) | st.floats(allow_nan=False, allow_infinity=False)
values: Any = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
payloads: Any = st.fixed_dictionaries({"payload": objects}) | st.fixed_dictionaries(
    {"data": st.binary(max_size=50), "content_type": names}
)


@st.composite
def messages(draw: st.DrawFn) -> AgentMessage:
    return AgentMessage(
        message_id=draw(names),
        message_type=draw(st.sampled_from(MessageType) | texts),
        sender_id=draw(texts),
        recipient_id=draw(st.none() | names),
        correlation_id=draw(st.none() | names),
        priority=draw(st.sampled_from(Priority)),
        timestamp=draw(times),
        ttl_seconds=draw(st.none() | st.integers(1, 2**31 - 1)),
        metadata=draw(objects),
        **draw(payloads),
    )


@given(messages())
def test_a_message_comes_back_the_same(message: AgentMessage) -> None:
    """All fields: big integers, strange text, times of the years 1 to 9999 to the microsecond, bytes."""
    back = decode_message(Message.FromString(encode_message(message)))
    assert back == message
    assert back.model_dump() == message.model_dump()
    assert type(back.message_type) is type(message.message_type)
    assert type(back.priority) is Priority
    assert back.timestamp.tzinfo is UTC
    assert pickle.loads(pickle.dumps(back)) == back
    assert AgentMessage.model_validate(back.model_dump()) == message
    copied = back.model_copy(update={"sender_id": "other"}, deep=True)
    assert (copied.sender_id, back.sender_id) == ("other", message.sender_id)


@given(messages(), names)
def test_another_correlation_id_takes_its_place(message: AgentMessage, correlation_id: str) -> None:
    """A request goes out with its correlation id, and the message itself is not changed."""
    before = message.model_dump()
    back = decode_message(Message.FromString(encode_message(message, correlation_id)))
    assert back.correlation_id == correlation_id
    assert back.model_dump(exclude={"correlation_id"}) == message.model_dump(exclude={"correlation_id"})
    assert message.model_dump() == before


@given(st.binary(max_size=40), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_any_json_text_is_read_or_kept(raw: bytes, nanos: int, seconds: int) -> None:
    """Whatever text and time others send: it is read, or kept as data; a time beyond the calendar is its end."""
    wire = Message(json=raw.decode("latin-1"), metadata_json=raw.decode("latin-1"))
    wire.timestamp.seconds, wire.timestamp.nanos = seconds, nanos
    message = decode_message(wire)
    assert message.data is None or message.data == wire.json.encode()
    beyond = datetime.max if seconds > 0 else datetime.min
    assert message.timestamp.timestamp() == pytest.approx(seconds, abs=3) or message.timestamp == beyond.replace(
        tzinfo=UTC
    )


@given(
    st.sampled_from(MessageType) | texts,
    texts,
    st.builds(lambda payload: {"payload": payload}, objects)
    | st.builds(
        lambda data, kind: {"data": data, "content_type": kind},
        st.binary(max_size=40),
        st.none() | st.just("application/json; charset=utf-8") | texts.filter(lambda kind: kind != JSON_TYPE),
    ),
    st.none() | names,
    st.none() | names,
    st.sampled_from(Priority),
    st.integers(0, 2**62),
)
def test_the_quick_way_writes_what_protobuf_writes(
    message_type: str,
    sender: str,
    content: dict[str, Any],
    recipient: str | None,
    correlation: str | None,
    priority: Priority,
    time: int,
) -> None:
    """Byte for byte, and both are the same message: one of which nothing was asked since it was made, and its copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message_module, "time_ns", lambda: time)
        message = AgentMessage(
            message_type=message_type,
            sender_id=sender,
            recipient_id=recipient,
            correlation_id=correlation,
            priority=priority,
            **content,
        )
    assert as_made(message) is not None
    quick = encode_message(message)
    copied = message.model_copy()
    assert as_made(copied) is None
    assert quick == encode_message(copied)
    assert copied == message


def test_what_is_changed_after_it_was_made_is_what_is_sent() -> None:
    """In place or by assignment; the quick way is for what nobody can have changed."""
    message = AgentMessage(message_type="a", sender_id="b", payload={"n": 1})
    message.payload["n"] = 2
    message.metadata["trace"] = "t"
    back = decode_message(Message.FromString(encode_message(message)))
    assert (back.payload, back.metadata) == ({"n": 2}, {"trace": "t"})
    message = AgentMessage(message_type="a", sender_id="b", payload={"n": 1})
    message.recipient_id = "c"
    assert decode_message(Message.FromString(encode_message(message))).recipient_id == "c"
    message = AgentMessage(message_type="a", sender_id="b", payload={"n": 1})
    message.payload["n"] = float("nan")
    with pytest.raises(InvalidMessageError, match="nan"):
        encode_message(message)


def test_what_is_given_is_copied() -> None:
    """What the caller changes later in its own payload is not sent, nested or not."""
    given: dict[str, Any] = {"n": 1, "inner": {"list": [1]}}
    message = AgentMessage(message_type="a", sender_id="b", payload=given)
    given["n"] = 2
    given["inner"]["list"].append(2)
    assert message.payload == {"n": 1, "inner": {"list": [1]}}


@given(st.lists(messages(), max_size=4), texts)
def test_passthrough_types_are_the_same_on_the_wire(several: list[AgentMessage], channel: str) -> None:
    """What is written with a passthrough type is read as the public type, and the other way round."""
    types = bus_passthrough()
    encoded = [encode_message(message) for message in several]
    wires = [Message.FromString(each) for each in encoded]
    frame = types["OpenStreamRequest"]()
    publish = frame.items.add(id=7).publish
    publish.channel = channel
    publish.messages.extend(encoded)
    public = bus_pb2.OpenStreamRequest.FromString(frame.SerializeToString())
    assert list(public.items[0].publish.messages) == wires
    assert list(types["OpenStreamRequest"].FromString(public.SerializeToString()).items[0].publish.messages) == [
        each.SerializeToString() for each in wires
    ]
    deliveries = bus_pb2.SubscribeResponse.Deliveries(channel=channel, first_sequence=3, messages=wires)
    passed = types["SubscribeResponse"].FromString(bus_pb2.SubscribeResponse(deliveries=deliveries).SerializeToString())
    assert [Message.FromString(each) for each in passed.deliveries.messages] == wires
    assert (passed.deliveries.channel, passed.deliveries.first_sequence) == (channel, 3)
    for wire, each in zip(wires, encoded, strict=True):
        request = bus_pb2.RequestRequest(channel=channel, message=wire)
        assert Message.FromString(types["RequestRequest"].FromString(request.SerializeToString()).message) == wire
        response = types["RequestResponse"](channel=channel, message=each)
        assert bus_pb2.RequestResponse.FromString(response.SerializeToString()).message == wire
    assert not types["RequestRequest"].FromString(bus_pb2.RequestRequest().SerializeToString()).HasField("message")
    empty = bus_pb2.RequestRequest(message=Message()).SerializeToString()
    assert types["RequestRequest"].FromString(empty).HasField("message")
    assert types["RequestRequest"](message=b"").SerializeToString() == empty
