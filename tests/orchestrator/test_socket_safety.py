"""The command socket of a real orchestrator, whoever comes: it serves whom it shall, and the orchestrator goes on."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.channel.clients import LineClient, line
from tests.orchestrator.other_user import NOBODY, as_other_user
from tests.orchestrator.program import Serve, ServedOrchestrator
from trunkline.message_channel.limits import MAX_CONNECTIONS, MAX_LINE_BYTES

MiB = 1024 * 1024


@pytest.fixture
def orchestrator(serve: Serve) -> Iterator[ServedOrchestrator]:
    """With an agent that must live through everything, and be served behind it."""
    served = serve(agents=[("thread", "Ticking", {}), ("process", "TickingProcess", {})], start=["thread", "process"])
    pid = served.ask("status", "process")["data"]["pid"]
    yield served
    alive = {agent["agent_name"]: agent["alive"] for agent in served.ask("ps")["data"]["agents"]}
    assert alive == {"thread": True, "process": True}
    assert served.ask("status", "process")["data"]["pid"] == pid
    assert served.ask("stop", "process")["status"] == "success"


def test_the_socket_is_for_its_owner(orchestrator: ServedOrchestrator) -> None:
    """Mode 0600."""
    assert stat.S_IMODE(Path(orchestrator.socket).stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_and_audited(serve: Serve, socket_dir: Path) -> None:
    """By the peer's uid, where the file's mode lets it in, because a second user may connect; that one is served."""
    socket_dir.chmod(0o755)
    audit = socket_dir / "audit"
    config = {"allowed_uids": [0, 12_345], "audit_log_path": str(audit)}
    orchestrator = serve(config=config)
    assert stat.S_IMODE(Path(orchestrator.socket).stat().st_mode) == 0o666
    assert as_other_user(NOBODY, orchestrator.socket).message == f"user {NOBODY} is not allowed to connect"
    assert as_other_user(12_345, orchestrator.socket) == "served"
    denied, served = map(json.loads, audit.read_text().splitlines())
    assert (denied["uid"], denied["command"], denied["outcome"]) == (NOBODY, "connect", "denied")
    assert denied["message"] == f"user {NOBODY} is not allowed to connect"
    assert (served["uid"], served["command"], served["outcome"]) == (12_345, "status", "success")
    assert denied["pid"] not in (served["pid"], os.getpid())


def test_a_live_socket_in_the_way_is_left_alone(orchestrator: ServedOrchestrator, serve: Serve) -> None:
    """The second orchestrator ends with a clear error, and the first one goes on."""
    with pytest.raises(AssertionError, match="SocketInUseError: another program listens on"):
        serve()
    assert orchestrator.ask("ps")["status"] == "success"


def test_a_stale_socket_in_the_way_is_replaced(serve: Serve) -> None:
    """As a kill leaves it."""
    killed = serve()
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait(20)
    assert Path(killed.socket).exists()
    assert serve().ask("ps")["status"] == "success"


def test_a_file_in_the_way_is_left_alone(serve: Serve, socket_dir: Path) -> None:
    """It is somebody's."""
    (socket_dir / "o.sock").write_text("somebody's")
    with pytest.raises(AssertionError, match="exists and is no socket; it is left alone"):
        serve()
    assert (socket_dir / "o.sock").read_text() == "somebody's"


def test_a_thousand_silent_connections(orchestrator: ServedOrchestrator) -> None:
    """Where there is no room, the oldest are told and closed; who asked before is served, and so is who comes."""
    with ExitStack() as clients:
        early = clients.enter_context(LineClient(orchestrator.socket))
        early.send(line("ps"))
        assert early.read()["sender"] == "orchestrator"
        silent: list[LineClient] = []
        while len(silent) < 1_000:
            try:
                silent.append(clients.enter_context(LineClient(orchestrator.socket)))
            except BlockingIOError:  # the kernel's queue is full until the orchestrator has taken some
                early.send(line("ps"))
                assert early.read()["sender"] == "orchestrator"
        refused = silent[: 1_000 - (MAX_CONNECTIONS - 1)]
        assert all(f"too many clients: {MAX_CONNECTIONS}" in client.read_error() for client in refused)
        assert all(client.read_line() == b"" for client in refused)
        early.send(line("ps"))
        assert early.read()["sender"] == "orchestrator"
        newcomer = clients.enter_context(LineClient(orchestrator.socket))
        newcomer.send(line("ps"))
        assert json.loads(newcomer.read()["payload"])["status"] == "success"


def test_half_a_line_and_gone(orchestrator: ServedOrchestrator) -> None:
    """A hundred times, cut at every place; nothing of it is done."""
    whole = line("shutdown")
    for length in range(1, len(whole) - 1):
        with LineClient(orchestrator.socket) as client:
            client.send(whole[:length])


def test_a_command_and_gone(orchestrator: ServedOrchestrator) -> None:
    """Whoever does not wait for its answer hinders nobody."""
    for _ in range(100):
        with LineClient(orchestrator.socket) as client:
            client.send(line("status") * 10)


def test_a_line_of_a_hundred_megabytes(orchestrator: ServedOrchestrator) -> None:
    """Told so, and passed over without being kept; the next line of the same client is served."""
    process = psutil.Process(orchestrator.process.pid)
    with LineClient(orchestrator.socket) as client:
        client.send(line("ps"))
        client.read()
        before = process.memory_info().rss
        piece = b"x" * MiB
        for _ in range(100):
            client.send(piece)
        client.send(b"\n" + line("ps"))
        assert f"a line may have {MAX_LINE_BYTES} bytes" in client.read_error()
        assert json.loads(client.read()["payload"])["status"] == "success"
        assert process.memory_info().rss - before < 40 * MiB


def test_a_command_of_the_largest_line(orchestrator: ServedOrchestrator) -> None:
    """Refused by its argument, in a short answer."""
    with LineClient(orchestrator.socket) as client:
        client.send(line(json.dumps({"command": "status", "args": ["x" * (MAX_LINE_BYTES - 1_000)]})))
        assert "at most 1024 are allowed" in client.read_error()


def test_somebody_who_never_reads(serve: Serve) -> None:
    """Asks for 20 MB and takes nothing of it: cut off when more waits than the limit, and the others are served."""
    orchestrator = serve(registered=1_000)
    with LineClient(orchestrator.socket) as greedy:
        greedy.send(line("ps") * 200)
        assert len(orchestrator.ask("ps", "--page-size", "1")["data"]["agents"]) == 1
        answers = 0
        with suppress(ConnectionError):
            while greedy.read_line():
                answers += 1
        assert answers < 200


def test_an_interrupted_orchestrator_takes_its_socket_with_it(serve: Serve) -> None:
    """So that nobody finds a stale one."""
    orchestrator = serve()
    assert orchestrator.stop() == 0
    assert not Path(orchestrator.socket).exists()
