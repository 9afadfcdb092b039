"""MessageChannel as its users know it: the words of BEHAVIOUR.md part 4."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.channel.clients import LineClient, line
from tests.patience import Stopwatch
from trunkline.message_channel import (
    CLIENT_RECEIVE_TIMEOUT,
    DEFAULT_SOCKET_PATH,
    SOCKET_LISTEN_BACKLOG,
    SOCKET_TIMEOUT,
    ChannelClosedError,
    MessageChannel,
    ServiceMessage,
)

STATUS = ServiceMessage("a", "STATUS", "running")


@pytest.fixture(params=["thread", "process", "unix_socket"])
def channel(request: pytest.FixtureRequest, socket_dir: Path) -> Iterator[MessageChannel]:
    with MessageChannel(request.param, f"{socket_dir}/c.sock") as channel:
        yield channel


@pytest.fixture(params=["thread", "process"])
def queue_channel(request: pytest.FixtureRequest) -> Iterator[MessageChannel]:
    with MessageChannel(request.param) as channel:
        yield channel


def test_the_constants_are_the_seeds() -> None:
    """SOCKET_LISTEN_BACKLOG 5, SOCKET_TIMEOUT 1.0, CLIENT_RECEIVE_TIMEOUT 0.1, /tmp/pyorchestrate.sock."""
    assert (SOCKET_LISTEN_BACKLOG, SOCKET_TIMEOUT, CLIENT_RECEIVE_TIMEOUT) == (5, 1.0, 0.1)
    assert DEFAULT_SOCKET_PATH == "/tmp/pyorchestrate.sock"


@pytest.mark.parametrize("a_type", ["zmq", "", None, "Thread", 3])
def test_another_a_type_is_a_value_error(a_type: Any) -> None:
    """a_type thread, process or unix_socket, else ValueError."""
    with pytest.raises(ValueError, match="'thread', 'process' or 'unix_socket'"):
        MessageChannel(a_type)


def test_what_one_object_sends_it_receives(queue_channel: MessageChannel) -> None:
    """The seed's shared channel, used from both sides, in order."""
    messages = [ServiceMessage("a", "STATUS", str(number)) for number in range(100)]
    for message in messages:
        queue_channel.send("anybody", message)
    assert [queue_channel.receive(1) for _ in messages] == messages


def test_receive_with_a_timeout_gives_none_after_it(channel: MessageChannel) -> None:
    """receive(t) gives None after t seconds."""

    def receive() -> None:
        assert channel.receive(0.2) is None

    Stopwatch(0.19, 1).measure(receive)
    assert channel.receive(0) is None
    assert channel.receive(-1) is None


def test_receive_without_a_timeout_blocks_for_ever(queue_channel: MessageChannel) -> None:
    """thread and process: receive(None) waits until there is a message."""
    received: list[ServiceMessage | None] = []
    receiver = threading.Thread(target=lambda: received.append(queue_channel.receive(None)))
    receiver.start()
    receiver.join(0.3)
    assert receiver.is_alive()
    queue_channel.send("x", STATUS)
    receiver.join(10)
    assert received == [STATUS]


def test_a_socket_waits_the_client_receive_timeout(socket_dir: Path) -> None:
    """unix_socket: receive(None) there waits CLIENT_RECEIVE_TIMEOUT."""
    with MessageChannel("unix_socket", f"{socket_dir}/c.sock") as channel:

        def receive() -> None:
            assert channel.receive() is None

        Stopwatch(0.09, 0.9).measure(receive)


def test_a_socket_accepts_clients_and_reads_them(socket_dir: Path) -> None:
    """unix_socket: a server; receive accepts clients and reads them; send goes to the connected client."""
    path = f"{socket_dir}/c.sock"
    with MessageChannel("unix_socket", path) as channel, LineClient(path) as client:
        client.send(line('{"command": "ps", "args": []}'))
        message = channel.receive(5)
        assert message is not None
        assert (message.sender, message.type) == ("cli", "COMMAND")
        assert message.payload == '{"command": "ps", "args": []}'
        channel.send("cli", ServiceMessage("orchestrator", "STATUS", '{"status": "success"}'))
        assert client.read()["payload"] == '{"status": "success"}'


def test_close_removes_the_socket_and_can_be_repeated(channel: MessageChannel) -> None:
    """close(), which removes the socket, is idempotent; a later send or receive says that it is closed."""
    channel.close()
    channel.close()
    assert not os.path.exists(channel.socket_path) or channel.a_type != "unix_socket"
    with pytest.raises(ChannelClosedError):
        channel.send("x", STATUS)
    with pytest.raises(ChannelClosedError):
        channel.receive(0)


def test_close_wakes_who_receives(channel: MessageChannel) -> None:
    """A thread that waits in receive is told, and does not wait for ever."""
    ended = threading.Event()

    def receive() -> None:
        try:
            while True:
                channel.receive()
        except ChannelClosedError:
            ended.set()

    receivers = [threading.Thread(target=receive) for _ in range(3)]
    for receiver in receivers:
        receiver.start()
    channel.close()
    for receiver in receivers:
        receiver.join(10)
    assert ended.is_set()
    assert not any(receiver.is_alive() for receiver in receivers)


def test_refuses_what_is_no_service_message(channel: MessageChannel) -> None:
    """A dict or a string is refused by send, not somewhere else later."""
    with pytest.raises(TypeError, match="ServiceMessage"):
        channel.send("x", {"sender": "a"})  # type: ignore[arg-type]
