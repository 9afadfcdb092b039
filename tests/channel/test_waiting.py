"""One thread waits for several channels at once, asleep until something comes to one of them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.channel import agents
from tests.channel.clients import LineClient, line
from tests.patience import Stopwatch
from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage, wait
from trunkline.message_channel.process.fan_in import FanIn
from trunkline.message_channel.process.pipes import FrameReader

HELLO = ServiceMessage("one", "STATUS", "hello")


@pytest.fixture(params=["thread", "process", "unix_socket"])
def channel(request: pytest.FixtureRequest, socket_dir: Path) -> Iterator[MessageChannel]:
    with MessageChannel(request.param, f"{socket_dir}/c.sock") as channel:
        yield channel


@pytest.fixture
def all_three(socket_dir: Path) -> Iterator[list[MessageChannel]]:
    with (
        MessageChannel("thread") as one,
        MessageChannel("process") as two,
        MessageChannel("unix_socket", f"{socket_dir}/3.sock") as three,
    ):
        yield [one, two, three]


def waiting(channels: list[MessageChannel]) -> tuple[threading.Thread, list[MessageChannel]]:
    """A thread that waits for ever, already asleep or about to be, and what it finds."""
    found: list[MessageChannel] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        found.extend(wait(channels))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert begun.wait(10)
    return thread, found


def test_gives_those_that_have_something(all_three: list[MessageChannel]) -> None:
    """In the order given; and nothing of it is taken."""
    one, _, three = all_three
    three.endpoint("agent").send("orchestrator", HELLO)
    one.endpoint("agent").send("orchestrator", HELLO)
    assert wait(all_three, 0) == [one, three]
    assert wait(all_three) == [one, three]
    assert (one.receive(0), three.receive(0)) == (HELLO, HELLO)
    assert wait(all_three, 0) == []


def test_gives_none_after_the_timeout(all_three: list[MessageChannel]) -> None:
    """Not before it; a negative one is none."""
    began = time.monotonic()
    assert wait(all_three, 0.2) == []
    assert time.monotonic() - began >= 0.2
    assert wait(all_three, -1) == []
    assert wait([], 0) == []


def test_a_message_wakes_who_waits(channel: MessageChannel, all_three: list[MessageChannel]) -> None:
    """From a thread of this process, whichever type the channel is of."""
    thread, found = waiting([*all_three, channel])
    channel.endpoint("agent").send("orchestrator", HELLO)
    thread.join(10)
    assert found == [channel]
    assert channel.receive(0) == HELLO


def test_an_agents_process_wakes_who_waits(all_three: list[MessageChannel]) -> None:
    """What comes by a pipe, too."""
    channel = all_three[1]
    process = agents.start(agents.echo, channel.endpoint("one"))
    thread, found = waiting(all_three)
    channel.send("one", ServiceMessage("orchestrator", "COMMAND", "x"))
    thread.join(20)
    assert found == [channel]
    message = channel.receive(0)
    assert message is not None
    assert message.payload == "one got x"
    channel.send("one", ServiceMessage("orchestrator", "COMMAND", "stop"))
    process.join(10)


def test_a_client_wakes_who_waits(all_three: list[MessageChannel]) -> None:
    """What comes by the socket, too."""
    channel = all_three[2]
    thread, found = waiting(all_three)
    with LineClient(channel.socket_path) as client:
        client.send(line("x"))
        thread.join(10)
    assert found == [channel]


def test_closing_wakes_who_waits(channel: MessageChannel) -> None:
    """A closed channel counts as one that has something: its receive says that it is closed."""
    thread, found = waiting([channel])
    channel.close()
    thread.join(10)
    assert found == [channel]
    assert wait([channel]) == [channel]
    with pytest.raises(ChannelClosedError):
        channel.receive(0)


def test_half_of_a_message_is_none(all_three: list[MessageChannel]) -> None:
    """A pipe that holds a beginning ends no wait; its rest does."""
    inbox = all_three[1]._waitable
    assert isinstance(inbox, FanIn)
    out, into = multiprocessing.Pipe(duplex=False)
    inbox.add(FrameReader(out), lambda message: message, lambda: None)
    body = pickle.dumps(HELLO)
    frame = struct.pack("!I", len(body)) + body
    os.write(into.fileno(), frame[:10])
    assert wait(all_three, 0.05) == []
    os.write(into.fileno(), frame[10:])
    assert wait(all_three, 10) == [all_three[1]]
    assert all_three[1].receive(0) == HELLO
    into.close()
    assert wait(all_three, 0.05) == []


def test_nothing_is_missed_between_two_waits(channel: MessageChannel) -> None:
    """A thread that waits and then receives gets each of many messages, however they fall."""
    agent = channel.endpoint("agent")

    def send() -> None:
        for number in range(2_000):
            agent.send("orchestrator", ServiceMessage("agent", "STATUS", str(number)))

    sender = threading.Thread(target=send)
    sender.start()
    received: list[str] = []
    while len(received) < 2_000:
        assert wait([channel], 10) == [channel]
        while (message := channel.receive(0)) is not None:
            received.append(message.payload)
    sender.join(10)
    assert received == [str(number) for number in range(2_000)]


def test_waiting_costs_nothing(all_three: list[MessageChannel]) -> None:
    """A second of waiting for all three costs less than 10 ms of processor time."""

    def wait_a_second() -> None:
        assert wait(all_three, 1.0) == []

    Stopwatch(0, 0.01, time.process_time).measure(wait_a_second)


def test_waiting_leaves_no_descriptor_behind(all_three: list[MessageChannel]) -> None:
    """However often, and however it ended."""
    wait(all_three, 0.001)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        wait(all_three, 0.001)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_signals_handler_may_close_what_its_thread_waits_for() -> None:
    """The handler runs in the middle of `receive`, in the same thread, and does not wait for it."""
    with MessageChannel("process") as channel:
        before = signal.signal(signal.SIGUSR1, lambda *_: channel.close())
        try:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pytest.raises(ChannelClosedError):
                channel.receive(10)
        finally:
            signal.signal(signal.SIGUSR1, before)
