"""unix_socket mode on the wire: raw bytes over real connections."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.channel.clients import LineClient, answer, line, received
from tests.patience import Stopwatch
from trunkline.errors import MessageTooLargeError
from trunkline.message_channel import (
    MessageChannel,
    ServiceMessage,
    UnknownTargetError,
)
from trunkline.message_channel.limits import MAX_CONNECTIONS, MAX_INBOX_MESSAGES, MAX_LINE_BYTES


def test_two_messages_in_one_read_are_two(channel: MessageChannel, client: LineClient) -> None:
    """Two messages in one read were lost silently; here newlines frame them."""
    client.send(line("1") + line("2") + line("3"))
    assert [received(channel).payload for _ in range(3)] == ["1", "2", "3"]


def test_a_message_in_many_reads_is_one(channel: MessageChannel, client: LineClient) -> None:
    """Byte by byte, with pauses, split in the middle of a character."""
    data = line("ä" * 3, sender="ü")
    data = data.encode() if isinstance(data, str) else json.dumps(json.loads(data), ensure_ascii=False).encode() + b"\n"
    for byte in data:
        client.send(bytes([byte]))
        time.sleep(0.0005)
    assert received(channel).payload == "äää"


@pytest.mark.parametrize("size", [4_097, 100_000, 4_000_000])
def test_a_message_of_any_size_passes(channel: MessageChannel, client: LineClient, size: int) -> None:
    """One over 4096 bytes was lost silently; here any size up to the limit passes, both ways."""
    client.send(line("x" * size))
    message = received(channel)
    assert message.payload == "x" * size
    channel.reply(message, answer("y" * size))
    assert client.read()["payload"] == "y" * size


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"\xff\xfe\n", "not UTF-8"),
        (b"hello\n", "not JSON"),
        (b'{"sender":"cli"\n', "not JSON"),
        (b'["COMMAND"]\n', "no object"),
        (b'{"sender":"cli","type":"START","payload":""}\n', "COMMAND or STATUS"),
        (b'{"sender":"cli","type":"COMMAND","payload":5}\n', "payload"),
    ],
)
def test_bad_input_is_answered_and_the_server_goes_on(
    channel: MessageChannel, client: LineClient, data: bytes, wrong: str
) -> None:
    """Not UTF-8, not JSON, not a message: an error answer each, and the same connection is served on."""
    client.send(data)
    assert wrong in client.read_error()
    client.send(line("still"))
    assert received(channel).payload == "still"


def test_a_client_that_sends_no_newline_and_half_closes(channel: MessageChannel, client: LineClient) -> None:
    """It is answered, and then its connection ends."""
    client.send(line()[:-1])
    client.half_close()
    channel.reply(received(channel), answer())
    assert client.read()["payload"] == "done"
    assert client.read_line() == b""


def test_a_client_that_sends_no_newline_and_waits(channel: MessageChannel, client: LineClient) -> None:
    """A complete object is a message, newline or not."""
    client.send(b'{"sender":"cli","event_name":"COMMAND","payload":{"command":"ps"},"request_id":"r"}')
    message = received(channel)
    channel.reply(message, answer('{"status": "success"}'))
    said = client.read()
    assert (said["event_name"], said["payload"], said["request_id"]) == ("STATUS", {"status": "success"}, "r")


def test_half_of_a_message_at_the_end_is_answered_with_an_error(channel: MessageChannel, client: LineClient) -> None:
    """Half-closed in the middle of a line: said, and the connection ends."""
    client.send(b'{"sender":"cli","type"')
    client.half_close()
    assert "not JSON" in client.read_error()
    assert client.read_line() == b""


def test_empty_lines_are_passed_over(channel: MessageChannel, client: LineClient) -> None:
    """Blank lines and CRLF ends are fine."""
    client.send(b"\n\r\n  \n" + line("x")[:-1] + b"\r\n")
    assert received(channel).payload == "x"


def test_a_reply_goes_to_the_connection_that_asked(channel: MessageChannel, path: str) -> None:
    """Replies went to every connected client; here to the one that asked, also where all have one name."""
    with LineClient(path) as one, LineClient(path) as two, LineClient(path) as three:
        requests = []
        for number, each in enumerate((one, two, three)):
            each.send(line(str(number)))
            requests.append(received(channel))
        for request in reversed(requests):
            channel.reply(request, answer(f"to {request.payload}"))
        for number, each in enumerate((one, two, three)):
            assert each.read()["payload"] == f"to {number}"
            assert each.is_silent(0.02)


def test_a_reply_that_is_too_large_may_be_followed_by_a_shorter(channel: MessageChannel, client: LineClient) -> None:
    """Until then the command counts as unanswered; afterwards a second reply finds nobody."""
    client.send(line())
    request = received(channel)
    with pytest.raises(MessageTooLargeError):
        channel.reply(request, answer("x" * MAX_LINE_BYTES))
    channel.reply(request, answer("short"))
    assert client.read()["payload"] == "short"
    with pytest.raises(UnknownTargetError):
        channel.reply(request, answer("again"))


def test_plain_sends_answer_the_oldest_first(channel: MessageChannel, path: str) -> None:
    """`send` to the sender of commands that were not answered: each goes to the next one that asked."""
    with LineClient(path) as one, LineClient(path) as two:
        for each in (one, two):
            each.send(line())
            received(channel)
        channel.send("cli", answer("1"))
        channel.send("cli", answer("2"))
        assert (one.read()["payload"], two.read()["payload"]) == ("1", "2")


def test_each_thread_answers_what_it_received(channel: MessageChannel, path: str) -> None:
    """Concurrent commands of one name, served by threads: nobody sees another's answer."""

    def serve() -> None:
        for _ in range(50):
            message = channel.receive(10)
            assert message is not None
            time.sleep(0.0005)
            channel.send(message.sender, answer(message.payload))

    def ask(number: int) -> None:
        with LineClient(path) as client:
            for turn in range(50):
                client.send(line(f"{number}.{turn}"))
                answers.append(client.read()["payload"] == f"{number}.{turn}")

    answers: list[bool] = []
    threads = [threading.Thread(target=serve) for _ in range(4)]
    threads += [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [True] * 200


def test_send_goes_to_the_client_of_that_name(channel: MessageChannel, path: str) -> None:
    """`send` to a target goes to that target; a name that nobody has is an error, not a silent loss."""
    with LineClient(path) as one, LineClient(path) as two:
        one.send(line("here", sender="one", type="STATUS"))
        two.send(line("here", sender="two", type="STATUS"))
        received(channel), received(channel)
        channel.send("two", answer("for two"))
        assert two.read()["payload"] == "for two"
        assert one.is_silent(0.05)
        with pytest.raises(UnknownTargetError, match="three"):
            channel.send("three", answer())


def test_broadcast_is_said(channel: MessageChannel, path: str) -> None:
    """`broadcast` reaches every connected client, in its dialect, also one that has said nothing yet."""
    # Clients are accepted in the order in which they came: when two has been heard, quiet is there.
    with LineClient(path) as quiet, LineClient(path) as one, LineClient(path) as two:
        one.send(line(type="STATUS"))
        two.send(b'{"sender":"two","event_name":"STATUS","payload":{"a":1},"request_id":"x"}\n')
        received(channel), received(channel)
        channel.broadcast(answer("all"))
        assert one.read()["payload"] == "all"
        said = two.read()
        assert said["payload"] == {"message": "all"}
        assert "request_id" not in said
        assert quiet.read()["payload"] == "all"


def test_an_answer_for_a_client_that_left_reaches_nobody_else(channel: MessageChannel, path: str) -> None:
    """The asker went away; another of the same name does not get its answer."""
    with LineClient(path) as gone:
        gone.send(line("first"))
        first = received(channel)
    with LineClient(path) as there:
        there.send(line("second"))
        second = received(channel)
        deadline = time.monotonic() + 10
        while True:
            try:
                channel.reply(first, answer("for the first"))
            except UnknownTargetError:
                break
            assert time.monotonic() < deadline
        channel.reply(second, answer("for the second"))
        assert there.read()["payload"] == "for the second"


def test_an_endpoint_gets_the_lines_that_name_it(channel: MessageChannel, client: LineClient) -> None:
    """A line's `target` may be an agent's endpoint; it answers the connection. Another target is an error."""
    agent = channel.endpoint("agent-7")
    client.send(line("do", target="agent-7"))
    message = agent.receive(10)
    assert message is not None
    agent.send("cli", ServiceMessage("agent-7", "STATUS", "did"))
    said = client.read()
    assert (said["sender"], said["payload"]) == ("agent-7", "did")
    client.send(line("do", target="nobody"))
    assert "nobody" in client.read_error()
    assert channel.receive(0.02) is None


def test_an_idle_loop_costs_no_cpu(channel: MessageChannel, client: LineClient) -> None:
    """A second of waiting with a client connected costs less than 10 ms of processor time."""
    client.send(line())
    received(channel)

    def receive() -> None:
        assert channel.receive(1.0) is None

    Stopwatch(0, 0.01, time.process_time).measure(receive)


def test_who_is_not_received_is_not_read(channel: MessageChannel, client: LineClient) -> None:
    """The mailbox is bounded: a flood waits in the client, and nothing of it is lost."""
    count = MAX_INBOX_MESSAGES * 3
    sender = threading.Thread(target=client.send, args=(line("x" * 300, type="STATUS") * count,))
    sender.start()
    sender.join(0.5)
    assert sender.is_alive()
    for _ in range(count):
        assert received(channel).payload == "x" * 300
    sender.join(10)
    assert not sender.is_alive()


def test_a_client_that_does_not_read_is_cut_off(channel: MessageChannel, path: str) -> None:
    """Its bounded buffer is full: it goes, and the others do not wait for it."""
    with LineClient(path) as deaf, LineClient(path) as other:
        deaf.send(line(sender="deaf", type="STATUS"))
        received(channel)

        def flood() -> None:
            for _ in range(200):
                channel.send("deaf", answer("x" * 1_000_000))
                time.sleep(0.002)

        with pytest.raises(UnknownTargetError):
            flood()
        other.send(line("fine"))
        channel.reply(received(channel), answer())
        assert other.read()["payload"] == "done"


def test_connections_are_bounded(channel: MessageChannel, path: str) -> None:
    """One more than MAX_CONNECTIONS is told so and closed; when one leaves, another may come."""
    clients = [LineClient(path) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        client.send(line("here"))
        received(channel)
    with LineClient(path) as refused:
        assert str(MAX_CONNECTIONS) in refused.read_error()
        assert refused.read_line() == b""
    for client in clients:
        client.close()
    deadline = time.monotonic() + 10
    while True:
        with LineClient(path) as again:
            again.send(line("again"))
            if (message := channel.receive(0.1)) is not None:
                assert message.payload == "again"
                return
        assert time.monotonic() < deadline


def test_a_channel_whose_directory_is_gone_closes(socket_dir: Path) -> None:
    """Nothing is left to be removed."""
    folder = socket_dir / "gone"
    folder.mkdir()
    channel = MessageChannel("unix_socket", f"{folder}/c.sock")
    (folder / "c.sock").unlink()
    folder.rmdir()
    channel.close()
