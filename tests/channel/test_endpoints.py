"""Each direction and each agent has a mailbox of its own."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.errors import OverloadedError
from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage
from trunkline.message_channel.mailbox import ThreadMailbox


def status(payload: str, sender: str = "orchestrator") -> ServiceMessage:
    return ServiceMessage(sender, "STATUS", payload)


@pytest.fixture(params=["thread", "process", "unix_socket"])
def channel(request: pytest.FixtureRequest, socket_dir: Path) -> Iterator[MessageChannel]:
    with MessageChannel(request.param, f"{socket_dir}/c.sock") as channel:
        yield channel


def test_a_receiving_agent_does_not_steal_the_orchestrators_messages(channel: MessageChannel) -> None:
    """One shared queue: a receiving agent stole the orchestrator's messages. Here each has its own."""
    agent = channel.endpoint("agent-7")
    agent.send("orchestrator", status("from the agent", "agent-7"))
    channel.send("agent-7", status("for the agent"))
    for_agent = agent.receive(5)
    assert for_agent is not None
    assert for_agent.payload == "for the agent"
    received = channel.receive(5)
    assert received is not None
    assert received.payload == "from the agent"
    assert agent.receive(0.05) is None
    assert channel.receive(0.05) is None


def test_agents_speak_to_each_other(channel: MessageChannel) -> None:
    """What one sends to another reaches that one only."""
    one, two = channel.endpoint("one"), channel.endpoint("two")
    one.send("two", status("hello", "one"))
    received = two.receive(5)
    assert received is not None
    assert (received.sender, received.payload) == ("one", "hello")
    two.reply(received, status("hello yourself", "two"))
    answer = one.receive(5)
    assert answer is not None
    assert answer.payload == "hello yourself"
    assert channel.receive(0.05) is None


def test_a_broadcast_reaches_every_agent(channel: MessageChannel) -> None:
    """Broadcast is said, and reaches each endpoint once; not the owner."""
    agents = [channel.endpoint(name) for name in ("one", "two", "three")]
    channel.broadcast(status("all"))
    assert [agent.receive(5).payload for agent in agents] == ["all"] * 3  # type: ignore[union-attr]
    assert channel.receive(0.05) is None


def test_the_same_name_is_the_same_endpoint(channel: MessageChannel) -> None:
    """Asking again gives the same end; the owner's name and no name are refused."""
    assert channel.endpoint("one") is channel.endpoint("one")
    for name in ("", "orchestrator"):
        with pytest.raises(ValueError, match="name of its own"):
            channel.endpoint(name)


def test_a_removed_endpoint_is_closed_and_its_name_is_free(channel: MessageChannel) -> None:
    """Who receives by it is told, who sends to it too; the next one of that name begins anew."""
    before = channel.endpoint("one")
    assert before.receive(0) is None
    channel.remove("one")
    channel.remove("one")
    channel.remove("never there")
    with pytest.raises(ChannelClosedError):
        before.receive(5)
    after = channel.endpoint("one")
    assert after is not before
    channel.send("one", status("for the second"))
    received = after.receive(5)
    assert received is not None
    assert received.payload == "for the second"
    after.send("orchestrator", status("from the second"))
    assert channel.receive(5) is not None


def test_what_a_removed_endpoint_had_sent_is_received(channel: MessageChannel) -> None:
    """Its last word is not lost with it."""
    channel.endpoint("one").send("orchestrator", status("agent_close"))
    channel.remove("one")
    received = channel.receive(5)
    assert received is not None
    assert received.payload == "agent_close"


def test_a_local_endpoint_has_no_descriptors(channel: MessageChannel) -> None:
    """In every mode, `local` is for threads of this process and costs nothing that a process has few of."""
    before = len(os.listdir("/proc/self/fd"))
    agents = [channel.endpoint(f"agent-{number}", local=True) for number in range(100)]
    assert len(os.listdir("/proc/self/fd")) <= before
    for agent in agents:
        channel.send(agent.name, status(agent.name))
    for agent in agents:
        received = agent.receive(5)
        assert received is not None
        assert received.payload == agent.name
        agent.send("orchestrator", status("back"))
    assert [channel.receive(5) is not None for _ in agents] == [True] * 100


