"""`trunklined migrate`: what a real bus and a real state service kept in a file is served from Redis, and back."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import StartProgram
from tests.contract.durables import numbers, store, take
from tests.patience import PATIENCE
from tests.programs import PYTHON, RunningProgram, run_program
from tests.redis.servers import RedisServer, running
from trunkline import (
    AgentMessage,
    AgentState,
    Backoff,
    DurableSettings,
    GrpcMessageBus,
    GrpcStateManager,
    RevisionMismatchError,
)

ONCE = DurableSettings(max_deliveries=1, backoff=Backoff(initial=0))
LARGE = 4 * 1024 * 1024


class Dam:
    """Stands before Redis, lets so many bytes through, either way, and then nothing."""

    def __init__(self, port: int, limit: int) -> None:
        self.is_full = threading.Event()
        self._limit: int | None = limit
        self._passed = 0
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += (client, server)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, origin: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):  # one side ended it
            while data := origin.recv(65_536):
                self._passed += len(data)
                if self._limit is not None and self._passed > self._limit:
                    self.is_full.set()
                    return
                to.sendall(data)
        for each in (origin, to):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Lets everything through from now on."""
        self._limit = None

    def close(self) -> None:
        """Ends all of it."""
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis of these tests; each has a prefix of its own."""
    with running(appendonly="yes") as redis:
        yield redis


@pytest.fixture
def prefix() -> str:
    return f"move-{uuid4().hex[:8]}"


def migrate(service: str, source: Path | str, target: Path | str, prefix: str) -> CompletedProcess[str]:
    return run_program("migrate", service, "--from", str(source), "--to", str(target), "--prefix", prefix)


def is_copied(said: CompletedProcess[str]) -> dict[str, int]:
    """Asserts that it succeeded, and returns the rows of each table by what both sides have."""
    assert said.returncode == 0, said.stderr
    _, _, *lines, last = said.stdout.splitlines()
    assert last.startswith("the same on both sides"), said.stdout
    found = {}
    for table, rows, others, *checksums in (line.split() for line in lines):
        assert (rows, checksums[0]) == (others, checksums[1])
        found[table] = int(rows.replace(",", ""))
    return found


def is_refused(said: CompletedProcess[str], *words: str) -> None:
    """Asserts that one line says these words."""
    assert said.returncode == 2, said
    [line] = said.stderr.strip().splitlines()
    assert all(word in line for word in words), line


def serve(start: StartProgram, name: str, server: RedisServer, prefix: str) -> RunningProgram:
    """Starts a service over Redis."""
    return start(name, "--engine", "redis", "--redis-url", server.url, "--redis-prefix", prefix)


def kill_amid(dam: Dam, service: str, source: Path | str, target: Path | str, prefix: str) -> None:
    """Begins a copy, and kills it when the dam is full."""
    command = [*PYTHON, "trunklined", "migrate", service, "--from", str(source), "--to", str(target)]
    process = subprocess.Popen([*command, "--prefix", prefix], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert dam.is_full.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def numbered(n: object, **payload: Any) -> AgentMessage:
    return AgentMessage(message_type="work", sender_id="tests", payload={"n": n, **payload})


async def fill_bus(address: str, filling: str = "") -> int:
    """Leaves something of all that a bus keeps; returns the id of the dead letter."""
    async with GrpcMessageBus(address) as bus:

        async def fail(message: AgentMessage) -> None:
            raise ValueError("it cannot be")

        await bus.create_durable("worker", "work")
        await bus.subscribe("hard", fail, durable="hard", settings=ONCE)
        await store(bus, "hard", numbered("hard"))
        await store(bus, "work", *(numbered(n, filling=filling) for n in range(12)))
        await store(bus, "work", numbered("late"), deliver_after=3600.0)
        await bus.create_durable("tasks", "task")
        await bus.submit("task", numbered("task"), durable="tasks")
        assert numbers(await take(bus, "work", "worker", 2)) == [0, 1]
        async with asyncio.timeout(PATIENCE):
            while True:
                async for letter in bus.dead_letters(durable="hard"):
                    return letter.id
                await asyncio.sleep(0.02)


async def looks_as_filled(address: str, letter: int) -> None:
    """Asserts that a bus has what `fill_bus` left, and goes on with it."""
    async with GrpcMessageBus(address) as bus:
        assert {each.name for each in [each async for each in bus.durables()]} == {"worker", "hard", "tasks"}
        worker = await bus.durable("worker")
        assert (worker.waiting + worker.leased + worker.retrying, worker.acked) == (10, 2)
        assert (await bus.dead_letter(letter)).error == "ValueError: it cannot be"
        assert len([each async for each in bus.tasks()]) == 1
        assert (await bus.statistics()).durable_subscriptions == 3


async def test_a_bus_moves_into_redis_and_back(
    start_program: StartProgram, socket_dir: Path, server: RedisServer, prefix: str
) -> None:
    """Durable subscriptions, what waits and is delayed, dead letters and tasks; sequences go on."""
    path, back = socket_dir / "bus.db", socket_dir / "back.db"
    bus = start_program("bus", "--engine", "sqlite", "--path", str(path))
    letter = await fill_bus(bus.address)
    is_refused(migrate("bus", path, server.url, prefix), "in use", str(bus.pid))
    bus.stop()
    there = is_copied(migrate("bus", path, server.url, prefix))
    assert (there["durables"], there["dead_letters"], there["held_back"], there["tasks"]) == (3, 1, 1, 1)
    is_refused(migrate("bus", path, server.url, prefix), "something already")

    replica = serve(start_program, "bus", server, prefix)
    await looks_as_filled(replica.address, letter)
    is_refused(migrate("bus", server.url, back, prefix), "in use", replica.address)
    assert not back.exists()
    replica.stop()
    assert is_copied(migrate("bus", server.url, back, prefix)).keys() == there.keys()
    is_refused(migrate("bus", server.url, back, prefix), "there already")

    again = start_program("bus", "--engine", "sqlite", "--path", str(back))
    await looks_as_filled(again.address, letter)
    async with GrpcMessageBus(again.address) as client:
        assert sorted(numbers(await take(client, "work", "worker", 10))) == list(range(2, 12))
        await client.redrive([letter])
        assert (await client.durable("hard")).waiting == 1


async def test_a_copy_of_a_bus_that_was_killed_is_run_again(
    start_program: StartProgram, socket_dir: Path, server: RedisServer, prefix: str
) -> None:
    """Either way; meanwhile no service starts on it, and no copy of another source does."""
    path, back = socket_dir / "bus.db", socket_dir / "back.db"
    bus = start_program("bus", "--engine", "sqlite", "--path", str(path))
    letter = await fill_bus(bus.address, "x" * (LARGE // 12))
    bus.stop()

    dam = Dam(server.port, LARGE // 2)
    kill_amid(dam, "bus", path, dam.url, prefix)
    dam.close()
    where = ("--address", "127.0.0.1:0", "--redis-prefix", prefix, "--redis-url", server.url)
    is_refused(run_program("bus", "--engine", "redis", *where), "unfinished copy", "trunkline migrate")
    other = start_program("bus", "--engine", "sqlite", "--path", str(socket_dir / "other.db"))
    other.stop()
    is_refused(migrate("bus", socket_dir / "other.db", server.url, prefix), "unfinished copy", str(path))
    is_copied(migrate("bus", path, server.url, prefix))

    dam = Dam(server.port, LARGE // 2)
    kill_amid(dam, "bus", dam.url, back, prefix)
    said = run_program("bus", "--address", "127.0.0.1:0", "--engine", "sqlite", "--path", str(back))
    assert said.returncode != 0
    assert "not finished" in said.stderr
    is_refused(migrate("bus", server.url, back, prefix), "unfinished copy")  # by another name
    dam.open()
    is_copied(migrate("bus", dam.url, back, prefix))
    dam.close()
    again = start_program("bus", "--engine", "sqlite", "--path", str(back))
    await looks_as_filled(again.address, letter)
    async with GrpcMessageBus(again.address) as client:
        assert sorted(numbers(await take(client, "work", "worker", 10))) == list(range(2, 12))


def agent(id: str, **fields: Any) -> AgentState:
    return AgentState(agent_id=id, agent_type="coding", **fields)


async def holds_what_was_saved(address: str, revisions: dict[str, int], lease: int, writer: str) -> None:
    """Asserts that a store has the records with their revisions and their writer, and the lease with its number."""
    async with GrpcStateManager(address) as state:
        there = await state.list_agent_states()
        assert {each.agent_id for each in there} == revisions.keys() | {"ends"}
        assert {each.written_by for each in there if each.agent_id != "a0"} == {writer}
        with pytest.raises(RevisionMismatchError):
            await state.save_agent_state(agent("a0"), expected_revision=revisions["a0"] - 1)
        (held,) = await state.list_leases(name="door")
        assert held.number == lease
        revisions["a0"] = await state.save_agent_state(agent("a0"), expected_revision=revisions["a0"])
        assert revisions["a0"] > max(revision for id, revision in revisions.items() if id != "a0")


async def test_a_store_moves_into_redis_and_back(
    start_program: StartProgram, socket_dir: Path, server: RedisServer, prefix: str, killable_bus: RunningProgram
) -> None:
    """Records with their revisions, lifetimes, leases, and messages that wait for the bus; also where it was killed."""
    path, back = socket_dir / "move.db", socket_dir / "back.db"
    away = ("--bus-address", killable_bus.address)
    state = start_program("state", "--engine", "sqlite", "--path", str(path), *away)
    async with GrpcMessageBus(killable_bus.address) as bus:
        await bus.create_durable("taker", "out")
    killable_bus.kill()
    async with GrpcStateManager(state.address) as client:
        filling = "x" * (LARGE // 12)
        revisions = {f"a{n}": await client.save_agent_state(agent(f"a{n}", metadata={"f": filling})) for n in range(12)}
        await client.save_agent_state(agent("gone"))
        await client.delete_agent_state("gone")
        await client.save_agent_state(agent("ends"), ttl=3600.0, publish=[("out", numbered(1)), ("out", numbered(2))])
        lease = (await client.acquire("door", ttl=3600.0)).number
        ends = await client.get_agent_state("ends")
        assert ends is not None
        writer = ends.written_by
        assert writer
        state.kill()  # so that the lease is not released
    dam = Dam(server.port, LARGE // 2)
    kill_amid(dam, "state", path, dam.url, prefix)
    dam.close()
    there = is_copied(migrate("state", path, server.url, prefix))
    assert there == {"records": 14, "held": 2, "refused": 0, "store": 1}

    replica = serve(start_program, "state", server, prefix)
    await holds_what_was_saved(replica.address, revisions, lease, writer)
    replica.stop()
    dam = Dam(server.port, LARGE // 2)
    kill_amid(dam, "state", dam.url, back, prefix)
    dam.open()
    assert is_copied(migrate("state", dam.url, back, prefix)) == there
    dam.close()

    again = start_program("state", "--engine", "sqlite", "--path", str(back), *away)
    await holds_what_was_saved(again.address, revisions, lease, writer)
    killable_bus.start()
    async with GrpcMessageBus(killable_bus.address) as bus:
        assert numbers(await take(bus, "out", "taker", 2)) == [1, 2]


@pytest.mark.parametrize(
    ("damage", "word"), [("DELETE FROM versions", "the body of"), ("DROP TABLE held", "no such table: held")]
)
async def test_a_damaged_source_leaves_an_unfinished_target(
    damage: str, word: str, start_program: StartProgram, server: RedisServer, prefix: str, socket_dir: Path
) -> None:
    """It is said in one line, and no service starts on what was copied."""
    path = socket_dir / "state.db"
    state = start_program("state", "--engine", "sqlite", "--path", str(path))
    async with GrpcStateManager(state.address) as client:
        await client.save_agent_state(agent("a"))
    state.stop()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    said = migrate("state", path, server.url, prefix)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert word in said.stderr.splitlines()[-1]
    assert "unfinished" in said.stderr.splitlines()[-1]
    where = ("--address", "127.0.0.1:0", "--redis-prefix", prefix, "--redis-url", server.url)
    is_refused(run_program("state", "--engine", "redis", *where), "unfinished copy")


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("a.db", "b.db", ("one of --from and --to",)),
        ("none.db", "URL", ("there is no state store", "none.db")),
        ("URL", "b.db", ("there is no state store", "{")),
        ("redis://localhost:many/0", "b.db", ("--from", "'many'")),
    ],
)
def test_what_cannot_be_is_refused(
    source: str, target: str, words: tuple[str, ...], server: RedisServer, prefix: str, socket_dir: Path
) -> None:
    """One line, exit code 2, and nothing was written."""
    ends = [
        server.url if each == "URL" else each if "://" in each else str(socket_dir / each) for each in (source, target)
    ]
    is_refused(migrate("state", ends[0], ends[1], prefix), *words)
    with server.client() as client:
        assert not client.keys(f"*{prefix}*")
    assert not list(socket_dir.iterdir())
