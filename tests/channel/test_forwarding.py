"""A channel with `address`: a message for target T goes to conductor:agent:T; what is published there is received."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.channel import agents
from tests.channel.clients import LineClient, line, received
from tests.patience import PATIENCE
from trunkline.channels import agent_channel
from trunkline.errors import BusDisconnectedError, InvalidChannelError
from trunkline.message_channel import ChannelType, MessageChannel, ServiceMessage
from trunkline.models import AgentMessage, MessageType
from trunkline.sync import MessageBus


@pytest.fixture(params=["thread", "process", "unix_socket"])
def channel(request: pytest.FixtureRequest, socket_dir: Path, bus_address: str, name: str) -> Iterator[MessageChannel]:
    with MessageChannel(request.param, f"{socket_dir}/c.sock", name=name, address=bus_address) as channel:
        yield channel


def listen(bus: MessageBus, name: str) -> queue.SimpleQueue[AgentMessage]:
    """What is published for a name from now on."""
    found: queue.SimpleQueue[AgentMessage] = queue.SimpleQueue()
    bus.subscribe(agent_channel(name), found.put)
    return found


def test_a_message_for_a_target_goes_to_its_channel(channel: MessageChannel, bus: MessageBus, name: str) -> None:
    """COMMAND is control, STATUS is status_update; sender, recipient, time and payload correspond."""
    target = f"agent-{uuid.uuid4()}"
    came = listen(bus, target)
    for kind, message_type in (("COMMAND", MessageType.CONTROL), ("STATUS", MessageType.STATUS_UPDATE)):
        sent = ServiceMessage(name, kind, "ä \n text")  # type: ignore[arg-type]
        channel.send(target, sent)
        message = came.get(timeout=PATIENCE)
        assert (message.message_type, message.sender_id, message.recipient_id) == (message_type, name, target)
        assert message.payload == {"payload": "ä \n text"}
        assert message.timestamp == sent.timestamp


def test_what_is_published_there_reaches_receive(channel: MessageChannel, bus: MessageBus, name: str) -> None:
    """Ours come back exact; a foreign message becomes a STATUS (a control a COMMAND) with its payload as JSON text."""
    bus.publish(agent_channel(name), AgentMessage(message_type="control", sender_id="x", payload={"payload": "[1"}))
    message = received(channel)
    assert (message.sender, message.type, message.payload) == ("x", "COMMAND", "[1")
    bus.publish(agent_channel(name), AgentMessage(message_type="task_result", sender_id="y", payload={"lines": 3}))
    message = received(channel)
    assert (message.sender, message.type, message.payload) == ("y", "STATUS", '{"lines": 3}')
    bus.publish(agent_channel(name), AgentMessage(message_type="control", sender_id="x", payload={"command": "ps"}))
    message = received(channel)
    assert (message.type, message.payload) == ("COMMAND", '{"command": "ps"}')
    bus.publish(agent_channel(name), AgentMessage(message_type="blob", sender_id="x", data=b"\xff", content_type="a/b"))
    assert received(channel).payload == '{"content_type": "a/b", "base64": "/w=="}'
    for text in ("[1, 2]", "7", '"text"', "null", '{"broken": ', ""):
        json_bytes = AgentMessage(message_type="x", sender_id="x", data=text.encode(), content_type="application/json")
        bus.publish(agent_channel(name), json_bytes)
        assert received(channel).payload == text


def test_each_endpoint_has_a_channel_of_its_own(channel: MessageChannel, bus: MessageBus, name: str) -> None:
    """Published for an agent, it reaches that agent and not the owner; local messages do not go over the bus."""
    agent_name = f"agent-{uuid.uuid4()}"
    agent = channel.endpoint(agent_name)
    came = listen(bus, agent_name)
    bus.publish(agent_channel(agent_name), AgentMessage(message_type="status_update", sender_id="x"))
    message = agent.receive(10)
    assert message is not None
    assert message.payload == "{}"
    assert came.get(timeout=PATIENCE).sender_id == "x"
    channel.send(agent_name, ServiceMessage(name, "STATUS", "local"))
    message = agent.receive(10)
    assert message is not None
    assert message.payload == "local"
    assert channel.receive(0.05) is None
    assert came.empty()


def test_a_bus_request_is_answered_by_a_plain_send(channel: MessageChannel, bus: MessageBus, name: str) -> None:
    """A control message that asks is answered by `send` to its sender, or by `reply`."""

    def serve() -> None:
        request = received(channel)
        channel.send(request.sender, ServiceMessage(name, "STATUS", "sent"))
        channel.reply(received(channel), ServiceMessage(name, "STATUS", "replied"))

    server = threading.Thread(target=serve)
    server.start()
    for how in ("sent", "replied"):
        asked = AgentMessage(message_type="control", sender_id="asker", payload={"payload": "?"})
        reply = bus.request(agent_channel(name), asked, timeout=10)
        assert (reply.sender_id, reply.payload) == (name, {"payload": how})
    server.join(10)


def test_two_channels_meet_on_the_bus(bus_address: str, name: str) -> None:
    """Two programs, each with a channel: a target of the other is reached by its name."""
    with (
        MessageChannel("thread", name=name, address=bus_address) as one,
        MessageChannel("thread", name=f"{name}-2", address=bus_address) as two,
    ):
        sent = ServiceMessage(name, "COMMAND", "over there")
        one.send(f"{name}-2", sent)
        assert received(two) == sent
        two.send(name, ServiceMessage(two.name, "STATUS", "and back"))
        assert received(one).payload == "and back"


@pytest.mark.parametrize("a_type", ["thread", "process"])
def test_orchestrators_of_one_name_have_bus_names_of_their_own(
    bus_address: str, name: str, a_type: ChannelType
) -> None:
    """Each is "orchestrator" to its own agents; on the bus each is listened for, speaks and is answered as itself."""
    here, there = f"{name}-here", f"{name}-there"
    with (
        MessageChannel(a_type, address=bus_address, bus_name=here) as one,
        MessageChannel(a_type, address=bus_address, bus_name=there) as two,
    ):
        agent = two.endpoint(f"{name}-agent", local=True)
        one.send(there, ServiceMessage("orchestrator", "STATUS", "to the other"))
        message = received(two)
        assert (message.sender, message.payload) == (here, "to the other")
        two.send(message.sender, ServiceMessage("orchestrator", "STATUS", "back"))
        assert received(one).sender == there
        one.send(agent.name, ServiceMessage("orchestrator", "COMMAND", "to its agent"))
        asked = agent.receive(10)
        assert asked is not None
        agent.send(asked.sender, ServiceMessage(agent.name, "STATUS", "for the one that asked"))
        assert received(one).payload == "for the one that asked"
        agent.send("orchestrator", ServiceMessage(agent.name, "STATUS", "for its own"))
        assert received(two).payload == "for its own"


def test_a_request_to_a_bus_name_is_answered(bus_address: str, bus: MessageBus, name: str) -> None:
    """By a plain `send` to its sender, and by that name."""
    with MessageChannel("thread", address=bus_address, bus_name=name) as channel:

        def serve() -> None:
            request = received(channel)
            channel.send(request.sender, ServiceMessage("orchestrator", "STATUS", "sent"))

        server = threading.Thread(target=serve)
        server.start()
        asked = AgentMessage(message_type="control", sender_id="asker", payload={"payload": "?"})
        reply = bus.request(agent_channel(name), asked, timeout=10)
        server.join(10)
        assert (reply.sender_id, reply.payload) == (name, {"payload": "sent"})


def test_spawned_agents_reach_the_bus_through_their_owner(bus_address: str, bus: MessageBus, name: str) -> None:
    """Agents that are spawned processes work without forking a process that holds a channel."""
    agent_name, other = f"agent-{uuid.uuid4()}", f"other-{uuid.uuid4()}"
    came = listen(bus, other)
    with MessageChannel("process", name=name, address=bus_address) as channel:
        process = agents.start(agents.echo, channel.endpoint(agent_name))
        bus.publish(
            agent_channel(agent_name),
            AgentMessage(message_type="control", sender_id="x", payload={"payload": f"to {other}: hello"}),
        )
        message = came.get(timeout=PATIENCE)
        assert (message.sender_id, message.payload) == (agent_name, {"payload": "hello"})
        channel.send(agent_name, ServiceMessage(name, "COMMAND", "stop"))
        process.join(20)
        assert process.exitcode == 0


@pytest.mark.parametrize("by_reply", [True, False])
def test_a_spawned_agent_answers_a_bus_request(bus_address: str, bus: MessageBus, by_reply: bool) -> None:
    """The request's correlation id finds its way through the pipes and back."""
    agent_name = f"agent-{uuid.uuid4()}"
    owner = f"owner-{uuid.uuid4()}"
    with MessageChannel("process", name=owner, address=bus_address) as channel:
        came = listen(bus, "orchestrator")
        process = agents.start(agents.answer_each, channel.endpoint(agent_name), by_reply)
        came.get(timeout=PATIENCE)
        for number in range(3):
            asked = AgentMessage(message_type="control", sender_id="asker", payload={"payload": str(number)})
            reply = bus.request(agent_channel(agent_name), asked, timeout=10)
            assert (reply.sender_id, reply.payload) == (agent_name, {"payload": f"did {number}"})
        channel.send(agent_name, ServiceMessage(owner, "COMMAND", "stop"))
        process.join(20)
        assert process.exitcode == 0


