"""Publication: what one publish asks the journal to store, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.errors import TrunklineError
from trunklined.bus.journal.dedup_window import Known
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated

Done = Callable[[TrunklineError | None], None]
"""Told how it went, when that is known."""


@dataclass(slots=True)
class Repeated:
    """A message whose id came before in the same publish."""

    first: MessageBatch
    offset: int


@dataclass(slots=True)
class Publication:
    """The messages of one publish, checked and cut into batches."""

    channel: str
    batches: list[MessageBatch] = field(default_factory=list)
    correlated: list[Correlated] = field(default_factory=list)
    parts: list[MessageBatch | Known | HeldBack | Repeated] = field(default_factory=list)
    """Of a stored one, what its messages became, in order."""
    message_ids: list[list[str]] = field(default_factory=list)
    """Of a stored one, those of each batch."""
    held_back: list[tuple[int, float, MessageBatch, str]] = field(default_factory=list)
    """Of a stored one: the message's index in `parts`, when it is due, the message, and its id."""
    done: Done | None = None
    """None: nobody waits for it; what it releases stays held back where it cannot be stored."""
    time: float = 0.0
    released: list[int] = field(default_factory=list)
    """What is held back no longer since this stores it, by sequence."""
    redriven: list[int] = field(default_factory=list)
    """Dead letters that are none any more since this stores them, by id."""

    stays: bool = False
    """It goes with something that is staged, and is tried again as that is where it could not be stored."""

    @property
    def messages(self) -> int:
        """How many are to be stored."""
        return sum(len(batch.messages) for batch in self.batches) + len(self.held_back)

    @property
    def duplicates(self) -> int:
        """How many are not, since they are there already."""
        return sum(isinstance(part, Known | Repeated) for part in self.parts)
