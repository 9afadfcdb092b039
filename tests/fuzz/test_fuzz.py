"""Whatever comes from outside ends in an answer: no crash, no hang, no INTERNAL, and memory is bounded. A fixed number
of examples; `make fuzz` looks for more."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from pathlib import Path
from random import Random

import grpc
import psutil
import pytest

from tests.access.calls import CALLS
from tests.conftest import StartProgram
from tests.fuzz.bodies import any_body, changed
from tests.fuzz.services import check_alive, send
from tests.fuzz.targets import TARGETS, seeds
from tests.patience import PATIENCE

EXAMPLES = 1_500
BODIES = 1_200
LINES = 1_500
AT_ONCE = 16
GROWTH = 96 * 1024 * 1024
"""Bytes that a program may have grown by: what it is asked to keep is within its own bounds."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_read_is_taken_or_refused(name: str) -> None:
    """By the errors that each reader promises, and no others."""
    random = Random(7)
    for seed in islice(cycle(seeds()[name]), EXAMPLES):
        data = seed
        for _ in range(random.choice((0, 1, 2, 8))):
            data = changed(random, data)
        TARGETS[name](data)


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_any_body_of_any_call_is_answered(engine: str, start_program: StartProgram, tmp_path: Path) -> None:
    """Of both services, and on the items of their streams."""
    random = Random(11)
    programs = {
        name: start_program(
            name, "--engine", engine, *(() if engine == "memory" else ("--path", str(tmp_path / f"{name}.db")))
        )
        for name in ("bus", "state")
    }
    channels = {name: grpc.aio.insecure_channel(program.address) for name, program in programs.items()}
    before = {name: _memory(program.pid) for name, program in programs.items()}
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        call = CALLS[number % len(CALLS)]
        body = any_body(random, call)
        async with room:
            await send(channels[call.service], call, body)

    async with asyncio.timeout(4 * PATIENCE), asyncio.TaskGroup() as tasks:
        for number in range(BODIES // 2):
            tasks.create_task(one(number))
    for name, program in programs.items():
        await check_alive(channels[name], name)
        assert [event for event in program.events() if event.get("event") == "unexpected error"] == []
        assert _memory(program.pid) - before[name] < GROWTH
        await channels[name].close()


def _memory(pid: int) -> int:
    used: int = psutil.Process(pid).memory_info().rss
    return used


async def test_any_line_is_answered(start_program: StartProgram, tmp_path: Path) -> None:
    """At the sidecar's own socket, by clients that say anything and go."""
    random = Random(13)
    path = tmp_path / "lines.sock"
    bus = start_program("bus", "--engine", "memory")
    sidecar = start_program(
        "sidecar",
        *("--bus-address", bus.address, "--state-address", "127.0.0.1:1", "--store-path", ""),
        *("--socket-path", str(path), "--command-timeout", "0.1"),
        address=f"unix:{tmp_path}/sidecar.sock",
    )
    before = _memory(sidecar.pid)
    valid = seeds()["lines"]

    async def speak(count: int) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        for _ in range(count):
            line = random.choice(valid)
            for _ in range(random.choice((1, 2, 8))):
                line = changed(random, line)
            writer.write(line)
        writer.write_eof()
        while await reader.read(65_536):
            pass
        writer.close()

    async with asyncio.timeout(PATIENCE):
        for _ in range(LINES // 50):
            await speak(50)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"no line\n")
        assert b"error" in await reader.readline()
        writer.close()
    assert [event for event in sidecar.events() if event.get("event") == "unexpected error"] == []
    assert _memory(sidecar.pid) - before < GROWTH
