"""The declared contract holds: a change that breaks it is caught, and clients that were made of it and today's programs
understand each other, whichever of the two is older."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from tests.compatibility.declared import CONTRACT, NEWER_NUMBER, ROOT, Contract
from tests.conformance.runners import Runner
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.polyglot.languages import LANGUAGES, build
from trunkline.v1 import bus_pb2, state_pb2


def breaking(protos: Path) -> subprocess.CompletedProcess[str]:
    """Asks whether protos break the declared contract."""
    buf = Path(sys.executable).with_name("buf")  # of the same environment, which need not be on the PATH
    command = [str(buf), "breaking", str(protos), "--against", str(CONTRACT)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)


def test_the_protos_hold_the_contract() -> None:
    """As they are."""
    done = breaking(ROOT / "protos")
    assert (done.returncode, done.stdout) == (0, "")


CHANGES = {
    "a number that is used again": ("message.proto", "string sender_id = 3;", "bytes sender = 3;", "sender_id"),
    "a number that is another": ("message.proto", "string sender_id = 3;", "string sender_id = 300;", "sender_id"),
    "a name that is another": ("message.proto", "string sender_id = 3;", "string from_id = 3;", "from_id"),
    "a field that is gone": (
        "bus.proto",
        "  string request_id = 1;\n  // Who cancels it",
        "  // Who cancels it",
        "request_id",
    ),
    "a call that is gone": ("bus.proto", "  rpc Publish(PublishRequest) returns (PublishResponse);\n", "", "Publish"),
    "a value that is gone": ("message.proto", "  PRIORITY_HIGH = 3;\n", "", 'enum value "3" on enum "Priority"'),
}
"""File, what stands there, what comes instead, and what is named."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_breaks_it_is_caught(change: str, tmp_path: Path) -> None:
    """By name."""
    name, before, after, named = CHANGES[change]
    changed = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", changed)
    file = changed / "trunkline" / "v1" / name
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))
    done = breaking(changed)
    assert done.returncode == 100
    assert named in done.stdout


def test_what_is_added_breaks_nothing(tmp_path: Path) -> None:
    """A field, a choice and a call more."""
    changed = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", changed)
    file = changed / "trunkline" / "v1" / "bus.proto"
    text = file.read_text()
    call = "  rpc Publish(PublishRequest) returns (PublishResponse);\n"
    assert text.count(call) == 1
    file.write_text(
        text.replace(call, f"{call}  rpc Newer(NewerRequest) returns (NewerResponse);\n")
        + "message NewerRequest {}\nmessage NewerResponse {}\n"
    )
    done = breaking(changed)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("is_newer", [False, True], ids=["declared", "newer"])
async def test_a_client_of_a_contract_works_with_the_bus_of_today(start_program: StartProgram, is_newer: bool) -> None:
    """Of the declared one, and of one that has more: a message keeps what the service does not know of it, and the
    others of a frame's items go on where one is unknown."""
    contract = Contract(is_newer=is_newer)
    address = start_program("bus").address
    async with grpc.aio.insecure_channel(address) as line, asyncio.timeout(PATIENCE):
        stream = contract.call(line, "BusService/OpenStream", "stream_stream")()
        more = 'newer_field: "more"' if is_newer else ""
        await stream.write(
            contract.message(
                "OpenStreamRequest",
                f"""items {{ id: 1 subscribe {{ start {{ pattern: "a:>" responder: true {more} }} }} }}
                items {{ id: 2 publish {{ channel: "a:b" messages {{ message_id: "m" json: "{{}}" {more} }} {more} }} }}
                items {{ id: 3 {'newer_item_0: "x"' if is_newer else ""} }} items {{ id: 4 ping {{}} }} {more}""",
            )
        )
        said: dict[int, list[Any]] = {}
        while 4 not in said:
            for item in (await stream.read()).items:
                said.setdefault(item.id, []).append(item)
        assert said[1][0].subscription.HasField("started")
        assert said[2][0].published.receipts[0].sequence > 0
        assert (said[3][0].error.reason, said[3][0].error.metadata["field"]) == ("INVALID_MESSAGE", "item")

        asking = contract.message(
            "RequestRequest", f'channel: "a:ask" message {{ json: "1" {more} }} timeout {{ seconds: 60 }} {more}'
        )
        reply = asyncio.ensure_future(_unary(contract.call(line, "BusService/Request"), asking))
        deliveries = [item.subscription.deliveries for item in said[1][1:]]
        while not any(each.requests for each in deliveries):
            deliveries += [item.subscription.deliveries for item in (await stream.read()).items if item.id == 1]
        (asked,) = next(each for each in deliveries if each.requests).messages
        if is_newer:
            assert asked.newer_field == "more"
        answer = f"""items {{ id: 1 subscribe {{ respond {{ request_id: "{asked.correlation_id}"
            events {{ result {{ message {{ json: "2" {more} }} }} }} }} }} }}"""
        await stream.write(contract.message("OpenStreamRequest", answer))
        assert (await reply).message.json == "2"