def test_a_socket_client_and_the_bus_share_an_owner(
    bus_address: str, bus: MessageBus, name: str, socket_dir: Path
) -> None:
    """A client that is connected is reached directly; who is not, over the bus."""
    path = f"{socket_dir}/c.sock"
    with MessageChannel("unix_socket", path, name=name, address=bus_address) as channel, LineClient(path) as client:
        client.send(line("hi", sender="near", type="STATUS"))
        received(channel)
        near, far = listen(bus, "near"), listen(bus, f"far-{name}")
        channel.send("near", ServiceMessage(name, "STATUS", "to the client"))
        assert client.read()["payload"] == "to the client"
        channel.send(f"far-{name}", ServiceMessage(name, "STATUS", "to the bus"))
        assert far.get(timeout=PATIENCE).payload == {"payload": "to the bus"}
        assert near.empty()


def test_a_sidecar_is_as_good_as_the_bus(sidecar_address: str, bus: MessageBus, name: str) -> None:
    """`address` may be a sidecar's UNIX socket."""
    with MessageChannel("thread", name=name, address=sidecar_address) as channel:
        bus.publish(agent_channel(name), AgentMessage(message_type="control", sender_id="x", payload={"payload": "p"}))
        assert received(channel).payload == "p"


def test_names_that_no_channel_can_have_are_refused(bus_address: str, name: str) -> None:
    """With forwarding, names are channel tokens; said at once, and the way to the bus is not left open."""
    with pytest.raises(InvalidChannelError):
        MessageChannel("thread", name="an owner", address=bus_address)
    assert "trunkline.sync" not in [thread.name for thread in threading.enumerate()]
    with MessageChannel("thread", name=name, address=bus_address) as channel:
        with pytest.raises(InvalidChannelError):
            channel.send("not a token", ServiceMessage(name, "STATUS", ""))
        with pytest.raises(InvalidChannelError):
            channel.endpoint("not a token")


def test_no_bus_is_a_clear_error(socket_dir: Path) -> None:
    """Said by the constructor, which leaves no socket behind."""
    path = socket_dir / "c.sock"
    with pytest.raises(BusDisconnectedError):
        MessageChannel("unix_socket", str(path), address=f"unix:{socket_dir}/nobody.sock")
    assert not path.exists()
