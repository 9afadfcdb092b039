"""The audit log: who asked for what, and what came of it, in a bounded file that nobody else reads or writes."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.channel.clients import LineClient
from tests.orchestrator.program import Serve, ask
from trunkline.message_channel import Peer
from trunkline.orchestrator import OrchestratorError
from trunkline.orchestrator.commands import audit
from trunkline.orchestrator.commands.audit import AuditLog, Caller

CALLER = Caller("cli", "socket", Peer(pid=7, uid=1000, gid=1000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit_log(path: Path) -> Iterator[AuditLog]:
    log = AuditLog(str(path))
    yield log
    log.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_a_line_says_who_asked_for_what_and_what_came_of_it(audit_log: AuditLog, path: Path) -> None:
    """Also of somebody on the bus, of whom no uid is known, and of somebody who was not let in."""
    audit_log.record(CALLER, "stop", ["weather"], "error", "it does not run")
    audit_log.record(Caller("ops", "bus"), "ps", [], "success")
    audit_log.denied(Peer(8, 65534, 65534), "user 65534 is not allowed to connect")
    stopped, listed, denied = lines(path)
    assert stopped.pop("time").endswith("+00:00")
    assert stopped == {
        **{"via": "socket", "sender": "cli", "uid": 1000, "pid": 7, "command": "stop", "args": ["weather"]},
        **{"outcome": "error", "message": "it does not run"},
    }
    assert (listed["via"], listed["uid"], listed["outcome"]) == ("bus", None, "success")
    assert (denied["command"], denied["uid"], denied["pid"], denied["outcome"]) == ("connect", 65534, 8, "denied")


def test_each_command_and_denial_to_an_orchestrator_is_there(serve: Serve, path: Path) -> None:
    """With this process's own uid and pid, as the kernel says them; also what is no command at all."""
    orchestrator = serve(registered=1, config={"audit_log_path": str(path), "allowed_commands": "read_only"})
    with LineClient(orchestrator.socket) as client:
        ask(client, "status", "agent-00000")
        ask(client, "status", "nobody")
        ask(client, "stop", "agent-00000")
        ask(client, "nonsense", "\x1b[2J")
        client.send(b'{"sender": "cli", "type": "COMMAND", "payload": "{\\"command\\": 3}"}\n')
        client.read()
    told = [(line["command"], line["args"], line["outcome"]) for line in lines(path)]
    assert told == [
        ("status", ["agent-00000"], "success"),
        ("status", ["nobody"], "error"),
        ("stop", ["agent-00000"], "denied"),
        ("nonsense", ["\x1b[2J"], "error"),
        ('{"command": 3}', [], "error"),
    ]
    assert {(line["uid"], line["pid"]) for line in lines(path)} == {(os.geteuid(), os.getpid())}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_for_its_owners_eyes_only(path: Path) -> None:
    """Whatever the umask; one that was open to others before is closed to them; each file that is put aside too."""
    path.touch(0o644)
    path.chmod(0o666)
    umask = os.umask(0)
    try:
        log = AuditLog(str(path))
        log.record(CALLER, "ps", [], "success")
        log.close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(lines(path)) == 1


def test_it_is_appended_to(path: Path) -> None:
    """A restart loses nothing."""
    for _ in range(2):
        log = AuditLog(str(path))
        log.record(CALLER, "ps", [], "success")
        log.close()
    assert len(lines(path)) == 2


def test_its_files_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest lines are kept, in five files, all of mode 0600."""
    monkeypatch.setattr(audit, "AUDIT_FILE_BYTES", 2_000)
    log = AuditLog(str(path))
    for number in range(200):
        log.record(CALLER, "status", [str(number)], "success")
    log.close()
    files = sorted(path.parent.iterdir())
    assert len(files) == 5
    assert all(each.stat().st_size <= 2_000 for each in files)
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert lines(path)[-1]["args"] == ["199"]


def test_nothing_that_somebody_else_put_there_is_written(path: Path, tmp_path: Path) -> None:
    """A link, a pipe, another user's file, and the file of another orchestrator are refused; each is left as it was."""
    other = tmp_path / "other"
    other.write_text("untouched")
    path.symlink_to(other)
    with pytest.raises(OrchestratorError, match="cannot be written"):
        AuditLog(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OrchestratorError, match="cannot be written"):
        AuditLog(str(path))
    path.unlink()
    log = AuditLog(str(path))
    with pytest.raises(OrchestratorError, match="another program writes it"):
        AuditLog(str(path))
    log.close()
    AuditLog(str(path)).close()
    with pytest.raises(OrchestratorError, match="cannot be written"):
        AuditLog(str(tmp_path / "nowhere" / "audit"))
    assert other.read_text() == "untouched"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_is_refused(path: Path) -> None:
    """Its owner could read and change what is told of him."""
    path.touch()
    os.chown(path, 65534, 65534)
    with pytest.raises(OrchestratorError, match="belongs to user 65534"):
        AuditLog(str(path))


def test_a_link_that_takes_its_place_while_it_is_put_aside_is_not_followed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is put aside itself."""
    monkeypatch.setattr(audit, "AUDIT_FILE_BYTES", 300)
    log = AuditLog(str(path))
    log.record(CALLER, "ps", [], "success")
    path.unlink()
    other = tmp_path / "other"
    other.touch()
    path.symlink_to(other)
    for _ in range(3):
        log.record(CALLER, "ps", [], "success")
    log.close()
    assert other.read_bytes() == b""


@given(st.text(), st.lists(st.text(), max_size=3), st.text())
def test_whatever_is_said_stays_one_harmless_line(command: str, args: list[str], message: str) -> None:
    """ASCII without a control character, which says what was said; too long a text is cut."""
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    audit.log.addHandler(handler)
    level, audit.log.level = audit.log.level, logging.INFO
    try:
        AuditLog(None).record(Caller(command, "socket"), command, args, "error", message)
    finally:
        audit.log.removeHandler(handler)
        audit.log.level = level
    (line,) = seen
    assert line.isascii()
    assert line.isprintable()
    facts = json.loads(line)
    assert (facts["command"], facts["args"]) == (command[:256], [arg[:256] for arg in args])


def test_long_texts_and_many_arguments_are_cut(audit_log: AuditLog, path: Path) -> None:
    """So that no command fills the file."""
    audit_log.record(CALLER, "x" * 100_000, ["y" * 100_000] * 1_000, "error", "z" * 100_000)
    assert path.stat().st_size < 10_000


def test_a_full_disk_hinders_no_command(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is missing in the file stands in the log."""
    log = AuditLog(str(small_disk / "audit"))
    with (small_disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while True:
            rest.write(bytes(4_096))
    for number in range(100):
        log.record(CALLER, "status", [f"lost-{number}" + "x" * 200], "success")
    assert "cannot be written" in caplog.text
    assert "lost-99" in caplog.text
    (small_disk / "rest").unlink()
    log.record(CALLER, "status", ["back"], "success")
    log.close()
    assert json.loads((small_disk / "audit").read_text().splitlines()[-1])["args"] == ["back"]


def test_what_comes_after_the_close_makes_no_file(audit_log: AuditLog, path: Path) -> None:
    """Closing twice is fine."""
    audit_log.close()
    audit_log.close()
    audit_log.record(CALLER, "ps", [], "success")
    assert lines(path) == []
