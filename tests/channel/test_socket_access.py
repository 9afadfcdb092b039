"""Who may connect to a channel's socket, and whose file it is."""

from __future__ import annotations

import os
import queue
import socket
import stat
from pathlib import Path

import pytest

from tests.channel import agents
from tests.channel.clients import LineClient, answer, line, received
from tests.patience import PATIENCE
from trunkline.message_channel import MessageChannel, MessageChannelError, Peer, ServiceMessage, SocketInUseError
from trunkline.message_channel.limits import MAX_CONNECTIONS


def test_the_file_has_mode_0600_whatever_the_umask_is(path: str) -> None:
    """The socket file had the directory's permissions; here only its owner has any."""
    before = os.umask(0)
    try:
        with MessageChannel("unix_socket", path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        os.umask(0o777)
        with MessageChannel("unix_socket", path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_message_says_who_sent_it(path: str) -> None:
    """The process that connected, its user and group, as the kernel knows them; no part of what makes it equal."""
    with MessageChannel("unix_socket", path) as channel, LineClient(path) as client:
        client.send(line("x"))
        message = received(channel)
        assert message.peer == Peer(os.getpid(), os.geteuid(), os.getegid())
        assert message == ServiceMessage(message.sender, message.type, message.payload, message.timestamp)
        channel.endpoint("one").send("orchestrator", answer())
        assert received(channel).peer is None


def test_who_is_refused_is_told_to_on_denied(path: str) -> None:
    """With the reason; what it raises is logged, and the server goes on."""
    denied: queue.SimpleQueue[tuple[Peer, str]] = queue.SimpleQueue()

    def on_denied(who: Peer, why: str) -> None:
        denied.put((who, why))
        raise RuntimeError("a mistake of the caller")

    me = Peer(os.getpid(), os.geteuid(), os.getegid())
    with MessageChannel("unix_socket", path, allowed_uids=[12_345], on_denied=on_denied), LineClient(path) as client:
        assert f"user {me.uid} is not allowed" in client.read_error()
        assert denied.get(timeout=PATIENCE) == (me, f"user {me.uid} is not allowed to connect")
    with MessageChannel("unix_socket", path, on_denied=on_denied) as channel:
        clients = [LineClient(path) for _ in range(MAX_CONNECTIONS)]
        for client in clients:
            client.send(line("here"))
            received(channel)
        with LineClient(path) as refused:
            assert str(MAX_CONNECTIONS) in refused.read_error()
        assert denied.get(timeout=PATIENCE) == (me, f"too many clients: {MAX_CONNECTIONS} are connected")
        clients[0].send(line("still served"))
        assert received(channel).payload == "still served"
        for client in clients:
            client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_denied_and_the_denial_is_logged(
    path: str, socket_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anyone local could command; here the peer's uid is checked, others by an allow list."""
    socket_dir.chmod(0o755)
    results = agents.SPAWN.SimpleQueue()
    with MessageChannel("unix_socket", path) as channel:
        agents.start(agents.connect_as_user, path, 54_321, results).join(20)
        assert results.get() == "PermissionError"
    with MessageChannel("unix_socket", path, allowed_uids=[0, 12_345]) as channel:
        agents.start(agents.connect_as_user, path, 54_321, results).join(20)
        assert "user 54321 is not allowed" in results.get()
        assert channel.receive(0.05) is None
        process = agents.start(agents.connect_as_user, path, 12_345, results)
        channel.reply(received(channel), answer("welcome"))
        process.join(20)
        assert "welcome" in results.get()
    assert "user 54321 is not allowed" in caplog.text


def test_a_live_socket_of_another_program_is_left_alone(path: str) -> None:
    """The live socket of another running orchestrator was unlinked; here a clear error, and it goes on serving."""
    ready = agents.SPAWN.Event()
    other = agents.start(agents.serve_socket, path, ready)
    assert ready.wait(20)
    with pytest.raises(SocketInUseError, match="another program listens"):
        MessageChannel("unix_socket", path)
    with LineClient(path) as client:
        client.send(line())
        assert client.read()["payload"] == "alive"
        client.send(line("stop"))
    other.join(20)
    assert other.exitcode == 0


def test_a_stale_socket_is_removed(path: str) -> None:
    """A program was killed and left its file: the next one takes the path."""
    ready = agents.SPAWN.Event()
    other = agents.start(agents.serve_socket, path, ready)
    assert ready.wait(20)
    other.kill()
    other.join(10)
    assert os.path.exists(path)
    with MessageChannel("unix_socket", path) as channel, LineClient(path) as client:
        client.send(line("hello"))
        assert received(channel).payload == "hello"


def test_a_file_that_is_no_socket_is_left_alone(path: str) -> None:
    """A regular file in the way is an error, and stays."""
    Path(path).write_text("precious")
    with pytest.raises(SocketInUseError, match="no socket"):
        MessageChannel("unix_socket", path)
    assert Path(path).read_text() == "precious"


def test_a_socket_that_was_taken_over_is_not_removed(path: str) -> None:
    """close() removes its own file only."""
    channel = MessageChannel("unix_socket", path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as another:
        another.bind(path)
        channel.close()
        assert os.path.exists(path)


def test_a_path_that_cannot_be_is_a_clear_error(socket_dir: Path) -> None:
    """Too long, or in no directory."""
    for bad in (f"{socket_dir}/{'x' * 200}", f"{socket_dir}/missing/c.sock"):
        with pytest.raises(MessageChannelError, match="cannot be made"):
            MessageChannel("unix_socket", bad)
