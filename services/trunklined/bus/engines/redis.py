"""The redis engine: rows in Redis, which alone count, and a working copy of them here, which answers reads.

Each table of the sqlite engine is a hash in Redis, and each row a field of it, as MessagePack. A commit is one script:
it compares the fencing number of whoever owns the journal, and the number of the commit before it, and then writes the
rows that changed, or nothing. Only then is the copy's own transaction over, and anybody told.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

import msgspec

from trunkline.errors import (
    BusDisconnectedError,
    OverloadedError,
    StorageError,
    StorageUnavailableError,
    TrunklineError,
)
from trunklined.bus.engines.sqlite import SqliteJournal
from trunklined.bus.engines.sqlite_schema import FORMAT
from trunklined.bus.engines.working_copy import TABLES, WorkingCopy
from trunklined.bus.records import Contents
from trunklined.bus.write_batch import WriteBatch
from trunklined.redis.errors import UnansweredError
from trunklined.redis.lease import NamedLease
from trunklined.redis.link import SyncLink
from trunklined.redis.script import Copies, Script
from trunklined.sqlite.file import translate

ROOM: Final = "journal"
"""Whose keys they are: all in one slot."""
VERSION: Final = FORMAT.version
TYPES: Final = {**dict.fromkeys(TABLES, "hash"), "head": "hash"}
"""The keys, and what each is in Redis."""

DOUBT_SECONDS: Final = 3.0
"""How long a commit is tried again of which it is not known whether it was done. Then the journal is given up."""
DOUBT_PAUSE: Final = 0.05

SEQUENCES_LEFT_OUT: Final = 2**20
"""At the beginning of a term, so many sequences are not given out: those that Redis lost since it was answered, which
somebody may still name in an ack, are no others' then."""

PAGE_BYTES: Final = 4 * 1024 * 1024
"""What is read at once when the journal is taken over, as far as the rows before tell."""
PAGE_ROWS: Final = 2_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode

_OWNED: Final = """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return {'fenced', ''} end
"""
_BEGIN: Final = Script(
    _OWNED
    + """
local head = redis.call('HMGET', KEYS[2], 'number', 'commit', 'lost')
local commit = head[2] or '0'
if head[1] and head[1] ~= ARGV[1] then redis.call('HSET', KEYS[2], 'end:' .. head[1], commit) end
redis.call('HSET', KEYS[2], 'number', ARGV[1], 'term', ARGV[2])
return {'done', commit, head[1] or '', head[3] or '0'}
"""
)
"""Begins a term. What was sent in another one, and comes late, is refused from here on. Says whose term was the last,
and keeps which commit was its last one here: so whoever had that term can tell what of it is gone."""

LOOK_BACK: Final = Script("""
local name = 'end:' .. ARGV[1]
local head = redis.call('HMGET', KEYS[1], 'number', 'commit', name)
local commit, kept = tonumber(ARGV[2]), tonumber(head[3] or head[2] or '0')
if kept < commit then
  redis.call('HSET', KEYS[1], name, ARGV[2])
  return {'lost', redis.call('HINCRBY', KEYS[1], 'lost', commit - kept), commit - kept}
end
if head[1] == ARGV[1] then return {'open'} end
return {'kept'}
""")
"""KEYS: the head. ARGV: the number of a term that is over, and its last commit that was answered. Says whether all of
its commits were there when the next term began, or are there while none has begun: then that may change yet."""

_WRITE: Final = (
    _OWNED
    + """
local head = redis.call('HMGET', KEYS[2], 'term', 'commit')
if head[1] ~= ARGV[2] then return {'fenced', ''} end
local commit = head[2] or '0'
if commit == ARGV[4] then return {'done', commit} end
if commit ~= ARGV[3] then return {'behind', commit} end
local function each(name, key, from, count)
  for at = from, from + count - 1, 4000 do
    redis.call(name, key, unpack(ARGV, at, math.min(at + 3999, from + count - 1)))
  end
  return from + count
end
local at = 5
while at <= #ARGV do
  local key = KEYS[2 + tonumber(ARGV[at])]
  local put, gone = 2 * tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = each('HSET', key, at + 3, put)
  at = each('HDEL', key, at, gone)
end
redis.call('HSET', KEYS[2], 'commit', ARGV[4])
return {'done', ARGV[4]}
"""
)
_COMMIT: Final = Script("#!lua\n" + _WRITE)
_COMMIT_WHEN_FULL: Final = Script("#!lua flags=allow-oom\n" + _WRITE)
"""For what takes no new messages: at Redis's bound of memory acks, which make room, must still be taken."""


