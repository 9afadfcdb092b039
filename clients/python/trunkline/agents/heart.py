"""Heart: says for the agents of a process, again and again, that they live."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import Protocol


class Beating(Protocol):
    """What has a pulse."""

    def beat(self) -> bool:
        """Says that it lives; False when it is over."""

    @property
    def pulse(self) -> float:
        """Seconds from one beat to the next."""


class Heart:
    """One thread for all agents of a process; it sleeps until the next beat is due, and ends with the last agent."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Beating]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, agent: Beating) -> None:
        """From now on, and at once."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic(), next(self._numbers), agent))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trunkline-heart", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while (agent := self._next()) is not None:
            if agent.beat():
                with self._changed:
                    heapq.heappush(self._due, (time.monotonic() + agent.pulse, next(self._numbers), agent))

    def _next(self) -> Beating | None:
        """The agent that is due, when it is; None when there is none left."""
        with self._changed:
            while self._due:
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            self._thread = None
            return None


heart = Heart()
"""Of this process."""
