"""What speaks to a channel's socket in the tests, raw bytes over a real connection, and how its owner takes it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trunkline.message_channel import MessageChannel, ServiceMessage

TIMEOUT = 10.0


def line(payload: str = "ps", *, sender: str = "cli", type: str = "COMMAND", **fields: Any) -> bytes:
    """One line of the seed's dialect, with its newline."""
    said = {"sender": sender, "type": type, "payload": payload, "timestamp": "2025-07-27T10:00:00.123456"} | fields
    return json.dumps(said).encode() + b"\n"


def received(channel: MessageChannel) -> ServiceMessage:
    """The next message of the owner, which must come."""
    message = channel.receive(10)
    assert message is not None
    return message


def answer(payload: str = "done") -> ServiceMessage:
    """What the owner says."""
    return ServiceMessage("orchestrator", "STATUS", payload)


class LineClient:
    """A client with a plain blocking socket."""

    def __init__(self, path: str | Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def read_line(self) -> bytes:
        """The next line without its newline; b"" at the end."""
        while b"\n" not in self._rest:
            data = self.socket.recv(65_536)
            if not data:
                return b""
            self._rest += data
        found, _, self._rest = self._rest.partition(b"\n")
        return found

    def read(self) -> dict[str, Any]:
        """The next line as an object."""
        found: dict[str, Any] = json.loads(self.read_line())
        return found

    def read_error(self) -> str:
        """The next line, which must say an error; its text."""
        payload = self.read()["payload"]
        said = json.loads(payload) if isinstance(payload, str) else payload
        assert said["status"] == "error"
        text: str = said["message"]
        return text

    def is_silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        self.socket.settimeout(seconds)
        try:
            return not self._rest and self.socket.recv(1, socket.MSG_PEEK) == b"nothing can be this"
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(TIMEOUT)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
