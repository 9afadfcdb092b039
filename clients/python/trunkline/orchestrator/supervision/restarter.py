"""Restarter: starts again what ended by itself, as its policy says."""

from __future__ import annotations

import time
from collections.abc import Callable

from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry, Stage
from trunkline.orchestrator.registry.restart import TooManyRestartsError
from trunkline.orchestrator.supervision.loop_thread import LoopThread
from trunkline.orchestrator.supervision.owner import Owner


class Restarter:
    """Everything here runs in the loop's thread.

    Args:
        stand: says where an agent stands from now on, and why.
        enqueue: has an agent start when its turn comes.
    """

    def __init__(
        self,
        loop: LoopThread,
        owner: Owner,
        stand: Callable[[AgentEntry, Stage, str | None], object],
        enqueue: Callable[[AgentEntry], object],
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._stand = stand
        self._enqueue = enqueue

    def takes(self, entry: AgentEntry, life: Life) -> bool:
        """Whether the agent of a life that has just ended is started again; if so, it backs off by now."""
        if not entry.restarts.policy.wants(failed=life.failure is not None):
            return False
        try:
            delay = entry.restarts.next_delay(time.monotonic())
        except TooManyRestartsError as error:
            entry.note_error(f"it stays down: {error.message}; the last time: {life.failure or 'it ended well'}")
            self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=entry.errors[-1][1])
            life.failure = life.failure or error.message
            return False
        self._stand(entry, Stage.BACKING_OFF, life.failure)
        self._loop.later(delay, self._start_again, entry, life, delay)
        return True

    def _start_again(self, entry: AgentEntry, life: Life, delay: float) -> None:
        if life is entry.life and entry.stage == Stage.BACKING_OFF:
            self._owner.tell(OrchestratorEvent.AGENT_RESTARTED, entry, restarts=entry.restarts.count, delay=delay)
            self._enqueue(entry)
