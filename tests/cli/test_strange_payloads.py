"""subscribe, request and dead-letters of payloads that are no JSON object: told as what they are, never as `{}`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.cli.conftest import Follow, Trunkline
from tests.patience import PATIENCE
from trunkline import AgentMessage, DurableMessage, DurableSettings, GrpcMessageBus, sync
from trunkline.v1.bus_pb2 import DURABILITY_STORED, DURABILITY_UNSPECIFIED, Durability, PublishRequest
from trunkline.v1.bus_pb2_grpc import BusServiceStub
from trunkline.v1.message_pb2 import Message

BROKEN = '{"a": 1, \x1b[31mb}'
STRANGE = {
    "array": Message(json="[1, 2]"),
    "null": Message(json="null"),
    "broken": Message(json=BROKEN),
    "empty": Message(json=""),
    "bytes": Message(data=b"\x00\xff", content_type="image/png"),
}
"""Messages of another language, by their ids."""
SHOWN = {
    "array": "[1, 2]",
    "null": "null",
    "broken": '{"a": 1, \\x1b[31mb}',
    "empty": "",
    "bytes": "<2 bytes of image/png>",
}
"""What people see of each."""


def _publish(address: str, channel: str, *messages: Message, durability: Durability = DURABILITY_UNSPECIFIED) -> None:
    with grpc.insecure_channel(address) as raw:
        stub: Any = BusServiceStub(raw)
        stub.Publish(PublishRequest(channel=channel, messages=messages, durability=durability))


def _strange() -> list[Message]:
    found = []
    for name, message in STRANGE.items():
        found.append(Message(message_id=name, sender_id="go", message_type="x"))
        found[-1].MergeFrom(message)
    return found


def _check(shown: dict[str, dict[str, Any]]) -> None:
    """What scripts get of each message, by its id."""
    payloads = {
        name: {key: fields[key] for key in fields if key.startswith(("payload", "data", "content"))}
        for name, fields in shown.items()
    }
    assert payloads["array"] == {"payload": [1, 2]}
    assert payloads["null"] == {"payload": None}
    assert payloads["bytes"] == {"data_base64": "AP8=", "content_type": "image/png"}
    assert payloads["broken"].pop("payload_text") == BROKEN
    assert "cannot be read as JSON (application/json)" in payloads["broken"]["payload_error"]
    assert "(char 9)" in payloads["broken"]["payload_error"]
    assert payloads["empty"]["payload_text"] == ""
    assert payloads.keys() == STRANGE.keys()


def test_subscribe_shows_them(follow: Follow, bus_address: str, channel: str) -> None:
    """To people in one line each, which steers no terminal; to scripts by what they are."""
    people = follow("subscribe", channel, "--count", "5", until="subscribed")
    scripts = follow("subscribe", channel, "--count", "5", "--format", "json", until="subscribed")
    _publish(bus_address, channel, *_strange())
    lines = people.communicate(timeout=PATIENCE)[0].splitlines()
    assert [line.split("  ", 4)[4] for line in lines] == list(SHOWN.values())
    shown = [json.loads(line) for line in scripts.communicate(timeout=PATIENCE)[0].splitlines()]
    _check({each["message_id"]: each for each in shown})
    assert (people.returncode, scripts.returncode) == (0, 0)


def test_dead_letters_show_them(trunkline: Trunkline, bus_address: str, channel: str, name: str) -> None:
    """With the error of the callback that could not use them."""

    async def die() -> None:
        async with GrpcMessageBus(bus_address) as bus, asyncio.timeout(60):
            await bus.create_durable(name, channel, settings=DurableSettings(max_deliveries=1))
            await asyncio.to_thread(_publish, bus_address, channel, *_strange(), durability=DURABILITY_STORED)
            told = asyncio.Event()

            async def hear(_: AgentMessage) -> None:
                if await bus.count_dead_letters(durable=name) == len(STRANGE):
                    told.set()

            async def use(message: DurableMessage) -> None:
                assert message.payload

            await bus.subscribe("conductor:dlq", hear)
            await bus.subscribe(channel, use, durable=name)
            await told.wait()

    asyncio.run(die())
    listed = trunkline("dead-letters", "list", "--durable", name)
    assert listed.returncode == 0
    assert listed.stdout.count("InvalidMessageError: the payload of message") == len(STRANGE)
    letters = [
        json.loads(line)
        for line in trunkline("dead-letters", "list", "--durable", name, "--format", "json").stdout.splitlines()
    ]
    _check({letter["message"]["message_id"]: letter["message"] for letter in letters})
    for letter in letters:
        said = trunkline("dead-letters", "show", str(letter["dead_letter_id"])).stdout
        assert f"InvalidMessageError: the payload of message '{letter['message']['message_id']}' on '{channel}'" in said
        if letter["message"]["message_id"] == "bytes":
            assert "<2 bytes of image/png>; --format json shows them" in said


@pytest.fixture
def responder(bus_address: str, channel: str) -> Iterator[str]:
    """Answers each request with the strange message that it asks for."""

    def answer(message: AgentMessage) -> None:
        reply = Message(correlation_id=message.correlation_id or "", message_id="reply", sender_id="go")
        reply.MergeFrom(STRANGE[str(message.payload["wanted"])])
        _publish(bus_address, f"{channel}:reply", reply)

    with sync.MessageBus(bus_address) as bus:
        bus.subscribe(channel, answer)
        yield channel


@pytest.mark.parametrize("wanted", STRANGE)
def test_a_request_shows_such_a_reply(trunkline: Trunkline, responder: str, wanted: str) -> None:
    """The JSON value where it is one, else what `subscribe` shows."""
    question = json.dumps({"wanted": wanted})
    said = trunkline("request", responder, question)
    assert (said.returncode, said.stdout, said.stderr) == (0, SHOWN[wanted] + "\n", "")
    reply = json.loads(trunkline("--format", "json", "request", responder, question).stdout)
    assert (reply["sender_id"], reply["channel"]) == ("go", f"{responder}:reply")
    names = {"array": "payload", "null": "payload", "broken": "payload_text", "empty": "payload_text"}
    assert names.get(wanted, "data_base64") in reply
