"""Rows of the journal's file, and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from struct import pack, unpack_from
from typing import Any, Final
from zlib import crc32

import msgspec

from trunkline.errors import StorageError
from trunklined.bus.attempts import AttemptRecord, Reason
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.message_batch import MessageBatch, Redriven
from trunklined.bus.records import (
    ChannelRow,
    DurableRow,
    HeldBack,
    PendingRow,
    TaskEventRow,
    TaskQuery,
    TaskRow,
)

RUN: Final = (
    "channels.name, sequence, channel, lane, count, size, time, expires_at, key, target, attempts, redrives, log,"
    " runs.messages, runs.checksum FROM runs JOIN channels ON channels.id = runs.channel"
)

encode_log = msgspec.msgpack.Encoder().encode
_decode_log = msgspec.msgpack.Decoder(tuple[AttemptRecord, ...]).decode


def sealed(*columns: Any) -> tuple[Any, ...]:
    """A row with its checksum behind it."""
    return *columns, _checksum(columns)


def unsealed(row: Sequence[Any], what: str) -> Sequence[Any]:
    """The row without its checksum. Raises StorageError where it is not what was written."""
    *columns, checksum = row
    if _checksum(columns) != checksum:
        raise StorageError(f"{what} is damaged: the row has another checksum", details={"what": what})
    return columns


def _checksum(columns: Sequence[Any]) -> int:
    checksum = 0
    for column in columns:
        if isinstance(column, int | float):
            encoded = pack("<d", column)
        elif column is None:
            encoded = b"\0"
        else:
            encoded = column if isinstance(column, bytes) else column.encode()
        checksum = crc32(encoded, checksum)
    return checksum


def join(messages: Sequence[bytes]) -> bytes:
    """Messages as one blob: the length of each as 32 bits, little endian, then all of them."""
    return pack(f"<{len(messages)}I", *map(len, messages)) + b"".join(messages)


def _parted(joined: bytes, count: int) -> list[bytes]:
    end = 4 * count
    messages = []
    for length in unpack_from(f"<{count}I", joined):
        messages.append(joined[end : end + length])
        end += length
    return messages


def channel_of(row: Sequence[Any]) -> ChannelRow:
    """What is held of a channel."""
    return ChannelRow._make(unsealed(row, "what is known of a channel"))


def durable_row(durable: DurableRow) -> tuple[Any, ...]:
    """The row of a durable subscription."""
    return sealed(*durable[:9], *durable.positions, *durable[10:])


def durable_of(row: Sequence[Any]) -> DurableRow:
    """The durable subscription that a row says."""
    columns = unsealed(row, "a durable subscription")
    return DurableRow._make((*columns[:9], tuple(columns[9:13]), *columns[13:]))


def pending_row(pending: PendingRow) -> tuple[Any, ...]:
    """The row of a pending batch."""
    return sealed(*pending[:10], encode_log(pending.log) if pending.log else None, *pending[11:])


def pending_of(row: Sequence[Any]) -> PendingRow:
    """The pending batch that a row says."""
    columns = unsealed(row, "what a durable subscription has handed out")
    return PendingRow._make((*columns[:10], _decode_log(columns[10]) if columns[10] else (), *columns[11:]))


def batch_row(batch: MessageBatch, channel: int) -> tuple[Any, ...]:
    """The row of a batch."""
    target, attempts, redrives, log = batch.redriven or (None, 0, 0, ())
    return *sealed(
        batch.first_sequence,
        channel,
        batch.level,
        len(batch.messages),
        batch.size,
        batch.time,
        batch.expires_at,
        batch.key,
        target,
        attempts,
        redrives,
        encode_log(log) if log else None,
        join(batch.messages),
    ), 0


def batch_of(row: Sequence[Any]) -> MessageBatch:
    """The batch that a row says, of the columns of RUN."""
    sequence, _, level, count, size, time, expires_at, key, target, attempts, redrives, log, joined = unsealed(
        row[1:], f"the run of messages that begins with {row[1]}"
    )
    redriven = None if target is None else Redriven(target, attempts, redrives, _decode_log(log) if log else ())
    return MessageBatch(row[0], level, _parted(joined, count), size, expires_at, sequence, key, time, redriven)


def held_back_row(held: HeldBack) -> tuple[Any, ...]:
    """The row of a message that is held back."""
    batch = held.batch
    return sealed(
        held.sequence, held.due, batch.channel, batch.level, batch.time, batch.expires_at, batch.key, batch.messages[0]
    )


def held_back_of(row: Sequence[Any]) -> HeldBack:
    """The message that a row says."""
    sequence, due, channel, level, time, expires_at, key, message = unsealed(row, "a message that is held back")
    return HeldBack(
        sequence, due, MessageBatch(channel, level, [message], len(message), expires_at, sequence, key, time)
    )


_LETTER_FIELDS: Final[tuple[str, ...]] = (
    *("id", "durable", "pattern", "channel", "sequence", "published_at", "dead_at", "reason", "error", "attempts"),
    *("redrives", "message_id", "message_type", "sender_id", "key", "level", "message"),
)


def dead_letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    """The row of a dead letter."""
    values = [getattr(letter, name) for name in _LETTER_FIELDS]
    values[_LETTER_FIELDS.index("attempts")] = encode_log(letter.attempts)
    return sealed(*values)


def dead_letter_of(row: Sequence[Any]) -> DeadLetter:
    """The dead letter that a row says."""
    values = dict(zip(_LETTER_FIELDS, unsealed(row, f"the dead letter {row[0]}"), strict=True))
    values["attempts"] = _decode_log(values["attempts"])
    values["reason"] = Reason(values["reason"])
    return DeadLetter(**values)


def where(query: DeadLetterQuery) -> tuple[str, list[Any]]:
    """What a query means in SQL, and its values."""
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


def task_row(task: TaskRow) -> tuple[Any, ...]:
    """The row of a task."""
    return *sealed(*task), None if task.ended_at is None else task.ended_at + task.keep


def task_of(row: Sequence[Any]) -> TaskRow:
    """The task that a row says."""
    columns = unsealed(row[:-1], f"the task {row[1]!r}")
    task = TaskRow._make(columns)
    return task._replace(is_held_back=bool(task.is_held_back), is_withdrawn=bool(task.is_withdrawn))


def task_event_of(row: Sequence[Any]) -> TaskEventRow:
    """The event that a row says."""
    return TaskEventRow._make(unsealed(row, f"an event of the task number {row[0]}"))


def where_task(query: TaskQuery) -> tuple[str, list[Any]]:
    """What a query for tasks means in SQL, and its values."""
    conditions, values = ["1"], list[Any]()
    if query.state is not None:
        conditions.append("state = ?")
        values.append(query.state)
    if query.durable is not None:
        conditions.append("durable_name = ?")
        values.append(query.durable)
    if query.channels is not None:
        conditions.append("channel IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(query.channels)))
    return " AND ".join(conditions), values
