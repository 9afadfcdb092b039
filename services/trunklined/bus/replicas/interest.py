"""Interest: who listens here, as the other replicas are told."""

from __future__ import annotations

from trunklined.bus.groups import GroupKey
from trunklined.bus.replicas.items import Entry


class _Count:
    __slots__ = ("answering", "members")

    def __init__(self) -> None:
        self.members = 0
        self.answering = 0


class Interest:
    """Counts subscribers by pattern and group. What matters to others is a version, that rises where it changes."""

    def __init__(self) -> None:
        self._counts: dict[GroupKey, _Count] = {}
        self._changed: dict[GroupKey, None] = {}
        """What changed since the version."""
        self.version = 0

    @property
    def next_version(self) -> int:
        """The version that has all of it."""
        return self.version + bool(self._changed)

    def count(self, key: GroupKey, by: int, *, answers: bool) -> bool:
        """Counts subscribers that came or went; returns whether that is the first change since the version."""
        before = self._entry(key)
        counted = self._counts.setdefault(key, _Count())
        counted.members += by
        counted.answering += by * answers
        if not counted.members:
            del self._counts[key]
        if self._entry(key) == before:
            return False
        is_first = not self._changed
        self._changed[key] = None
        return is_first

    def all(self) -> list[Entry]:
        """All of it."""
        return [entry for key in self._counts if (entry := self._entry(key)) is not None]

    def groups(self) -> list[GroupKey]:
        """The groups of it."""
        return [key for key in self._counts if key[1]]

    def take_changes(self) -> list[Entry]:
        """Begins the next version, and returns what is otherwise in it."""
        changed, self._changed = self._changed, {}
        self.version += 1
        return [self._entry(key) or Entry(*key, 0, answers=False) for key in changed]

    def _entry(self, key: GroupKey) -> Entry | None:
        counted = self._counts.get(key)
        if counted is None:
            return None
        members = counted.members if key[1] else 1
        return Entry(*key, members, counted.answering > 0)