def test_endpoints_of_processes_leave_no_descriptors_when_they_are_removed() -> None:
    """Used or not, the pipes are gone."""
    with MessageChannel("process") as channel:
        channel.endpoint("first")
        channel.remove("first")
        assert channel.receive(0) is None
        before = len(os.listdir("/proc/self/fd"))
        for number in range(10):
            end = channel.endpoint(f"agent-{number}")
            if number % 2:
                end.send("orchestrator", status("x"))
            channel.remove(end.name)
        while channel.receive(0.05) is not None:
            pass
        deadline = time.monotonic() + 10  # the thread of the transit pipes closes its own
        while len(os.listdir("/proc/self/fd")) > before:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_an_endpoint_is_for_a_thread_or_for_a_process() -> None:
    """Of one name there is one; asked for the other kind, the error names both."""
    with MessageChannel("process") as channel:
        channel.endpoint("thread", local=True)
        channel.endpoint("process")
        with pytest.raises(ValueError, match="'thread' is for a thread"):
            channel.endpoint("thread")
        with pytest.raises(ValueError, match="'process' is for a process"):
            channel.endpoint("process", local=True)
        channel.remove("process")
        assert channel.endpoint("process", local=True).receive(0) is None


def test_the_owners_other_name_leads_to_it(channel: MessageChannel, socket_dir: Path) -> None:
    """What is sent to `bus_name` reaches the owner here too, once, and no endpoint may have that name."""
    with MessageChannel(channel.a_type, f"{socket_dir}/2.sock", bus_name="orchestrator-b") as named:
        agent, local = named.endpoint("one"), named.endpoint("two", local=True)
        for each in (agent, local):
            for target in ("orchestrator", "orchestrator-b"):
                each.send(target, status(f"{each.name} to {target}"))
        received = {named.receive(5).payload for _ in range(4)}  # type: ignore[union-attr]
        assert received == {f"{who} to {to}" for who in ("one", "two") for to in ("orchestrator", "orchestrator-b")}
        named.broadcast(status("all"))
        assert agent.receive(5) is not None
        assert named.receive(0.02) is None
        with pytest.raises(ValueError, match="name of its own"):
            named.endpoint("orchestrator-b")


def test_an_owner_can_have_another_name() -> None:
    """`name` is the owner's; agents send to it under that name."""
    with MessageChannel("thread", name="boss") as channel:
        channel.endpoint("one").send("boss", status("x"))
        assert channel.receive(1) is not None


@pytest.mark.parametrize("a_type", ["thread", "process"])
def test_only_process_mode_can_be_handed_over_and_only_to_a_process(a_type: str) -> None:
    """Pickling an endpoint anywhere else fails with a clear error instead of making a dead copy."""
    with MessageChannel(a_type) as channel:  # type: ignore[arg-type]
        for thing in (channel, channel.endpoint("one")):
            with pytest.raises((TypeError, RuntimeError)):
                pickle.dumps(thing)


def test_a_full_mailbox_makes_its_sender_wait_and_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every queue has a bound: OverloadedError names it, and room that is made in time is used."""
    monkeypatch.setattr("trunkline.message_channel.mailbox.SEND_WAIT", 0.1)
    mailbox = ThreadMailbox(2)
    mailbox.put(status("1"))
    mailbox.put(status("2"))
    with pytest.raises(OverloadedError) as refused:
        mailbox.put(status("3"))
    assert refused.value.details == {"limit": "max_mailbox_messages", "maximum": 2}
    monkeypatch.setattr("trunkline.message_channel.mailbox.SEND_WAIT", 10)
    sender = threading.Thread(target=mailbox.put, args=(status("3"),))
    sender.start()
    assert [mailbox.get(10).payload for _ in range(3)] == ["1", "2", "3"]  # type: ignore[union-attr]
    sender.join(10)
    assert not sender.is_alive()
