"""The journal's file after a kill -9, with any one byte of its last commit cut off or flipped: everything that was
receipted is there, or the bus refuses to start by a clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import RunningProgram, run_program
from tests.torn import Remains, cuts, flips, judge, make_pages_small
from trunkline import AgentMessage, GrpcMessageBus
from trunkline.priority import PRIORITY_LEVELS
from trunklined.bus.engines.sqlite import SqliteJournal
from trunklined.sqlite.tail import Tail

CHANNEL = "torn:work"


async def contents(path: Path) -> object:
    """All that a journal holds."""
    engine = SqliteJournal(path)
    try:
        held = engine.open()
        runs = [run for level in range(PRIORITY_LEVELS) for run in engine.batches(None, level, 1, 10_000, 2**30)[0]]
        return held, [(run.first_sequence, run.channel, run.messages) for run in runs]
    finally:
        engine.close()


async def publish(program: RunningProgram, first: int, count: int) -> None:
    """Publishes messages and has their receipts."""
    async with GrpcMessageBus(program.address) as bus:
        for number in range(first, first + count):
            message = AgentMessage(
                message_id=f"m{number}", message_type="control", sender_id="a", payload={"text": "important " * 5}
            )
            await bus.publish(CHANNEL, message, stored=True)


@pytest.fixture
async def killed(killable_bus: RunningProgram, socket_dir: Path) -> Remains:
    """What a bus with small pages left, killed after its last receipt and before a checkpoint."""
    path = socket_dir / "bus.db"
    async with GrpcMessageBus(killable_bus.address) as bus:
        await bus.create_durable("workers", CHANNEL)
    killable_bus.stop()
    make_pages_small(path)
    killable_bus.start()
    await publish(killable_bus, 1, 5)
    killable_bus.kill()
    return Remains.of(path)


async def whole_of(remains: Remains, directory: Path) -> object:
    """What is in the files when nothing happened to them; they are closed by it."""
    remains.lay(directory)
    return await contents(directory / remains.name)


async def test_a_last_commit_that_is_cut_off_at_any_byte_is_noticed(killed: Remains, tmp_path: Path) -> None:
    """SQLite would go on with the commit before, as if nothing had been receipted since."""
    commit = killed.last_commit()
    verdicts = await judge(cuts(killed, "-wal", commit), contents, await whole_of(killed, tmp_path))
    assert verdicts == {"refused": len(commit)}


async def test_a_last_commit_of_which_any_byte_is_flipped_is_noticed(killed: Remains, tmp_path: Path) -> None:
    """SQLite would take its checksum for the end of the log."""
    commit = killed.last_commit()
    verdicts = await judge(flips(killed, "-wal", commit), contents, await whole_of(killed, tmp_path))
    assert verdicts == {"refused": len(commit)}


async def test_a_log_that_is_damaged_at_its_head_or_gone_is_noticed(killed: Remains, tmp_path: Path) -> None:
    """SQLite would start without everything that is in it."""
    cases = (
        *cuts(killed, "-wal", range(64)),
        *flips(killed, "-wal", range(64)),
        ("gone", killed.replaced("-wal", None)),
    )
    verdicts = await judge(cases, contents, await whole_of(killed, tmp_path))
    assert verdicts == {"refused": 129}


async def test_a_note_that_is_torn_missing_or_older_never_hides_a_message(killed: Remains, tmp_path: Path) -> None:
    """A damaged note is refused by its name; without one, or by an older one, what the log has is served."""
    whole = await whole_of(killed, tmp_path)
    note = killed.files["-tail"]
    damaged = (*cuts(killed, "-tail", range(1, len(note))), *flips(killed, "-tail", range(len(note))))
    assert await judge(damaged, contents, whole) == {"refused": 2 * len(note) - 1}
    older = [note_of(number, tmp_path) for number in range(1, 6)]
    harmless = [("older", killed.replaced("-tail", content)) for content in (None, b"", *older)]
    assert await judge(harmless, contents, whole) == {"whole": len(harmless)}


async def test_a_commit_that_was_never_answered_may_be_torn(killed: Remains, tmp_path: Path) -> None:
    """The machine stopped while it was written: what was receipted before is served, and it is not refused."""
    unanswered = killed.replaced("-tail", note_of(1, tmp_path))
    start = killed.last_commit()[0]
    before = await whole_of(unanswered.replaced("-wal", killed.files["-wal"][:start]), tmp_path)
    torn = [case for cases in (cuts, flips) for case in cases(unanswered, "-wal", killed.last_commit()[::100])]
    assert await judge(torn, contents, before) == {"whole": len(torn)}


def note_of(commits: int, directory: Path) -> bytes:
    """The note of a journal with so many commits."""
    path = directory / f"{commits}.db"
    tail = Tail(path, "journal")
    tail.open(commits)
    tail.close()
    return Remains.of(path).files["-tail"]


async def test_the_program_itself_starts_with_everything_or_ends_with_a_clear_error(
    killed: Remains, killable_bus: RunningProgram, socket_dir: Path
) -> None:
    """A few of the cases above, end to end; the last is the undamaged one."""
    commit = killed.last_commit()
    few = (commit[0], commit[len(commit) // 2], commit[-1])
    for what, damaged in (*cuts(killed, "-wal", few), *flips(killed, "-wal", few)):
        damaged.lay(socket_dir)
        said = run_program("bus", "--address", "127.0.0.1:0", "--path", f"{socket_dir}/bus.db", "--log-format", "json")
        assert said.returncode == 1, what
        assert "bus.db has lost its end" in said.stderr, what
        assert "Traceback" not in said.stderr, what
    killed.lay(socket_dir)
    killable_bus.start()
    async with GrpcMessageBus(killable_bus.address) as bus:
        taken = bus.messages(CHANNEL, durable="workers")
        assert [(await anext(taken)).message_id for _ in range(5)] == ["m1", "m2", "m3", "m4", "m5"]
        await taken.aclose()
