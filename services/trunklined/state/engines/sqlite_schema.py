"""The state store's file: its tables, and what makes a file of an older version one of this."""

from __future__ import annotations

import sqlite3
from typing import Final

from trunklined.relay import tables
from trunklined.sqlite.format import Format

SCHEMA: Final = f"""{tables.SCHEMA}
-- One row for each record that there is: where its body stands, and what filters ask for.
CREATE TABLE records (
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT,
    type TEXT,
    phase TEXT,
    agent_id TEXT,
    -- All of an agent's capabilities, each between line ends.
    capability TEXT,
    -- How long it stays: with which lease (its number), for how many milliseconds, and until which UNIX time in
    -- milliseconds as far as is stored. Each 0: none.
    lease INTEGER NOT NULL DEFAULT 0,
    ttl_ms INTEGER NOT NULL DEFAULT 0,
    expires_at_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX ending ON records (kind, id) WHERE lease > 0 OR ttl_ms > 0;
-- One row for each write: the log that watches resume from, and the only place of the bodies. A version stays while it
-- is a record's last or within the history. `facets`: what filters ask for, now and before, and why
-- it ended, as MessagePack.
CREATE TABLE versions (
    revision INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    body BLOB,
    facets BLOB NOT NULL,
    -- Who made the write, and when, as UNIX time in milliseconds. Empty and 0: an older version did not note it.
    written_by TEXT NOT NULL DEFAULT '',
    written_at_ms INTEGER NOT NULL DEFAULT 0
);
-- One row. Every change after `oldest` is in `versions`; the bodies of those are `history_bytes` together.
CREATE TABLE store (
    revision INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    history_bytes INTEGER NOT NULL,
    agent_states INTEGER NOT NULL,
    workflow_states INTEGER NOT NULL,
    task_results INTEGER NOT NULL,
    leases INTEGER NOT NULL DEFAULT 0,
    agent_presences INTEGER NOT NULL DEFAULT 0
);
INSERT INTO store VALUES (0, 0, 0, 0, 0, 0, 0, 0);
"""

_WITH_LEASES: Final = """
ALTER TABLE records ADD COLUMN capability TEXT;
ALTER TABLE records ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN ttl_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN expires_at_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX ending ON records (kind, id) WHERE lease > 0 OR ttl_ms > 0;
ALTER TABLE store ADD COLUMN leases INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN agent_presences INTEGER NOT NULL DEFAULT 0;
"""

_WITH_WRITERS: Final = """
ALTER TABLE versions ADD COLUMN written_by TEXT NOT NULL DEFAULT '';
ALTER TABLE versions ADD COLUMN written_at_ms INTEGER NOT NULL DEFAULT 0;
"""


def _verify(connection: sqlite3.Connection) -> str | None:
    if connection.execute("SELECT count(*) FROM store").fetchone()[0] != 1:
        return "it has lost its revision"
    return None


FORMAT: Final = Format(
    noun="state store",
    service="state service",
    application_id=0x54524E4B,  # `TRNK`
    schema=SCHEMA,
    version=4,
    migrations={1: tables.SCHEMA, 2: _WITH_LEASES, 3: _WITH_WRITERS},
    verify=_verify,
    last_commit="SELECT revision FROM store",
)
