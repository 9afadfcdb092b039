"""The seed's UNIX-socket mode, standing alone: lines become messages on the bus, and messages lines."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.channel.clients import LineClient, line
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, run_program
from trunkline.bus.grpc.bus import GrpcMessageBus
from trunkline.channels import agent_channel
from trunkline.limits import MAX_MESSAGE_BYTES
from trunkline.models import AgentMessage, MessageType


@pytest.fixture
def path(sidecar_address: str) -> str:
    path = str(Path(sidecar_address.removeprefix("unix:")).with_name("channel.sock"))
    with LineClient(path) as client:
        until_bus_is_reached(client)
    return path


@pytest.fixture
def client(path: str) -> Iterator[LineClient]:
    with LineClient(path) as client:
        yield client


@pytest.fixture
async def bus(bus_address: str) -> AsyncIterator[GrpcMessageBus]:
    async with GrpcMessageBus(bus_address) as bus:
        yield bus


@pytest.fixture
def target() -> str:
    """A target's name of this test alone, since the bus is shared."""
    return f"target-{uuid.uuid4()}"


def until_bus_is_reached(client: LineClient) -> None:
    """Asks nobody for something until it is the bus that answers."""
    for _ in range(600):
        client.send(line(sender="ext", target=f"nobody-{uuid.uuid4()}"))
        if "NO_RESPONDERS" in client.read_error():
            return
        time.sleep(0.05)
    pytest.fail("the bus was never reached")


async def answering(bus: GrpcMessageBus, target: str, delays: dict[str, float] | None = None) -> None:
    """Answers commands for a target with their own payload, each after its delay."""

    async def answer(message: AgentMessage) -> None:
        text = str(message.payload["payload"])
        await asyncio.sleep((delays or {}).get(text, 0))
        reply = message.create_response(target, MessageType.STATUS_UPDATE, {"payload": f"done {text}"})
        await bus.publish(agent_channel(message.sender_id), reply)

    await bus.subscribe(agent_channel(target), answer, concurrency=64)


async def published_until_heard(bus: GrpcMessageBus, name: str, client: LineClient) -> None:
    """Publishes for a name, each time from another sender, until a line waits at the client."""
    for number in range(600):
        await bus.publish(agent_channel(name), AgentMessage(message_type="feedback", sender_id=f"{number}"))
        if not await asyncio.to_thread(client.is_silent, 0.05):
            return
    pytest.fail("the name was never reached")


async def read(client: LineClient) -> dict[str, Any]:
    return await asyncio.to_thread(client.read)


async def test_a_status_is_published_for_its_target(bus: GrpcMessageBus, client: LineClient, target: str) -> None:
    """STATUS of sender S to target T is a status_update on conductor:agent:T; nothing is answered."""
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    await bus.subscribe(agent_channel(target), came.put)
    client.send(line("running", type="STATUS", sender="ext", target=target))
    message = await asyncio.wait_for(came.get(), PATIENCE)
    assert (message.sender_id, message.message_type) == ("ext", MessageType.STATUS_UPDATE)
    assert (message.recipient_id, message.payload) == (target, {"payload": "running"})
    assert client.is_silent(0.05)


async def test_without_a_target_it_is_the_orchestrator(bus: GrpcMessageBus, client: LineClient) -> None:
    """The seed's lines name no target."""
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    await bus.subscribe(agent_channel("orchestrator"), came.put)
    sender = f"ext-{uuid.uuid4()}"
    client.send(line("x", type="STATUS", sender=sender))
    while (await asyncio.wait_for(came.get(), PATIENCE)).sender_id != sender:
        continue
    await bus.unsubscribe(agent_channel("orchestrator"))


