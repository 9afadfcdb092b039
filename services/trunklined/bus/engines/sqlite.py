"""The sqlite engine: one file, in which every commit is synced. Without a path it is in memory, and keeps nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import pack, unpack_from
from typing import Any, Final

import msgspec

from trunkline.errors import OverloadedError, StorageError
from trunkline.lanes import MEDIUM_LANE
from trunklined.bus.engines.engine import (
    AttemptRecord,
    Batch,
    ChannelRow,
    Contents,
    DeadLetter,
    DeadLetterQuery,
    DurableRow,
    Extent,
    HeldBack,
    ParcelRow,
    Reason,
)
from trunklined.bus.engines.sqlite_schema import FORMAT, SCHEMA
from trunklined.bus.run import Redriven, Run
from trunklined.sqlite.file import FileLock, connect, prepare, translate
from trunklined.sqlite.tail import Tail

_RUN: Final = (
    "channels.name, lane, expires_at, sequence, key, time, target, attempts, redrives, log, runs.messages, runs.count"
    " FROM runs JOIN channels ON channels.id = runs.channel"
)
_PUT_CHANNEL: Final = (
    "INSERT INTO channels VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " compacted = excluded.compacted, compacted_time = excluded.compacted_time,"
    " messages = excluded.messages, bytes = excluded.bytes"
)
_PUT_DURABLE: Final = f"INSERT OR REPLACE INTO durables VALUES ({', '.join('?' * 17)})"
_PUT_PARCEL: Final = f"INSERT OR REPLACE INTO parcels VALUES ({', '.join('?' * 12)})"
_PUT_RUN: Final = f"INSERT INTO runs VALUES ({', '.join('?' * 14)})"
_PUT_HELD_BACK: Final = "INSERT INTO held_back VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_DEAD_LETTER: Final = f"INSERT INTO dead_letters VALUES ({', '.join('?' * 17)})"
_PARCEL: Final = "SELECT id, durable, sequence, count, lane, attempts, base, due, open, key, log, redrives FROM parcels"

_encode_log = msgspec.msgpack.Encoder().encode
_decode_log = msgspec.msgpack.Decoder(tuple[AttemptRecord, ...]).decode


class SqliteJournal:
    """Keeps a journal in one SQLite file (WAL, synchronous=FULL); see `JournalEngine`.

    Args:
        path: the file; made where there is none, its directories too. None: in memory.
        max_bytes: the file's size at the most, beyond which what needs room is refused with OVERLOADED; None: the disk
            decides.
    """

    def __init__(self, path: Path | None, *, max_bytes: int | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock: FileLock | None = None
        self._tail: Tail | None = None
        self._commits = 0
        self._connections: list[sqlite3.Connection] = []
        self._channel_ids: dict[str, int] = {}
        self.name = "memory" if path is None else "sqlite"
        self.durability = "memory" if path is None else "stored"

    def open(self) -> Contents:
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self.close()
            translated = self._translate(error)
            raise StorageError(translated.message, details={"path": str(self._path)}) from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> Contents:
        if self._path is None:
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connections.append(connection)
            connection.executescript(SCHEMA)
            self._writer = self._reader = connection
        else:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path = self._path.resolve()  # so that two names of one file are one lock
            self._lock = FileLock(self._path, FORMAT)
            self._lock.acquire()
            prepare(self._path, FORMAT)
            self._writer = connect(self._path)
            self._connections.append(self._writer)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA cache_size = -16384")
            self._reader = connect(self._path)
            self._connections.append(self._reader)
            self._reader.execute("PRAGMA query_only = 1")
        if self._max_bytes is not None:
            page_size = self._writer.execute("PRAGMA page_size").fetchone()[0]
            self._writer.execute(f"PRAGMA max_page_count = {max(1, self._max_bytes // page_size)}")
        return self._contents()

    def _contents(self) -> Contents:
        run = self._writer.execute
        last_sequence, last_dead_letter, self._commits = run(
            "SELECT last_sequence, last_dead_letter, commits FROM journal"
        ).fetchone()
        if self._path is not None:
            self._tail = Tail(self._path, FORMAT.noun)
            self._tail.open(self._commits)
        channels = [
            ChannelRow(*row) for row in run("SELECT id, name, compacted, compacted_time, messages, bytes FROM channels")
        ]
        self._channel_ids = {channel.name: channel.id for channel in channels}
        return Contents(
            last_sequence=last_sequence,
            last_parcel=run("SELECT coalesce(max(id), 0) FROM parcels").fetchone()[0],
            last_dead_letter=last_dead_letter,
            dead_letters=run("SELECT count(*) FROM dead_letters").fetchone()[0],
            held_back=run("SELECT count(*) FROM held_back").fetchone()[0],
            channels=channels,
            durables=[_durable(row) for row in run("SELECT * FROM durables ORDER BY name")],
        )

    def close(self) -> None:
        while self._connections:
            with suppress(sqlite3.Error):  # a damaged file cannot be tidied up; it is left as it is
                self._connections.pop().close()
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def apply(self, batch: Batch) -> None:
        with self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            self._apply(self._writer, batch)

    def _apply(self, connection: sqlite3.Connection, batch: Batch) -> None:
        many = connection.executemany
        for table in ("parcels", "skipped_keys"):
            many(f"DELETE FROM {table} WHERE durable = ?", [(id,) for id in (*batch.wiped, *batch.deleted)])
        many("DELETE FROM durables WHERE id = ?", [(id,) for id in batch.deleted])
        many(_PUT_CHANNEL, batch.channels)
        for channel in batch.channels:
            self._channel_ids[channel.name] = channel.id
        many(_PUT_RUN, map(self._run_row, batch.runs))
        many(_PUT_HELD_BACK, map(_held_back_row, batch.held_back))
        many("DELETE FROM held_back WHERE sequence = ?", [(sequence,) for sequence in batch.released])
        many(_PUT_DURABLE, [(*row[:9], *row.positions, *row[10:]) for row in batch.durables])
        many(
            _PUT_PARCEL, [(*row[:10], _encode_log(row.log) if row.log else None, row.redrives) for row in batch.parcels]
        )
        many("DELETE FROM parcels WHERE id = ?", [(id,) for id in batch.settled])
        many("INSERT OR IGNORE INTO skipped_keys VALUES (?, ?)", batch.skipped_keys)
        many("DELETE FROM skipped_keys WHERE durable = ? AND key = ?", batch.free_keys)
        many(_PUT_DEAD_LETTER, map(_dead_letter_row, batch.dead_letters))
        many("DELETE FROM dead_letters WHERE id = ?", [(id,) for id in batch.forgotten_letters])
        many("UPDATE runs SET swept = 1 WHERE sequence = ?", [(sequence,) for sequence in batch.swept])
        many("DELETE FROM runs WHERE sequence = ?", [(sequence,) for sequence in batch.removed])
        connection.execute(
            "UPDATE journal SET commits = ?, last_sequence = max(last_sequence, ?),"
            " last_dead_letter = max(last_dead_letter, ?)",
            (
                self._commits + 1,
                batch.last_sequence if batch.runs or batch.held_back else 0,
                batch.dead_letters[-1].id if batch.dead_letters else 0,
            ),
        )

    def _run_row(self, run: Run) -> tuple[Any, ...]:
        target, attempts, redrives, log = run.redriven or (None, 0, 0, ())
        return (
            run.first_sequence,
            self._channel_ids[run.channel],
            run.lane,
            len(run.messages),
            run.size,
            run.time,
            run.expires_at,
            run.key,
            target,
            attempts,
            redrives,
            _encode_log(log) if log else None,
            0,
            _join(run.messages),
        )

    def commit(self) -> None:
        with self._translated():
            self._writer.execute("COMMIT")
        self._commits += 1
        if self._tail is not None:
            self._tail.write(self._commits)

    def rollback(self) -> None:
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):  # the first error is the one to tell
                self._writer.execute("ROLLBACK")

    def runs(
        self, channels: Sequence[str] | None, lane: int, start: int, rows: int, size: int
    ) -> tuple[list[Run], int, bool]:
        if channels is not None:
            ids = [self._channel_ids[name] for name in channels if name in self._channel_ids]
            if not ids:
                return [], start, True
        else:
            ids = []
        # What is looked at is bounded, not what is found: a rare channel must not hold the others up.
        if lane != MEDIUM_LANE:
            among, these = "lane = ?", [lane]
        elif len(ids) == 1:
            among, these = "channel = ?", ids
        else:
            among, these = "1", []
        found: list[Run] = []
        with self._translated():
            # The first row may begin before `start`.
            begin = self._reader.execute("SELECT max(sequence) FROM runs WHERE sequence <= ?", (start,)).fetchone()[0]
            begin = start if begin is None else begin
            last = self._reader.execute(
                f"SELECT sequence FROM runs WHERE {among} AND sequence >= ? ORDER BY sequence LIMIT 1 OFFSET ?",
                (*these, begin, rows),
            ).fetchone()
            wanted = " AND channel IN (SELECT value FROM json_each(?))" if channels is not None else ""
            cursor = self._reader.execute(
                f"SELECT {_RUN} WHERE {among} AND sequence >= ? AND sequence < ? AND lane = ? AND swept = 0"
                f" AND sequence + runs.count > ?{wanted} ORDER BY sequence",
                (
                    *these,
                    begin,
                    last[0] if last else 2**62,
                    lane,
                    start,
                    *((json.dumps(ids),) if channels is not None else ()),
                ),
            )
            for row in cursor:
                run = _run(row)
                found.append(run if run.first_sequence >= start else run.part(start - run.first_sequence, 2**62))
                size -= run.size
                if size <= 0:
                    cursor.close()
                    return found, run.end, False
        if last:
            return found, last[0], False
        return found, found[-1].end if found else start, True

    def messages(self, first: int, count: int) -> list[Run]:
        with self._translated():
            begin = self._reader.execute("SELECT max(sequence) FROM runs WHERE sequence <= ?", (first,)).fetchone()[0]
            rows = self._reader.execute(
                f"SELECT {_RUN} WHERE sequence >= ? AND sequence < ? AND sequence + runs.count > ? ORDER BY sequence",
                (first if begin is None else begin, first + count, first),
            ).fetchall()
        return [_run(row) for row in rows]

    def next_of_key(self, key: str, after: int, before: int) -> Iterator[Run]:
        with self._translated():
            rows = self._reader.execute(
                f"SELECT {_RUN} WHERE key = ? AND sequence > ? AND sequence < ? AND swept = 0 ORDER BY sequence",
                (key, after, before),
            )
            for row in rows:
                yield _run(row)

    def leased(self, durable: int) -> list[ParcelRow]:
        return self._parcels("durable = ? AND due IS NULL ORDER BY id", durable)

    def due(self, durable: int, now: float, limit: int) -> list[ParcelRow]:
        return self._parcels(
            "durable = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?", durable, now, limit
        )

    def parcels_at(self, durable: int, sequence: int) -> list[ParcelRow]:
        return self._parcels("durable = ? AND sequence <= ? AND sequence + count > ?", durable, sequence, sequence)

    def _parcels(self, where: str, *values: Any) -> list[ParcelRow]:
        with self._translated():
            rows = self._reader.execute(f"{_PARCEL} WHERE {where}", values).fetchall()
        return [_parcel(row) for row in rows]

    def next_due(self, durable: int) -> float | None:
        return self._time("SELECT min(due) FROM parcels WHERE durable = ? AND due IS NOT NULL", durable)

    def retrying(self, durable: int) -> int:
        with self._translated():
            rows = self._reader.execute(
                "SELECT count, open FROM parcels WHERE durable = ? AND due IS NOT NULL", (durable,)
            )
            return sum(count if open is None else sum(open) for count, open in rows)

    def busy_keys(self, durable: int) -> tuple[dict[str, int], set[str]]:
        with self._translated():
            busy = self._reader.execute(
                "SELECT key, sequence FROM parcels WHERE durable = ? AND key IS NOT NULL", (durable,)
            )
            skipped = self._reader.execute("SELECT key FROM skipped_keys WHERE durable = ?", (durable,))
            return dict(busy.fetchall()), {row[0] for row in skipped}

    def count_from(self, channels: Sequence[str] | None, durable: int, start: int) -> int:
        ids = None if channels is None else [self._channel_ids[name] for name in channels if name in self._channel_ids]
        wanted = "" if ids is None else " AND channel IN (SELECT value FROM json_each(?))"
        begin = self._value("SELECT max(sequence) FROM runs WHERE sequence <= ?", start)
        return int(
            self._value(
                "SELECT coalesce(sum(sequence + count - max(sequence, ?)), 0) FROM runs WHERE sequence >= ?"
                f" AND sequence + count > ? AND swept = 0 AND (target IS NULL OR target = ?){wanted}",
                start,
                start if begin is None else begin,
                start,
                durable,
                *(() if ids is None else (json.dumps(ids),)),
            )
        )

    def sequence_at(self, time: float) -> int:
        """Times rise with sequences, so it is found by halving."""
        bounds = (self._value("SELECT min(sequence) FROM runs"), self._value("SELECT max(sequence) FROM runs"))
        low, high = bounds
        if low is None or high is None:
            return 0
        while low < high:
            middle = (low + high) // 2
            with self._translated():
                sequence, at = self._reader.execute(
                    "SELECT sequence, time FROM runs WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1", (middle,)
                ).fetchone()
            if at < time:
                low = middle + 1
            else:
                high = sequence
        with self._translated():
            row = self._reader.execute(
                "SELECT sequence FROM runs WHERE sequence >= ? AND time >= ? ORDER BY sequence LIMIT 1", (low, time)
            ).fetchone()
        return row[0] if row else 0

    def held_back_until(self, now: float, limit: int) -> list[HeldBack]:
        with self._translated():
            rows = self._reader.execute(
                "SELECT sequence, due, channel, lane, time, expires_at, key, message FROM held_back"
                " WHERE due <= ? ORDER BY due, sequence LIMIT ?",
                (now, limit),
            ).fetchall()
        return [_held_back(row) for row in rows]

    def next_held_back(self) -> float | None:
        return self._time("SELECT min(due) FROM held_back")

    def recent(self, since: float, messages: int) -> Iterator[Run]:
        start = self.sequence_at(since)
        with self._translated():
            found: list[Run] = []
            if start:
                # From the newest on, so that no more is read than is wanted.
                for row in self._reader.execute(f"SELECT {_RUN} WHERE sequence >= ? ORDER BY sequence DESC", (start,)):
                    run = _run(row)
                    messages -= len(run.messages)
                    if messages < 0:
                        break
                    found.append(run)
            held = self._reader.execute(
                "SELECT sequence, due, channel, lane, time, expires_at, key, message FROM held_back WHERE time >= ?"
                " ORDER BY sequence DESC LIMIT ?",
                (since, max(0, messages)),
            )
            found += [_held_back(row).run for row in held]
        return iter(sorted(found, key=lambda run: run.first_sequence))

    def expired(self, now: float, rows: int) -> list[Run]:
        with self._translated():
            found = self._reader.execute(
                f"SELECT {_RUN} WHERE expires_at IS NOT NULL AND expires_at < ? AND swept = 0"
                " ORDER BY expires_at LIMIT ?",
                (now, rows),
            ).fetchall()
        return [_run(row) for row in found]

    def removable(
        self, channel: str, before: Sequence[int], taken_before: float | None, rows: int, needed_too: bool
    ) -> list[Extent]:
        id = self._channel_ids.get(channel)
        if id is None:
            return []
        free = (
            ""
            if needed_too
            else " AND NOT EXISTS (SELECT 1 FROM parcels WHERE parcels.sequence < runs.sequence + runs.count"
            " AND parcels.sequence > runs.sequence - 65536 AND parcels.sequence + parcels.count > runs.sequence)"
        )
        with self._translated():
            found = self._reader.execute(
                "SELECT sequence, count, size, time FROM runs WHERE channel = ? AND sequence < ? AND time < ?"
                " AND sequence + count <= CASE lane WHEN 0 THEN ? WHEN 1 THEN ? WHEN 2 THEN ? ELSE ? END"
                f"{free} ORDER BY sequence LIMIT ?",
                (id, max(before), 1e18 if taken_before is None else taken_before, *before, rows),
            ).fetchall()
        return [Extent(sequence, channel, count, size, time) for sequence, count, size, time in found]

    def dead_letters(
        self, query: DeadLetterQuery, below: int | None, rows: int, newest_first: bool
    ) -> list[DeadLetter]:
        where, values = _where(query)
        if below is not None:
            where += " AND id < ?" if newest_first else " AND id > ?"
            values.append(below)
        with self._translated():
            found = self._reader.execute(
                f"SELECT * FROM dead_letters WHERE {where} ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?",
                (*values, rows),
            ).fetchall()
        return [_dead_letter(row) for row in found]

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        where, values = _where(query)
        return int(self._value(f"SELECT count(*) FROM dead_letters WHERE {where}", *values))

    def dead_letter_channels(self) -> list[str]:
        with self._translated():
            return [row[0] for row in self._reader.execute("SELECT DISTINCT channel FROM dead_letters")]

    def file_bytes(self) -> int:
        if self._path is None:
            return int(self._value("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"))
        names = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(path.stat().st_size for path in names if path.exists())

    def tidy(self, pages: int) -> None:
        with self._translated():
            self._writer.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def _value(self, query: str, *values: Any) -> Any:
        with self._translated():
            return self._reader.execute(query, values).fetchone()[0]

    def _time(self, query: str, *values: Any) -> float | None:
        time: float | None = self._value(query, *values)
        return time

    def _translate(self, error: sqlite3.Error | OSError) -> OverloadedError | StorageError:
        return translate(error, self._path or Path(":memory:"), FORMAT)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translate(error) from error


def _join(messages: Sequence[bytes]) -> bytes:
    return pack(f"<{len(messages)}I", *map(len, messages)) + b"".join(messages)


def _parted(joined: bytes, count: int) -> list[bytes]:
    end = 4 * count
    messages = []
    for length in unpack_from(f"<{count}I", joined):
        messages.append(joined[end : end + length])
        end += length
    return messages


def _durable(row: Sequence[Any]) -> DurableRow:
    return DurableRow._make((*row[:9], tuple(row[9:13]), *row[13:]))


def _parcel(row: Sequence[Any]) -> ParcelRow:
    return ParcelRow._make((*row[:10], _decode_log(row[10]) if row[10] else (), row[11]))


def _run(row: Sequence[Any]) -> Run:
    name, lane, expires_at, sequence, key, time, target, attempts, redrives, log, joined, count = row
    return Run(
        name,
        lane,
        _parted(joined, count),
        len(joined) - 4 * count,
        expires_at,
        sequence,
        key,
        time,
        None if target is None else Redriven(target, attempts, redrives, _decode_log(log) if log else ()),
    )


def _held_back_row(held: HeldBack) -> tuple[Any, ...]:
    run = held.run
    return held.sequence, held.due, run.channel, run.lane, run.time, run.expires_at, run.key, run.messages[0]


def _held_back(row: Sequence[Any]) -> HeldBack:
    sequence, due, channel, lane, time, expires_at, key, message = row
    return HeldBack(sequence, due, Run(channel, lane, [message], len(message), expires_at, sequence, key, time))


_LETTER_FIELDS: Final[tuple[str, ...]] = (
    *("id", "durable", "pattern", "channel", "sequence", "published_at", "dead_at", "reason", "error", "attempts"),
    *("redrives", "message_id", "message_type", "sender_id", "key", "lane", "message"),
)


def _dead_letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    values = [getattr(letter, name) for name in _LETTER_FIELDS]
    values[_LETTER_FIELDS.index("attempts")] = _encode_log(letter.attempts)
    return tuple(values)


def _dead_letter(row: Sequence[Any]) -> DeadLetter:
    values = dict(zip(_LETTER_FIELDS, row, strict=True))
    values["attempts"] = _decode_log(values["attempts"])
    values["reason"] = Reason(values["reason"])
    return DeadLetter(**values)


def _where(query: DeadLetterQuery) -> tuple[str, list[Any]]:
    conditions, values = ["1"], []
    for column in ("durable", "reason", "message_id", "message_type", "sender_id"):
        value = getattr(query, column)
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if query.channels is not None:
        conditions.append("channel IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(query.channels)))
    if query.ids is not None:
        conditions.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(query.ids))
    if query.error_contains is not None:
        conditions.append("instr(error, ?) > 0")
        values.append(query.error_contains)
    if query.since is not None:
        conditions.append("dead_at >= ?")
        values.append(query.since)
    if query.before is not None:
        conditions.append("dead_at < ?")
        values.append(query.before)
    return " AND ".join(conditions), values
