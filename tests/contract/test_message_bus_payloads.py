"""Payloads that are no JSON object, as agents in other languages send them: told as what they are, never as `{}`."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from tests.contract.durables import AT_ONCE, take
from tests.contract.inbox import Inbox
from tests.contract.raw import RawBus, raw_bus
from tests.patience import PATIENCE
from trunkline import AgentMessage, DurableMessage, DurableSettings, InvalidMessageError, MessageBus
from trunkline.bus.dead_letters import DeadLetter
from trunkline.v1.message_pb2 import Message

JSON = "application/json"


class Sent(NamedTuple):
    """A payload as it is sent, and what is said of it.

    Args:
        fields: of the wire message.
        kind: the content type with which it arrives.
        says: what the error of who reads `payload` says.
        value: what `json()` returns; an error where that raises the same error.
        position: the error's.
    """

    fields: dict[str, Any]
    kind: str
    says: str
    value: Any = InvalidMessageError
    position: int | None = None

    @property
    def data(self) -> bytes:
        text: str = self.fields.get("json", "")
        data: bytes = self.fields.get("data", text.encode())
        return data


CASES = {
    "array": Sent({"json": '[1, {"a": 2}]'}, JSON, "is a JSON array, not a JSON object", [1, {"a": 2}]),
    "number": Sent({"json": "1.50"}, JSON, "is a JSON number, not a JSON object", 1.5),
    "large number": Sent({"json": str(2**70)}, JSON, "is a JSON number, not a JSON object", 2**70),
    "text": Sent({"json": '"ä"'}, JSON, "is a JSON string, not a JSON object", "ä"),
    "boolean": Sent({"json": "false"}, JSON, "is a JSON boolean, not a JSON object", False),
    "null": Sent({"json": " null"}, JSON, "is null, not a JSON object", None),
    "broken": Sent({"json": '{"a": 1, b}'}, JSON, "cannot be read as JSON (application/json): Exp", position=9),
    "cut off": Sent({"json": '{"a": [1'}, JSON, "cannot be read as JSON (application/json): Exp", position=8),
    "not a number": Sent({"json": '{"a": NaN}'}, JSON, "cannot be read as JSON (application/json): JSON is malformed"),
    "empty text": Sent({"json": ""}, JSON, "cannot be read as JSON (application/json): Exp", position=0),
    "bytes": Sent({"data": b"\x00\xff", "content_type": "image/png"}, "image/png", "is 2 bytes of image/png, not JSON"),
    "bytes of no type": Sent({"data": b"{}"}, "application/octet-stream", "is 2 bytes of application/octet-stream"),
    "no bytes": Sent({"data": b""}, "application/octet-stream", "is 0 bytes of application/octet-stream, not JSON"),
    "array as bytes": Sent({"data": b"[1]", "content_type": JSON}, JSON, "is a JSON array, not a JSON object", [1]),
    "no UTF-8": Sent({"data": b'"\xff"', "content_type": JSON}, JSON, "cannot be read as JSON", position=1),
    "another JSON": Sent(
        {"data": b'{"a": 1}', "content_type": "application/ld+json; v=1"},
        "application/ld+json; v=1",
        "is a JSON object that was sent as bytes (application/ld+json; v=1)",
        {"a": 1},
    ),
}
OBJECTS = {
    "none": ({}, {}),
    "an empty object": ({"json": "{}"}, {}),
    "an object": ({"json": ' {"a": 1}'}, {"a": 1}),
    "an object as bytes": ({"data": b'{"a": 1}', "content_type": JSON}, {"a": 1}),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def sent(request: pytest.FixtureRequest) -> Sent:
    """One payload that is no JSON object."""
    case: Sent = request.param
    return case


@pytest.fixture
async def raw(bus: MessageBus) -> AsyncIterator[RawBus]:
    """The bus's service, as other languages call it."""
    async with raw_bus(bus) as raw:
        yield raw


