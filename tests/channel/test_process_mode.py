"""Agents that are spawned processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.channel import agents
from tests.patience import Stopwatch
from trunkline.message_channel import ChannelClosedError, MessageChannel, MessageChannelError, ServiceMessage

STOP = ServiceMessage("orchestrator", "COMMAND", "stop")


@pytest.fixture
def channel() -> Iterator[MessageChannel]:
    with MessageChannel("process") as channel:
        yield channel


def command(payload: str) -> ServiceMessage:
    return ServiceMessage("orchestrator", "COMMAND", payload)


def payload_of(message: ServiceMessage | None) -> str:
    assert message is not None
    return message.payload


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for what only the system can make true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_spawned_agent_and_its_owner_speak(channel: MessageChannel) -> None:
    """Endpoints made before the child starts work in it; both directions are exact."""
    agent = agents.start(agents.echo, channel.endpoint("one"))
    text = "ä\n\0\ud800" + "x" * 100_000
    channel.send("one", command(text))
    assert payload_of(channel.receive(20)) == f"one got {text}"
    channel.send("one", STOP)
    agent.join(10)
    assert agent.exitcode == 0


def test_spawned_agents_speak_to_each_other(channel: MessageChannel) -> None:
    """By way of the owner, whose own mailbox gets nothing of it."""
    started = [agents.start(agents.echo, channel.endpoint(name)) for name in ("one", "two")]
    local = channel.endpoint("three")
    channel.send("one", command("to two: to three: hello"))
    assert payload_of(local.receive(20)) == "hello"
    assert channel.receive(0.05) is None
    for name in ("one", "two"):
        channel.send(name, STOP)
    for process in started:
        process.join(10)
        assert process.exitcode == 0


def test_what_an_agent_said_last_arrives(channel: MessageChannel) -> None:
    """A process that sends much and ends at once loses nothing: its end waits for the pipe."""
    agent = agents.start(agents.say_and_exit, channel.endpoint("one"), 20_000, 300)
    time.sleep(0)
    received = [payload_of(channel.receive(20)) for _ in range(20_000)]
    assert [each[:6] for each in received] == [f"{number:06d}" for number in range(20_000)]
    agent.join(10)
    assert agent.exitcode == 0


def test_a_message_of_megabytes_passes(channel: MessageChannel) -> None:
    """Larger than any pipe, up to the limit; over it, the sender is told."""
    from trunkline.errors import MessageTooLargeError

    agents.start(agents.echo, channel.endpoint("one"))
    channel.send("one", command("x" * 3_000_000))
    assert len(payload_of(channel.receive(20))) > 3_000_000
    with pytest.raises(MessageTooLargeError):
        channel.send("one", command("x" * 5_000_000))
    channel.send("one", STOP)


def test_an_agent_that_is_killed_while_it_sends_stops_nobody(channel: MessageChannel) -> None:
    """kill -9 in the middle of a message: other agents and the owner go on, and the dead one is known to be gone. Each
    message that was whole may still come, and nothing of the one that was not."""
    size = 100_000
    victim = agents.start(agents.say_and_hang, channel.endpoint("victim"), size)
    healthy = agents.start(agents.echo, channel.endpoint("healthy"))
    assert payload_of(channel.receive(20)) == "x" * size
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(10)
    channel.send("healthy", command("still there?"))
    while (said := payload_of(channel.receive(20))) != "healthy got still there?":
        assert said == "x" * size

    def is_gone() -> bool:
        while (late := channel.receive(0)) is not None:
            assert late.payload == "x" * size
        try:
            channel.send("victim", command("x"))
        except ChannelClosedError:
            return True
        return False

    until(is_gone)
    channel.send("healthy", STOP)
    healthy.join(10)


def test_an_agent_is_started_again_with_its_endpoint(channel: MessageChannel) -> None:
    """After kill -9, a second process takes the same endpoint and its name."""
    endpoint = channel.endpoint("one")
    first = agents.start(agents.echo, endpoint)
    channel.send("one", command("1"))
    assert payload_of(channel.receive(20)) == "one got 1"
    first.kill()
    first.join(10)
    second = agents.start(agents.echo, endpoint)
    channel.send("one", command("2"))
    assert payload_of(channel.receive(20)) == "one got 2"
    channel.send("one", STOP)
    second.join(10)
    assert second.exitcode == 0


def test_the_channel_itself_can_be_handed_to_an_agent(channel: MessageChannel) -> None:
    """As the seed's agents were given it. Each such agent is reached under the name that it spoke under first."""
    started = [agents.start(agents.speak_as, channel, name) for name in ("a", "b")]
    said = set()
    for _ in range(4):
        message = channel.receive(20)
        assert message is not None
        said.add((message.sender, message.payload))
        if message.payload == "agent_started":
            channel.send(message.sender, command(f"hello {message.sender}"))
    assert said == {("a", "agent_started"), ("b", "agent_started"), ("a", "got hello a"), ("b", "got hello b")}
    for process in started:
        process.join(10)


