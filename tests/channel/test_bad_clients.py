"""Clients that send too much, too little or nothing are told or dropped by a stated limit, and the others go on."""

from __future__ import annotations

import threading
import tracemalloc

import pytest

from tests.channel import agents
from tests.channel.clients import LineClient, line
from trunkline.limits import MAX_MESSAGE_BYTES, MiB
from trunkline.message_channel import MessageChannel, ServiceMessage
from trunkline.message_channel.limits import MAX_CONNECTIONS


def serves(channel: MessageChannel, client: LineClient) -> bool:
    """Whether a command and its answer pass."""
    client.send(line("ps"))
    message = channel.receive(10)
    assert message is not None
    channel.reply(message, ServiceMessage("orchestrator", "STATUS", "done"))
    return message.payload == "ps" and client.read()["payload"] == "done"


def send_overlong(client: LineClient, size: int) -> None:
    """So many bytes of a line, without its end."""
    piece = b"x" * 1_000_000
    beginning = b'{"sender":"cli","type":"COMMAND","payload":"'
    client.send(beginning)
    for _ in range(size // len(piece)):
        client.send(piece)
    client.send(b"x" * (size % len(piece) - len(beginning)))


def test_a_line_of_100_megabytes_is_refused_with_both_sizes(
    channel: MessageChannel, client: LineClient, path: str
) -> None:
    """It is dropped as it comes, so that it takes no memory; its connection and the others go on."""
    size = 100_000_044
    tracemalloc.start()
    try:
        with LineClient(path) as other:
            send_overlong(client, size)
            assert serves(channel, other)
            client.send(b'"}\n')
            said = client.read_error()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"may have {MAX_MESSAGE_BYTES} bytes; this one has {size + 2}" in said
    assert most < MAX_MESSAGE_BYTES + 16 * MiB
    assert serves(channel, client)


@pytest.mark.parametrize("half_close", [True, False])
def test_a_line_over_the_limit_that_has_no_end_is_refused_too(
    channel: MessageChannel, client: LineClient, half_close: bool
) -> None:
    """Its client half-closes, or waits for its answer."""
    size = MAX_MESSAGE_BYTES + 1
    send_overlong(client, size)
    if half_close:
        client.half_close()
    assert f"this one has {size} and has not ended" in client.read_error()
    if half_close:
        assert client.read_line() == b""
    else:
        client.send(b"the rest\n")
        assert serves(channel, client)


def test_half_a_line_of_a_client_that_leaves_is_no_message(channel: MessageChannel, client: LineClient) -> None:
    """However it leaves; nobody else notices."""
    for number in range(2 * MAX_CONNECTIONS):
        with LineClient(channel.socket_path) as leaving:
            leaving.send(line("half")[: 20 + number % 40])
            if number % 3 == 0:
                leaving.half_close()
        if number % 16 == 0:
            assert serves(channel, client)
    assert channel.receive(0.05) is None
    assert serves(channel, client)


def test_a_thousand_connections_that_say_nothing_are_told_and_dropped(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest give way to those over MAX_CONNECTIONS, the others go after SILENT_CLIENT_SECONDS; a client that
    speaks stays, and one that comes is let in."""
    monkeypatch.setattr("trunkline.message_channel.unix_socket.socket_server.SILENT_CLIENT_SECONDS", 2.0)
    results = agents.SPAWN.Queue()
    with MessageChannel("unix_socket", path) as channel, LineClient(path) as client:
        assert serves(channel, client)
        process = agents.start(agents.crowd, path, 1_000, results)
        assert results.get(timeout=60) == "all are connected"
        assert serves(channel, client)
        with LineClient(path) as newcomer:
            assert serves(channel, newcomer)
        told = results.get(timeout=60)
        process.join(20)
        too_many = sum("too many clients: 128 are connected" in each for each in told)
        silent = sum("no line came within 2 s" in each for each in told)
        assert too_many + silent == 1_000
        assert too_many > 0
        assert silent >= MAX_CONNECTIONS - 2
        assert serves(channel, client)
        with LineClient(path) as after:
            assert serves(channel, after)


def test_half_a_line_does_not_hold_a_place_either(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who begins a first line and does not end it is told and closed; who has said one may be silent for longer."""
    monkeypatch.setattr("trunkline.message_channel.unix_socket.socket_server.SILENT_CLIENT_SECONDS", 2.0)
    with MessageChannel("unix_socket", path) as channel, LineClient(path) as before:
        assert serves(channel, before)
        with LineClient(path) as client:
            client.send(b'{"sender":')
            assert "no line came within 2 s" in client.read_error()
            assert client.read_line() == b""
        assert serves(channel, before)


@pytest.mark.parametrize("by_reply", [True, False])
def test_fifty_clients_at_once_get_exactly_their_own_answers(channel: MessageChannel, by_reply: bool) -> None:
    """All of one name, 100 commands each, some one by one and some all at once, in both dialects: each client gets the
    answers of its own commands, in their order, in its dialect, and nothing else."""
    clients, commands = 50, 100

    def serve() -> None:
        while (message := channel.receive(30)) is not None and message.payload != "stop":
            answer = ServiceMessage("orchestrator", "STATUS", message.payload)
            if by_reply:
                channel.reply(message, answer)
            else:
                channel.send(message.sender, answer)

    def ask(number: int) -> None:
        later = number % 2 == 1
        at_once = (1, 7, commands)[number % 3]
        said: list[object] = []
        with LineClient(channel.socket_path) as client:
            for first in range(0, commands, at_once):
                turns = range(first, min(first + at_once, commands))
                client.send(b"".join(_command(later, number, turn) for turn in turns))
                said += [_understood(later, client.read()) for _ in turns]
            client.half_close()
            nothing_more = client.read_line() == b""
        right[number] = nothing_more and said == [f"{number}.{turn}" for turn in range(commands)]

    right: dict[int, bool] = {}
    server = threading.Thread(target=serve)
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in (server, *asking):
        thread.start()
    for thread in asking:
        thread.join(60)
    with LineClient(channel.socket_path) as client:
        client.send(line("stop"))
        server.join(30)
    assert right == dict.fromkeys(range(clients), True)


def _command(later: bool, number: int, turn: int) -> bytes:
    if not later:
        return line(f"{number}.{turn}")
    fields = (
        f'"sender":"cli","event_name":"COMMAND","payload":{{"of":"{number}.{turn}"}},"request_id":"{number}.{turn}"'
    )
    return f"{{{fields}}}\n".encode()


def _understood(later: bool, said: dict[str, object]) -> object:
    """What an answer says, if it is in the right dialect."""
    if not later:
        return said["payload"] if said["type"] == "STATUS" else said
    return said["request_id"] if said["payload"] == {"of": said["request_id"]} else said
