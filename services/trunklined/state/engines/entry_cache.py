"""EntryCache: entries in memory, beside an engine's file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from trunkline.records import RecordKind
from trunklined.state.records import Change, Entry, RecordKey

_ENTRY_BYTES: Final = 500
"""About what an entry takes beside its body."""


class EntryCache:
    """A cache of committed entries of at most `max_bytes`; the entries put first are dropped first.

    Correct only if every write passes through `apply`: for an engine that owns its file.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[RecordKey, Entry] = OrderedDict()
        """Not a dict: to find the first key of one, Python walks over all that were removed before it."""

    def get(self, kind: RecordKind, id: str) -> Entry | None:
        """Returns a cached entry. None does not mean that there is no such record."""
        return self._entries.get((kind, id))

    def put(self, entry: Entry) -> None:
        """Caches an entry that was read."""
        kind, id, _, body, _ = entry
        self._forget(kind, id)
        self._entries[kind, id] = entry
        self._bytes += len(body) + _ENTRY_BYTES
        while self._bytes > self._max_bytes:
            self._forget(*next(iter(self._entries)))

    def apply(self, changes: Sequence[Change]) -> None:
        """Caches what a commit saved and drops what it deleted."""
        for change in changes:
            if change.body is None:
                self._forget(change.kind, change.id)
            else:
                self.put(Entry(change.kind, change.id, change.revision, change.body, change.written))

    def _forget(self, kind: RecordKind, id: str) -> None:
        entry = self._entries.pop((kind, id), None)
        if entry is not None:
            self._bytes -= len(entry.body) + _ENTRY_BYTES
