"""`trunkline backup`: made while services are used, whole or refused, and restored into an empty directory alone."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.conftest import StartProgram
from tests.contract.durables import numbers, store, take
from tests.patience import PATIENCE
from tests.programs import run_program
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager
from trunkline.errors import StorageError
from trunklined.backup import manifest
from trunklined.backup.checks import verify
from trunklined.backup.command import backup as command
from trunklined.backup.making import make
from trunklined.backup.restoring import restore
from trunklined.backup.stores import FORMATS
from trunklined.sqlite.file import connect
from trunklined.sqlite.format import RESTORING, prepare
from trunklined.sqlite.tail import Tail

KEPT_FILES = Path(__file__).resolve().parent / "files"


def numbered(n: int) -> AgentMessage:
    return AgentMessage(message_type="work", sender_id="tests", payload={"n": n})


def agent(id: str, n: int = 0) -> AgentState:
    return AgentState(agent_id=id, agent_type="coding", metadata={"n": n})


def said(*arguments: str) -> str:
    """Runs the command, which succeeds, and returns what it says."""
    done = run_program("backup", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_backup_has_all_that_was_answered_before_it_at_one_moment_of_both(
    start_program: StartProgram, socket_dir: Path
) -> None:
    """Somebody saves a number and then publishes it, on and on: the backup has both, or the one that was first."""
    data, kept, again = socket_dir / "data", socket_dir / "kept", socket_dir / "again"
    bus = start_program("bus", "--path", f"{data}/bus.db")
    state = start_program("state", "--path", f"{data}/state.db")
    answered = 0
    """All numbers below it were."""

    async with GrpcMessageBus(bus.address) as messages, GrpcStateManager(state.address) as records:
        for name in ("work", "steps"):
            await messages.create_durable(name, name)
        await store(messages, "work", *map(numbered, range(100)))
        revisions = {f"a{n}": await records.save_agent_state(agent(f"a{n}", n)) for n in range(20)}

        async def go_on() -> None:
            nonlocal answered
            for answered in count(1):
                await records.save_agent_state(agent("step", answered))
                await messages.publish("steps", numbered(answered), stored=True)

        async def is_beyond(n: int) -> None:
            async with asyncio.timeout(PATIENCE):
                while answered <= n:
                    assert not going.done(), going
                    await asyncio.sleep(0.01)

        going = asyncio.create_task(go_on())
        await is_beyond(5)
        told = await asyncio.to_thread(said, "create", str(data), str(kept))
        await is_beyond(answered)
        going.cancel()
        bus.kill()
        state.kill()
    assert "2 stores" in told.splitlines()[-1]
    assert sorted(path.name for path in kept.iterdir()) == ["bus.db", "manifest.json", "state.db"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.iterdir()} == {0o600}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700

    said("restore", str(kept), str(again))
    bus = start_program("bus", "--path", f"{again}/bus.db")
    state = start_program("state", "--path", f"{again}/state.db")
    async with GrpcMessageBus(bus.address) as messages, GrpcStateManager(state.address) as records:
        assert numbers(await take(messages, "work", "work", 100)) == list(range(100))
        for n, (id, revision) in enumerate(revisions.items()):
            assert await records.save_agent_state(agent(id, n), expected_revision=revision) > revision
        step = await records.get_agent_state("step")
        published = (await messages.durable("steps")).waiting
        assert step is not None
        assert 5 <= published < answered
        assert step.metadata["n"] in (published, published + 1)
        assert numbers(await take(messages, "steps", "steps", published)) == list(range(1, published + 1))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a store of each program."""
    path = tmp_path / "data"
    path.mkdir()
    for program, format in FORMATS.items():
        prepare(path / f"{program}.db", format)
    return path


@pytest.fixture
def kept(data: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    path = tmp_path / "kept"
    make(data, path, lambda *_: None)
    return path


def run(*arguments: Path | str) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)))


def is_refused(result: Result, *words: str) -> None:
    """Asserts that one line says these words."""
    assert result.exit_code == 1, result.output
    [line] = result.output.strip().splitlines()
    assert all(word in line for word in words), line


