"""Journal: the port of what keeps publishes for the bus in order, and how much it may keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from trunkline.errors import OverloadedError, TrunklineError

WINDOW_MESSAGES: Final = 1_024
WINDOW_BYTES: Final = 1024 * 1024
"""The oldest messages and bytes of what is held, of which batches are sent at the same time; the last message may go
beyond the bytes."""

MAX_BATCHES: Final = 64
"""Batches that are sent at the same time, one for each channel."""


class Arrival(NamedTuple):
    """A message that was taken: its channel, its ordering key, when (UNIX time in seconds), and itself, encoded."""

    channel: str
    key: str | None
    taken_at: float
    message: bytes


class Held(NamedTuple):
    """A message that is held. `sent_at`: when it was first sent to the bus without an answer since."""

    id: int
    channel: str
    key: str | None
    sent_at: float | None
    message: bytes


class Window(NamedTuple):
    """What is sent next: batches that can be sent at the same time, and when the oldest message of all was taken."""

    batches: list[list[Held]]
    oldest_at: float | None


class Refusal(NamedTuple):
    """A message that the bus refused for good: where it was to go, when (UNIX time in seconds), and why."""

    channel: str
    message_id: str
    refused_at: float
    reason: str
    error: str


class HeldChannel(NamedTuple):
    """What is held for one channel: messages, their bytes, and when the oldest was taken (UNIX time in seconds)."""

    channel: str
    messages: int
    bytes: int
    oldest_at: float


class Contents(NamedTuple):
    """How many messages there are, their bytes, and when the oldest that is held was taken."""

    held: int
    held_bytes: int
    refused: int
    refused_bytes: int
    oldest_at: float | None


class Stock:
    """How much a journal holds, and its bounds.

    Args:
        full: what the error says where it may hold no more, such as "the sidecar holds no more".
        messages_limit, bytes_limit: the names of the two settings.
        max_messages: messages that are held or were refused; beyond it OVERLOADED.
        max_bytes: their bytes; beyond it OVERLOADED.
    """

    def __init__(self, full: str, max_messages: int, max_bytes: int, *, messages_limit: str, bytes_limit: str) -> None:
        self.messages = 0
        """Messages that are held now, with those that wait for a commit."""
        self.bytes = 0
        """Their bytes."""
        self.refused = 0
        """Messages that are set aside, since the bus will never take them."""
        self.refused_bytes = 0
        """Their bytes."""
        self.kept = 0
        """Messages that became durable since the start."""
        self.oldest_at: float | None = None
        """When the oldest message that is held was taken, in UNIX time."""
        self._waiting_messages = self._waiting_bytes = 0
        """What was taken and is not committed."""
        self.max_messages, self.max_bytes = max_messages, max_bytes
        self._full = full
        self._limits = (messages_limit, max_messages), (bytes_limit, max_bytes)

    def open(self, contents: Contents) -> None:
        """Takes over what a journal holds already."""
        self.messages, self.bytes, self.refused, self.refused_bytes, self.oldest_at = contents

    def refresh(self, contents: Contents) -> None:
        """Takes over what a journal holds that others fill too."""
        self.open(contents)
        self.messages += self._waiting_messages
        self.bytes += self._waiting_bytes

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Counts messages that wait for a commit.

        Raises:
            OverloadedError: a bound is reached; none of them is counted.
        """
        size = size_of(arrivals)
        for (name, maximum), has, more in zip(
            self._limits,
            (self.messages + self.refused, self.bytes + self.refused_bytes),
            (len(arrivals), size),
            strict=True,
        ):
            if has + more > maximum:
                raise OverloadedError(
                    f"{self._full}: {name} is {maximum}, it has {has}, and {more} came",
                    details={"limit": name, "maximum": maximum, "held": has},
                )
        self.messages += len(arrivals)
        self.bytes += size
        self._waiting_messages += len(arrivals)
        self._waiting_bytes += size
        if self.oldest_at is None and arrivals:
            self.oldest_at = arrivals[0].taken_at

    def give_back(self, messages: int, size: int) -> None:
        """Counts messages no more that no commit kept."""
        self.messages -= messages
        self.bytes -= size
        self._waiting_messages -= messages
        self._waiting_bytes -= size
        if not self.messages:
            self.oldest_at = None

    def keep(self, arrivals: Sequence[Arrival]) -> None:
        """Counts messages that a commit kept."""
        self.kept += len(arrivals)
        self._waiting_messages -= len(arrivals)
        self._waiting_bytes -= size_of(arrivals)
        if self.oldest_at is None and self.messages and arrivals:
            self.oldest_at = arrivals[0].taken_at

    def drop(self, done: Sequence[Held]) -> None:
        """Counts messages no more that the bus has."""
        self.messages -= len(done)
        self.bytes -= size_of(done)

    def set_aside(self, held: Held) -> None:
        """Counts a message as refused for good."""
        self.drop([held])
        self.refused += 1
        self.refused_bytes += len(held.message)


class Journal(Protocol):
    """Keeps publishes, and forgets what the bus has. Each step is durable when it returns."""

    stock: Stock

    @property
    def is_ours(self) -> bool:
        """Whether this process hands on what is held."""

    async def turn(self) -> None:
        """Waits until this process is the one that hands on what is held."""

    async def next(self, done: Sequence[Held], limit: int, now: float) -> list[list[Held]]:
        """Forgets what the bus has, and notes that the next batches are being sent, in one commit; returns those
        batches, which can be sent at the same time.

        Args:
            done: what the bus has.
            limit: messages of the batches at the most.
            now: UNIX time in seconds.
        """

    async def unsend(self, batch: Sequence[Held]) -> None:
        """Notes that the bus has stored none of a batch."""

    async def refuse(self, held: Held, message_id: str, error: TrunklineError, now: float) -> None:
        """Sets aside a message that the bus will never take."""

    async def refusals(self, limit: int) -> list[Refusal]:
        """Returns the messages that were refused last, the last one first."""


def size_of(messages: Sequence[Arrival | Held]) -> int:
    """Returns the bytes of messages."""
    return sum(len(each.message) for each in messages)


def first_batches(window: Sequence[Held]) -> list[list[Held]]:
    """Returns what of the oldest messages can be sent at the same time: one batch for each channel, up to the first
    message whose ordering key goes with another channel, or with a message that stays behind.

    So messages of one channel, and of one ordering key, keep their order, and traffic on many channels is as fast as on
    one.
    """
    batches: dict[str, list[Held]] = {}
    key_goes_with: dict[str, str | None] = {}
    ended: set[str] = set()
    for held in window:
        channel, key = held.channel, held.key
        if channel not in batches and len(batches) == MAX_BATCHES:
            ended.add(channel)
        if channel not in ended and (key is None or key_goes_with.setdefault(key, channel) == channel):
            batches.setdefault(channel, []).append(held)
        else:
            ended.add(channel)
            if key is not None:
                key_goes_with[key] = None
    return list(batches.values())