@pytest.mark.parametrize("is_newer", [False, True], ids=["declared", "newer"])
async def test_a_client_of_a_contract_works_with_the_state_of_today(
    start_program: StartProgram, is_newer: bool
) -> None:
    """A record is saved, found and watched; a call that is unknown is refused, and the stream goes on."""
    contract = Contract(is_newer=is_newer)
    address = start_program("state", "--engine", "memory").address
    more = 'newer_field: "more"' if is_newer else ""
    async with grpc.aio.insecure_channel(address) as line, asyncio.timeout(PATIENCE):
        stream = contract.call(line, "StateService/OpenStateStream", "stream_stream")()
        await stream.write(
            contract.message(
                "OpenStateStreamRequest",
                f"""items {{ id: 1 save {{ agent_state {{ agent_id: "a" agent_type: "coding" {more} }} {more} }} }}
                items {{ id: 2 {'newer_item_0: "x"' if is_newer else ""} }}""",
            )
        )
        said: dict[int, Any] = {}
        while len(said) < 2:
            said |= {item.id: item for item in (await stream.read()).items}
        assert said[1].saved.revision == 1
        assert said[2].error.reason == "INVALID_RECORD"
        get = contract.message("GetRequest", f'kind: RECORD_KIND_AGENT_STATE id: "a" {more}')
        record = (await _unary(contract.call(line, "StateService/Get"), get)).record
        assert record.agent_state.agent_id == "a"
        if is_newer:
            assert record.agent_state.newer_field == "more"
        watch = contract.call(line, "StateService/Watch", "unary_stream")(contract.message("WatchRequest", more))
        assert (await watch.read()).record.revision == 1


async def _unary(call: Any, request: Any) -> Any:
    return await call(request, timeout=PATIENCE)


