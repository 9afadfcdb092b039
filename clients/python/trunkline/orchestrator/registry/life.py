"""Life: one run of an agent, from its start to its end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trunkline.agents import BaseAgent
from trunkline.agents.runner import FAILED_ITSELF, Runner


@dataclass(slots=True, eq=False)
class Life:
    """One run of an agent, from its start to its end. Written by the supervisor's and the message thread."""

    number: int
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    instance: BaseAgent | None = None
    """None until it has been made."""
    ended_at: datetime | None = None
    failure: str | None = None
    """What it ended of; None while it runs, and where it ended well."""
    result: Any = None
    """What its `execute` returned."""
    last_seen: float = field(default_factory=time.monotonic)
    """When something was last heard of it, by the monotonic clock."""
    is_watched: bool = False
    """Its heartbeats are waited for."""
    told: str | None = None
    """The last error that was told of it."""
    doom: str | None = None
    """Why it was given up: hung, never ready, or it did not end when it was asked to."""
    is_overdue: bool = False
    """A heartbeat is; whether it was said and not heard yet is being looked for."""
    is_closed: bool = False
    """Its last word was said, and everybody was told."""
    was_killed: bool = False
    """By its supervisor."""
    has_ended: bool = False
    """Its thread or process is gone."""
    _closing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def runner(self) -> Runner | None:
        """Its thread or process."""
        return None if self.instance is None else self.instance.agent_runner

    def close(self) -> bool:
        """Takes note that its last word was said, by whichever thread; whether that one is to tell it."""
        return self._closing.acquire(blocking=False)

    def died_of(self) -> str | None:
        """What its thread or process ended of; None where it ended well."""
        return None if self.runner is None else self.runner.failure()

    @property
    def is_told(self) -> bool:
        """Whether its failure was told: by the supervisor, or by the agent itself."""
        return self.failure == self.told or (self.told is not None and self.failure == FAILED_ITSELF)
