"""EventStore: the newest events, for the command `history`."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from trunkline.orchestrator.limits import HISTORY_CAPACITY

Category = Literal["AGENT", "COMMAND", "ORCHESTRATOR"]
Severity = Literal["INFO", "WARNING", "ERROR"]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event. `seq` counts from 1 and never goes back."""

    seq: int
    timestamp: str
    """ISO 8601, UTC."""
    category: Category
    type: str
    agent: str | None = None
    severity: Severity = "INFO"
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        return asdict(self)


class EventStore:
    """The newest events. Any thread may call.

    Args:
        capacity: events that are kept; beyond it the oldest is dropped.
    """

    def __init__(self, capacity: int = HISTORY_CAPACITY) -> None:
        self.capacity = capacity
        self._events: deque[EventRecord] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._last = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def last_seq(self) -> int:
        """`seq` of the newest event; 0 before the first."""
        with self._lock:
            return self._last

    def add(
        self,
        category: Category,
        type: str,
        agent: str | None = None,
        severity: Severity = "INFO",
        **details: Any,
    ) -> EventRecord:
        """Adds an event, and returns it."""
        with self._lock:
            self._last += 1
            record = EventRecord(
                self._last,
                datetime.now(UTC).isoformat(timespec="milliseconds"),
                category,
                type,
                agent,
                severity,
                details,
            )
            self._events.append(record)
            return record

    def query(
        self,
        *,
        last: int | None = None,
        agent: str | None = None,
        type: str | None = None,
        after_seq: int = 0,
    ) -> list[EventRecord]:
        """Returns the events that match, the oldest first; with `last`, only so many of the newest."""
        with self._lock:
            events = list(self._events)
        found = [
            event
            for event in events
            if event.seq > after_seq
            and (agent is None or event.agent == agent)
            and (type is None or event.type == type.upper())
        ]
        return found if last is None else found[max(0, len(found) - last) :]