def add_newer(message: Message) -> None:
    """Adds to a message, and to all within it, a field that its own contract has not."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else (value,):
            if not isinstance(each, bytes):
                add_newer(each)
    message.MergeFromString(_text(NEWER_NUMBER, b"more"))


def _text(number: int, value: bytes) -> bytes:
    """A field as the wire has it."""
    tag = number << 3 | 2
    head = bytearray()
    while tag > 0x7F:
        head.append(tag & 0x7F | 0x80)
        tag >>= 7
    return bytes(head) + bytes([tag, len(value)]) + value


@asynccontextmanager
async def newer_service(address: str, streams: dict[str, type[Any]], calls: dict[str, type[Any]]) -> AsyncIterator[str]:
    """Serves some streams and calls of a service as a newer one would: each answer has more fields, and a stream items
    nobody knows."""
    async with grpc.aio.insecure_channel(address) as line:

        def said(context: Any) -> list[Any]:
            return [each for each in context.invocation_metadata() if each[0].startswith("trunkline-")]

        def forward_call(path: str, answer: type[Any]) -> Any:
            async def serve(request: Any, context: Any) -> bytes:
                call: Any = line.unary_unary(path)
                read = answer.FromString(await call(request, metadata=said(context)))
                add_newer(read)
                encoded: bytes = read.SerializeToString()
                return encoded

            return grpc.unary_unary_rpc_method_handler(serve)

        def forward(path: str, frame: type[Any]) -> Any:
            async def serve(requests: Any, context: Any) -> None:
                call: Any = line.stream_stream(path)(requests, metadata=said(context))
                await context.send_initial_metadata(await call.initial_metadata())
                async for answer in call:
                    read = frame.FromString(answer)
                    add_newer(read)
                    unknown = frame(items=[{"id": 1}, {"id": 99}])
                    for item in unknown.items:
                        item.MergeFromString(_text(NEWER_NUMBER + 1, b"an item that nobody knows"))
                    await context.write(unknown.SerializeToString() + read.SerializeToString())

            return grpc.stream_stream_rpc_method_handler(serve)

        class Calls(grpc.GenericRpcHandler):
            def service(self, details: grpc.HandlerCallDetails) -> Any:
                if (frame := streams.get(details.method)) is not None:
                    return forward(details.method, frame)
                answer = calls.get(details.method)
                return None if answer is None else forward_call(details.method, answer)

        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Calls(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


STREAMS: dict[str, type[Any]] = {
    "/trunkline.v1.BusService/OpenStream": bus_pb2.OpenStreamResponse,
    "/trunkline.v1.StateService/OpenStateStream": state_pb2.OpenStateStreamResponse,
}
CALLS: dict[str, type[Any]] = {
    "/trunkline.v1.BusService/Publish": bus_pb2.PublishResponse,
    "/trunkline.v1.BusService/Request": bus_pb2.RequestResponse,
    "/trunkline.v1.StateService/Save": state_pb2.SaveResponse,
    "/trunkline.v1.StateService/Get": state_pb2.GetResponse,
}
"""What Rust calls, where the others have a stream for it."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_client_of_today_works_with_newer_services(language: str, start_program: StartProgram) -> None:
    """It passes over what it does not know, and all else comes as from a service of today."""
    bus, state = start_program("bus").address, start_program("state", "--engine", "memory").address
    runner = Runner(await asyncio.to_thread(build, language))

    async def do(verb: str, **words: Any) -> Any:
        answer = await asyncio.to_thread(runner.do, {"do": verb, **words})
        assert "ok" in answer, f"{verb}: {answer}"
        return answer["ok"]

    try:
        async with newer_service(bus, STREAMS, CALLS) as newer_bus, newer_service(state, STREAMS, CALLS) as newer_state:
            await do("connect_bus", address=newer_bus)
            await do("connect_state", address=newer_state)
            await do("subscribe", name="live", pattern="a:>")
            await do("subscribe", name="kept", pattern="b:>", durable="kept")
            await do("respond", pattern="ask:>")
            message = {"type": "t", "sender": "s", "json": '{"n": 1}'}
            await do("publish", channel="a:b", messages=[message])
            receipts = (await do("publish", channel="b:c", messages=[message], stored=True))["receipts"]
            assert len(receipts) == 1
            for name in ("live", "kept"):
                (came,) = (await do("expect", **{"from": name}))["messages"]
                assert came["message"]["json"].replace(" ", "") == '{"n":1}'
            reply = await do("request", channel="ask:me", message=message, timeout=PATIENCE)
            assert reply["message"]["json"].replace(" ", "") == '{"n":1}'
            await do("save", record={"id": "one", "type": "coding", "errors": "1"})
            assert (await do("get", id="one"))["record"]["errors"] == "1"
            await do("close")
    finally:
        await asyncio.to_thread(runner.end)
