"""The redis engine of the journal by itself: what a commit writes, and what becomes of it when its answer is lost."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from tests.patience import PATIENCE
from tests.redis.servers import RedisServer, running
from trunkline.errors import BusDisconnectedError, StorageError, StorageUnavailableError
from trunklined.bus.engines import redis as engine
from trunklined.bus.engines.redis import ROOM, RedisJournal
from trunklined.bus.engines.sqlite_rows import batch_row
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import ChannelRow, PendingRow
from trunklined.bus.write_batch import WriteBatch
from trunklined.redis.lease import NamedLease
from trunklined.redis.link import Link, SyncLink
from trunklined.redis.target import Target, parse_url


class Proxy:
    """Stands between a program and Redis, and can lose what Redis answers."""

    def __init__(self, port: int) -> None:
        self.loses = 0
        """Of how many requests from now on the answer is lost, with its connection."""
        self.is_shut = False
        """Whether it takes no connections."""
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                if self.is_shut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += (client, server)
                threading.Thread(target=self._pass_up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass_down, args=(client, server), daemon=True).start()

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _pass_down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if self.loses and b"done" in data:
                    self.loses -= 1
                    break
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def shut(self) -> None:
        """Ends all connections, and takes no more."""
        self.is_shut = True
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with suppress(OSError):  # the other side ended it
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        """Ends all of it."""
        self.shut()
        self._listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(appendonly="yes", appendfsync="always") as redis:
        yield redis


@pytest.fixture
def target(server: RedisServer) -> Target:
    return replace(parse_url(server.url), prefix=f"tests-{uuid4().hex}", timeout=PATIENCE)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    between = Proxy(server.port)
    yield between
    between.close()


@asynccontextmanager
async def owning(target: Target) -> AsyncIterator[NamedLease]:
    """The lease of a journal's ownership, held."""
    link = Link(target, ROOM, max_connections=2)
    lease = NamedLease(link, "owner", uuid4().hex, ttl=2 * PATIENCE, note="tests")
    assert await lease.acquire()
    try:
        yield lease
    finally:
        await lease.release()
        await link.close()


@asynccontextmanager
async def opened(target: Target, lease: NamedLease, **words: Any) -> AsyncIterator[RedisJournal]:
    """A journal that is open."""
    journal = RedisJournal(SyncLink(target, ROOM, max_connections=2), lease, **words)
    try:
        await asyncio.to_thread(journal.load)
        journal.open()
        yield journal
    finally:
        journal.close()


def writes(first: int, *messages: bytes) -> WriteBatch:
    """A commit that stores messages on one channel."""
    batch = MessageBatch("a:b", 1, list(messages), sum(map(len, messages)), None, first, time=1.0)
    channel = ChannelRow(1, "a:b", 0, 0.0, len(messages), batch.size)
    return WriteBatch(batches=[batch], channels=[channel], last_sequence=first + len(messages) - 1)


async def commit(journal: RedisJournal, wanted: WriteBatch) -> None:
    """Commits as the journal does: applied here, committed in a thread."""
    journal.apply(wanted)
    try:
        await asyncio.to_thread(journal.commit)
    except BaseException:
        journal.rollback()
        raise


def held(journal: RedisJournal) -> list[tuple[int, list[bytes]]]:
    """The messages that it has, by their first sequence."""
    return [(each.first_sequence, each.messages) for each in journal.messages(1, 1_000)]


async def test_what_was_committed_is_there_for_the_next_owner(target: Target) -> None:
    async with owning(target) as lease, opened(target, lease) as journal:
        await commit(journal, writes(1, b"one", b"two"))
        pending = PendingRow(1, 7, 1, 2, 1, 1, 0, None, None, None, (), 0, "peer", 2.0)
        await commit(journal, WriteBatch(pending_messages=[pending], skipped_keys=[(7, "key: ü", 3)]))
        await commit(journal, writes(3, b"three"))
        await commit(journal, WriteBatch(removed=[3]))
        assert journal.durability == "memory"  # nobody says what Redis keeps
        found = held(journal)
    async with owning(target) as lease, opened(target, lease) as journal:
        assert held(journal) == found == [(1, [b"one", b"two"])]
        assert journal.leased(7) == [pending]
        assert journal.busy_keys(7)[1] == {"key: ü": 3}
        await commit(journal, WriteBatch(wiped=[7]))
    async with owning(target) as lease, opened(target, lease) as journal:
        assert (journal.leased(7), journal.busy_keys(7)[1]) == ([], {})
        assert journal.open().last_sequence == 3 + engine.SEQUENCES_LEFT_OUT


