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
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
-- One row for each write: the log that watches resume from, and the only place of the bodies. A version stays while it
-- is a record's last or within the history. `facets`: what filters ask for, now and before, as MessagePack.
CREATE TABLE versions (
    revision INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    body BLOB,
    facets BLOB NOT NULL
);
-- One row. Every change after `oldest` is in `versions`; the bodies of those are `history_bytes` together.
CREATE TABLE store (
    revision INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    history_bytes INTEGER NOT NULL,
    agent_states INTEGER NOT NULL,
    workflow_states INTEGER NOT NULL,
    task_results INTEGER NOT NULL
);
INSERT INTO store VALUES (0, 0, 0, 0, 0, 0);
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
    version=2,
    migrations={1: tables.SCHEMA},
    verify=_verify,
)
