"""Reads of the journal's file: batches, in order, by channel, level or key; and what was written about them."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from itertools import islice
from typing import Any, Final

from trunkline.priority import MEDIUM_LEVEL
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.engines.engine import LETTERS_BYTES
from trunklined.bus.engines.sqlite_rows import (
    RUN,
    batch_of,
    dead_letter_of,
    held_back_of,
    pending_of,
    task_event_of,
    task_of,
    where,
    where_task,
)
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import BatchHeader, HeldBack, PendingRow, TaskEventRow, TaskQuery, TaskRow

_HELD: Final = (
    "SELECT 1 FROM parcels WHERE parcels.sequence < ? AND parcels.sequence > ? AND parcels.sequence + count > ?"
)

_EXTENT: Final = "runs.sequence, runs.count, runs.size, runs.time, runs.lane, runs.key, runs.target, runs.swept"

END: Final = 2**62
"""Behind every sequence."""
END_OF_TIME: Final = 2.0**62
SPAN: Final = 65_536
"""No pending batch spans more sequences."""


class Reading:
    """What every read needs. Each sees what is committed.

    Args:
        translated: in it, errors of the database become ours.
    """

    _reader: sqlite3.Connection

    def __init__(self, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._translated = translated

    def _value(self, query: str, *values: Any) -> Any:
        with self._translated():
            return self._reader.execute(query, values).fetchone()[0]

    def _time(self, query: str, *values: Any) -> float | None:
        time: float | None = self._value(query, *values)
        return time


class RunReads(Reading):
    """Reads of runs; see `JournalEngine`."""

    _channel_ids: dict[str, int]
    _counter: sqlite3.Connection
    """Used by one count at a time, whichever thread it runs in."""

    def batches(
        self, channels: Sequence[str] | None, level: int, start: int, rows: int, size: int
    ) -> tuple[list[MessageBatch], int, bool]:
        if channels is not None:
            ids = [self._channel_ids[name] for name in channels if name in self._channel_ids]
            if not ids:
                return [], start, True
        else:
            ids = []
        # What is looked at is bounded, not what is found: a rare channel must not hold the others up.
        if level != MEDIUM_LEVEL:
            among, these = "lane = ? AND lane != 1", [level]  # so that its index serves
        elif len(ids) == 1:
            among, these = "channel = ?", ids
        else:
            among, these = "1", []
        found: list[MessageBatch] = []
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
                f"SELECT {RUN} WHERE {among} AND sequence >= ? AND sequence < ? AND lane = ? AND swept = 0"
                f" AND sequence + runs.count > ?{wanted} ORDER BY sequence",
                (
                    *these,
                    begin,
                    last[0] if last else 2**62,
                    level,
                    start,
                    *((json.dumps(ids),) if channels is not None else ()),
                ),
            )
            for row in cursor:
                batch = batch_of(row)
                found.append(
                    batch if batch.first_sequence >= start else batch.part(start - batch.first_sequence, 2**62)
                )
                size -= batch.size
                if size <= 0:
                    cursor.close()
                    return found, batch.end, False
        if last:
            return found, last[0], False
        return found, found[-1].end if found else start, True

    def headers(self, sequences: Sequence[int]) -> dict[int, BatchHeader]:
        with self._translated():
            rows = self._reader.execute(
                f"SELECT {_EXTENT}, channels.name FROM runs JOIN channels ON channels.id = runs.channel"
                " WHERE sequence IN (SELECT (SELECT max(sequence) FROM runs WHERE sequence <= value) FROM json_each(?))"
                " ORDER BY sequence",
                (json.dumps(sequences),),
            ).fetchall()
        headers = [_extent(row, channel) for *row, channel in rows]
        begins = [each.first_sequence for each in headers]
        found = {}
        for sequence in sequences:
            index = bisect_right(begins, sequence) - 1
            if index >= 0 and sequence < headers[index].end:
                found[sequence] = headers[index]
        return found

    def messages(self, first: int, count: int) -> list[MessageBatch]:
        with self._translated():
            begin = self._reader.execute("SELECT max(sequence) FROM runs WHERE sequence <= ?", (first,)).fetchone()[0]
            rows = self._reader.execute(
                f"SELECT {RUN} WHERE sequence >= ? AND sequence < ? AND sequence + runs.count > ? ORDER BY sequence",
                (first if begin is None else begin, first + count, first),
            ).fetchall()
        return [batch_of(row) for row in rows]

    def next_of_key(self, key: str, after: int, before: int) -> Iterator[MessageBatch]:
        with self._translated():
            rows = self._reader.execute(
                f"SELECT {RUN} WHERE key = ? AND sequence > ? AND sequence < ? AND swept = 0 ORDER BY sequence",
                (key, after, before),
            )
            for row in rows:
                yield batch_of(row)

    def with_keys(self, start: int, before: int, rows: int) -> list[MessageBatch]:
        with self._translated():
            found = self._reader.execute(
                f"SELECT {RUN} WHERE sequence IN (SELECT sequence FROM runs INDEXED BY runs_with_key"
                " WHERE key IS NOT NULL AND sequence >= ? AND sequence < ? AND swept = 0 ORDER BY sequence LIMIT ?)"
                " ORDER BY sequence",
                (start, before, rows),
            ).fetchall()
        return [batch_of(row) for row in found]

    def count_from(self, channels: Sequence[str] | None, durable: int, start: int, end: int) -> int:
        with self._translated():
            return self._count(self._reader, self._ids_of(channels), durable, start, end, ())

    def counting(
        self, channels: Sequence[str] | None, durable: int, start: int, without: Sequence[int]
    ) -> Callable[[], int]:
        ids = self._ids_of(channels)
        with self._translated():
            if self._counter is self._reader:  # it is the only connection
                counted = self._count(self._reader, ids, durable, start, END, without)
                return lambda: counted
            self._counter.execute("BEGIN")
            self._counter.execute("SELECT 1 FROM runs LIMIT 1").fetchone()  # only the first read takes the snapshot

        def count() -> int:
            with self._translated():
                try:
                    return self._count(self._counter, ids, durable, start, END, without)
                finally:
                    self._counter.execute("ROLLBACK")

        return count

    def _ids_of(self, channels: Sequence[str] | None) -> list[int] | None:
        if channels is None:
            return None
        return [self._channel_ids[name] for name in channels if name in self._channel_ids]

    @staticmethod
    def _count(
        reader: sqlite3.Connection, ids: list[int] | None, durable: int, start: int, end: int, without: Sequence[int]
    ) -> int:
        wanted, values = "", []
        if ids is not None:
            wanted += " AND channel IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(ids))
        if without:
            wanted += " AND sequence NOT IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(without))
        begin = reader.execute("SELECT max(sequence) FROM runs WHERE sequence <= ?", (start,)).fetchone()[0]
        counted = reader.execute(
            "SELECT coalesce(sum(sequence + count - max(sequence, ?)), 0) FROM runs WHERE sequence >= ?"
            f" AND sequence + count > ? AND sequence < ? AND swept = 0 AND (target IS NULL OR target = ?){wanted}",
            (start, start if begin is None else begin, start, end, durable, *values),
        )
        return int(counted.fetchone()[0])

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

    def recent(self, seconds: float, messages: int) -> Iterator[MessageBatch]:
        newest = self._value(
            "SELECT max(coalesce((SELECT time FROM runs ORDER BY sequence DESC LIMIT 1), 0),"
            " coalesce((SELECT max(time) FROM held_back), 0))"
        )
        since = newest - seconds
        start = self.sequence_at(since)
        with self._translated():
            found: list[MessageBatch] = []
            if start:
                # From the newest on, so that no more is read than is wanted.
                for row in self._reader.execute(f"SELECT {RUN} WHERE sequence >= ? ORDER BY sequence DESC", (start,)):
                    batch = batch_of(row)
                    messages -= len(batch.messages)
                    if messages < 0:
                        break
                    found.append(batch)
            held = self._reader.execute(
                "SELECT * FROM held_back WHERE time >= ? ORDER BY sequence DESC LIMIT ?",
                (since, max(0, messages)),
            )
            found += [held_back_of(row).batch for row in held]
        return iter(sorted(found, key=lambda batch: batch.first_sequence))

    def expired(self, now: float, rows: int) -> list[MessageBatch]:
        with self._translated():
            found = self._reader.execute(
                f"SELECT {RUN} WHERE expires_at IS NOT NULL AND expires_at < ? AND swept = 0"
                " ORDER BY expires_at LIMIT ?",
                (now, rows),
            ).fetchall()
        return [batch_of(row) for row in found]

    def is_held(self, first: int, end: int) -> bool:
        return bool(self._value(f"SELECT EXISTS ({_HELD})", end, first - SPAN, first))

    def removable(
        self, channel: str, after: int, until: int, needed: Sequence[int], rows: int, *, needed_too: bool
    ) -> tuple[list[BatchHeader], int | None]:
        id = self._channel_ids.get(channel)
        if id is None:
            return [], None
        held = _HELD.replace("?", "{}").format("runs.sequence + runs.count", f"runs.sequence - {SPAN}", "runs.sequence")
        with self._translated():
            found = self._reader.execute(
                f"SELECT {_EXTENT}, EXISTS ({held}) FROM runs"
                " WHERE channel = ? AND sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?",
                (id, after, until, rows),
            ).fetchall()
        headers = [(_extent(row, channel), is_held) for *row, is_held in found]
        removable = [
            each
            for each, is_held in headers
            if needed_too or (not is_held and (each.swept or each.end <= needed[each.level]))
        ]
        return removable, found[-1][0] if len(found) == rows else None

    def held_back_until(self, now: float, limit: int) -> list[HeldBack]:
        with self._translated():
            rows = self._reader.execute(
                "SELECT * FROM held_back WHERE due <= ? ORDER BY due, sequence LIMIT ?",
                (now, limit),
            ).fetchall()
        return [held_back_of(row) for row in rows]

    def next_held_back(self) -> float | None:
        return self._time("SELECT min(due) FROM held_back")


class ParcelReads(Reading):
    """Reads of pending batches and dead letters; see `JournalEngine`."""

    _scanner: sqlite3.Connection
    """For what goes through all dead letters, in whichever thread."""

    def leased(self, durable: int) -> list[PendingRow]:
        return self._parcels("durable = ? AND due IS NULL ORDER BY id", durable)

    def due(self, durable: int, now: float, limit: int, known: Container[int]) -> list[PendingRow]:
        with closing(self._waiting(durable, now)) as waiting:
            unknown = list(islice((id for _, id in waiting if id not in known), limit))
        return self._parcels("id IN (SELECT value FROM json_each(?)) ORDER BY due, id", json.dumps(unknown))

    def _waiting(self, durable: int, until: float) -> Generator[tuple[float, int], None, None]:
        """When pending batches are due and their ids, the earliest first; of the index alone."""
        with self._translated():
            yield from self._reader.execute(
                "SELECT due, id FROM parcels WHERE durable = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id",
                (durable, until),
            )

    def waiting(self, durable: int, sequences: Sequence[int]) -> list[tuple[int, PendingRow]]:
        with self._translated():
            found = self._reader.execute(
                "SELECT value, (SELECT id FROM parcels WHERE durable = ? AND due IS NOT NULL AND sequence <= value"
                " ORDER BY sequence DESC LIMIT 1) AS parcel FROM json_each(?) WHERE parcel IS NOT NULL",
                (durable, json.dumps(sequences)),
            ).fetchall()
        rows = self._parcels("id IN (SELECT value FROM json_each(?))", json.dumps([*{id for _, id in found}]))
        by_id = {row.id: row for row in rows}
        return [(sequence, row) for sequence, id in found if (row := by_id[id]).sequence + row.messages > sequence]

    def waiting_from(self, durable: int, start: int, rows: int) -> list[PendingRow]:
        return self._parcels(
            "durable = ? AND due IS NOT NULL AND sequence >= coalesce((SELECT max(sequence) FROM parcels"
            " WHERE durable = ? AND due IS NOT NULL AND sequence <= ?), ?) AND sequence + count > ?"
            " ORDER BY sequence LIMIT ?",
            *(durable, durable, start, start, start, rows),
        )

    def cancelled(self, durable: int, level: int, first: int, end: int) -> list[tuple[int, int]]:
        with self._translated():
            return self._reader.execute(
                "SELECT sequence, sequence + count FROM cancelled WHERE durable = ? AND lane = ? AND sequence < ?"
                " AND sequence >= coalesce((SELECT max(sequence) FROM cancelled WHERE durable = ? AND lane = ?"
                " AND sequence <= ?), ?) AND sequence + count > ? ORDER BY sequence",
                (durable, level, end, durable, level, first, first, first),
            ).fetchall()

    def cancelled_until(self, durable: int) -> int:
        return int(self._value("SELECT coalesce(max(sequence + count), 0) FROM cancelled WHERE durable = ?", durable))

    def _parcels(self, where: str, *values: Any) -> list[PendingRow]:
        with self._translated():
            rows = self._reader.execute(f"SELECT * FROM parcels WHERE {where}", values).fetchall()
        return [pending_of(row) for row in rows]

    def next_due(self, durable: int, known: Container[int]) -> float | None:
        with closing(self._waiting(durable, END_OF_TIME)) as waiting:
            return next((due for due, id in waiting if id not in known), None)

    def retrying(self, durable: int) -> int:
        with self._translated():
            rows = self._reader.execute(
                "SELECT count, open FROM parcels WHERE durable = ? AND due IS NOT NULL", (durable,)
            )
            return sum(count if open is None else sum(open) for count, open in rows)

    def busy_keys(self, durable: int) -> tuple[list[tuple[str, int]], dict[str, int]]:
        with self._translated():
            busy = self._reader.execute(
                "SELECT key, sequence FROM parcels WHERE durable = ? AND key IS NOT NULL ORDER BY sequence", (durable,)
            )
            skipped = self._reader.execute("SELECT key, start FROM skipped_keys WHERE durable = ?", (durable,))
            return busy.fetchall(), dict(skipped.fetchall())

    def dead_letters(
        self, query: DeadLetterQuery, below: int | None, rows: int, newest_first: bool
    ) -> list[DeadLetter]:
        asked, values = where(query)
        if below is not None:
            asked += " AND id < ?" if newest_first else " AND id > ?"
            values.append(below)
        with self._translated():
            read = self._reader.execute(
                f"SELECT * FROM dead_letters WHERE {asked} ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?",
                (*values, rows),
            )
            found: list[DeadLetter] = []
            size = 0
            with closing(read):
                for row in read:
                    found.append(dead_letter_of(row))
                    size += sum(len(column) for column in row if isinstance(column, bytes))
                    if size >= LETTERS_BYTES:
                        break
        return found

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        asked, values = where(query)
        with self._translated():
            counted = self._scanner.execute(f"SELECT count(*) FROM dead_letters WHERE {asked}", values)
            return int(counted.fetchone()[0])

    def dead_letter_channels(self) -> list[str]:
        with self._translated():
            return [row[0] for row in self._reader.execute("SELECT DISTINCT channel FROM dead_letters")]


class TaskReads(Reading):
    """Reads of tasks; see `JournalEngine`."""

    def task(self, id: str) -> TaskRow | None:
        with self._translated():
            row = self._reader.execute("SELECT * FROM tasks WHERE id = ?", (id,)).fetchone()
        return None if row is None else task_of(row)

    def tasks(self, query: TaskQuery, below: int | None, rows: int) -> list[TaskRow]:
        asked, values = where_task(query)
        with self._translated():
            found = self._reader.execute(
                f"SELECT * FROM tasks WHERE {asked} AND number < ? ORDER BY number DESC LIMIT ?",
                (*values, 2**62 if below is None else below, rows),
            ).fetchall()
        return [task_of(row) for row in found]

    def task_channels(self) -> list[str]:
        with self._translated():
            return [row[0] for row in self._reader.execute("SELECT DISTINCT channel FROM tasks")]

    def task_events(self, task: int, after: int, size: int) -> list[TaskEventRow]:
        found: list[TaskEventRow] = []
        with self._translated():
            rows = self._reader.execute(
                "SELECT * FROM task_events WHERE task = ? AND number > ? ORDER BY number", (task, after)
            )
            with closing(rows):
                for row in rows:
                    found.append(task_event_of(row))
                    size -= len(found[-1].event)
                    if size <= 0:
                        break
        return found

    def ended_tasks(self, now: float | None, limit: int) -> list[int]:
        with self._translated():
            rows = self._reader.execute(
                "SELECT number FROM tasks WHERE forget_at IS NOT NULL AND is_withdrawn = 0 AND forget_at <= ?"
                " ORDER BY forget_at LIMIT ?",
                (END_OF_TIME if now is None else now, limit),
            ).fetchall()
        return [row[0] for row in rows]


def _extent(row: Sequence[Any], channel: str) -> BatchHeader:
    """The batch that columns of _EXTENT say."""
    sequence, count, size, time, level, key, target, swept = row
    return BatchHeader(sequence, channel, count, size, time, level, key, target, bool(swept))