@pytest.mark.parametrize("text", ["[1, 2]", "null", '{"broken": ', ""])
async def test_json_of_any_kind_comes_as_its_text(
    bus: GrpcMessageBus, client: LineClient, target: str, text: str
) -> None:
    """A line's payload is text: a reply that is no JSON object is passed on as it was sent, never as `{}`."""

    async def answer(message: AgentMessage) -> None:
        reply = message.create_response(target, MessageType.STATUS_UPDATE)
        reply.data, reply.content_type = text.encode(), "application/json"
        await bus.publish(agent_channel(message.sender_id), reply)

    await bus.subscribe(agent_channel(target), answer)
    client.send(line("ps", target=target, sender=f"cli-{uuid.uuid4()}"))
    assert (await read(client))["payload"] == text


async def test_a_command_is_answered_by_one_line(bus: GrpcMessageBus, client: LineClient, target: str) -> None:
    """Sender the replier, type STATUS, payload exact; and once, although the reply is published for the sender too."""
    await answering(bus, target)
    client.send(line("ps", target=target, sender=f"cli-{uuid.uuid4()}"))
    answer = await read(client)
    assert (answer["sender"], answer["type"], answer["payload"]) == (target, "STATUS", "done ps")
    assert "request_id" not in answer
    assert client.is_silent(0.1)


async def test_each_dialect_is_answered_in_itself(bus: GrpcMessageBus, client: LineClient, target: str) -> None:
    """The later dialect: event_name, object payload, request_id and protocol_version given back; no newline needed."""
    await answering(bus, target)
    request = {
        "sender": "cli",
        "event_name": "COMMAND",
        "payload": {"c": 1},
        "request_id": "r",
        "protocol_version": "1",
    }
    client.send(json.dumps(request | {"target": target}).encode())
    answer = await read(client)
    assert (answer["event_name"], answer["request_id"], answer["protocol_version"]) == ("STATUS", "r", "1")
    assert answer["payload"] == {"message": 'done {"c": 1}'}


async def test_concurrent_commands_do_not_see_each_others_answers(bus: GrpcMessageBus, path: str, target: str) -> None:
    """Clients of one name, many commands pending on one connection, answers in any order: each gets its own."""
    await answering(bus, target, {f"{number}": 0.2 - number * 0.01 for number in range(20)})
    with LineClient(path) as one, LineClient(path) as two:
        for number in range(20):
            request = {"sender": "cli", "event_name": "COMMAND", "payload": f"{number}", "request_id": f"id {number}"}
            (one if number % 2 else two).send(json.dumps(request | {"target": target}).encode() + b"\n")
        for client, wanted in ((one, range(1, 20, 2)), (two, range(0, 20, 2))):
            answers = [await read(client) for _ in range(10)]
            assert {(each["request_id"], each["payload"]) for each in answers} == {
                (f"id {number}", f"done {number}") for number in wanted
            }
            assert client.is_silent(0.05)


async def test_errors_are_answers(client: LineClient, target: str) -> None:
    """Nobody listens, a target that no channel can be, a line that is none: {"status": "error", "message"} each."""
    client.send(line(target=target))
    assert "NO_RESPONDERS" in await asyncio.to_thread(client.read_error)
    client.send(line(target="not a token"))
    assert "INVALID_CHANNEL" in await asyncio.to_thread(client.read_error)
    client.send(line(type="STATUS", target=""))
    assert "INVALID_CHANNEL" in await asyncio.to_thread(client.read_error)
    client.send(b"\xff\n")
    assert "UTF-8" in await asyncio.to_thread(client.read_error)
    client.send(line("x" * MAX_MESSAGE_BYTES))
    assert str(MAX_MESSAGE_BYTES) in await asyncio.to_thread(client.read_error)


async def test_what_is_published_for_a_client_reaches_it(bus: GrpcMessageBus, client: LineClient, target: str) -> None:
    """A client is known by the sender of its last line; foreign messages come as JSON text."""
    name = f"ext-{uuid.uuid4()}"
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    await bus.subscribe(agent_channel(target), came.put)
    client.send(line("here", type="STATUS", sender=name, target=target))
    await asyncio.wait_for(came.get(), PATIENCE)  # from here on it is reached: nothing published now is missed
    await bus.publish(agent_channel(name), AgentMessage(message_type="feedback", sender_id="x", payload={"lines": 3}))
    said = await read(client)
    assert (said["sender"], said["type"], said["payload"]) == ("x", "STATUS", '{"lines": 3}')