def _check(message: AgentMessage, sent: Sent) -> None:
    """It is told as what it is."""
    assert (message.data, message.content_type) == (sent.data, sent.kind)
    with pytest.raises(InvalidMessageError) as read:
        _ = message.payload
    where = f" on {message.channel!r}" if message.channel else ""
    assert str(read.value).startswith(f"the payload of message {message.message_id!r}{where} {sent.says}")
    details = read.value.details
    assert (details["field"], details["content_type"]) == ("payload", sent.kind)
    assert (details["message_id"], details["channel"]) == (message.message_id, message.channel)
    assert details.get("position") == sent.position
    if sent.value is InvalidMessageError:
        with pytest.raises(InvalidMessageError) as refused:
            message.json()
        assert str(refused.value) == str(read.value)
    else:
        assert message.json() == sent.value
        assert type(message.json()) is type(sent.value)


async def test_a_live_message_is_told_as_what_it_is(bus: MessageBus, raw: RawBus, channel: str, sent: Sent) -> None:
    """`data` and `json()` have it; reading `payload` raises, and the subscription goes on."""
    inbox, handled = Inbox(), Inbox()

    async def handle(message: AgentMessage) -> None:
        await inbox(message)
        await handled(message.model_copy(update={"payload": dict(message.payload)}))

    await bus.subscribe(channel, handle)
    await raw.publish(channel, Message(message_id="strange", **sent.fields), Message(json='{"n": "good"}'))
    (good,) = await handled.have(1)
    assert good.payload == {"n": "good"}
    strange = (await inbox.have(2))[0]
    assert (strange.message_id, strange.channel) == ("strange", channel)
    _check(strange, sent)


async def test_a_copy_says_the_same(bus: MessageBus, raw: RawBus, channel: str, sent: Sent) -> None:
    """Copied, pickled, dumped and validated: equal, and none says `{}`."""
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    await raw.publish(channel, Message(**sent.fields))
    (message,) = await inbox.have(1)
    dump = message.model_dump()
    assert "payload" not in dump
    assert (dump["data"], dump["content_type"]) == (sent.data, sent.kind)
    assert "payload" not in dict(message)
    assert "payload=" not in repr(message)
    for same in (
        message.model_copy(),
        copy.deepcopy(message),
        pickle.loads(pickle.dumps(message)),
        AgentMessage.model_validate(dump),
    ):
        assert same == message
        _check(same, sent)


async def test_forwarded_it_is_unchanged(
    bus: MessageBus, other: MessageBus, raw: RawBus, channel: str, sent: Sent
) -> None:
    """Byte for byte, with its content type, by an agent that sends back what it got. JSON goes out as text."""

    async def echo(message: AgentMessage) -> None:
        await other.publish(f"{channel}:reply", message.model_copy(update={"message_id": "forwarded"}))

    await other.subscribe(channel, echo)
    reply = await raw.request(channel, Message(correlation_id="c", **sent.fields))
    assert reply.message_id == "forwarded"
    if sent.kind == JSON and sent.position != 1:  # text, also where it came as bytes
        assert (reply.WhichOneof("payload"), reply.json.encode()) == ("json", sent.data)
    else:
        assert (reply.WhichOneof("payload"), reply.data, reply.content_type) == ("data", sent.data, sent.kind)


async def test_a_reply_is_told_as_what_it_is(bus: MessageBus, raw: RawBus, channel: str, sent: Sent) -> None:
    """Of a responder in another language."""

    async def answer(message: AgentMessage) -> None:
        await raw.publish(f"{channel}:reply", Message(correlation_id=message.correlation_id or "", **sent.fields))

    await bus.subscribe(channel, answer)
    _check(await bus.request(channel, AgentMessage(message_type="x", sender_id="s"), PATIENCE), sent)


