"""Publication: what one publish asks the journal to store, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.errors import TrunklineError
from trunklined.bus.journal.window import Known
from trunklined.bus.records import HeldBack
from trunklined.bus.requests import Correlated
from trunklined.bus.run import Run

Done = Callable[[TrunklineError | None], None]
"""Told how it went, when that is known."""


@dataclass(slots=True)
class Repeated:
    """A message whose id came before in the same publish."""

    first: Run
    offset: int


@dataclass(slots=True)
class Publication:
    """The messages of one publish, checked and cut into runs."""

    channel: str
    runs: list[Run] = field(default_factory=list)
    correlated: list[Correlated] = field(default_factory=list)
    parts: list[Run | Known | HeldBack | Repeated] = field(default_factory=list)
    """Of a stored one, what its messages became, in order."""
    message_ids: list[list[str]] = field(default_factory=list)
    """Of a stored one, those of each run."""
    held_back: list[tuple[int, float, Run, str]] = field(default_factory=list)
    """Of a stored one: the message's index in `parts`, when it is due, the message, and its id."""
    done: Done | None = None
    """None: nobody waits for it; what it releases stays held back where it cannot be stored."""
    time: float = 0.0
    released: list[int] = field(default_factory=list)
    """What is held back no longer since this stores it, by sequence."""
    redriven: list[int] = field(default_factory=list)
    """Dead letters that are none any more since this stores them, by id."""

    @property
    def messages(self) -> int:
        """How many are to be stored."""
        return sum(len(run.messages) for run in self.runs) + len(self.held_back)

    @property
    def duplicates(self) -> int:
        """How many are not, since they are there already."""
        return sum(isinstance(part, Known | Repeated) for part in self.parts)
