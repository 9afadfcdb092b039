"""AuditLog: who asked for what, and what came of it."""

from __future__ import annotations

import json
import logging
import os
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


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked: a process on the socket, or somebody on the bus."""

    sender: str
    via: Literal["socket", "bus"]
    peer: Peer | None = None
    """Of the kernel, so it cannot lie. None over the bus, which says only what the sender calls itself."""


class AuditLog:
    """One JSON object a line, in the log of this module and in a file.

    Args:
        path: the file, mode 0600, appended to; AUDIT_FILES of AUDIT_FILE_BYTES are kept. None: no file.

    Raises:
        OrchestratorError: the file cannot be written.
    """

    def __init__(self, path: str | None) -> None:
        self._file: RotatingFileHandler | None = None
        if path is not None:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                self._file = _PrivateFile(
                    path, maxBytes=AUDIT_FILE_BYTES, backupCount=AUDIT_FILES - 1, encoding="utf-8"
                )
            except OSError as error:
                raise OrchestratorError(
                    f"the audit log {path} cannot be written: {error}", details={"path": path}
                ) from error
            self._file.setFormatter(logging.Formatter("%(message)s"))

    def record(self, asker: Asker, command: str, args: Sequence[Any], outcome: Outcome, message: str = "") -> None:
        """Writes a line."""
        facts: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "via": asker.via,
            "sender": asker.sender[:MAX_AUDITED_LENGTH],
            "uid": asker.peer.uid if asker.peer else None,
            "pid": asker.peer.pid if asker.peer else None,
            "command": command[:MAX_AUDITED_LENGTH],
            "args": [str(arg)[:MAX_AUDITED_LENGTH] for arg in args[:MAX_AUDITED_LENGTH]],
            "outcome": outcome,
        }
        if message:
            facts["message"] = message[:MAX_AUDITED_LENGTH]
        line = json.dumps(facts, ensure_ascii=False)
        level = logging.INFO if outcome == "success" else logging.WARNING
        log.log(level, "%s", line)
        if self._file is not None:
            self._file.handle(logging.LogRecord(log.name, level, "", 0, line, None, None))

    def denied(self, peer: Peer, why: str) -> None:
        """Somebody was not let in."""
        self.record(Asker("", "socket", peer), "connect", [], "denied", why)

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()


class _PrivateFile(RotatingFileHandler):
    """A new file is for its owner's eyes only, whatever the umask."""

    def _open(self) -> Any:
        stream = super()._open()
        os.fchmod(stream.fileno(), 0o600)
        return stream
