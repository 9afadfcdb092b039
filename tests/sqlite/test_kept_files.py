"""A file of each version that there ever was is opened by today's programs, which serve what is in it; one of a newer
version is left alone."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartProgram
from tests.programs import run_program
from trunkline import Backoff, DurableMessage, DurableSettings, GrpcMessageBus, GrpcStateManager
from trunklined.bus.engines.sqlite_schema import FORMAT as JOURNAL
from trunklined.sqlite.format import Format
from trunklined.state.engines.sqlite_schema import FORMAT as STORE

FILES = Path(__file__).resolve().parent / "files"
FIRST_OUTBOX = 2
"""The first version of the state's file that has an outbox."""
FIRST_WRITER = 4
"""The first that says who wrote."""


@pytest.mark.parametrize(("name", "version"), [("bus", JOURNAL.version), ("state", STORE.version)])
def test_there_is_one_of_each_version(name: str, version: int) -> None:
    """Whoever counts a version up keeps a file of it: see make_files.py."""
    kept = {int(found[1]) for path in FILES.iterdir() if (found := re.fullmatch(rf"{name}-v(\d+)\.db", path.name))}
    assert kept == set(range(1, version + 1))


@pytest.mark.parametrize("version", range(1, JOURNAL.version + 1))
async def test_a_journal(start_program: StartProgram, tmp_path: Path, version: int) -> None:
    """What waits is handed out, what is held back and dead is there, and nothing that was leased is new."""
    shutil.copy(FILES / f"bus-v{version}.db", tmp_path / "bus.db")
    program = start_program("bus", "--path", f"{tmp_path}/bus.db")
    async with GrpcMessageBus(program.address) as bus:
        letters = [letter async for letter in bus.dead_letters()]
        assert [(letter.message.payload["n"], letter.error) for letter in letters] == [(0, "made to be dead")]
        kept = await bus.durable("work")
        assert not kept.paused
        assert kept.settings == DurableSettings(ack_wait=600, backoff=Backoff(initial=86_400, maximum=86_400))
        assert kept.leased + kept.retrying + kept.waiting >= 6
        assert {each.message.payload["n"] async for each in bus.waiting_messages("work", ordering_key="k")} <= {6, 7}
        await bus.seek_durable("work", "all")
        given: dict[object, DurableMessage] = {}
        async for message in bus.messages("kept:>", durable="work"):
            given[message.payload["n"]] = message
            if len(given) == 8:
                break
        assert set(given) == set(range(8))


@pytest.mark.parametrize("version", range(1, STORE.version + 1))
async def test_a_store(start_program: StartProgram, tmp_path: Path, version: int) -> None:
    """Its records, with their revisions, and the messages that wait for a bus."""
    shutil.copy(FILES / f"state-v{version}.db", tmp_path / "state.db")
    program = start_program("state", "--path", f"{tmp_path}/state.db", "--bus-address", "127.0.0.1:1")
    async with GrpcStateManager(program.address) as state:
        agent = await state.get_agent_state("coding-01")
        assert agent is not None
        assert agent.error_count == 2
        assert (agent.written_by is not None) == (agent.written_at is not None) == (version >= FIRST_WRITER)
        assert await state.get_agent_state("gone") is None
        assert [each.workflow_id for each in await state.list_workflow_states()] == ["wf-1"]
        result = await state.get_task_result("t-1")
        assert result is not None
        assert result.output_data == {"lines": 3}
        assert await state.save_agent_state(agent) == 7
        outbox = (await state.statistics()).outbox
        assert outbox is not None
        assert outbox.waiting == (1 if version >= FIRST_OUTBOX else 0)


@pytest.mark.parametrize(("name", "format"), [("bus", JOURNAL), ("state", STORE)])
def test_one_of_a_newer_version_ends_the_start(tmp_path: Path, name: str, format: Format) -> None:
    """Exit code 1 and one line with both versions; the file is as it was, and no other is made in its place."""
    path, newer = tmp_path / f"{name}.db", format.version + 1
    shutil.copy(FILES / f"{name}-v{format.version}.db", path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    before = path.read_bytes()
    said = run_program(name, "--address", "127.0.0.1:0", "--path", str(path), "--log-format", "json")
    assert said.returncode == 1
    (line,) = map(json.loads, said.stderr.splitlines())
    assert line["event"] == "cannot start"
    assert f"{path} has version {newer} of the format, this program knows {format.version}" in line["reason"]
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {path.name, f"{path.name}.lock"}
