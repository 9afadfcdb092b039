"""Old clients, as raw socat sessions: a real orchestrator answers each in the dialect that it spoke, and no other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from scripts.tools import find
from tests.channel.clients import LineClient
from tests.orchestrator.program import Serve, ServedOrchestrator

SECONDS = 30
CLIENTS, QUESTIONS = 50, 100

Command = tuple[str, list[Any]]
Dialect = Callable[[Command], dict[str, Any]]


@pytest.fixture(scope="module")
def orchestrator(serve_for_all: Serve) -> ServedOrchestrator:
    return serve_for_all(registered=CLIENTS)


@contextmanager
def socat(path: str) -> Iterator[subprocess.Popen[bytes]]:
    """A session whose standard input and output are the connection's; its input's end half-closes it."""
    program = find("socat")
    assert program, "socat is missing: python scripts/tools.py socat installs it"
    command = [program, "-t10", "-", f"UNIX-CONNECT:{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        try:
            yield session
        finally:
            session.kill()


def _object(command: Command) -> dict[str, Any]:
    return {"command": command[0], "args": command[1]}


DIALECTS: dict[str, Dialect] = {
    "the seed's": lambda command: {"sender": "cli", "type": "COMMAND", "payload": json.dumps(_object(command))},
    "words": lambda command: {"sender": "cli", "type": "COMMAND", "payload": " ".join([command[0], *command[1]])},
    "event_name": lambda command: {"sender": "cli", "event_name": "COMMAND", "payload": json.dumps(_object(command))},
    "object payload": lambda command: {"sender": "cli", "type": "COMMAND", "payload": _object(command)},
    "request_id at the top": lambda command: {
        **{"sender": "cli", "event_name": "COMMAND", "payload": _object(command)},
        **{"request_id": "r-1", "protocol_version": "1.0"},
    },
    "request_id in the payload": lambda command: {
        **{"sender": "cli", "event_name": "COMMAND", "payload": {**_object(command), "request_id": "r-2"}},
        "timestamp": "2025-10-05T12:34:56.789",
    },
}


def said(dialect: str, command: str, *args: Any) -> bytes:
    """A command as a client of that dialect sends it, without a newline."""
    return json.dumps(DIALECTS[dialect]((command, list(args)))).encode()


def understood(dialect: str, line: bytes) -> dict[str, Any]:
    """An answer, where it is in the dialect; its payload."""
    answer = json.loads(line)
    assert answer["sender"] == "orchestrator"
    if dialect in ("the seed's", "words", "event_name"):
        payload: dict[str, Any] = json.loads(answer["payload"])
    else:
        payload = answer["payload"]
    assert answer["event_name" if "event_name" in DIALECTS[dialect](("ps", [])) else "type"] == "STATUS"
    if dialect == "request_id at the top":
        assert (answer["request_id"], answer["protocol_version"]) == ("r-1", "1.0")
    if dialect == "request_id in the payload":
        assert payload["request_id"] == "r-2"
    return payload


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_is_answered_in_itself(orchestrator: ServedOrchestrator, dialect: str) -> None:
    """With a newline; without one, then half-closed; without one, then waiting."""
    with socat(orchestrator.socket) as session:
        output, _ = session.communicate(said(dialect, "status", "agent-00007") + b"\n", SECONDS)
        assert understood(dialect, output)["data"]["name"] == "agent-00007"
    with socat(orchestrator.socket) as session:
        output, _ = session.communicate(said(dialect, "status", "agent-00008"), SECONDS)
        assert understood(dialect, output)["data"]["name"] == "agent-00008"
    with socat(orchestrator.socket) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        for name in ("agent-00009", "agent-00010"):
            session.stdin.write(said(dialect, "status", name))
            session.stdin.flush()
            assert understood(dialect, session.stdout.readline())["data"]["name"] == name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_is_an_answer_in_the_same_dialect(orchestrator: ServedOrchestrator, dialect: str) -> None:
    """The message under both names that clients look for."""
    with socat(orchestrator.socket) as session:
        output, _ = session.communicate(said(dialect, "status", "nobody") + b"\n", SECONDS)
    answer = understood(dialect, output)
    assert (answer["status"], answer["error_code"]) == ("error", "AGENT_NOT_FOUND")
    assert answer["message"] == answer["error"] == "no agent 'nobody' is registered"


def test_two_commands_in_one_write_get_two_answers(orchestrator: ServedOrchestrator) -> None:
    """In their order, each in its dialect."""
    both = said("the seed's", "status", "agent-00001") + b"\n" + said("object payload", "status", "agent-00002") + b"\n"
    with socat(orchestrator.socket) as session:
        output, _ = session.communicate(both, SECONDS)
    first, second = output.splitlines()
    assert understood("the seed's", first)["data"]["name"] == "agent-00001"
    assert understood("object payload", second)["data"]["name"] == "agent-00002"


def test_a_command_in_two_writes_is_one(orchestrator: ServedOrchestrator) -> None:
    """Cut in the middle of a word; the second part comes when the first one has surely been read."""
    line = said("the seed's", "status", "agent-00003")
    with LineClient(orchestrator.socket) as other, socat(orchestrator.socket) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(line[:50])
        session.stdin.flush()
        other.send(said("the seed's", "commands") + b"\n")
        assert understood("the seed's", other.read_line())["status"] == "success"
        session.stdin.write(line[50:] + b"\n")
        session.stdin.flush()
        assert understood("the seed's", session.stdout.readline())["data"]["name"] == "agent-00003"


def test_old_forms_of_arguments_are_understood(orchestrator: ServedOrchestrator) -> None:
    """Options as one JSON object in a text, or as an object; a number as a number."""
    for args in (['{"last": 1, "agent": "agent-00001"}'], [{"last": 1, "agent": "agent-00001"}], ["--last", 1]):
        with socat(orchestrator.socket) as session:
            output, _ = session.communicate(said("the seed's", "history", *args) + b"\n", SECONDS)
        assert understood("the seed's", output)["data"]["filters"]["last"] == 1


def test_fifty_clients_at_once_get_each_its_own_hundred_answers(orchestrator: ServedOrchestrator) -> None:
    """Of one sender name, in all dialects, five of each client's commands on their way at a time."""
    names = list(DIALECTS)

    def client(number: int) -> int:
        dialect = names[number % len(names)]
        own = f"agent-{number:05}"
        right = 0
        with LineClient(orchestrator.socket) as line:
            for begin in range(0, QUESTIONS, 5):
                asked = range(begin, begin + 5)
                line.send(b"".join(_question(dialect, own, each) + b"\n" for each in asked))
                right += sum(_is_answer(understood(dialect, line.read_line()), own, each) for each in asked)
        return right

    with ThreadPoolExecutor(CLIENTS) as clients:
        assert list(clients.map(client, range(CLIENTS))) == [QUESTIONS] * CLIENTS


def _question(dialect: str, own: str, number: int) -> bytes:
    if number % 2:
        return said(dialect, "history", f"--last={number}", f"--agent={own}")
    return said(dialect, "status", own)


def _is_answer(answer: dict[str, Any], own: str, number: int) -> bool:
    if number % 2:
        return bool(answer["data"]["filters"] == {"last": number, "agent": own})
    return bool(answer["data"]["name"] == own)
