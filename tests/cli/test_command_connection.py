"""Nobody behind the socket, or somebody who is no orchestrator: said clearly, with what to do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.conftest import Trunkline
from tests.orchestrator.other_user import NOBODY, as_other_user
from tests.orchestrator.program import Serve
from trunkline.cli.agents.orchestrator_socket import SocketOrchestrator
from trunkline.errors import RequestTimeoutError, TrunklineError


@contextmanager
def listening(path: Path, answer: bytes | None) -> Iterator[socket.socket]:
    """A socket whose first client gets these bytes and the end once it has said something; with None, nothing ever."""

    def serve() -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            clients.append(client)
            if answer is not None:
                client.recv(65_536)
                client.sendall(answer)
                client.close()

    clients: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for client in clients:
                client.close()


def test_no_socket_is_exit_code_5(trunkline: Trunkline, socket_dir: Path) -> None:
    """With what to do; for scripts as JSON."""
    path = f"{socket_dir}/none.sock"
    said = trunkline("ps", "--socket", path)
    assert (said.returncode, said.stdout) == (5, "")
    assert said.stderr.startswith(f"error: there is no socket {path}: no orchestrator with enable_command_interface")
    said = trunkline("stop", "x", "--socket", path, "--format", "json")
    assert said.returncode == 5
    told = json.loads(said.stderr)
    assert (told["error_code"], told["details"]) == ("ORCHESTRATOR_UNREACHABLE", {"path": path})


def test_a_stale_socket_and_other_files_are_told_apart(trunkline: Trunkline, serve: Serve, socket_dir: Path) -> None:
    """Of a killed orchestrator the socket stays, and says nothing; the next one replaces it."""
    orchestrator = serve()
    orchestrator.process.kill()
    orchestrator.process.wait(20)
    said = trunkline("ps")
    assert said.returncode == 5
    assert "nobody listens on the socket" in said.stderr
    assert "start it again, it replaces the file" in said.stderr
    serve()
    assert trunkline("ps").returncode == 0
    (socket_dir / "file").touch()
    for path, wanted in (
        (socket_dir / "file", "is no socket"),
        (f"/{'x' * 200}", "cannot be opened: AF_UNIX path too"),
    ):
        said = trunkline("ps", "--socket", str(path))
        assert said.returncode == 5
        assert wanted in said.stderr


def test_a_live_orchestrator_that_does_not_answer_is_not_waited_for_for_ever(socket_dir: Path) -> None:
    """The error names the process that has the socket."""

    async def ask() -> None:
        async with SocketOrchestrator(str(socket_dir / "s")) as asked:
            await asked.ask("ps", [], 0.2)

    with (
        listening(socket_dir / "s", None),
        pytest.raises(RequestTimeoutError, match=r"\(process \d+ of user \d+\) did"),
    ):
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("answer", "code", "wanted"),
    [
        (b"", 5, "has gone before it answered"),
        (b'{"sender": "orch', 5, "has gone before it answered"),
        (b"HTTP/1.1 400 Bad Request\r\n", 1, "is that an orchestrator's socket?"),
        (b'{"payload": 3}\n', 1, "is that an orchestrator's socket?"),
        (b"[]\n", 1, "is that an orchestrator's socket?"),
        (b"\xff\n", 1, "is that an orchestrator's socket?"),
        (b'{"payload": "{\\"status\\": \\"error\\", \\"message\\": \\"too many\\"}"}\n', 1, "error: too many"),
    ],
)
def test_whatever_comes_instead_of_an_answer(
    trunkline: Trunkline, socket_dir: Path, answer: bytes, code: int, wanted: str
) -> None:
    """No traceback."""
    with listening(socket_dir / "s", answer):
        said = trunkline("ps", "--socket", str(socket_dir / "s"))
    assert said.returncode == code
    assert wanted in said.stderr
    assert "Traceback" not in said.stderr


def test_an_answer_to_somebody_else_is_passed_over(trunkline: Trunkline, serve: Serve) -> None:
    """Only the one with the own id counts: a line without one that is no error, and another's, are not ours."""

    async def ask(path: str) -> str:
        async with SocketOrchestrator(path) as asked:
            assert asked._socket is not None
            # Answered in the same connection, with another id and without one.
            for extra in ({"request_id": "other"}, {}):
                said = {"sender": "cli", "type": "COMMAND", "payload": "status agent-00001", **extra}
                asked._socket.sendall(json.dumps(said).encode() + b"\n")
            return str((await asked.status("agent-00000"))["name"])

    assert asyncio.run(ask(serve(registered=2).socket)) == "agent-00000"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_who_may(serve: Serve, socket_dir: Path) -> None:
    """The file's mode keeps it out; where that lets it in, the orchestrator says why it does not."""
    socket_dir.chmod(0o755)
    closed = serve()
    told = as_other_user(NOBODY, closed.socket)
    assert (told.error_code, told.details) == ("PERMISSION_DENIED", {"path": closed.socket})
    assert f"user {NOBODY} may not open the socket {closed.socket} (mode 0600, of user 0)" in told.message
    for_others = serve(socket="open.sock", config={"allowed_uids": [0, 12_345]})
    assert as_other_user(NOBODY, for_others.socket).message == f"user {NOBODY} is not allowed to connect"
    assert as_other_user(12_345, for_others.socket) == "served"


def test_an_error_keeps_the_code_that_the_orchestrator_gave_it(serve: Serve) -> None:
    """It is the exit code's source."""

    async def ask(path: str) -> None:
        async with SocketOrchestrator(path) as asked:
            await asked.stop("nobody")

    with pytest.raises(TrunklineError) as caught:
        asyncio.run(ask(serve().socket))
    assert caught.value.error_code == "AGENT_NOT_FOUND"
