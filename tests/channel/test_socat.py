"""Raw socat sessions, as old clients speak: each is answered in the dialect that it spoke."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.tools import find
from tests.patience import PATIENCE
from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage

STATUS = '{"status": "success", "message": "done"}'
OBJECT = json.loads(STATUS)
SEED = (
    b'{"sender":"cli","type":"COMMAND","payload":"{\\"command\\": \\"ps\\", \\"args\\": []}",'
    b'"timestamp":"2025-07-27T10:00:00.123456"}'
)
LATER = b'{"sender":"cli","event_name":"COMMAND","payload":"{\\"command\\": \\"ps\\"}"}'
OBJECTS = b'{"sender":"cli","type":"COMMAND","payload":{"command":"ps","args":[]}}'
IDENTIFIED = (
    b'{"sender":"cli","event_name":"COMMAND","payload":{"command":"ps"},"request_id":"r-1","protocol_version":"1.0"}'
)
INSIDE = b'{"sender":"cli","event_name":"COMMAND","payload":{"command":"ps","request_id":"r-2"}}'

DIALECTS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "the seed's": (SEED, {"type": "STATUS", "payload": STATUS}),
    "event_name": (LATER, {"event_name": "STATUS", "payload": STATUS}),
    "object payload": (OBJECTS, {"type": "STATUS", "payload": OBJECT}),
    "request_id at the top": (
        IDENTIFIED,
        {"event_name": "STATUS", "payload": OBJECT, "request_id": "r-1", "protocol_version": "1.0"},
    ),
    "request_id in the payload": (
        INSIDE,
        {"event_name": "STATUS", "payload": OBJECT | {"request_id": "r-2", "protocol_version": "1.0"}},
    ),
}


@pytest.fixture
def path(socket_dir: Path) -> Iterator[str]:
    """The socket of an orchestrator that answers every command."""

    def serve() -> None:
        while True:
            try:
                message = channel.receive(60)
            except ChannelClosedError:
                return
            if message is not None:
                commands.append(message.payload)
                channel.reply(message, ServiceMessage("orchestrator", "STATUS", STATUS))

    commands: list[str] = []
    with MessageChannel("unix_socket", f"{socket_dir}/c.sock") as channel:
        server = threading.Thread(target=serve)
        server.start()
        yield channel.socket_path
    server.join(10)


def socat(path: str) -> subprocess.Popen[bytes]:
    """A session whose standard input and output are the connection's. When its input ends, it half-closes, and waits
    for the answer for up to ten seconds."""
    program = find("socat")
    assert program, "socat is missing: `make test` installs it, or `python scripts/tools.py socat`"
    return subprocess.Popen(
        [program, "-t10", "-", f"UNIX-CONNECT:{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def answers(output: bytes) -> list[dict[str, Any]]:
    """What came, less what each answer has: a sender and a time."""
    found = [json.loads(line) for line in output.splitlines()]
    for answer in found:
        assert answer.pop("sender") == "orchestrator"
        assert answer.pop("timestamp")
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("newline", [True, False])
def test_a_command_by_a_pipe_is_answered_as_it_was_spoken(path: str, dialect: str, newline: bool) -> None:
    """As by `echo … | socat - UNIX-CONNECT:…`: with a newline and without one, then half-closed; nothing else comes."""
    said, wanted = DIALECTS[dialect]
    with socat(path) as session:
        output, _ = session.communicate(said + b"\n" * newline, timeout=PATIENCE)
    assert answers(output) == [wanted]
    assert session.returncode == 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("newline", [True, False])
def test_a_command_by_hand_is_answered_while_the_session_waits(path: str, dialect: str, newline: bool) -> None:
    """With a newline and without one; the session stays, and the next command is answered too."""
    said, wanted = DIALECTS[dialect]
    with socat(path) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        for _ in range(2):
            session.stdin.write(said + b"\n" * newline)
            session.stdin.flush()
            assert answers(session.stdout.readline()) == [wanted]
        output, _ = session.communicate(timeout=PATIENCE)
    assert output == b""


def test_all_dialects_in_one_session(path: str) -> None:
    """Each line is answered in its own, in their order."""
    with socat(path) as session:
        output, _ = session.communicate(b"\n".join(said for said, _ in DIALECTS.values()) + b"\n", timeout=PATIENCE)
    assert answers(output) == [wanted for _, wanted in DIALECTS.values()]


def test_what_is_no_command_is_answered_too(path: str) -> None:
    """An error in the dialect as far as it can be told, and the session goes on."""
    wrong = b'{"sender":"cli","event_name":"COMAND","payload":{},"request_id":"r-3"}'
    with socat(path) as session:
        output, _ = session.communicate(b"ps\n" + wrong + b"\n" + SEED, timeout=PATIENCE)
    no_json, no_kind, done = answers(output)
    assert "not JSON" in json.loads(no_json["payload"])["message"]
    assert (no_kind["event_name"], no_kind["request_id"], no_kind["payload"]["status"]) == ("STATUS", "r-3", "error")
    assert done == DIALECTS["the seed's"][1]
