"""FinalFailures: what becomes of what agents failed of, when they are not started again."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait

from trunkline import DeadLetterEntry, DeadLetterQueue, ErrorHandler, RetryPolicy, TrunklineError
from trunkline.errors import ERRORS
from trunkline.orchestrator.errors import AgentFailedError
from trunkline.orchestrator.fleet.records import Holder
from trunkline.orchestrator.limits import FAILURE_CLOSE_SECONDS
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry
from trunkline.sync import Background, MessageBus

_log = logging.getLogger(__name__)

_CODES = {cls.__name__: code for code, cls in ERRORS.items()}


class FinalFailures:
    """Keeps them as dead letters; with a bus, tells of them on `conductor:dlq`, and on `conductor:errors` of those that
    somebody must see to. Any thread may call.

    Args:
        bus: connected. None: nobody is told.
    """

    def __init__(self, holder: Holder, bus: MessageBus | None) -> None:
        self.dead_letters = DeadLetterQueue()
        self._holder = holder
        self._bus = bus
        self._background = Background()
        if bus is not None:
            self._background.open()
        self._telling: set[Future[object]] = set()

    def gave_up(self, entry: AgentEntry, life: Life) -> None:
        """An agent stays down after this life; returns at once."""
        error = failure_of(entry, life, self._holder)
        task = self._holder.task_id(entry.name, life)
        context = {"class": entry.agent_class.__name__, "orchestrator": self._holder.name, "host": self._holder.host}
        if self._bus is None:
            self.dead_letters.add(
                DeadLetterEntry.of(error, agent_id=entry.name, task_id=task, attempt=life.number, context=context)
            )
            return
        handler = ErrorHandler(
            self._bus.asynchronous, entry.name, policy=RetryPolicy(max_retries=0), dead_letters=self.dead_letters
        )
        telling: Future[object] = self._background.submit(
            handler.handle(error, attempt=life.number, task_id=task, context=context)
        )
        self._telling.add(telling)
        telling.add_done_callback(self._told)

    def close(self) -> None:
        """Waits a moment until everything is told. Idempotent."""
        wait(list(self._telling), FAILURE_CLOSE_SECONDS)
        for telling in list(self._telling):
            telling.cancel()
        self._background.close()

    def _told(self, telling: Future[object]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled() and (error := telling.exception()) is not None:
            _log.error("nobody could be told what an agent failed of", exc_info=error)


def failure_of(entry: AgentEntry, life: Life, holder: Holder) -> TrunklineError:
    """What an agent failed of, with the code of the error that it told, where it is one of Trunkline's."""
    told = life.told or life.failure or "it is not known of what"
    return AgentFailedError(
        f"agent {entry.name!r} failed: {told}",
        _CODES.get(told.partition(":")[0]),
        {
            "agent": entry.name,
            "orchestrator": holder.name,
            "lives": life.number,
            "restarts": entry.restarts.count,
        },
    )
