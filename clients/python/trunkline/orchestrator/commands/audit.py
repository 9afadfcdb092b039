"""AuditLog: a line for each command, with its caller and its outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from trunkline.message_channel import Peer
from trunkline.orchestrator.errors import OrchestratorError
from trunkline.orchestrator.limits import AUDIT_FILE_BYTES, AUDIT_FILES, MAX_ARGUMENTS, MAX_AUDITED_LENGTH
from trunkline.private_file import PrivateFile

Outcome = Literal["success", "error", "denied"]

log = logging.getLogger("trunkline.orchestrator.commands.audit")
"""Gets every line, with and without a file."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Sender of a command: a process on the socket, or a client of the bus."""

    sender: str
    via: Literal["socket", "bus"]
    peer: Peer | None = None
    """Process and user by the kernel's word. None over the bus, which knows only the name that the sender gives."""


class AuditLog:
    """Writes one JSON object a line, to the log of this module and to a file. All characters but printable ASCII are
    escaped, so that a terminal that shows the file cannot be controlled by it.

    Args:
        path: the file of one orchestrator, mode 0600, appended to; AUDIT_FILES of AUDIT_FILE_BYTES are kept. None: no
            file.

    Raises:
        OrchestratorError: the file cannot be written, is a link or no regular file, or belongs to another user or
            another orchestrator.
    """

    def __init__(self, path: str | None) -> None:
        self._file: PrivateFile | None = None
        if path is not None:
            try:
                self._file = PrivateFile(path, AUDIT_FILE_BYTES, AUDIT_FILES)
            except OSError as error:
                raise OrchestratorError(
                    f"the audit log {path} cannot be written: {error}", details={"path": path}
                ) from error

    def record(self, caller: Caller, command: str, args: Sequence[str], outcome: Outcome, message: str = "") -> None:
        """Writes a line. Where the file cannot be written, that is logged."""
        facts: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "via": caller.via,
            "sender": caller.sender[:MAX_AUDITED_LENGTH],
            "uid": caller.peer.uid if caller.peer else None,
            "pid": caller.peer.pid if caller.peer else None,
            "command": command[:MAX_AUDITED_LENGTH],
            "args": [arg[:MAX_AUDITED_LENGTH] for arg in args[:MAX_ARGUMENTS]],
            "outcome": outcome,
        }
        if message:
            facts["message"] = message[:MAX_AUDITED_LENGTH]
        line = json.dumps(facts)
        level = logging.INFO if outcome == "success" else logging.WARNING
        log.log(level, "%s", line)
        if (file := self._file) is not None:
            try:
                file.write(line.encode())
            except OSError as error:
                log.error("the audit log cannot be written (%s), this is missing in it: %s", error, line)

    def denied(self, peer: Peer, why: str) -> None:
        """Records a refused connection."""
        self.record(Caller("", "socket", peer), "connect", [], "denied", why)

    def close(self) -> None:
        """Closes the file; idempotent. Later lines go to the log alone."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