async def test_an_answer_that_is_lost_is_asked_for_again(
    target: Target, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit was done, and is not done twice."""
    monkeypatch.setattr(engine, "DOUBT_SECONDS", PATIENCE)
    through = replace(target, nodes=(("127.0.0.1", proxy.port),))
    async with owning(target) as lease, opened(through, lease) as journal:
        proxy.loses = 2
        await commit(journal, writes(1, b"one"))
        assert proxy.loses == 0
        assert held(journal) == [(1, [b"one"])]
        await commit(journal, writes(2, b"two"))
    async with owning(target) as lease, opened(target, lease) as journal:
        assert held(journal) == [(1, [b"one"]), (2, [b"two"])]


async def test_where_it_cannot_be_known_the_journal_is_given_up(
    target: Target, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was sent then, and arrives late, is refused: another term has begun."""
    monkeypatch.setattr(engine, "DOUBT_SECONDS", 0.3)
    given_up: list[bool] = []
    through = replace(target, nodes=(("127.0.0.1", proxy.port),))
    async with owning(target) as lease:
        async with opened(through, lease, on_lost=lambda: given_up.append(True)) as journal:
            await commit(journal, writes(1, b"one"))
            proxy.loses = 1_000
            with pytest.raises(BusDisconnectedError, match="not known"):
                await commit(journal, writes(2, b"two"))
            assert given_up
            assert not journal.is_owned()
            with pytest.raises(BusDisconnectedError):
                journal.apply(writes(3, b"three"))
        async with opened(target, lease) as journal, opened(target, lease) as later:
            assert held(journal) == [(1, [b"one"]), (2, [b"two"])]  # it was done
            with pytest.raises(BusDisconnectedError, match="another replica"):
                await commit(journal, writes(3, b"three"))
            await commit(later, writes(3, b"of now"))


async def test_who_lost_the_lease_writes_nothing(target: Target) -> None:
    async with owning(target) as lease, opened(target, lease) as journal:
        await commit(journal, writes(1, b"one"))
        journal.apply(writes(2, b"two"))
        with SyncLink(target, ROOM).client as client:
            client.delete(lease.key)
        async with owning(target) as other, opened(target, other) as heir:
            with pytest.raises(BusDisconnectedError, match="another replica"):
                await asyncio.to_thread(journal.commit)
            journal.rollback()
            assert held(heir) == held(journal) == [(1, [b"one"])]
            await commit(heir, writes(2, b"of the heir"))
            assert held(heir) == [(1, [b"one"]), (2, [b"of the heir"])]


async def test_redis_away_is_a_refusal_that_did_nothing(target: Target, proxy: Proxy) -> None:
    through = replace(target, nodes=(("127.0.0.1", proxy.port),), wait=0.2)
    async with owning(target) as lease, opened(through, lease) as journal:
        await commit(journal, writes(1, b"one"))
        proxy.shut()
        with pytest.raises(StorageUnavailableError, match="nothing was done"):
            await commit(journal, writes(2, b"two"))
        assert held(journal) == [(1, [b"one"])]
        proxy.is_shut = False
        await commit(journal, writes(2, b"another"))
        assert held(journal) == [(1, [b"one"]), (2, [b"another"])]


async def test_redis_that_lost_commits_is_noticed(target: Target) -> None:
    """As one that was restarted on an older copy: nothing is written on top of it."""
    async with owning(target) as lease, opened(target, lease) as journal:
        await commit(journal, writes(1, b"one"))
        await commit(journal, writes(2, b"two"))
        with SyncLink(target, ROOM).client as client:
            client.hset(target.key(ROOM, "head"), "commit", 1)
        with pytest.raises(BusDisconnectedError, match="lost commits"):
            await commit(journal, writes(3, b"three"))
    async with owning(target) as lease:
        with pytest.raises(StorageError, match="damaged"):
            async with opened(target, lease):
                pass


async def test_a_restart_of_redis_while_it_is_read_hides_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it goes on to read is another place to the restarted server: what was read then is not taken."""
    monkeypatch.setattr(engine, "PAGE_ROWS", 50)
    with running(appendonly="yes", appendfsync="always") as server:
        target = replace(parse_url(server.url), timeout=PATIENCE, wait=PATIENCE)
        async with owning(target) as lease:
            async with opened(target, lease) as journal:
                for first in range(1, 1_001):
                    await commit(journal, writes(first, b"m"))
            restarts = iter([server])

            class Restarting(SyncLink):
                """Its server is restarted amid the rows."""

                def call(self, *command: Any, **words: Any) -> Any:
                    if command[:2] == ("HSCAN", self.key("runs")) and command[2]:
                        for each in restarts:
                            each.kill()
                            each.start()
                            self.client.connection_pool.disconnect()  # it has noticed
                    return super().call(*command, **words)

            journal = RedisJournal(Restarting(target, ROOM, max_connections=2), lease)
            try:
                with pytest.raises(StorageUnavailableError, match="rows of runs were read"):
                    await asyncio.to_thread(journal.load)
            finally:
                journal.close()
            async with opened(target, lease) as journal:
                assert len(held(journal)) == 1_000


@pytest.mark.parametrize("damage", [b"\xc1", None])
async def test_a_damaged_row_is_noticed(target: Target, damage: bytes | None) -> None:
    """One that cannot be read when the journal is opened, one that says something else when it is read."""
    async with owning(target) as lease:
        async with opened(target, lease) as journal:
            await commit(journal, writes(1, b"one"))
        other = replace_message(b"another")
        with SyncLink(target, ROOM).client as client:
            client.hset(target.key(ROOM, "runs"), "1", damage or other)
        with pytest.raises(StorageError, match="damaged"):
            async with opened(target, lease) as journal:
                held(journal)


def replace_message(message: bytes) -> bytes:
    """A row whose message is not the one that its checksum is of."""
    row = list(batch_row(MessageBatch("a:b", 1, [b"one"], 3, None, 1, time=1.0), 1))
    row[12] = row[12].replace(b"one", message[:3])
    return msgspec.msgpack.encode(row)
