"""A store's file is what it is, whatever it is called; and it must stay where it was opened."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from pathlib import Path

import pytest

from tests.bus.durable.calls import eventually
from tests.conftest import StartProgram
from tests.programs import health, run_program
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager
from trunkline.errors import StorageError, TrunklineError
from trunklined.sqlite.format import Format
from trunklined.sqlite.synced_file import SyncedFile

FORMAT = Format("store", "test service", 0x54455354, "CREATE TABLE things (name TEXT NOT NULL);", 1)
SERVICES = {"bus": "trunkline.v1.BusService", "state": "trunkline.v1.StateService"}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("kind", ["hard link", "symbolic link"])
def test_one_file_serves_one_service_whatever_it_is_called(
    start_program: StartProgram, tmp_path: Path, name: str, kind: str
) -> None:
    """A second program on it ends with a clear line, which names who has it, and its machine where that can be known
    (in a pod each program is number 1); the first goes on."""
    path, other = tmp_path / "first" / "data.db", tmp_path / "second" / "data.db"
    program = start_program(name, "--path", str(path))
    other.parent.mkdir()
    if kind == "hard link":
        os.link(path, other)
    else:
        other.symlink_to(path)
    for where in (path, other):
        said = run_program(name, "--address", "127.0.0.1:0", "--path", str(where), "--log-format", "json")
        assert said.returncode == 1
        (line,) = said.stderr.splitlines()
        assert f"{where.resolve()} is in use by another" in line
        is_known = where == path or kind == "symbolic link"
        assert (f"(pid {program.pid} on {platform.node()})" in line) == is_known
    assert health(program.address) == "SERVING"
    assert program.stop() == 0
    again = start_program(name, "--path", str(other))
    assert health(again.address) == "SERVING"


def test_within_one_process_too(tmp_path: Path) -> None:
    """And the refused one takes no lock of SQLite away from the first."""
    first, second = SyncedFile(tmp_path / "a.db", FORMAT), SyncedFile(tmp_path / "b.db", FORMAT)
    with first.opening() as connection:
        os.link(tmp_path / "a.db", tmp_path / "b.db")
        with pytest.raises(StorageError, match="hard link"), second.opening():
            pass
        connection.execute("INSERT INTO things VALUES ('x')")
    first.close()
    with second.opening() as connection:
        assert connection.execute("SELECT name FROM things").fetchall() == [("x",)]
    second.close()


def message() -> AgentMessage:
    """Any message."""
    return AgentMessage(message_type="x", sender_id="tests", payload={})


async def _refused(bus: GrpcMessageBus) -> TrunklineError | None:
    try:
        await bus.publish("a:b", message(), stored=True)
    except TrunklineError as error:
        return error
    return None


@pytest.mark.parametrize("what", ["directory", "file", "log", "another"])
async def test_a_bus_whose_journal_is_gone_gives_no_receipt(
    start_program: StartProgram, tmp_path: Path, what: str
) -> None:
    """Removed, moved or replaced under the running service: StorageError, NOT_SERVING; put back, it goes on."""
    data, aside = tmp_path / "data", tmp_path / "aside"
    program = start_program("bus", "--path", f"{data}/bus.db")
    async with GrpcMessageBus(program.address) as bus:
        await bus.publish("a:b", message(), stored=True)
        if what == "directory":
            data.rename(aside)
        elif what == "another":
            (data / "bus.db").rename(aside)
            shutil.copy(aside, data / "bus.db")
        else:
            (data / ("bus.db" if what == "file" else "bus.db-wal")).rename(aside)
        for _ in range(3):
            with pytest.raises(StorageError, match="removed, moved or replaced"):
                await bus.publish("a:b", message(), stored=True)
        assert health(program.address, SERVICES["bus"]) == "NOT_SERVING"
        if what == "directory":
            aside.rename(data)
        else:
            aside.replace(data / ("bus.db-wal" if what == "log" else "bus.db"))
        await eventually(lambda: _refused(bus), lambda error: error is None)
        assert health(program.address, SERVICES["bus"]) == "SERVING"


async def test_a_state_store_that_is_gone_takes_no_write(start_program: StartProgram, tmp_path: Path) -> None:
    """The data directory moved under the running service: StorageError, NOT_SERVING, also for who sends nothing more;
    put back, it goes on by itself."""
    data, aside = tmp_path / "data", tmp_path / "aside"
    program = start_program("state", "--path", f"{data}/state.db")
    agent = AgentState(agent_id="a", agent_type="coding")
    async with GrpcStateManager(program.address) as state:
        first = await state.save_agent_state(agent)
        data.rename(aside)
        with pytest.raises(StorageError, match="removed, moved or replaced"):
            await state.save_agent_state(agent)
        assert health(program.address, SERVICES["state"]) == "NOT_SERVING"
        aside.rename(data)

        async def is_green() -> bool:
            return await asyncio.to_thread(health, program.address, SERVICES["state"]) == "SERVING"

        await eventually(is_green, lambda green: green)
        assert await state.save_agent_state(agent) == first + 1
    assert program.stop() == 0