async def test_a_client_answers_requests(bus: GrpcMessageBus, client: LineClient, target: str) -> None:
    """A line that asks has a request_id; a STATUS to the asker answers the oldest, one with the id just that."""
    name = f"ext-{uuid.uuid4()}"
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    await bus.subscribe(agent_channel(target), came.put)
    client.send(line("here", type="STATUS", sender=name, target=target))
    await asyncio.wait_for(came.get(), PATIENCE)

    def ask(text: str) -> asyncio.Task[AgentMessage]:
        asked = AgentMessage(message_type="control", sender_id="asker", payload={"payload": text})
        return asyncio.create_task(bus.request(agent_channel(name), asked, timeout=10))

    first = ask("first")
    line_of_first = await read(client)
    second = ask("second")
    line_of_second = await read(client)
    assert (line_of_first["payload"], line_of_second["payload"]) == ("first", "second")
    client.send(line("to second", type="STATUS", sender=name, target="asker", request_id=line_of_second["request_id"]))
    assert (await second).payload == {"payload": "to second"}
    client.send(line("to first", type="STATUS", sender=name, target="asker"))
    assert (await first).payload == {"payload": "to first"}


async def test_a_client_that_half_closes_still_gets_its_answers(
    bus: GrpcMessageBus, client: LineClient, target: str
) -> None:
    """Then its connection ends."""
    await answering(bus, target, {"a": 0.1})
    client.send(line("a", target=target) + line("b", target=target)[:-1])
    client.half_close()
    assert {(await read(client))["payload"] for _ in range(2)} == {"done a", "done b"}
    assert await asyncio.to_thread(client.read_line) == b""


async def test_lines_of_one_client_keep_their_order(bus: GrpcMessageBus, client: LineClient, target: str) -> None:
    """A flood of a thousand arrives complete and in order."""
    came: asyncio.Queue[AgentMessage] = asyncio.Queue()
    await bus.subscribe(agent_channel(target), came.put)
    client.send(b"".join(line(str(number), type="STATUS", target=target) for number in range(3_000)))
    for number in range(3_000):
        assert (await asyncio.wait_for(came.get(), PATIENCE)).payload == {"payload": str(number)}


async def test_the_bus_may_be_away(killable_sidecar: RunningProgram, killable_bus: RunningProgram) -> None:
    """While it is, commands are answered with an error; when it is back, so are they, and names are reached again."""
    path = str(Path(killable_sidecar.address.removeprefix("unix:")).with_name("channel.sock"))
    with LineClient(path) as client:
        await asyncio.to_thread(killable_bus.kill)
        client.send(line(sender="ext"))
        assert "BUS_" in await asyncio.to_thread(client.read_error)
        await asyncio.to_thread(killable_bus.restart)
        await asyncio.to_thread(until_bus_is_reached, client)
        async with GrpcMessageBus(killable_bus.address) as bus:
            await answering(bus, "orchestrator")
            client.send(line("again", sender="ext"))
            assert (await read(client))["payload"] == "done again"


async def test_a_name_from_before_the_bus_is_reached_when_it_comes(
    start_program: StartProgram, socket_dir: Path
) -> None:
    """A client that sent its line before the sidecar first found the bus needs not send another."""
    name, path, bus_address = f"ext-{uuid.uuid4()}", f"{socket_dir}/c.sock", f"unix:{socket_dir}/bus.sock"
    options = ("--socket-path", path, "--store-path", "", "--bus-address", bus_address)
    start_program("sidecar", *options, address=f"unix:{socket_dir}/sidecar.sock")
    with LineClient(path) as client:
        client.send(line(sender=name))
        assert "BUS_NOT_CONNECTED" in await asyncio.to_thread(client.read_error)
        await asyncio.to_thread(start_program, "bus", address=bus_address)
        async with GrpcMessageBus(bus_address) as bus:
            await published_until_heard(bus, name, client)


