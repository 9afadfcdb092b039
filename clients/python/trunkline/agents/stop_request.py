"""StopRequest: the request that an agent ends, and its `on_stop` callback."""

from __future__ import annotations

import threading
from collections.abc import Callable

from trunkline.agents.logger import AgentLogger


class StopRequest:
    """The request to end one life of an agent. Any thread may call.

    Args:
        agent: its name.
        on_stop: called once, in a thread of its own.
        logger: gets what `on_stop` raises.
    """

    def __init__(self, agent: str, on_stop: Callable[[], object], logger: AgentLogger) -> None:
        self.event = threading.Event()
        """Set when the request was made."""
        self._agent = agent
        self._on_stop = on_stop
        self._logger = logger
        self._making = threading.Lock()
        self._thread: threading.Thread | None = None

    def make(self) -> None:
        """Makes the request; idempotent, never waits."""
        with self._making:
            if not self.event.is_set():
                self._thread = threading.Thread(target=self._act, name=f"stop {self._agent}", daemon=True)
                self._thread.start()
                self.event.set()

    def wait(self, seconds: float) -> None:
        """Waits until `on_stop` has returned, if it was called; `seconds` at most."""
        with self._making:  # else the thread might be made and not started
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _act(self) -> None:
        try:
            self._on_stop()
        except Exception:  # the agent's own code: the agent ends all the same
            self._logger.exception("on_stop of agent %r failed", self._agent)
