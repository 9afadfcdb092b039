"""CommandConnection: a connection to the command socket of one orchestrator."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from trunkline.cli.settings import CONNECT_SECONDS
from trunkline.errors import PermissionDeniedError, RequestTimeoutError, TrunklineError
from trunkline.limits import MAX_MESSAGE_BYTES

_RETRY_SECONDS: Final = 0.05
"""Delay between two tries to connect while the socket's queue is full."""
_READ_BYTES: Final = 256 * 1024
_MAX_LINE_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""Bound of an answer. The orchestrator's own limit is MAX_MESSAGE_BYTES, but it may be of another release."""
_SENDER: Final = "cli"

Answer = dict[str, Any]


class OrchestratorUnreachableError(TrunklineError):
    """No orchestrator listens on the socket, or it has ended. Details: path."""

    error_code = "ORCHESTRATOR_UNREACHABLE"


class CommandConnection:
    """Sends one command after the other, and matches answers by their ids.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._numbers = itertools.count(1)
        self._socket: socket.socket | None = None
        self._rest = bytearray()
        """Bytes received after the last line."""

    async def __aenter__(self) -> Self:
        self._socket = await _connected(self.path)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    async def ask(self, command: str, args: Sequence[str], seconds: float) -> Answer:
        """Sends a command, and returns the answer.

        Raises:
            TrunklineError: the answer is an error; the `error_code` is the orchestrator's.
            RequestTimeoutError: there was no answer within `seconds`; the connection cannot be used any more.
            OrchestratorUnreachableError: the orchestrator has ended.
        """
        number = f"{os.getpid()}-{next(self._numbers)}"
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(number, json.dumps({"command": command, "args": list(args)}))
        except TimeoutError:
            raise RequestTimeoutError(
                f"the orchestrator on {self.path}{self._whose()} did not answer {command!r} within {seconds:g} s: it "
                "is there, but busy or stuck; try again, and look at its log where that does not help",
                details={"path": self.path, "timeout_seconds": seconds},
            ) from None
        if answer.get("status") != "success":
            raise TrunklineError(
                str(answer.get("message", answer)),
                answer.get("error_code") or "ORCHESTRATOR_ERROR",
                {"path": self.path},
            )
        return answer

    async def _exchange(self, number: str, payload: str) -> Answer:
        assert self._socket is not None
        request = {
            "sender": _SENDER,
            "type": "COMMAND",
            "payload": payload,
            "timestamp": datetime.now(UTC).isoformat(),
            "request_id": number,
        }
        # The bare socket: asyncio's streams drop received bytes when a write fails, and these say why.
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._socket, json.dumps(request).encode() + b"\n")
        while True:
            answer = _answer(await self._line(), number)
            if answer is not None:
                return answer

    async def _line(self) -> bytes:
        assert self._socket is not None
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > _MAX_LINE_BYTES:
                raise self._gone(f"its answer has no end within {searched:,} bytes")
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
            except ConnectionError as error:
                raise self._gone(error.strerror or str(error)) from error
            if not data:
                raise self._gone("it closed the connection")
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line

    def _gone(self, why: str) -> OrchestratorUnreachableError:
        return OrchestratorUnreachableError(
            f"the orchestrator on {self.path} has gone before it answered: {why}", details={"path": self.path}
        )

    def _whose(self) -> str:
        """Returns process and user of the other end, by the kernel's word."""
        from trunkline.message_channel.peer import peer_of

        assert self._socket is not None
        peer = peer_of(self._socket)
        return f" (process {peer.pid} of user {peer.uid})"


def _answer(line: bytes, number: str) -> Answer | None:
    """Returns the answer in a line; None where the line is not the answer to that command. An error without an id
    refuses the connection."""
    try:
        fields = json.loads(line)
        payload = json.loads(fields["payload"])
        is_for_us = fields.get("request_id") in (number, None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TrunklineError(f"what came is no answer: {line[:80]!r}: is that an orchestrator's socket?") from None
    if not is_for_us or not isinstance(payload, dict):
        return None
    if "request_id" not in fields and payload.get("status") != "error":
        return None
    return payload


async def _connected(path: str) -> socket.socket:
    """Connects to the socket.

    Raises:
        OrchestratorUnreachableError: no orchestrator listens there.
        PermissionDeniedError: the file's mode does not allow it.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + CONNECT_SECONDS
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        while True:
            try:
                connection.connect(path)
                return connection
            except BlockingIOError:  # its queue is full; asyncio's own connect would take that for success
                if loop.time() >= until:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise _why_not(path, error) from error
        raise


def _why_not(path: str, error: OSError) -> TrunklineError:
    details = {"path": path}
    name = "name another socket with --socket or TRUNKLINE_SOCKET"
    if isinstance(error, PermissionError):
        return PermissionDeniedError(
            f"user {os.geteuid()} may not open the socket {path}{_owner(path)}: run the command as the orchestrator's "
            "user, or let it name this one in allowed_uids",
            details=details,
        )
    if isinstance(error, FileNotFoundError):
        why = (
            f"there is no socket {path}: no orchestrator with enable_command_interface runs there; start one, or {name}"
        )
    elif isinstance(error, BlockingIOError):
        why = f"the orchestrator on {path} takes no connection: too many wait for it; try again"
    elif isinstance(error, ConnectionRefusedError) and _is_socket(path):
        why = (
            f"nobody listens on the socket {path}: its orchestrator has ended without removing it; start it again, it "
            f"replaces the file, or {name}"
        )
    elif isinstance(error, ConnectionRefusedError):
        why = f"{path} is no socket; {name}"
    else:
        why = f"the socket {path} cannot be opened: {error.strerror or error}; {name}"
    return OrchestratorUnreachableError(why, details=details)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _owner(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f" (mode {stat.S_IMODE(status.st_mode):04o}, of user {status.st_uid})"
