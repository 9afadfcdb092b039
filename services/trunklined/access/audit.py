"""AuditLog: denials, and acts of administration, as JSON lines."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog

from trunkline.errors import TrunklineError
from trunkline.limits import MiB
from trunkline.private_file import PrivateFile
from trunklined.access.identity import Identity

FILE_BYTES: Final = 16 * MiB
FILES: Final = 5
"""So many files of so many bytes are kept, this one included."""
MAX_LENGTH: Final = 512
"""Characters of a name or an object; the rest is cut off."""
REPEAT_SECONDS: Final = 1.0
"""The same denial is written so often at the most; those between are counted."""
MAX_REMEMBERED: Final = 1_024

Outcome = Literal["done", "failed", "denied"]


class AuditError(TrunklineError):
    """The audit log cannot be written. Details: setting, file."""

    error_code = "AUDIT_FILE"
    status = "FAILED_PRECONDITION"


class AuditLog:
    """Writes one JSON object a line; all but printable ASCII is escaped.

    Args:
        path: the file of one program, mode 0600, appended to; FILES of FILE_BYTES are kept. Empty: the program's log
            alone.
        is_on: whether what was done is recorded, too; denials always are.

    Raises:
        AuditError: it cannot be written, is a link or no regular file, or belongs to another user or program.
    """

    def __init__(self, path: str = "", *, is_on: bool = False) -> None:
        self._is_on = is_on or bool(path)
        self._file: PrivateFile | None = None
        self._denied: dict[tuple[str, ...], tuple[float, int]] = {}
        """By identity, call, object and why: when it was written last, and how often it was not since."""
        if path:
            try:
                self._file = PrivateFile(path, FILE_BYTES, FILES)
            except OSError as error:
                raise AuditError(
                    f"{path} cannot be written: {error.strerror or error}",
                    details={"setting": "audit_file", "file": path},
                ) from error

    def denied(self, identity: Identity, call: str, object: str, why: str) -> None:
        """Records what was refused. The same of the same is written once a second at the most."""
        key, now = (identity.name, call, object, why), time.monotonic()
        last, repeated = self._denied.pop(key, (float("-inf"), 0))
        if now - last < REPEAT_SECONDS:
            self._denied[key] = last, repeated + 1
            return
        if len(self._denied) >= MAX_REMEMBERED:
            self._denied.clear()
        self._denied[key] = now, 0
        more = {"repeated": repeated} if repeated else {}
        self._write(identity, call, object, "denied", why=why, **more)

    def done(self, identity: Identity, call: str, object: str, error: TrunklineError | None) -> None:
        """Records an act of administration, and how it ended."""
        if self._is_on:
            failed = {"why": error.error_code} if error is not None else {}
            self._write(identity, call, object, "done" if error is None else "failed", **failed)

    def changed(self, what: str, outcome: Outcome, **facts: object) -> None:
        """Records that the program itself took up something else, or could not, such as another access file. May be
        called in any thread."""
        if self._is_on:
            self._line({"call": what, "outcome": outcome, **facts})

    def close(self) -> None:
        """Closes the file; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, identity: Identity, call: str, object: str, outcome: Outcome, **more: Any) -> None:
        facts: dict[str, Any] = {
            "identity": identity.name[:MAX_LENGTH],
            "peer": identity.peer[:MAX_LENGTH],
            "call": call,
            "object": object[:MAX_LENGTH],
            "outcome": outcome,
            **more,
        }
        if identity.speaker:
            facts["speaker"] = identity.speaker[:MAX_LENGTH]
        self._line(facts)

    def _line(self, facts: dict[str, Any]) -> None:
        log = structlog.get_logger()
        (log.warning if facts["outcome"] == "denied" else log.info)("audit", **facts)
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, **facts})
        try:
            self._file.write(line.encode())
        except OSError as error:
            log.error("the audit log cannot be written; this is missing in it", reason=str(error), line=line)