async def test_a_line_waits_for_the_first_connection_to_the_bus(
    killable_bus: RunningProgram, start_program: StartProgram, socket_dir: Path, target: str
) -> None:
    """For a moment, as a call does: the sidecar accepts lines from its start, and may not have found the bus yet."""
    path = f"{socket_dir}/c.sock"
    options = ("--socket-path", path, "--store-path", "", "--bus-address", killable_bus.address)
    async with GrpcMessageBus(killable_bus.address) as bus:
        came: asyncio.Queue[AgentMessage] = asyncio.Queue()
        await bus.subscribe(agent_channel(target), came.put)
        killable_bus.pause()
        await asyncio.to_thread(start_program, "sidecar", *options, address=f"unix:{socket_dir}/lonely.sock")
        with LineClient(path) as client:
            client.send(line("running", type="STATUS", sender="ext", target=target))
            assert await asyncio.to_thread(client.is_silent, 0.2)
            killable_bus.resume()
            assert (await asyncio.wait_for(came.get(), PATIENCE)).payload == {"payload": "running"}


async def test_a_name_that_another_client_takes_over_is_reached_once(
    killable_sidecar: RunningProgram, killable_bus: RunningProgram, target: str
) -> None:
    """Also where the bus was away meanwhile: what is published for the name is one line to the client that has it."""
    path = str(Path(killable_sidecar.address.removeprefix("unix:")).with_name("channel.sock"))
    name = f"ext-{uuid.uuid4()}"
    await asyncio.to_thread(killable_bus.kill)
    for _ in range(2):
        with LineClient(path) as gone:
            gone.send(line(sender=name))
            assert "BUS_" in await asyncio.to_thread(gone.read_error)
    with LineClient(path) as client:
        client.send(line(sender=name))
        assert "BUS_" in await asyncio.to_thread(client.read_error)
        await asyncio.to_thread(killable_bus.restart)
        async with GrpcMessageBus(killable_bus.address) as bus:
            await published_until_heard(bus, name, client)
            first = await read(client)
            await bus.publish(agent_channel(name), AgentMessage(message_type="feedback", sender_id="last"))
            senders = [first["sender"]]
            while senders[-1] != "last":
                senders.append((await read(client))["sender"])
            assert len(senders) == len(set(senders))
            assert client.is_silent(0.1)


def test_a_live_socket_of_another_program_ends_the_start(killable_sidecar: RunningProgram, socket_dir: Path) -> None:
    """A second sidecar on the same path: a clear message, exit code 1, and the first one serves on."""
    path = str(Path(killable_sidecar.address.removeprefix("unix:")).with_name("channel.sock"))
    second = run_program(
        "sidecar", "--address", f"unix:{socket_dir}/second.sock", "--socket-path", path, "--store-path", ""
    )
    assert second.returncode == 1
    assert "another program listens" in second.stderr
    with LineClient(path) as client:
        client.send(b"hello\n")
        assert "not JSON" in client.read_error()


def test_stopping_removes_the_socket(killable_sidecar: RunningProgram) -> None:
    """SIGTERM: the file is gone, clients are closed, exit code 0."""
    path = Path(killable_sidecar.address.removeprefix("unix:")).with_name("channel.sock")
    with LineClient(path) as client:
        client.send(b"hello\n")
        client.read_error()
        assert killable_sidecar.stop() == 0
        assert client.read_line() == b""
    assert not path.exists()


def test_bad_settings_are_named() -> None:
    """Users that are no numbers, and a path that is too long."""
    for option, value in (("--allowed-uids", "root"), ("--socket-path", "/" + "x" * 200)):
        ended = run_program("sidecar", option, value)
        assert ended.returncode == 2
        assert option in ended.stderr
