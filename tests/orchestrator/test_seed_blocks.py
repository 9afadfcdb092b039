"""Each call that the description of the MessageChannel shows in its code blocks, in its order and with its names."""

from __future__ import annotations

import inspect
import json
import os
import socket
import stat
import threading
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import pytest

from tests.agents.crew import ThreadWorker
from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.orchestrator.seed_programs import AsShown, Counted, Extended, Listener, Overridden
from tests.patience import PATIENCE
from trunkline import MessageChannel, ServiceMessage
from trunkline.agents import AgentEvent, BaseAgent
from trunkline.message_channel import (
    CLIENT_RECEIVE_TIMEOUT,
    DEFAULT_SOCKET_PATH,
    SOCKET_LISTEN_BACKLOG,
    SOCKET_TIMEOUT,
    ChannelType,
)
from trunkline.orchestrator import Orchestrator, OrchestratorEvent, RestartPolicy


def status(sender: str, payload: str) -> ServiceMessage:
    return ServiceMessage(sender=sender, type="STATUS", payload=payload, timestamp=datetime.now(UTC))


def test_the_class_has_the_shape_that_is_shown() -> None:
    """Its constructor, send, receive and close take these arguments, with these defaults."""
    made = inspect.signature(MessageChannel).parameters
    assert list(made)[:2] == ["a_type", "socket_path"]
    assert made["socket_path"].default == DEFAULT_SOCKET_PATH == "/tmp/pyorchestrate.sock"
    assert made["a_type"].annotation == "ChannelType"
    assert set(get_args(ChannelType)) == {"thread", "process", "unix_socket"}
    assert list(inspect.signature(MessageChannel.send).parameters) == ["self", "target", "msg"]
    receive = inspect.signature(MessageChannel.receive).parameters
    assert list(receive) == ["self", "timeout"]
    assert receive["timeout"].default is None
    assert list(inspect.signature(MessageChannel.close).parameters) == ["self"]


def test_a_message_has_the_fields_that_are_shown() -> None:
    """In this order; the type is one of two."""
    assert [field.name for field in fields(ServiceMessage)] == ["sender", "type", "payload", "timestamp"]
    hints = get_type_hints(ServiceMessage)
    assert (hints["sender"], hints["payload"], hints["timestamp"]) == (str, str, datetime)
    assert hints["type"] == Literal["COMMAND", "STATUS"]


@pytest.mark.parametrize("kind", [crew.ThreadDone, crew.ProcessDone])
def test_an_agent_shares_the_orchestrators_channel(kind: type[BaseAgent], orchestrate: MakeWitness) -> None:
    """`self.msg_channel = MessageChannel("process")`; registered with it, an agent is heard by it, and receives what
    is sent to its own name only."""
    witness = orchestrate(AsShown)
    assert isinstance(witness.orchestrator.msg_channel, MessageChannel)
    assert witness.orchestrator.msg_channel.a_type == "process"
    entry = witness.orchestrator.register_agent(kind, "a", returns=[1])
    assert entry.msg_channel is witness.orchestrator.msg_channel
    witness.orchestrator.start()
    assert witness.orchestrator.join(PATIENCE)
    assert witness.types("a") == ["AGENT_STARTED", "AGENT_READY", "AGENT_RESULT", "AGENT_TERMINATED"]


def test_an_agent_that_receives_takes_nobody_elses_messages(orchestrate: MakeWitness) -> None:
    """Both directions are its own; the orchestrator's messages come to the orchestrator."""
    witness = orchestrate(AsShown)
    witness.orchestrator.register_agent(Listener, "a")
    witness.orchestrator.register_agent(Listener, "b")
    witness.orchestrator.start()
    for name in "ab":
        witness.until(name, "ready")
    witness.orchestrator.msg_channel.send("b", ServiceMessage("orchestrator", "COMMAND", "to b", datetime.now(UTC)))
    witness.orchestrator.send("a", ServiceMessage("orchestrator", "COMMAND", "to a", datetime.now(UTC)))
    assert witness.wait(OrchestratorEvent.AGENT_RESULT, "a")["result"] == "orchestrator: to a"
    assert witness.wait(OrchestratorEvent.AGENT_RESULT, "b")["result"] == "orchestrator: to b"