class RedisJournal(SqliteJournal):
    """Keeps a journal in Redis; see `JournalEngine`. Only who holds the lease may.

    It ends where the lease does, or where it cannot be known whether a commit was done: then every call raises, and the
    journal is opened anew by whoever holds the lease then.

    Args:
        link: the way to Redis, for the threads of the journal.
        lease: of the journal's ownership, held.
        copies: how many replicas of Redis shall have a commit before it is answered; None: they are not asked.
        kept: what Redis keeps of what it answered.
        on_lost: called in any thread when the journal is given up.
        max_bytes: the size of the working copy at the most, beyond which what needs room is refused; None: the disk
            decides.
    """

    def __init__(
        self,
        link: SyncLink,
        lease: NamedLease,
        *,
        copies: Copies | None = None,
        kept: Callable[[], Literal["memory", "stored"]] = lambda: "memory",
        on_lost: Callable[[], None] = lambda: None,
        max_bytes: int | None = None,
    ) -> None:
        super().__init__(None, max_bytes=max_bytes)
        self.name = "redis"
        self.durability = kept()
        self.writes_beside_reads = True
        self.waits_for_network = True
        self._link = link
        self._lease = lease
        self._number = lease.number
        self._copies = copies
        self._kept = kept
        self._on_lost = on_lost
        self._term = token_hex(8)
        self._keys = (lease.key, *(link.key(name) for name in ("head", *TABLES)))
        self._places = {table: place for place, table in enumerate(TABLES, 1)}
        self._copy: WorkingCopy | None = None
        self._last_answered = 0
        self.lost_commits = 0
        """How many commits Redis has lost that it had answered, as far as was known when this term began."""
        self._is_first_term = False
        self._takes_more = False
        """Whether what is to be committed needs room."""
        self._lost: BusDisconnectedError | None = None

    def is_owned(self) -> bool:
        return self._lost is None and self._copy is not None and self._lease.number == self._number != 0

    @property
    def last_answered(self) -> int | None:
        """The last commit of this term that Redis answered, or began with; None: the term has not begun."""
        return None if self._copy is None else self._last_answered

    def load(self) -> int:
        """Reads everything out of Redis, which takes a while; returns how many rows there are. Called in any thread,
        before `open`.

        Raises:
            BusDisconnectedError: the lease was lost meanwhile.
            StorageError: Redis fails, or what it has cannot be trusted.
        """
        self._copy = copy = WorkingCopy(self._max_bytes)
        self._writer = copy.writer
        self._reader, self._counter, self._scanner = copy.readers
        began = self._link.run(lambda client: _BEGIN.call_sync(client, self._keys[:2], (self._number, self._term)))
        self._last_answered = commit = int(self._answered(began))
        self._is_first_term, self.lost_commits = not began[2], int(began[3])
        rows = 0
        with self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            for table in TABLES:
                for page in self._pages(table):
                    copy.fill(table, page)
                rows += self._check_whole(table)
            self._writer.execute("COMMIT")
            copy.watch()
            found = self._writer.execute("SELECT coalesce(max(commits), 0) FROM journal").fetchone()[0]
        if found != commit:
            raise StorageError(
                f"the journal in Redis is damaged: its last commit is {commit}, and its rows are those of {found}",
                details={"what": "the journal's commits"},
            )
        return rows

    def _check_whole(self, table: str) -> int:
        """Returns how many rows of a table were read. Redis promises to name each once at least, but not where another
        server answers, or the same one after a restart, before the last page: some rows are in no page then."""
        there = int(self._link.call("HLEN", self._link.key(table)))
        read = int(self._writer.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        if read != there:
            raise StorageUnavailableError(f"{read} of {there} rows of {table} were read: Redis was restarted meanwhile")
        return read

    def _pages(self, table: str) -> Iterator[list[list[Any]]]:
        key, cursor, rows = self._link.key(table), 0, 128
        while True:
            cursor, found = self._link.call("HSCAN", key, cursor, "COUNT", rows)
            cursor = int(cursor)
            values = list(found.values())
            if values:
                yield [_row(value, table) for value in values]
                row_bytes = sum(map(len, values)) // len(values) + 1
                rows = max(1, min(PAGE_ROWS, PAGE_BYTES // row_bytes))
            if not cursor:
                return

    def open(self) -> Contents:
        if self._copy is None:
            self.load()
        contents = self._contents()
        if self._is_first_term:
            return contents
        return replace(contents, last_sequence=contents.last_sequence + SEQUENCES_LEFT_OUT)

    def close(self) -> None:
        if self._copy is not None:
            self._copy.close()
        self._link.close()

    def apply(self, writes: WriteBatch) -> None:
        self._check_owned()
        self._takes_more = bool(writes.batches or writes.held_back)
        super().apply(writes)

    def commit(self) -> None:
        self._check_owned()
        assert self._copy is not None
        with self._translated():
            changes = self._copy.changes()
        args: list[Any] = [self._number, self._term, self._commits, self._commits + 1]
        for change in changes:
            args += (self._places[change.table], len(change.put), len(change.gone))
            for name, row in change.put:
                args += (name, _encode(row))
            args += change.gone
        self._send(args)
        try:
            super().commit()
        except (OverloadedError, StorageError) as error:
            raise self._give_up(f"the working copy could not follow: {error.message}") from error

    def _send(self, args: list[Any]) -> None:
        """Has Redis write a commit, and knows in the end whether it did.

        Raises:
            BusDisconnectedError: the journal was given up.
            OverloadedError, StorageError: nothing was done.
        """
        script = _COMMIT if self._takes_more else _COMMIT_WHEN_FULL
        doubt: TrunklineError | None = None
        until = 0.0
        while True:
            try:
                wait = min(self._link.target.wait, self._lease.remaining)
                answer, copies = self._link.run(lambda client: self._run(client, script, args), wait)
                break
            except UnansweredError as error:
                doubt = doubt or error
                until = until or time.monotonic() + DOUBT_SECONDS
            except (OverloadedError, StorageError) as error:
                if doubt is None:
                    raise
                doubt = error
            if time.monotonic() >= until or not self._lease.is_held:
                raise self._give_up(f"whether the last commit was done is not known: {doubt.message}")
            time.sleep(DOUBT_PAUSE)
        self._last_answered = int(self._answered(answer))
        self.durability = "replicated" if self._copies is not None and copies >= self._copies.count else self._kept()

    def _run(self, client: Any, script: Script, args: list[Any]) -> tuple[Any, int]:
        if self._copies is None:
            return script.call_sync(client, self._keys, args), 0
        return script.call_copied_sync(client, self._keys, args, self._copies)

    def _answered(self, answer: Any) -> str:
        """Returns what a script answered that did its work; raises where it refused."""
        said, commit = (each.decode() for each in answer[:2])
        if said == "done":
            return str(commit)
        if said == "fenced":
            raise self._give_up("another replica owns the journal")
        raise self._give_up(f"Redis lost commits that it had answered: its last one is {commit}, not {self._commits}")

    def _check_owned(self) -> None:
        if self._lost is not None:
            raise self._lost
        if not self.is_owned():
            raise self._give_up("the lease of the journal's ownership is over")

    def _give_up(self, why: str) -> BusDisconnectedError:
        self._lost = BusDisconnectedError(
            f"this replica does not own the journal any more: {why}", details={"why": "not owner"}
        )
        self._on_lost()
        return self._lost

    def rollback(self) -> None:
        if self._copy is not None:
            super().rollback()

    def file_bytes(self) -> int:
        return 0 if self._copy is None else super().file_bytes()

    def has_free_space(self) -> bool:
        return False

    def _translate(self, error: sqlite3.Error) -> OverloadedError | StorageError:
        return translate(error, Path(tempfile.gettempdir(), "copy.db"), "journal's working copy")


def _row(value: bytes, table: str) -> list[Any]:
    try:
        return _decode(value)
    except msgspec.DecodeError as error:
        raise StorageError(
            f"the journal in Redis is damaged: a row of {table} cannot be read", details={"what": table}
        ) from error
