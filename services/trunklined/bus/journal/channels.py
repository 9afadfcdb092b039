"""Channels: what the journal holds of each channel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trunkline.channels import matches
from trunkline.errors import CompactedError
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import BatchHeader, ChannelRow


class ChannelState:
    """As it will be when what is staged is durable."""

    __slots__ = ("bytes", "compacted", "compacted_time", "id", "messages", "name")

    def __init__(self, row: ChannelRow) -> None:
        self.id, self.name, self.compacted, self.compacted_time, self.messages, self.bytes = row

    def row(self) -> ChannelRow:
        """As it is kept."""
        return ChannelRow(self.id, self.name, self.compacted, self.compacted_time, self.messages, self.bytes)

    def add(self, batch: MessageBatch) -> None:
        """A batch is about to be stored."""
        self.messages += len(batch.messages)
        self.bytes += batch.size

    def take_back(self, batch: MessageBatch) -> None:
        """It was not, after all."""
        self.messages -= len(batch.messages)
        self.bytes -= batch.size

    def remove(self, header: BatchHeader) -> None:
        """A batch is about to be removed."""
        self.messages -= header.messages
        self.bytes -= header.size
        self.compacted = max(self.compacted, header.end - 1)
        self.compacted_time = max(self.compacted_time, header.time)


class Channels:
    """All channels that something was ever stored on."""

    def __init__(self) -> None:
        self._by_name: dict[str, ChannelState] = {}
        self._last = 0

    def __iter__(self) -> Iterator[ChannelState]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> ChannelState:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def load(self, rows: Iterable[ChannelRow]) -> None:
        """Takes up what was kept."""
        for row in rows:
            self._by_name[row.name] = ChannelState(row)
            self._last = max(self._last, row.id)

    def make(self, name: str) -> ChannelState:
        """A channel that is new."""
        self._last += 1
        channel = self._by_name[name] = ChannelState(ChannelRow(self._last, name, 0, 0.0, 0, 0))
        return channel

    def matching(self, pattern: str) -> list[str] | None:
        """The names of those that a pattern matches, and of a plain channel also before there is anything on it; None
        for all, so that nobody lists them."""
        if pattern == ">":
            return None
        if "*" not in pattern and not pattern.endswith(">"):
            return [pattern]
        return [name for name in self._by_name if matches(pattern, name)]

    def check_kept(self, pattern: str, sequence: int) -> None:
        """Raises CompactedError where messages of a pattern from a sequence on were removed."""
        oldest = self._oldest(pattern)
        if sequence < oldest:
            raise CompactedError(
                f"sequence {sequence} is not kept any more, the oldest is {oldest}",
                details={"requested": sequence, "oldest": oldest},
            )

    def check_kept_since(self, pattern: str, time: float) -> None:
        """Raises CompactedError where messages of a pattern that were taken at a time or later were removed."""
        removed = (channel.compacted_time for channel in self._of(pattern) if channel.compacted)
        if any(time <= each for each in removed):
            oldest = self._oldest(pattern)
            raise CompactedError(
                f"what was taken at {time:.3f} (UNIX time) is not kept any more, the oldest is sequence {oldest}",
                details={"requested": f"{time:.3f}", "oldest": oldest},
            )

    def _oldest(self, pattern: str) -> int:
        return 1 + max((channel.compacted for channel in self._of(pattern)), default=0)

    def _of(self, pattern: str) -> Iterator[ChannelState]:
        names = self.matching(pattern)
        return iter(self) if names is None else (self[name] for name in names if name in self)