async def test_a_durable_message_that_cannot_be_used_is_a_dead_letter(
    bus: MessageBus, raw: RawBus, channel: str, name: str, sent: Sent
) -> None:
    """A callback that reads `payload`: each attempt has the true reason, the dead letter the payload as it was sent,
    and the next message is handled."""
    done = Inbox()
    settings = DurableSettings(max_deliveries=2, backoff=AT_ONCE.backoff)

    async def handle(message: DurableMessage) -> None:
        assert message.payload["n"] == "good"
        await done(message)

    await bus.create_durable(name, channel, settings=settings)
    await raw.publish(channel, Message(message_id="strange", **sent.fields), Message(json='{"n": "good"}'), stored=True)
    await bus.subscribe(channel, handle, durable=name)
    await done.have(1)
    letter = await _letter(bus, name)
    reason = f"InvalidMessageError: the payload of message 'strange' on {channel!r} {sent.says}"
    assert letter.error.startswith(reason)
    assert [attempt.error.startswith(reason) for attempt in letter.attempts] == [True, True]
    _check(letter.message, sent)


async def test_an_iterator_gives_them_too(bus: MessageBus, raw: RawBus, channel: str, name: str, sent: Sent) -> None:
    """Whoever reads `json()` or `data` acks it like any other."""
    await bus.create_durable(name, channel)
    await raw.publish(channel, Message(**sent.fields), stored=True)
    (message,) = await take(bus, channel, name, 1)
    _check(message, sent)


@pytest.mark.parametrize("given", list(OBJECTS.values()), ids=list(OBJECTS))
async def test_an_object_is_the_payload(
    bus: MessageBus, raw: RawBus, channel: str, given: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """However it was sent; where nothing was sent it is `{}`."""
    fields, payload = given
    inbox = Inbox()
    await bus.subscribe(channel, inbox)
    await raw.publish(channel, Message(**fields))
    (message,) = await inbox.have(1)
    assert message.payload == message.json() == message.model_dump()["payload"] == payload
    assert (message.data, message.content_type) == (None, None)


async def test_a_brief_dead_letter_does_not_say_that_its_payload_is_empty(
    bus: MessageBus, raw: RawBus, channel: str, name: str
) -> None:
    """It was left out: reading and publishing it raise."""
    await bus.create_durable(name, channel)
    await raw.publish(channel, Message(message_id="m", json='{"a": 1}'), stored=True)

    async def refuse(message: DurableMessage) -> None:
        await message.terminate("no")

    await bus.subscribe(channel, refuse, durable=name)
    assert (await _letter(bus, name)).message.payload == {"a": 1}
    brief = await _letter(bus, name, brief=True)
    with pytest.raises(InvalidMessageError, match=f"the payload of message 'm' on '{channel}' was left out"):
        _ = brief.message.payload
    with pytest.raises(InvalidMessageError, match="was left out"):
        await bus.publish(channel, brief.message)
    assert "payload" not in brief.message.model_dump()


async def _letter(bus: MessageBus, durable: str, *, brief: bool = False) -> DeadLetter:
    """The dead letter of a durable subscription, when there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async for letter in bus.dead_letters(durable=durable, brief=brief):
                return letter
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("metadata", ["[1]", '{"a": 1', "null", '"text"', '{"a": NaN}'])
async def test_metadata_that_is_no_object_is_never_passed_off_as_one(
    bus: MessageBus, raw: RawBus, channel: str, name: str, metadata: str
) -> None:
    """Whoever reads it gets an error, live and durable; all else is readable, and a copy says the same."""
    live = Inbox()
    await bus.subscribe(channel, live)
    await bus.create_durable(name, channel)
    await raw.publish(channel, Message(json='{"n": 1}', metadata_json=metadata), stored=True)
    (message,) = await live.have(1)
    (durable,) = await take(bus, channel, name, 1)
    pickled: AgentMessage = pickle.loads(pickle.dumps(message))
    for got in (message, durable):
        for each in (got, got.model_copy(), pickled):
            assert each.payload == {"n": 1}
            with pytest.raises(InvalidMessageError, match="is no JSON object") as caught:
                each.metadata  # noqa: B018
            assert caught.value.details["field"] == "metadata"
            assert "metadata" not in each.model_dump()
            with pytest.raises(InvalidMessageError):
                await bus.publish(channel, each)
        got.metadata = {"now": "one"}
        assert got.metadata == {"now": "one"}
