"""Restarter: starts agents again that have ended by themselves, as their policies say."""

from __future__ import annotations

import time
from collections.abc import Callable

from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.restart import TooManyRestartsError
from trunkline.orchestrator.supervision.supervisor_loop import SupervisorLoop


class Restarter:
    """Decides about restarts, in the supervisor's thread.

    Args:
        loop: the supervisor's.
        event_log: gets AGENT_RESTARTED, and AGENT_ERROR of an agent that stays down.
        set_stage: sets an agent's stage, and its reason.
        enqueue: puts an agent into the queue.
    """

    def __init__(
        self,
        loop: SupervisorLoop,
        event_log: EventLog,
        set_stage: Callable[[AgentEntry, Stage, str | None], object],
        enqueue: Callable[[AgentEntry], object],
    ) -> None:
        self._loop = loop
        self._event_log = event_log
        self._set_stage = set_stage
        self._enqueue = enqueue

    def schedule(self, entry: AgentEntry, life: Life) -> bool:
        """Schedules the restart of an agent whose life has just ended; returns False where its policy has none."""
        if not entry.restarts.policy.wants(failed=life.failure is not None):
            return False
        try:
            delay = entry.restarts.next_delay(time.monotonic())
        except TooManyRestartsError as error:
            entry.note_error(f"it stays down: {error.message}; the last time: {life.failure or 'it ended well'}")
            self._event_log.record(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=entry.errors[-1][1])
            life.failure = life.failure or error.message
            return False
        self._set_stage(entry, Stage.BACKING_OFF, life.failure)
        self._loop.later(delay, self._start_again, entry, life, delay)
        return True

    def _start_again(self, entry: AgentEntry, life: Life, delay: float) -> None:
        if life is entry.life and entry.stage == Stage.BACKING_OFF:
            self._event_log.record(
                OrchestratorEvent.AGENT_RESTARTED, entry.name, restarts=entry.restarts.count, delay=delay
            )
            self._enqueue(entry)
