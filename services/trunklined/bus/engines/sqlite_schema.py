"""The journal's file: its tables, and what makes a file of an older version one of this."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from trunklined.bus.engines.sqlite_rows import sealed, unsealed
from trunklined.sqlite.format import Format, statements

_DURABLES_2: Final = """\
CREATE TABLE durables (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    pattern TEXT NOT NULL,
    ack_wait REAL NOT NULL,
    max_deliveries INTEGER NOT NULL,
    backoff_initial REAL NOT NULL,
    backoff_multiplier REAL NOT NULL,
    backoff_maximum REAL NOT NULL,
    created_at REAL NOT NULL,
    low INTEGER NOT NULL,
    medium INTEGER NOT NULL,
    high INTEGER NOT NULL,
    critical INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    acked INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    dead_lettered INTEGER NOT NULL,
    counted_to INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
"""
DURABLES: Final = _DURABLES_2.replace(
    "    checksum",
    """\
    max_leased INTEGER NOT NULL,
    rate REAL NOT NULL,
    burst INTEGER NOT NULL,
    key_concurrency INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    checksum""",
)

PARCELS: Final = """\
-- What a durable subscription has looked at and not done with. `due` NULL: leased. `log`: its attempts, as MessagePack.
CREATE TABLE parcels (
    id INTEGER PRIMARY KEY,
    durable INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    count INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    base INTEGER NOT NULL,
    due REAL,
    open BLOB,
    key TEXT,
    log BLOB,
    redrives INTEGER NOT NULL,
    peer TEXT NOT NULL,
    handed_out_at REAL NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX parcels_by_sequence ON parcels (sequence);
CREATE INDEX parcels_by_due ON parcels (durable, due) WHERE due IS NOT NULL;
CREATE INDEX parcels_waiting ON parcels (durable, sequence) WHERE due IS NOT NULL;
"""

CANCELLED: Final = """\
-- Messages that a durable subscription is not to hand out, and has not come to.
CREATE TABLE cancelled (
    durable INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (durable, lane, sequence)
) WITHOUT ROWID;
CREATE INDEX runs_with_key ON runs (sequence) WHERE key IS NOT NULL;
"""

TASKS: Final = """\
-- `forget_at`: `ended_at` and `keep`. It stands behind the checksum of the others.
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    durable INTEGER NOT NULL,
    durable_name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    is_held_back INTEGER NOT NULL,
    keep REAL NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    ended_at REAL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    responder TEXT NOT NULL,
    progress BLOB,
    fraction REAL,
    cancelled_by TEXT,
    cancel_reason TEXT NOT NULL,
    is_withdrawn INTEGER NOT NULL,
    first_event INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    size INTEGER NOT NULL,
    end BLOB,
    checksum INTEGER NOT NULL,
    forget_at REAL
);
CREATE INDEX tasks_in_memory ON tasks (number) WHERE ended_at IS NULL OR is_withdrawn = 1;
CREATE INDEX tasks_ended ON tasks (forget_at) WHERE forget_at IS NOT NULL AND is_withdrawn = 0;
CREATE TABLE task_events (
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,
    event BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;
"""

SCHEMA: Final = f"""
-- `checksum`: CRC-32 of the columns before it; SQLite itself would not notice that one of them changed on the disk.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    compacted INTEGER NOT NULL,
    compacted_time REAL NOT NULL,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
-- One row for each run, under the sequence of its first message. `messages`: the length of each as 32 bits, little
-- endian, then all of them. `swept` alone changes, so it stands behind the checksum of the others.
CREATE TABLE runs (
    sequence INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    count INTEGER NOT NULL,
    size INTEGER NOT NULL,
    time REAL NOT NULL,
    expires_at REAL,
    key TEXT,
    target INTEGER,
    attempts INTEGER NOT NULL,
    redrives INTEGER NOT NULL,
    log BLOB,
    messages BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    swept INTEGER NOT NULL
);
CREATE INDEX runs_by_channel ON runs (channel, sequence);
-- Most runs have medium priority (1); a reader of those goes by sequence or by channel.
CREATE INDEX runs_by_lane ON runs (lane, sequence) WHERE lane != 1;
CREATE INDEX runs_by_key ON runs (key, sequence) WHERE key IS NOT NULL;
CREATE INDEX runs_by_expiry ON runs (expires_at) WHERE expires_at IS NOT NULL AND swept = 0;
{DURABLES}
{PARCELS}
{TASKS}
-- Ordering keys of which messages below the position were passed over, since earlier ones were not settled: none below
-- `start`.
CREATE TABLE skipped_keys (
    durable INTEGER NOT NULL,
    key TEXT NOT NULL,
    start INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (durable, key)
) WITHOUT ROWID;
{CANCELLED}
CREATE TABLE held_back (
    sequence INTEGER PRIMARY KEY,
    due REAL NOT NULL,
    channel TEXT NOT NULL,
    lane INTEGER NOT NULL,
    time REAL NOT NULL,
    expires_at REAL,
    key TEXT,
    message BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX held_back_by_due ON held_back (due, sequence);
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    durable TEXT NOT NULL,
    pattern TEXT NOT NULL,
    channel TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    published_at REAL NOT NULL,
    dead_at REAL NOT NULL,
    reason INTEGER NOT NULL,
    error TEXT NOT NULL,
    attempts BLOB NOT NULL,
    redrives INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    message_type TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    key TEXT,
    lane INTEGER NOT NULL,
    message BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX dead_letters_by_durable ON dead_letters (durable, id);
-- One row. Numbers that were given out are never given again.
CREATE TABLE journal (
    last_sequence INTEGER NOT NULL,
    last_dead_letter INTEGER NOT NULL,
    last_durable INTEGER NOT NULL,
    commits INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
"""


def _verify(connection: sqlite3.Connection) -> str | None:
    if not connection.execute("SELECT EXISTS (SELECT 1 FROM journal)").fetchone()[0]:
        for table in ("runs", "held_back", "durables", "dead_letters"):
            if connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]:
                return "it has lost its sequence"
    return None


def _note_who_and_when(connection: sqlite3.Connection) -> None:
    """From version 1: of each parcel also who has it since when, which is not known of those that are there; of each
    durable subscription also how far `waiting` counts, which was everything."""
    last = connection.execute("SELECT coalesce(max(last_sequence), 0) FROM journal").fetchone()[0]
    _add_columns(connection, "durables", _DURABLES_2, (last + 1,))
    _add_columns(connection, "parcels", PARCELS, ("", 0.0))


def _note_limits(connection: sqlite3.Connection) -> None:
    """From version 2: of each durable subscription also its limits, of which there were none, and whether it is
    paused; of each ordering key from where on messages were passed over: 0 for behind the one that is pending; what was
    cancelled, and tasks, of which there were none."""
    _add_columns(connection, "durables", DURABLES, (0, 0.0, 0, 1, 0))
    connection.execute("ALTER TABLE skipped_keys ADD COLUMN start INTEGER NOT NULL DEFAULT 0")
    for statement in statements(CANCELLED + TASKS):
        connection.execute(statement)


def _add_columns(connection: sqlite3.Connection, table: str, schema: str, new: tuple[Any, ...]) -> None:
    """Makes a table anew whose rows have more columns, with these values in all that are there."""
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.execute(f"DROP TABLE {table}")
    for statement in statements(schema):
        connection.execute(statement)
    added = [sealed(*unsealed(row, f"a row of {table}"), *new) for row in rows]
    if added:
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(added[0]))})", added)


FORMAT: Final = Format(
    noun="journal",
    service="bus",
    application_id=0x54524E4A,  # `TRNJ`
    schema=SCHEMA,
    version=3,
    migrations={1: _note_who_and_when, 2: _note_limits},
    auto_vacuum=True,
    verify=_verify,
    last_commit="SELECT coalesce(max(commits), 0) FROM journal",
)
