"""AuditLog: who asked for what, and what came of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from trunkline.message_channel import Peer
from trunkline.orchestrator.commands.private_file import PrivateFile
from trunkline.orchestrator.errors import OrchestratorError
from trunkline.orchestrator.limits import AUDIT_FILE_BYTES, AUDIT_FILES, MAX_ARGUMENTS, MAX_AUDITED_LENGTH

Outcome = Literal["success", "error", "denied"]

log = logging.getLogger("trunkline.orchestrator.commands.audit")
"""Gets every line, whether there is a file or not."""


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
        self._file: PrivateFile | None = None
        if path is not None:
            try:
                self._file = PrivateFile(path, AUDIT_FILE_BYTES, AUDIT_FILES)
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
        """Somebody was not let in."""
        self.record(Asker("", "socket", peer), "connect", [], "denied", why)

    def close(self) -> None:
        """Idempotent; what is recorded after it stands in the log alone."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
