"""AuditLog: who asked for what, and what came of it."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any, Literal

from trunkline.message_channel import Peer
from trunkline.orchestrator.errors import OrchestratorError
from trunkline.orchestrator.limits import AUDIT_FILE_BYTES, AUDIT_FILES, MAX_AUDITED_LENGTH

Outcome = Literal["success", "error", "denied"]

log = logging.getLogger("trunkline.orchestrator.audit")
"""Gets every line, whether there is a file or not."""

_MAX_AUDITED_ARGS = 16


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked: a process on the socket, or somebody on the bus."""

    sender: str
    via: Literal["socket", "bus"]
    peer: Peer | None = None
    """Of the kernel, so it cannot lie. None over the bus, which says only what the sender calls itself."""


class AuditLog:
    """One JSON object a line, in the log of this module and in a file. A line is ASCII: what is no printable character
    of it is escaped, so that whoever reads the file on a terminal sees what was said and nothing else happens.

    Args:
        path: the file, mode 0600, appended to, of one orchestrator; AUDIT_FILES of AUDIT_FILE_BYTES are kept. None: no
            file.

    Raises:
        OrchestratorError: the file cannot be written, is a link or no regular file, or is another user's or another
            orchestrator's.
    """

    def __init__(self, path: str | None) -> None:
        self._file: _PrivateFile | None = None
        if path is not None:
            try:
                self._file = _PrivateFile(
                    path, maxBytes=AUDIT_FILE_BYTES, backupCount=AUDIT_FILES - 1, encoding="ascii"
                )
            except OSError as error:
                raise OrchestratorError(
                    f"the audit log {path} cannot be written: {error}", details={"path": path}
                ) from error

    def record(self, asker: Asker, command: str, args: Sequence[str], outcome: Outcome, message: str = "") -> None:
        """Writes a line. That it cannot be written is logged, and hinders nobody."""
        facts: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "via": asker.via,
            "sender": asker.sender[:MAX_AUDITED_LENGTH],
            "uid": asker.peer.uid if asker.peer else None,
            "pid": asker.peer.pid if asker.peer else None,
            "command": command[:MAX_AUDITED_LENGTH],
            "args": [arg[:MAX_AUDITED_LENGTH] for arg in args[:_MAX_AUDITED_ARGS]],
            "outcome": outcome,
        }
        if message:
            facts["message"] = message[:MAX_AUDITED_LENGTH]
        line = json.dumps(facts)
        level = logging.INFO if outcome == "success" else logging.WARNING
        log.log(level, "%s", line)
        if self._file is not None:
            self._file.handle(logging.LogRecord(log.name, level, "", 0, line, None, None))

    def denied(self, peer: Peer, why: str) -> None:
        """Somebody was not let in."""
        self.record(Asker("", "socket", peer), "connect", [], "denied", why)

    def close(self) -> None:
        """Idempotent; what is recorded after it stands in the log alone."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _PrivateFile(RotatingFileHandler):
    """A file for its owner's eyes only, whatever the umask, and never one that somebody else put there."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(
            self.baseFilename,
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
            0o600,
        )
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            if status.st_uid != os.geteuid():
                raise OSError(f"it belongs to user {status.st_uid}")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError("another orchestrator writes it") from None
            os.fchmod(descriptor, 0o600)
            return open(descriptor, "a", encoding=self.encoding)
        except BaseException:
            os.close(descriptor)
            raise

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        log.exception("the audit log %s cannot be written; this is missing in it: %s", self.baseFilename, record.msg)
