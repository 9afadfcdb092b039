"""The rows of a store: its records, without the history of their changes, and its messages for the bus.

A watch that resumes from before the copy is told so (COMPACTED), and one that had heard everything goes on. When the
bus refused a message Redis does not know when it had been taken; that it was refused, and when, it knows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from trunkline.errors import StorageError
from trunkline.records import RecordKind
from trunklined.migration.files import transaction
from trunklined.migration.rooms import Room
from trunklined.migration.rows import PAGE_BYTES, PAGE_ROWS, Row, paged
from trunklined.redis.link import SyncLink
from trunklined.relay.journal import Arrival, Refusal
from trunklined.state.engines.redis.layout import FORMAT as VERSION
from trunklined.state.engines.redis.layout import (
    OLDEST,
    ROOM,
    TYPES,
    entry_of,
    field_of,
    keys_of,
    mark_of,
    sized_head,
    tail_of,
)
from trunklined.state.engines.sqlite_schema import FORMAT
from trunklined.state.engines.sqlite_writer import pack_meta
from trunklined.state.records import FOR_EVER, Facets, Term, Written

TABLES: Final = ("records", "held", "refused", "store")
STORE_FORMAT: Final = FORMAT
STORE_ROOM: Final = Room(ROOM, "state store", VERSION, TYPES, "outbox", OLDEST)

_COUNTS: Final = "agent_states, workflow_states, task_results, leases, agent_presences"
"""In the order of `RecordKind`."""

_encode = msgspec.msgpack.Encoder().encode
_Record = tuple[int, Facets, int, int, int, Written, bytes]
"""Revision, facets, number of the lease, TTL and UNIX time of its end in milliseconds, who wrote it and when, body."""
_decode_record = msgspec.msgpack.Decoder(_Record).decode
_Held = tuple[str, str | None, float, float | None, bytes]
"""Channel, ordering key, when it was taken and when it was sent, message."""
_decode_held = msgspec.msgpack.Decoder(_Held).decode
_Refused = tuple[Refusal, bytes]
_decode_refused = msgspec.msgpack.Decoder(_Refused).decode
_decode_arrival = msgspec.msgpack.Decoder(Arrival).decode
_decode_store = msgspec.msgpack.Decoder(tuple[int, list[int]]).decode
"""The revision, and how many records of each kind there are."""


def _key(name: str) -> tuple[RecordKind, str]:
    kind, _, id = name.partition(":")
    return RecordKind(int(kind)), id


class StoreFile:
    """See `FileSide`."""

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self.place = place
        self._connection = connection
        self._now_ms = time.time_ns() // 1_000_000
        """What has a TTL, and no time of its end, has its whole TTL from here on; see `Term`."""

    def count(self, table: str) -> int:
        """See `Side`."""
        return int(self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def pages(self, table: str) -> Iterator[list[Row]]:
        """See `FileSide`."""
        return paged(
            {"records": self._records, "held": self._held, "refused": self._refused, "store": self._store}[table]()
        )

    def _records(self) -> Iterator[Row]:
        for kind, id, revision, body, by, at_ms, lease, ttl_ms, ends_ms, *facets in self._connection.execute(
            "SELECT r.kind, r.id, r.revision, v.body, v.written_by, v.written_at_ms, lease, ttl_ms, expires_at_ms,"
            " status, type, phase, agent_id, capability"
            " FROM records r LEFT JOIN versions v USING (revision) ORDER BY r.kind, r.id"
        ):
            if body is None:
                raise StorageError(f"the store is damaged: the body of {RecordKind(kind).label} {id!r} is not there")
            ends = 0 if kind == RecordKind.LEASE else ends_ms or (ttl_ms and self._now_ms + ttl_ms)
            record = (revision, Facets(*facets), lease, ttl_ms, ends, Written(by, at_ms), body)
            yield Row(f"{kind}:{id}", _encode(record))

    def _held(self) -> Iterator[Row]:
        for id, *row in self._connection.execute(
            "SELECT id, channel, key, taken_at, sent_at, message FROM held ORDER BY id"
        ):
            yield Row(str(id), _encode(row))

    def _refused(self) -> Iterator[Row]:
        rows = self._connection.execute(
            "SELECT channel, message_id, refused_at, reason, error, message FROM refused ORDER BY id"
        )
        for number, (*refusal, message) in enumerate(rows, 1):
            yield Row(str(number), _encode((refusal, message)))

    def _store(self) -> Iterator[Row]:
        revision, *counts = self._connection.execute(f"SELECT revision, {_COUNTS} FROM store").fetchone()
        yield Row("revision", _encode((revision, counts)))

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """See `Side`."""
        many = self._connection.executemany
        with transaction(self._connection):
            if table == "records":
                records = [(_key(row.name), _decode_record(row.value)) for row in rows]
                many(
                    "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (at, int(kind), id, body, pack_meta(facets, None), *written)
                        for (kind, id), (at, facets, *_, written, body) in records
                    ],
                )
                many(
                    "INSERT OR REPLACE INTO records (kind, id, revision, lease, ttl_ms, expires_at_ms,"
                    " status, type, phase, agent_id, capability) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(int(kind), id, at, *term, *facets) for (kind, id), (at, facets, *term, _, _) in records],
                )
            elif table == "held":
                many(
                    "INSERT INTO held (id, channel, key, taken_at, sent_at, message) VALUES (?, ?, ?, ?, ?, ?)",
                    [(int(row.name), *_decode_held(row.value)) for row in rows],
                )
            elif table == "refused":
                refused = [(int(row.name), *_decode_refused(row.value)) for row in rows]
                many(
                    "INSERT INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(id, r.channel, r.refused_at, r.refused_at, *r[1:2], *r[3:], body) for id, r, body in refused],
                )
            else:
                revision, counts = _decode_store(rows[0].value)
                names = _COUNTS.split(", ")
                self._connection.execute(
                    f"UPDATE store SET revision = ?, oldest = ?, {', '.join(f'{name} = ?' for name in names)}",
                    (revision, revision, *counts),
                )


class StoreRoom:
    """See `RoomSide`."""

    def __init__(self, link: SyncLink, place: str) -> None:
        self.place = place
        self._link = link
        self._keys = keys_of(link.target)
        self._figures = dict.fromkeys(("outbox_last", "outbox", "outbox_bytes", "refused", "refused_bytes"), 0)
        """Of the messages that were put."""
        self._last_refused = "-"

    def count(self, table: str) -> int:
        """See `Side`."""
        if table == "store":
            return int(self._call("EXISTS", self._keys.store))
        if table != "records":
            return int(self._call("XLEN", self._keys.outbox if table == "held" else self._keys.refused))
        heads, bodies = self._call("HLEN", self._keys.heads), self._call("HLEN", self._keys.bodies)
        ids = sum(self._call("ZCARD", key) for key in self._keys.ids)
        if not heads == bodies == ids:
            raise StorageError(f"the store in Redis is damaged: {heads} heads, {bodies} bodies, {ids} ids")
        return int(heads)

    def pages(self, table: str) -> Iterator[list[Row]]:
        """See `RoomSide`."""
        if table == "records":
            yield from self._record_pages()
        elif table == "held":
            start = "-"
            while entries := self._call("XRANGE", self._keys.outbox, start, "+", "COUNT", 64):
                start = f"({entries[-1][0].decode()}"
                yield [Row(_number(id), self._held(id, fields)) for id, fields in entries]
        elif table == "refused":
            start, number = "-", 0
            while entries := self._call("XRANGE", self._keys.refused, start, "+", "COUNT", 64):
                start = f"({entries[-1][0].decode()}"
                yield [Row(str(number + place), fields[b"m"]) for place, (_, fields) in enumerate(entries, 1)]
                number += len(entries)
        else:
            yield [Row("revision", self._store())]

    def _record_pages(self) -> Iterator[list[Row]]:
        cursor, rows = 0, 128
        while True:
            cursor, found = self._call("HSCAN", self._keys.heads, cursor, "COUNT", rows)
            names = [name.decode() for name in found]
            for start in range(0, len(names), rows):
                some = names[start : start + rows]
                values = self.fetch("records", some)
                page = [Row(name, value) for name, value in zip(some, values, strict=True) if value is not None]
                yield page
                size = sum(len(row.value) for row in page) // max(1, len(page)) + 1
            if names:
                rows = max(1, min(PAGE_ROWS, PAGE_BYTES // size))
            cursor = int(cursor)
            if not cursor:
                return

    def _held(self, id: bytes, fields: dict[bytes, bytes]) -> bytes:
        arrival = _decode_arrival(fields[b"m"])
        sent = self._call("HGET", self._keys.sent, id)
        return _encode((*arrival[:3], None if sent is None else float(sent), arrival.message))

    def _store(self) -> bytes:
        names = [f"count:{kind.value}" for kind in RecordKind]
        revision, *counts = self._call("HMGET", self._keys.store, "revision", *names)
        return _encode((int(revision or 0), [int(each or 0) for each in counts]))

    def fetch(self, table: str, names: Sequence[str]) -> list[bytes | None]:
        """See `RoomSide`."""
        if table == "records":
            return self._records(names)
        if table == "held":
            entries = [self._call("XRANGE", self._keys.outbox, f"{name}-0", f"{name}-0") for name in names]
            return [self._held(*each[0]) if each else None for each in entries]
        if table == "refused":
            start = "-" if names[0] == "1" else self._last_refused
            entries = self._call("XRANGE", self._keys.refused, start, "+", "COUNT", len(names))
            if entries:
                self._last_refused = f"({entries[-1][0].decode()}"
            found: list[bytes | None] = [fields[b"m"] for _, fields in entries]
            return found + [None] * (len(names) - len(found))
        return [self._store()]

    def _records(self, names: Sequence[str]) -> list[bytes | None]:
        def look(client: Any) -> Any:
            with client.pipeline(transaction=True) as pipeline:
                pipeline.execute_command("HMGET", self._keys.heads, *names)
                pipeline.execute_command("HMGET", self._keys.bodies, *names)
                pipeline.execute_command("ZMSCORE", self._keys.ends, *names)
                pipeline.execute_command("ZMSCORE", self._keys.bound, *names)
                return pipeline.execute()

        answers = self._link.run(look, idempotent=True)
        return [self._record(*each) for each in zip(names, *answers, strict=True)]

    def _record(self, name: str, text: bytes | None, body: bytes | None, ends: Any, bound: Any) -> bytes | None:
        if text is None or body is None:
            return None
        head, size = sized_head(text)
        entry = entry_of(_key(name), body)
        lease, ttl_ms, _ = head.term
        if (
            entry is None
            or entry.revision != head.revision
            or len(entry.body) != size
            or int(bound or 0) != lease
            or bool(ends) != bool(ttl_ms)
        ):
            raise StorageError(
                f"the store in Redis is damaged: what it has of the record {name!r} does not fit together"
            )
        ends_ms = 0 if _key(name)[0] is RecordKind.LEASE else int(ends or 0)
        return _encode((head.revision, head.facets, lease, ttl_ms, ends_ms, entry.written, entry.body))

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """See `Side`."""
        if table == "records":
            self._link.run(lambda client: self._put_records(client, rows), idempotent=True)
        elif table == "held":
            self._link.run(lambda client: self._put_held(client, rows))
        elif table == "refused":
            self._link.run(lambda client: self._put_refused(client, rows))
        else:
            revision, counts = _decode_store(rows[0].value)
            figures = {f"count:{kind.value}": count for kind, count in zip(RecordKind, counts, strict=True)}
            figures |= {"revision": revision, "oldest": revision, "bytes": 0} | self._figures
            self._call("HSET", self._keys.store, *(part for pair in figures.items() for part in pair))

    def _put_records(self, client: Any, rows: Sequence[Row]) -> None:
        heads: list[Any] = []
        bodies: list[Any] = []
        now_ms = time.time_ns() // 1_000_000
        with client.pipeline(transaction=True) as pipeline:
            for row in rows:
                kind, id = _key(row.name)
                revision, facets, lease, ttl_ms, ends_ms, written, body = _decode_record(row.value)
                field = field_of((kind, id))
                term = Term(lease, ttl_ms) if lease or ttl_ms else FOR_EVER
                heads += (field, b"%d %b" % (revision, tail_of(facets, term, len(body))))
                bodies += (field, b"%d:%b%b" % (revision, mark_of(written), body))
                pipeline.execute_command("ZADD", self._keys.ids[kind.value - 1], 0, id)
                if ttl_ms:
                    pipeline.execute_command("ZADD", self._keys.ends, ends_ms or now_ms + ttl_ms, field)
                if lease:
                    pipeline.execute_command("ZADD", self._keys.bound, lease, field)
            pipeline.execute_command("HSET", self._keys.heads, *heads)
            pipeline.execute_command("HSET", self._keys.bodies, *bodies)
            pipeline.execute()

    def _put_held(self, client: Any, rows: Sequence[Row]) -> None:
        with client.pipeline(transaction=True) as pipeline:
            for row in rows:
                channel, key, taken_at, sent_at, message = _decode_held(row.value)
                id, size = f"{row.name}-0", len(message)
                arrival = _encode(Arrival(channel, key, taken_at, message))
                pipeline.execute_command("XADD", self._keys.outbox, id, "m", arrival, "s", size)
                if sent_at is not None:
                    pipeline.execute_command("HSET", self._keys.sent, id, repr(sent_at))
                self._figures["outbox_last"] = int(row.name)
                self._count("outbox", size)
            pipeline.execute()

    def _put_refused(self, client: Any, rows: Sequence[Row]) -> None:
        with client.pipeline(transaction=True) as pipeline:
            for row in rows:
                # Below every id that a later one gets from the clock.
                pipeline.execute_command("XADD", self._keys.refused, f"0-{row.name}", "m", row.value)
                self._count("refused", len(_decode_refused(row.value)[1]))
            pipeline.execute()

    def _count(self, name: str, size: int) -> None:
        self._figures[name] += 1
        self._figures[f"{name}_bytes"] += size

    def _call(self, *command: Any) -> Any:
        return self._link.call(*command, idempotent=True)


def _number(id: bytes) -> str:
    return id.partition(b"-")[0].decode()