def test_closing_the_channel_ends_its_agents(channel: MessageChannel) -> None:
    """An agent that waits in receive is told that the owner closed."""
    agent = agents.start(agents.echo, channel.endpoint("one"))
    channel.send("one", command("1"))
    channel.receive(20)
    channel.close()
    agent.join(10)
    assert agent.exitcode == 0


def test_an_agent_notices_that_its_owner_was_killed(tmp_path: Path) -> None:
    """receive(None) of an orphan does not wait for ever."""
    file = tmp_path / "said"
    owner = agents.SPAWN.Process(target=agents.own_a_channel_and_hang, args=(str(file),))
    owner.start()
    until(lambda: file.exists() and file.read_text() == "started", 20)
    owner.kill()
    owner.join(10)
    until(lambda: file.read_text() == "the owner has gone")


def test_a_forked_copy_says_that_it_is_one(channel: MessageChannel) -> None:
    """Never a silent loss: a channel that came by fork refuses to send."""
    results = multiprocessing.get_context("fork").SimpleQueue()
    child = os.fork()
    if child == 0:
        try:
            channel.send("x", STOP)
        except MessageChannelError as error:
            results.put(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert "spawn" in results.get()
    assert channel.receive(0) is None


def test_an_agent_is_removed_and_its_name_given_to_another(channel: MessageChannel) -> None:
    """The first is told and ends; a second process takes the name with an endpoint of its own."""
    endpoint = channel.endpoint("one")
    first = agents.start(agents.echo, endpoint)
    channel.send("one", command("1"))
    assert payload_of(channel.receive(20)) == "one got 1"
    channel.remove("one")
    first.join(10)
    assert first.exitcode == 0
    with pytest.raises(ChannelClosedError, match="was removed"):
        agents.start(agents.echo, endpoint)
    second = agents.start(agents.echo, channel.endpoint("one"))
    channel.send("one", command("2"))
    assert payload_of(channel.receive(20)) == "one got 2"
    channel.send("one", STOP)
    second.join(10)
    assert second.exitcode == 0


def test_what_a_removed_agent_says_last_arrives(channel: MessageChannel) -> None:
    """It is removed while it still sends: all of it comes."""
    agent = agents.start(agents.say_and_exit, channel.endpoint("one"), 5_000, 300)
    assert payload_of(channel.receive(20)).startswith("000000")
    channel.remove("one")
    received = [payload_of(channel.receive(20))[:6] for _ in range(4_999)]
    assert received == [f"{number:06d}" for number in range(1, 5_000)]
    agent.join(10)


def test_waiting_costs_nothing(channel: MessageChannel) -> None:
    """An owner that receives and the thread that serves its agents sleep: under 1% of a core."""
    agents.start(agents.echo, channel.endpoint("one"))
    channel.send("one", command("1"))
    channel.receive(20)

    def receive() -> None:
        assert channel.receive(1.0) is None

    Stopwatch(0, 0.01, time.process_time).measure(receive)
    channel.send("one", STOP)
