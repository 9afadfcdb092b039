"""WatchCursor: how far a watch has come, so that it resumes without gaps and without repetition."""

from __future__ import annotations

from trunkline.records import Kind
from trunkline.state.state_manager import Change, ChangeType

_Key = tuple[Kind | None, str | None]


class WatchCursor:
    """The position of one watch, over all streams that carry it.

    Before SYNCED a new stream begins with the records again: those that were given already are left out, and those that
    are gone are reported. After it, a new stream continues after the last revision.

    Args:
        after_revision: where the watch begins; None: with the records that are there.
        is_filtered: the watch has a filter; then a record that disappears meanwhile has LEFT, else it was DELETED.
    """

    def __init__(self, after_revision: int | None, *, is_filtered: bool) -> None:
        self.after = after_revision
        """The revision that the next stream begins after; None: it begins with the records."""
        self._gone = ChangeType.LEFT if is_filtered else ChangeType.DELETED
        self._given: dict[_Key, int] = {}
        """Until SYNCED: the records that were given, with their revisions."""
        self._seen: set[_Key] = set()
        """The same of the current stream."""
        self._synced = False

    def begin(self) -> None:
        """Starts a new stream."""
        self._seen = set()

    def advance(self, revision: int) -> None:
        """Notes that nothing was missed up to a revision."""
        if self._synced:
            self.after = max(self.after or 0, revision)

    def take(self, change: Change) -> list[Change]:
        """Takes a change from the stream; returns the changes that the watcher is to get for it."""
        if change.type is ChangeType.SYNCED:
            return self._sync(change)
        if self.after is not None:
            self.after = change.revision
            return [change]
        key = change.kind, change.id
        self._seen.add(key)
        if self._given.get(key) == change.revision:
            return []
        self._given[key] = change.revision
        return [change]

    def _sync(self, change: Change) -> list[Change]:
        gone = [] if self.after is not None else [key for key in self._given if key not in self._seen]
        self._given.clear()
        first, self._synced = not self._synced, True
        self.after = max(self.after or 0, change.revision)
        left = [Change(self._gone, change.revision, kind, id) for kind, id in gone]
        return [*left, change] if first else left
