"""The state's file after a kill -9, with any one byte of its last commit cut off or flipped: every write that was
answered is there, or the service refuses to start by a clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import RunningProgram, run_program
from tests.state.conftest import make_stock
from tests.torn import Remains, cuts, flips, judge, make_pages_small
from trunkline import AgentState, GrpcStateManager
from trunkline.records import RecordKind
from trunklined.state.engines.sqlite import SqliteEngine
from trunklined.state.records import ANY, History

RECORDS = 5


async def contents(path: Path) -> object:
    """All that a store holds."""
    engine = SqliteEngine(
        path, history=History(1_000, 2**30), page_bytes=2**30, answer_bytes=2**30, outbox=make_stock()
    )
    await engine.open()
    try:
        pages = [await engine.page(kind, ANY, None, 1_000) for kind in RecordKind]
        return engine.holdings, pages, await engine.changes(0, 1_000)
    finally:
        await engine.close()


async def save(program: RunningProgram, first: int, count: int) -> None:
    """Saves records and has the answers."""
    async with GrpcStateManager(program.address) as state:
        for number in range(first, first + count):
            await state.save_agent_state(
                AgentState(agent_id=f"a{number}", agent_type="coding", metadata={"text": "important " * 5})
            )


@pytest.fixture
async def killed(killable_state: RunningProgram, socket_dir: Path) -> Remains:
    """What a state service with small pages left, killed after its last answer and before a checkpoint."""
    path = socket_dir / "state.db"
    killable_state.stop()
    make_pages_small(path)
    killable_state.start()
    await save(killable_state, 1, RECORDS)
    killable_state.kill()
    return Remains.of(path)


async def whole_of(remains: Remains, directory: Path) -> object:
    """What is in the files when nothing happened to them."""
    remains.lay(directory)
    return await contents(directory / remains.name)


async def test_a_last_commit_that_is_cut_off_at_any_byte_is_noticed(killed: Remains, tmp_path: Path) -> None:
    """SQLite would go on with the commit before, as if nothing had been answered since."""
    commit = killed.last_commit()
    verdicts = await judge(cuts(killed, "-wal", commit), contents, await whole_of(killed, tmp_path))
    assert verdicts == {"refused": len(commit)}


async def test_a_last_commit_of_which_any_byte_is_flipped_is_noticed(killed: Remains, tmp_path: Path) -> None:
    """SQLite would take its checksum for the end of the log."""
    commit = killed.last_commit()
    verdicts = await judge(flips(killed, "-wal", commit), contents, await whole_of(killed, tmp_path))
    assert verdicts == {"refused": len(commit)}


async def test_a_note_that_is_torn_or_missing_never_hides_a_record(killed: Remains, tmp_path: Path) -> None:
    """A damaged note is refused by its name; without one, what the log has is served."""
    whole = await whole_of(killed, tmp_path)
    note = killed.files["-tail"]
    damaged = (*cuts(killed, "-tail", range(1, len(note))), *flips(killed, "-tail", range(len(note))))
    assert await judge(damaged, contents, whole) == {"refused": 2 * len(note) - 1}
    without = [("no note", killed.replaced("-tail", content)) for content in (None, b"")]
    assert await judge(without, contents, whole) == {"whole": 2}


async def test_the_program_itself_starts_with_everything_or_ends_with_a_clear_error(
    killed: Remains, killable_state: RunningProgram, socket_dir: Path
) -> None:
    """A few of the cases above, end to end; the last is the undamaged one."""
    commit = killed.last_commit()
    for what, damaged in (*cuts(killed, "-wal", commit[::1500]), *flips(killed, "-wal", commit[::1500])):
        damaged.lay(socket_dir)
        said = run_program("state", "--address", "127.0.0.1:0", "--path", f"{socket_dir}/state.db")
        assert said.returncode == 1, what
        assert "state.db has lost its end" in said.stderr, what
        assert "Traceback" not in said.stderr, what
    killed.lay(socket_dir)
    killable_state.start()
    async with GrpcStateManager(killable_state.address) as state:
        assert len(await state.list_agent_states()) == RECORDS
