"""The processes of one run: servers and roles, each started, waited for, and ended by its own id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.bench.peer import Server

START_SECONDS: Final = 60.0
"""Within which a server must accept and a role must be ready."""

END_SECONDS: Final = 5.0
"""Within which a process must end after SIGTERM; then it is killed."""

ROOT: Final = Path(__file__).resolve().parents[2]
"""The checkout, in which this package is."""

_RETRY_SECONDS: Final = 0.02
_ERROR_CHARACTERS: Final = 2_000


class RunFailedError(Exception):
    """A process of a run did not do its part; says which, and what it wrote."""


def free_port() -> int:
    """A port on the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def start_server(server: Server, port: int, log: Path, environment: Mapping[str, str]) -> Process:
    """Starts a server and waits until its port accepts; what it writes goes to the log.

    Raises:
        RunFailedError: the program is not there, ended, or did not accept in time.
    """
    with log.open("wb") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *server.command,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment, "PYTHONPATH": python_path(environment), **server.environment},
            )
        except FileNotFoundError as error:
            raise RunFailedError(f"{server.command[0]} is not installed: {error}") from error
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while loop.time() < deadline and process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return process
        await asyncio.sleep(_RETRY_SECONDS)
    await end(process)
    raise RunFailedError(f"{' '.join(server.command)} did not start:\n{_tail(log)}")


async def end(process: Process) -> None:
    """Ends a process: SIGTERM, and SIGKILL where that is not enough."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Role:
    """A role in a process of its own: it writes when it is ready, begins at a word, and writes its figures."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, name: str, order: dict[str, Any], log: Path, environment: Mapping[str, str], python: str = sys.executable
    ) -> Role:
        """Starts it in the log's folder, and waits until it is ready.

        Args:
            python: that it runs in.
        """
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(python, "-m", "scripts.bench.roles", name, json.dumps(order)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=errors,
                cwd=log.parent,
                env={**os.environ, **environment, "PYTHONPATH": python_path(environment)},
            )
        role = cls(name, process, log)
        try:
            await role._read("ready", START_SECONDS)
        except BaseException:
            await role.end()
            raise
        return role

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def go(self) -> None:
        """Tells it to begin."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    async def result(self, seconds: float) -> dict[str, float]:
        """What came of it.

        Raises:
            RunFailedError: it failed, or was not done within these seconds.
        """
        figures: dict[str, float] = await self._read("result", seconds)
        return figures

    async def end(self) -> None:
        """Ends its process."""
        await end(self._process)

    async def _read(self, word: str, seconds: float) -> Any:
        if self._process.stdout is None:
            raise RunFailedError(f"role {self._name} has no output")
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        except TimeoutError:
            raise RunFailedError(f"role {self._name} was not {word} within {seconds} s:\n{_tail(self._log)}") from None
        if not line:
            raise RunFailedError(f"role {self._name} ended before it was {word}:\n{_tail(self._log)}")
        return json.loads(line)[word]


def python_path(environment: Mapping[str, str]) -> str:
    """Where a program that runs in another folder finds this package."""
    paths = (environment.get("PYTHONPATH"), str(ROOT), os.environ.get("PYTHONPATH"))
    return os.pathsep.join(path for path in paths if path)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_ERROR_CHARACTERS:].strip()
