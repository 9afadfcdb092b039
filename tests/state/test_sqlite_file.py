"""The sqlite engine's file: what outlives a process, and what is refused. Only this engine has a file."""

# ruff: noqa: ASYNC240  # small local files; nothing else runs in the loop

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.state.conftest import make_stock
from tests.state.samples import AGENT, drop, put
from trunkline.errors import OverloadedError, StorageError
from trunklined.state.engines.sqlite import SqliteEngine
from trunklined.state.engines.sqlite_schema import FORMAT
from trunklined.state.records import ANY, Entry, History


def make(path: Path, *, history: int = 1000, max_bytes: int | None = None) -> SqliteEngine:
    bounds = {"page_bytes": 2**20, "answer_bytes": 2**20}
    return SqliteEngine(path, history=History(history, 10**9), **bounds, outbox=make_stock(), max_bytes=max_bytes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state.db"


async def filled(path: Path, count: int = 3) -> None:
    """Leaves a store with records behind."""
    engine = make(path)
    await engine.open()
    await engine.write([[put(f"r{number}", b"x" * 2000)] for number in range(count)])
    await engine.close()


async def fill(engine: SqliteEngine) -> OverloadedError:
    """Writes until there is no room; the error of that."""
    try:
        for number in range(1000):
            await engine.write([[put(f"more{number}", b"y" * 5000)]])
    except OverloadedError as error:
        return error
    raise AssertionError("it was never full")


async def refused(path: Path) -> StorageError:
    """The error of opening, with the file unaltered by it."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StorageError) as caught:
        await make(path).open()
    assert (path.read_bytes() if path.exists() else None) == before
    return caught.value


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    """Records, revision, counts and the history that watches resume from."""
    engine = make(path)
    await engine.open()
    await engine.write([[put("a", b"1")], [put("a", b"2")._replace(writer="ann")], [put("b")], [drop("b")]])
    holdings, changes = engine.holdings, await engine.changes(0, 10)
    await engine.close()
    again = make(path)
    await again.open()
    assert again.holdings == holdings
    assert await again.changes(0, 10) == changes
    assert changes[1].written.by == "ann"
    assert await again.read(AGENT, "a") == Entry(AGENT, "a", 2, b"2", changes[1].written)
    await again.close()


async def test_versions_that_nobody_can_ask_for_are_removed(path: Path) -> None:
    """The file does not grow with every write for ever."""
    engine = make(path, history=4)
    await engine.open()
    await engine.write([[put("kept")]])
    for _ in range(100):
        await engine.write([[put("a")]])
    await engine.write([[drop("a")]])
    for _ in range(10):
        await engine.write([[put("b")]])
    await engine.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT revision, id FROM versions ORDER BY revision").fetchall()
    assert rows[0] == (1, "kept")
    assert {id for _, id in rows} == {"kept", "b"}
    assert len(rows) <= 7


async def test_a_database_from_a_newer_version_is_refused(path: Path) -> None:
    """It says what it found and what it knows."""
    await filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    error = await refused(path)
    assert error.details["found"] == 99
    assert error.details["supported"] == FORMAT.version
    assert "version 99" in error.message


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """It is left as it is."""
    path.parent.mkdir()
    path.write_bytes(b"these are my diaries\n" * 500)
    assert "not a database" in (await refused(path)).message


async def test_a_corrupt_file_is_refused(path: Path) -> None:
    """Damage in the middle is found when it is opened."""
    await filled(path, 200)
    raw = bytearray(path.read_bytes())
    raw[8192:16384] = os.urandom(8192)
    path.write_bytes(raw)
    error = await refused(path)
    assert "damaged" in error.message or "malformed" in error.message


async def test_a_file_cut_short_is_refused(path: Path) -> None:
    """A copy that was interrupted is no store."""
    await filled(path, 200)
    os.truncate(path, path.stat().st_size // 2)
    await refused(path)


async def test_an_empty_file_is_refused(path: Path) -> None:
    """It would otherwise become a new, empty store."""
    path.parent.mkdir()
    path.touch()
    assert "empty" in (await refused(path)).message


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    """Nothing is written into it."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    assert "another program" in (await refused(path)).message


async def test_a_journal_without_its_database_is_refused(path: Path) -> None:
    """A new store beside an old journal would take over its pages."""
    path.parent.mkdir()
    path.with_name("state.db-wal").write_bytes(b"old")
    assert "missing" in (await refused(path)).message


async def test_a_second_server_on_the_same_file_is_refused_by_the_holders_pid(path: Path, tmp_path: Path) -> None:
    """Also by another name of the file; and the first goes on."""
    engine = make(path)
    await engine.open()
    other_name = tmp_path / "link.db"
    other_name.symlink_to(path)
    for name in (path, other_name):
        with pytest.raises(StorageError) as caught:
            await make(name).open()
        assert caught.value.details["pid"] == str(os.getpid())
    await engine.write([[put("a")]])
    await engine.close()
    again = make(path)
    await again.open()
    assert again.holdings.revision == 1
    await again.close()


@pytest.mark.parametrize("what", ["directory", "below a file"])
async def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, what: str) -> None:
    """With the path in the error."""
    path = tmp_path / "x"
    if what == "directory":
        path.mkdir()
    else:
        path.touch()
        path = path / "state.db"
    with pytest.raises(StorageError) as caught:
        await make(path).open()
    assert str(path) in caught.value.details["path"]


async def test_a_full_store_refuses_writes_serves_reads_and_resumes(path: Path) -> None:
    """By the setting that bounds the file; the same as a full disk, where no disk can be filled."""
    await filled(path)
    size = path.stat().st_size
    engine = make(path, max_bytes=size + 64 * 1024)
    await engine.open()
    error = await fill(engine)
    written = engine.holdings.revision
    assert error.details["limit"] == "disk"
    assert written > 3
    assert await engine.read(AGENT, "r1") is not None
    assert len((await engine.page(AGENT, ANY, None, 1000)).entries) == written
    await engine.close()
    roomy = make(path)
    await roomy.open()
    assert roomy.holdings.revision == written
    commit = await roomy.write([[put("again")]])
    assert commit.outcomes == [[written + 1]]
    await roomy.close()


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def test_the_file_is_for_its_owner_alone(path: Path, umask: None) -> None:
    """State may hold secrets; others on the machine cannot read it."""
    await filled(path)
    assert path.stat().st_mode & 0o777 == 0o600
