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
    """One run of an agent. The supervisor's thread and the message thread write it."""

    number: int
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    instance: BaseAgent | None = None
    """The agent object; None until it has been made."""
    ended_at: datetime | None = None
    failure: str | None = None
    """Why the life failed; None while it runs, and where it ended well."""
    result: Any = None
    """Return value of `execute`."""
    last_seen: float = field(default_factory=time.monotonic)
    """Time of the last message of the agent, by the monotonic clock."""
    is_watched: bool = False
    """Whether missing heartbeats count."""
    last_error: str | None = None
    """Last error that was reported."""
    verdict: str | None = None
    """Why the supervisor gave the life up: hung, never ready, or not ended when asked to stop; None: not given up."""
    is_overdue: bool = False
    """Whether a heartbeat is late; messages that were received and not yet handled are looked through for it."""
    is_closed: bool = False
    """Whether the agent's last message was handled."""
    was_killed: bool = False
    """Whether the supervisor killed the process."""
    has_ended: bool = False
    """Whether the thread or process has ended."""
    _closing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def runner(self) -> Runner | None:
        """The thread or process; None until it has been made."""
        return None if self.instance is None else self.instance.agent_runner

    def close(self) -> bool:
        """Marks the end as reported; returns True to the first thread that calls."""
        return self._closing.acquire(blocking=False)

    def died_of(self) -> str | None:
        """Returns why the thread or process failed; None where it ended well."""
        return None if self.runner is None else self.runner.failure()

    @property
    def is_reported(self) -> bool:
        """Whether the failure was reported, by the supervisor or by the agent itself."""
        return self.failure == self.last_error or (self.last_error is not None and self.failure == FAILED_ITSELF)
