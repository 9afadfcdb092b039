"""Entries that an engine keeps in memory beside its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trunkline.records import RecordKind
from trunklined.state.records import Change, Entry

_ENTRY_BYTES: Final = 500
"""What an entry costs beside its body, about."""


class EntryCache:
    """Committed entries, of which the oldest are forgotten when they are over `max_bytes` together.

    Good only where every write passes through `apply`: an engine that has its file for itself.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: dict[tuple[RecordKind, str], Entry] = {}

    def get(self, kind: RecordKind, id: str) -> Entry | None:
        """The entry, if it is kept. None says nothing about whether there is one."""
        return self._entries.get((kind, id))

    def put(self, entry: Entry) -> None:
        """Keeps what was read."""
        kind, id, _, body = entry
        self._forget(kind, id)
        self._entries[kind, id] = entry
        self._bytes += len(body) + _ENTRY_BYTES
        while self._bytes > self._max_bytes:
            self._forget(*next(iter(self._entries)))

    def apply(self, changes: Sequence[Change]) -> None:
        """Keeps what was committed, and forgets what was deleted."""
        for revision, kind, id, body, _, _ in changes:
            if body is None:
                self._forget(kind, id)
            else:
                self.put(Entry(kind, id, revision, body))

    def _forget(self, kind: RecordKind, id: str) -> None:
        entry = self._entries.pop((kind, id), None)
        if entry is not None:
            self._bytes -= len(entry.body) + _ENTRY_BYTES
