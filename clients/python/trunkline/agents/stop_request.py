"""StopRequest: that an agent shall end, and what it does about it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from trunkline.agents.logger import AgentLogger


class StopRequest:
    """Of one life of an agent. Any thread may call.

    Args:
        agent: its name.
        on_stop: the agent's own; called once, in a thread of its own.
        logger: is told what `on_stop` raises.
    """

    def __init__(self, agent: str, on_stop: Callable[[], object], logger: AgentLogger) -> None:
        self.event = threading.Event()
        """Set when it was made."""
        self._agent = agent
        self._on_stop = on_stop
        self._logger = logger
        self._making = threading.Lock()
        self._thread: threading.Thread | None = None

    def make(self) -> None:
        """Never waits; idempotent."""
        with self._making:
            if not self.event.is_set():
                self._thread = threading.Thread(target=self._act, name=f"stop {self._agent}", daemon=True)
                self._thread.start()
                self.event.set()

    def wait(self, seconds: float) -> None:
        """Waits until `on_stop` has returned, if it was called."""
        with self._making:  # else it might be there and not started
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _act(self) -> None:
        try:
            self._on_stop()
        except Exception:  # the agent's own; it shall end all the same
            self._logger.exception("on_stop of agent %r failed", self._agent)