def test_the_command_channel_is_there_where_it_is_enabled(orchestrate: MakeWitness, socket_dir: Path) -> None:
    """`config.enable_command_interface` and `config.command_socket_path`, which a client can ask."""
    assert orchestrate().orchestrator.command_channel is None
    path = f"{socket_dir}/o.sock"
    orchestrator = orchestrate(enable_command_interface=True, command_socket_path=path).orchestrator
    assert orchestrator.config.enable_command_interface
    channel = orchestrator.command_channel
    assert channel is not None
    assert (channel.a_type, channel.socket_path) == ("unix_socket", orchestrator.config.command_socket_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)
        ask = {
            "sender": "cli",
            "type": "COMMAND",
            "payload": '{"command": "ps", "args": []}',
            "timestamp": "2025-07-27",
        }
        client.sendall(json.dumps({**ask, "timestamp": "2025-07-27T10:00:00.123456"}).encode() + b"\n")
        with client.makefile() as lines:
            answer = json.loads(lines.readline())
    assert (answer["sender"], answer["type"]) == ("orchestrator", "STATUS")
    assert json.loads(answer["payload"])["status"] == "success"


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_receive_waits_as_it_is_described(kind: Literal["thread", "process"]) -> None:
    """A timeout gives None; without one it waits until something comes."""
    with MessageChannel(kind) as channel:
        assert channel.receive(timeout=0.01) is None
        timer = threading.Timer(0.1, channel.send, ("orchestrator", status("a", "late")))
        timer.start()
        message = channel.receive()
        assert message is not None
        assert message.payload == "late"
        timer.join()


def test_a_socket_channel_waits_its_own_time(socket_dir: Path) -> None:
    """`receive()` gives None after CLIENT_RECEIVE_TIMEOUT."""
    with MessageChannel("unix_socket", f"{socket_dir}/c.sock") as channel:
        assert channel.receive() is None
    assert (SOCKET_LISTEN_BACKLOG, SOCKET_TIMEOUT, CLIENT_RECEIVE_TIMEOUT) == (5, 1.0, 0.1)


def test_an_agent_has_the_channel_it_was_given_or_one_of_its_own(diary: Path) -> None:
    """`BaseAgent(msg_channel=None, **kwargs)`, and `send_message` sends to the orchestrator by it."""
    assert list(inspect.signature(BaseAgent.__init__).parameters)[:2] == ["self", "msg_channel"]
    own = ThreadWorker(diary=str(diary))
    assert isinstance(own.msg_channel, MessageChannel)
    assert own.msg_channel.a_type == own.a_type
    with MessageChannel("thread") as channel:
        given = ThreadWorker(channel, diary=str(diary))
        assert given.msg_channel is channel
        message = status(given.name, AgentEvent.AGENT_READY.value)
        given.send_message(message)
        assert channel.receive(timeout=PATIENCE) == message


def test_status_messages_become_events(orchestrate: MakeWitness) -> None:
    """`handle_agent_message` turns AGENT_CLOSE and AGENT_START into AGENT_TERMINATED and AGENT_STARTED, by sender."""
    witness = orchestrate()
    assert AgentEvent.AGENT_START.value == "agent_started"
    assert AgentEvent.AGENT_CLOSE.value == "agent_close"
    witness.orchestrator.handle_agent_message(status("x", AgentEvent.AGENT_START.value))
    witness.orchestrator.handle_agent_message(status("x", AgentEvent.AGENT_CLOSE.value))
    assert witness.wait(OrchestratorEvent.AGENT_STARTED, "x")["agent_name"] == "x"
    assert witness.wait(OrchestratorEvent.AGENT_TERMINATED, "x")["agent_name"] == "x"
    witness.orchestrator.event_manager.emit(OrchestratorEvent.AGENT_READY, agent_name="y")
    assert witness.wait(OrchestratorEvent.AGENT_READY, "y")["agent_name"] == "y"


