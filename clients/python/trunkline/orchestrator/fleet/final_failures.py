"""FinalFailures: failures of agents that are not restarted."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

from trunkline import DeadLetterEntry, DeadLetterQueue, RetryPolicy, TrunklineError
from trunkline.errors import ERRORS
from trunkline.orchestrator.errors import AgentFailedError
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.limits import FAILURE_CLOSE_SECONDS
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.life import Life
from trunkline.sync import Background

if TYPE_CHECKING:
    from trunkline.sync import MessageBus

_log = logging.getLogger(__name__)

_CODES = {cls.__name__: code for code, cls in ERRORS.items()}


class FinalFailures:
    """Keeps failures as dead letters; with a bus, publishes them on `conductor:dlq`, and on `conductor:errors` those
    that need a human. Any thread may call.

    Args:
        holder: the orchestrator.
        bus: connected. None: failures are not published.
    """

    def __init__(self, holder: Holder, bus: MessageBus | None) -> None:
        self.dead_letters = DeadLetterQueue()
        self._holder = holder
        self._bus = bus
        self._background = Background()
        if bus is not None:
            self._background.open()
        self._publishing: set[Future[object]] = set()

    def gave_up(self, entry: AgentEntry, life: Life) -> None:
        """Takes the failure of an agent that stays down after this life; returns at once."""
        error = failure_of(entry, life, self._holder)
        task = self._holder.task_id(entry.name, life)
        context = {"class": entry.agent_class.__name__, "orchestrator": self._holder.name, "host": self._holder.host}
        if self._bus is None:
            self.dead_letters.add(
                DeadLetterEntry.of(error, agent_id=entry.name, task_id=task, attempt=life.number, context=context)
            )
            return
        from trunkline import ErrorHandler  # it knows messages, which nobody needs without a bus

        handler = ErrorHandler(
            self._bus.asynchronous, entry.name, policy=RetryPolicy(max_retries=0), dead_letters=self.dead_letters
        )
        publishing: Future[object] = self._background.submit(
            handler.handle(error, attempt=life.number, task_id=task, context=context)
        )
        self._publishing.add(publishing)
        publishing.add_done_callback(self._published)

    def close(self) -> None:
        """Waits until all failures are published, FAILURE_CLOSE_SECONDS at most. Idempotent."""
        wait(list(self._publishing), FAILURE_CLOSE_SECONDS)
        for publishing in list(self._publishing):
            publishing.cancel()
        self._background.close()

    def _published(self, publishing: Future[object]) -> None:
        self._publishing.discard(publishing)
        if not publishing.cancelled() and (error := publishing.exception()) is not None:
            _log.error("nobody could be told what an agent failed of", exc_info=error)


def failure_of(entry: AgentEntry, life: Life, holder: Holder) -> TrunklineError:
    """Returns the failure of an agent, with the code of the error that it reported, where that is one of
    Trunkline's."""
    reason = life.last_error or life.failure or "it is not known of what"
    return AgentFailedError(
        f"agent {entry.name!r} failed: {reason}",
        _CODES.get(reason.partition(":")[0]),
        {
            "agent": entry.name,
            "orchestrator": holder.name,
            "lives": life.number,
            "restarts": entry.restarts.count,
        },
    )
