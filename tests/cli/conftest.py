"""The command `trunkline` as a process, the way people and scripts call it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.orchestrator.program import Serve, ServedOrchestrator, serving
from tests.programs import command

Result = subprocess.CompletedProcess[str]
Trunkline = Callable[..., Result]
Follow = Callable[..., "subprocess.Popen[str]"]

OnTerminal = Callable[..., tuple[int, str]]

SECONDS = 30


@pytest.fixture
def environment(bus_address: str, state_address: str) -> dict[str, str]:
    return {**os.environ, "TRUNKLINE_BUS": bus_address, "TRUNKLINE_STATE": state_address}


@pytest.fixture
def trunkline(environment: dict[str, str]) -> Trunkline:
    """Runs a subcommand to its end."""

    def run(*arguments: str, input: str = "") -> Result:
        return subprocess.run(
            command(arguments),
            input=input,
            capture_output=True,
            text=True,
            env=environment,
            timeout=SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def follow(environment: dict[str, str]) -> Iterator[Follow]:
    """Starts a subcommand that goes on, and returns when it has said what it says at its start."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, until: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(command(arguments), stdout=pipe, stderr=pipe, text=True, env=environment)
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert until in line
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def on_terminal(environment: dict[str, str]) -> OnTerminal:
    """Runs a subcommand on a terminal of 100 columns to its end, where somebody types; its exit code, and what was to
    be read there, without the colours."""

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 100))
        own = {name: value for name, value in environment.items() if name != "COLUMNS"}
        with subprocess.Popen(command(arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=own) as process:
            os.close(theirs)
            os.write(ours, typed.encode())
            shown = b""
            while piece := _read(ours):
                shown += piece
            code = process.wait(SECONDS)
        os.close(ours)
        return code, re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).replace("\r\n", "\n")

    return run


def _read(terminal: int) -> bytes:
    """What the terminal shows next; nothing where the last program has left it."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody is left on the other side
        return b""


@pytest.fixture
def serve(socket_dir: Path, environment: dict[str, str]) -> Iterator[Serve]:
    """Starts an orchestrator in a process of its own (see `serving`); the commands ask the newest one."""
    with serving(socket_dir) as start:

        def started(**wish: Any) -> ServedOrchestrator:
            served = start(**wish)
            environment["TRUNKLINE_SOCKET"] = served.socket
            return served

        yield started


@pytest.fixture
def name() -> str:
    """Of a durable subscription that no other test uses."""
    return f"durable-{uuid4().hex}"


@pytest.fixture
def channel() -> str:
    """One that no other test uses."""
    return f"test:{uuid4().hex}"