def test_a_program_that_replaces_the_handling_of_messages_works(orchestrate: MakeWitness) -> None:
    """Its events are told, and supervision goes on: the agent becomes ready, ends, and is started again."""
    witness = orchestrate(Overridden)
    policy = RestartPolicy("always", max_restarts=1, initial_delay=0.01)
    witness.orchestrator.register_agent(crew.ProcessDone, "a", crew.PATIENT, restart=policy)
    witness.orchestrator.start()
    assert witness.orchestrator.join(PATIENCE)
    witness.wait(OrchestratorEvent.AGENT_STARTED, "a", 2)
    witness.wait(OrchestratorEvent.AGENT_TERMINATED, "a", 2)
    assert not witness.heard(OrchestratorEvent.AGENT_READY, "a")


def test_a_program_that_extends_the_handling_of_messages_works(orchestrate: MakeWitness) -> None:
    """It sees what each agent says; the events come all the same."""
    witness = orchestrate(Extended)
    witness.orchestrator.register_agent(crew.ProcessDone, "a", crew.PATIENT)
    witness.orchestrator.start()
    assert witness.orchestrator.join(PATIENCE)
    witness.wait(OrchestratorEvent.AGENT_READY, "a")
    orchestrator = witness.orchestrator
    assert isinstance(orchestrator, Extended)
    said = [payload for sender, payload in orchestrator.seen if payload != "heartbeat"]
    assert said == ["agent_started", "agent_ready", "agent_close"]


def test_a_program_whose_handling_fails_goes_on(orchestrate: MakeWitness, caplog: pytest.LogCaptureFixture) -> None:
    """An error in one message is logged, and never ends the thread."""

    class Failing(Orchestrator):
        def handle_agent_message(self, msg: ServiceMessage) -> None:
            raise RuntimeError(f"cannot handle {msg.payload}")

    witness = orchestrate(Failing)
    witness.orchestrator.register_agent(crew.ThreadDone, "a")
    witness.orchestrator.start()
    assert witness.orchestrator.join(PATIENCE)
    assert "cannot handle agent_ready" in caplog.text
    assert witness.state("a") == "completed"


@pytest.mark.parametrize("kind", [Orchestrator, Counted])
def test_one_daemon_thread_serves_messages(kind: type[Orchestrator], orchestrate: MakeWitness) -> None:
    """By the name that is shown, from the beginning until the shutdown."""
    witness = orchestrate(kind)
    orchestrator = witness.orchestrator
    thread = orchestrator._message_thread
    assert thread is not None
    assert (thread.name, thread.daemon, thread.is_alive()) == ("OrchestratorMessageThread", True, True)
    assert orchestrator._message_thread_running
    orchestrator.register_agent(crew.ThreadDone, "a")
    orchestrator.start()
    assert orchestrator.join(PATIENCE)
    orchestrator.shutdown()
    assert not thread.is_alive()
    assert not orchestrator._message_thread_running
    if isinstance(orchestrator, Counted):
        assert orchestrator.rounds == 1


def test_the_socket_is_set_up_as_it_is_described(socket_dir: Path) -> None:
    """A stale file is replaced, clients are accepted and read, those that leave are forgotten, an error of one ends
    nothing, and everybody who is connected can be told something."""
    path = socket_dir / "c.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with MessageChannel("unix_socket", str(path)) as channel:
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for number, client in enumerate(clients):
            client.connect(str(path))
            client.sendall(json.dumps({"sender": f"c{number}", "type": "STATUS", "payload": "hi"}).encode() + b"\n")
        heard = sorted(message.sender for _ in clients if (message := channel.receive(timeout=PATIENCE)))
        assert heard == ["c0", "c1", "c2"]
        clients[0].sendall(b"{no json at all}\n")
        clients[1].close()
        channel.broadcast(status("orchestrator", "to all"))
        with clients[2].makefile() as lines:
            assert json.loads(lines.readline())["payload"] == "to all"
        clients[2].sendall(json.dumps({"sender": "c2", "type": "STATUS", "payload": "still here"}).encode() + b"\n")
        message = channel.receive(timeout=PATIENCE)
        assert message is not None
        assert message.payload == "still here"
        for client in clients:
            client.close()
    assert not path.exists()
