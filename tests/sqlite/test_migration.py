"""Files of older versions: brought up step by step, whole or not at all, with a copy of what they were beside them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.errors import StorageError
from trunklined.sqlite.format import Format, prepare

SCHEMA = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL);"


def _double(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE things SET weight = weight * 2")


MIGRATIONS = {
    1: "ALTER TABLE things ADD COLUMN weight INTEGER NOT NULL DEFAULT 1; CREATE INDEX by_name ON things (name);",
    2: _double,
}


def a_format(version: int, **words: object) -> Format:
    """The test's kind of file as a program of that version knows it."""
    migrations = {at: step for at, step in MIGRATIONS.items() if at < version} | words
    known = {int(at): step for at, step in migrations.items()}
    return Format("store", "test service", 0x54455354, SCHEMA, version, migrations=known)  # type: ignore[arg-type]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of version 1 with two rows."""
    path = tmp_path / "things.db"
    prepare(path, a_format(1))
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO things (name) VALUES (?)", [("a",), ("b",)])
    connection.close()
    return path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """What a file says."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_step_by_step_with_a_copy(old: Path) -> None:
    """From 1 to 3: what was there is there, and the file as it was is kept beside it."""
    prepare(old, a_format(3))
    assert rows(old, "PRAGMA user_version") == [(3,)]
    assert rows(old, "SELECT name, weight FROM things") == [("a", 2), ("b", 2)]
    copy = old.with_name("things.db.v1")
    assert rows(copy, "PRAGMA user_version") == [(1,)]
    assert rows(copy, "SELECT name FROM things") == [("a",), ("b",)]
    prepare(old, a_format(3))
    assert rows(old, "SELECT name, weight FROM things") == [("a", 2), ("b", 2)]


def test_a_newer_file_is_refused(old: Path) -> None:
    """With both versions; it stays as it is."""
    prepare(old, a_format(2))
    before = old.read_bytes()
    with pytest.raises(StorageError, match="use a newer program") as caught:
        prepare(old, a_format(1))
    assert (caught.value.details["found"], caught.value.details["supported"]) == (2, 1)
    assert old.read_bytes() == before


@pytest.mark.parametrize("error", [sqlite3.OperationalError("no"), KeyError("weight")])
def test_a_step_that_fails_changes_nothing(old: Path, error: Exception) -> None:
    """Whatever it raises: the step before it holds, and it itself did nothing."""

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM things")
        raise error

    with pytest.raises(StorageError, match="it is as it was"):
        prepare(old, a_format(3, **{"2": fail}))
    assert rows(old, "PRAGMA user_version") == [(2,)]
    assert rows(old, "SELECT name, weight FROM things") == [("a", 1), ("b", 1)]
    prepare(old, a_format(3))
    assert rows(old, "SELECT name, weight FROM things") == [("a", 2), ("b", 2)]


def test_killed_between_two_steps(old: Path) -> None:
    """SIGKILL within the second step: the first holds; the next start does the rest, once."""
    program = (
        "import os, signal, sys; from pathlib import Path; from tests.sqlite.test_migration import a_format\n"
        "from trunklined.sqlite.format import prepare\n"
        "def die(connection):\n"
        "    connection.execute('UPDATE things SET weight = 1000')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepare(Path(sys.argv[1]), a_format(3, **{'2': die}))\n"
    )
    tree = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    killed = subprocess.run([sys.executable, "-c", program, str(old)], check=False, env=environment, cwd=tree)
    assert killed.returncode == -signal.SIGKILL
    assert rows(old, "PRAGMA user_version") == [(2,)]
    prepare(old, a_format(3))
    assert rows(old, "SELECT name, weight FROM things") == [("a", 2), ("b", 2)]
    assert rows(old.with_name("things.db.v1"), "PRAGMA user_version") == [(1,)]