def test_a_flipped_byte_is_refused(kept: Path, tmp_path: Path) -> None:
    """Of whatever file, and nothing is restored."""
    for path in kept.iterdir():
        whole = path.read_bytes()
        for at in (0, 40, len(whole) // 2, len(whole) - 3):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(StorageError, match=path.name):
                restore(kept, tmp_path / "again")
        path.write_bytes(whole[:-1])
        if path.name != manifest.NAME:  # its last byte ends its line
            is_refused(run("verify", kept), path.name, f"bytes is {len(whole) - 1}", str(len(whole)))
        path.write_bytes(whole)
    assert not (tmp_path / "again").exists()
    assert run("verify", kept).exit_code == 0


def test_it_is_restored_into_an_empty_directory_alone(kept: Path, data: Path, tmp_path: Path) -> None:
    """One that is not there, or has nothing but what a file system begins with."""
    is_refused(run("restore", kept, data), str(data), "not empty", "bus.db")
    (tmp_path / "volume" / "lost+found").mkdir(parents=True)
    assert run("restore", kept, tmp_path / "volume").exit_code == 0
    again = tmp_path / "again"
    assert run("restore", kept, again).exit_code == 0
    assert {path.name for path in again.iterdir()} == {f"{name}.db{end}" for name in FORMATS for end in ("", ".lock")}
    is_refused(run("restore", kept, again), "not empty")
    is_refused(run("restore", kept, kept / "bus.db"), "bus.db", "Not a directory")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda kept: (kept / "bus.db").unlink(), ("bus.db cannot be read",)),
        (lambda kept: (kept / manifest.NAME).unlink(), ("is no backup, or one that was not finished",)),
        (shutil.rmtree, ("is no backup",)),
        (
            lambda kept: _say_otherwise(kept, schema_version=99),
            ("schema_version of bus.db is 99", "this program knows 3", "use a newer program"),
        ),
        (lambda kept: _say_otherwise(kept, last_commit=7), ("last_commit is 0", "says 7")),
        (lambda kept: _say_otherwise(kept, file="../bus.db"), ("manifest.json is damaged", "file")),
    ],
)
def test_what_is_no_whole_backup_of_this_program_is_refused(
    spoil: Callable[[Path], Any], words: tuple[str, ...], kept: Path, tmp_path: Path
) -> None:
    """In one line that says why."""
    spoil(kept)
    is_refused(run("verify", kept), *words)
    is_refused(run("restore", kept, tmp_path / "again"), *words)
    assert not (tmp_path / "again").exists()


def _say_otherwise(kept: Path, **words: Any) -> None:
    """Writes another manifest, which says something else of the first store, and is whole."""
    said = manifest.read(kept)
    (kept / manifest.NAME).unlink()
    first, *rest = said.stores
    manifest.write(kept, msgspec.structs.replace(said, stores=(msgspec.structs.replace(first, **words), *rest)))


def test_a_backup_that_fails_leaves_nothing(data: Path, tmp_path: Path) -> None:
    """Interrupted; of a store that lost its end, or is damaged; in the place of another one."""
    made = tmp_path / "made"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(data, made, interrupt)
    tail = Tail(data / "state.db", "state store")
    tail.open(0)
    tail.write(5)
    is_refused(run("create", data, made), "state.db", "lost its end", "5")
    tail.write(0)
    tail.close()
    with closing(connect(data / "bus.db")) as connection:
        connection.execute("DROP TABLE journal")
    is_refused(run("create", data, made), "bus.db", "no such table: journal")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    is_refused(run("create", data, data), str(data), "is there already")


@pytest.mark.parametrize("source", ["redis://:secret@redis:6379/0", "empty", "none"])
def test_what_is_in_no_file_is_refused(source: str, tmp_path: Path) -> None:
    """What Redis keeps, Redis backs up; the URL's password is not shown."""
    (tmp_path / "empty").mkdir()
    result = run("create", source if "://" in source else tmp_path / source, tmp_path / "kept")
    is_refused(result, *(["No such file"] if source == "none" else ["Redis's own persistence", "BGSAVE"]))
    assert "secret" not in result.output
    assert not (tmp_path / "kept").exists()


def test_no_service_starts_where_a_restore_was_cut_off(tmp_path: Path) -> None:
    """It would make a new store, and nobody would know that one is missing."""
    (tmp_path / f"bus.db{RESTORING}").touch()
    with pytest.raises(StorageError, match=r"bus\.db is being restored, or that was cut off"):
        prepare(tmp_path / "bus.db", FORMATS["bus"])


def test_stores_of_every_version_are_backed_up(tmp_path: Path) -> None:
    """As they are: the service brings them up to its version."""
    data = tmp_path / "data"
    shutil.copytree(KEPT_FILES, data)
    there = sorted(path.name for path in data.glob("*.db"))
    make(data, tmp_path / "kept", lambda *_: None)
    contents = verify(tmp_path / "kept")
    assert [each.file for each in contents.stores] == there
    assert all(each.file.endswith(f"-v{each.schema_version}.db") for each in contents.stores)
