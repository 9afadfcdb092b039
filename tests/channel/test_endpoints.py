"""Each direction and each agent has a mailbox of its own."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.errors import OverloadedError
from trunkline.message_channel import MessageChannel, ServiceMessage
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


def _seconds(put: object, get: object, count: int) -> float:
    def send() -> None:
        for _ in range(count):
            put(message)  # type: ignore[operator]

    message = status("x" * 256)
    sender = threading.Thread(target=send)
    began = time.perf_counter()
    sender.start()
    for _ in range(count):
        get()  # type: ignore[operator]
    sender.join()
    return time.perf_counter() - began


def test_thread_mode_is_about_as_fast_as_a_bare_queue() -> None:
    """At least 0.7 of queue.Queue; the best of three runs of each, taken in turns."""
    bare: queue.Queue[ServiceMessage] = queue.Queue()
    with MessageChannel("thread") as channel:
        runs = [
            (
                _seconds(lambda m: channel.send("x", m), channel.receive, 20_000),
                _seconds(bare.put, bare.get, 20_000),
            )
            for _ in range(3)
        ]
    ours, theirs = (min(each) for each in zip(*runs, strict=True))
    assert ours <= theirs / 0.7
