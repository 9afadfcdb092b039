"""What an orchestrator tells, and how callbacks are called."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from datetime import datetime
from enum import Enum
from typing import Any

from trunkline.agents import AgentEvent
from trunkline.agents.events import ERROR_PREFIX, result_in
from trunkline.orchestrator.events.callback_pool import CallbackPool
from trunkline.orchestrator.limits import CALLBACK_GRACE, EVENT_WORKERS, MAX_WAITING_EVENTS

_log = logging.getLogger(__name__)


class OrchestratorEvent(Enum):
    """All but the last are told with `agent_name`."""

    AGENT_STARTED = "agent_started"
    AGENT_READY = "agent_ready"
    AGENT_HEARTBEAT = "agent_heartbeat"
    AGENT_ERROR = "agent_error"
    """With `error_message`. Also of an agent that was killed, hung or never became ready."""
    AGENT_RESULT = "agent_result"
    """With `result`: what its `execute` returned."""
    AGENT_MESSAGE = "agent_message"
    """With `message`: any other STATUS payload that it sent."""
    AGENT_HUNG = "agent_hung"
    """With `error_message`: nothing was heard of it within its heartbeat timeout."""
    AGENT_RECOVERED = "agent_recovered"
    """A thread that counted as hung is heard again."""
    AGENT_TERMINATED = "agent_terminated"
    """Once for each life, however it ended."""
    AGENT_RESTARTED = "agent_restarted"
    """With `restarts` (so many by now) and `delay` (seconds that it waited): it is about to be started again."""
    ALL_AGENTS_TERMINATED = "all_agents_terminated"
    """Nothing runs, and nothing waits to run."""


_OF_LIFE = {
    AgentEvent.AGENT_START.value: OrchestratorEvent.AGENT_STARTED,
    AgentEvent.AGENT_READY.value: OrchestratorEvent.AGENT_READY,
    AgentEvent.AGENT_CLOSE.value: OrchestratorEvent.AGENT_TERMINATED,
    AgentEvent.AGENT_HEARTBEAT.value: OrchestratorEvent.AGENT_HEARTBEAT,
}


def told_by(payload: str) -> tuple[OrchestratorEvent, dict[str, Any]]:
    """The event that an agent's STATUS payload tells, and its facts."""
    if (event := _OF_LIFE.get(payload)) is not None:
        return event, {}
    if payload.startswith(ERROR_PREFIX):
        return OrchestratorEvent.AGENT_ERROR, {"error_message": payload.removeprefix(ERROR_PREFIX).strip()}
    for result in result_in(payload):
        return OrchestratorEvent.AGENT_RESULT, {"result": result}
    return OrchestratorEvent.AGENT_MESSAGE, {"message": payload}


class EventManager:
    """Calls callbacks off the thread that emits.

    A callback gets the keyword arguments that it names (all, where it takes `**kwargs`), and `event_date` and
    `event_time` (ISO 8601, this machine's time). All events of one callback come to it one after the other, in their
    order; different callbacks run side by side, so a slow one delays nobody else. Its exception is logged, and hits
    nobody.

    Args:
        max_workers: callbacks that run at a time.
    """

    def __init__(self, max_workers: int = EVENT_WORKERS) -> None:
        self._pool = CallbackPool(max_workers, "OrchestratorEvents")
        self._listeners: dict[str, list[_Listener]] = {}
        self._of: dict[object, _Listener] = {}

    def register_event(self, event: Enum, callback: Callable[..., object]) -> None:
        """Calls a callback at each such event from now on.

        Raises:
            TypeError: it cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        key = callback if isinstance(callback, Hashable) else id(callback)
        listener = self._of.get(key)
        if listener is None:
            listener = self._of[key] = _Listener(callback, self._pool)
        self._listeners.setdefault(event.name, []).append(listener)

    def emit(self, event: Enum, **kwargs: Any) -> None:
        """Tells an event; returns at once. After `shutdown` it tells nobody."""
        listeners = self._listeners.get(event.name)
        if not listeners:
            return
        now = datetime.now()
        facts = {**kwargs, "event_date": now.date().isoformat(), "event_time": now.time().isoformat()}
        for listener in listeners:
            listener.tell(facts)

    @property
    def dropped(self) -> int:
        """Events that callbacks were too slow for."""
        return sum(listener.dropped for listener in list(self._of.values()))

    def shutdown(self, wait: bool = True) -> None:
        """Tells nothing any more. With `wait`, returns when what was emitted has been told, or after CALLBACK_GRACE
        seconds. Idempotent."""
        if not self._pool.close(CALLBACK_GRACE if wait else 0) and wait:
            _log.warning("callbacks did not return within %g s; they are not waited for", CALLBACK_GRACE)


class _Listener:
    """One callback, and the events that wait for it."""

    def __init__(self, callback: Callable[..., object], pool: CallbackPool) -> None:
        self._callback = callback
        self._pool = pool
        self._names = _names(callback)
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._is_running = False
        self.dropped = 0

    def tell(self, facts: dict[str, Any]) -> None:
        wanted = facts if self._names is None else {k: v for k, v in facts.items() if k in self._names}
        with self._lock:
            if len(self._waiting) >= MAX_WAITING_EVENTS:
                self.dropped += 1
                if self.dropped == 1:
                    _log.warning("%d events wait for %r; newer ones are dropped", MAX_WAITING_EVENTS, self._callback)
                return
            self._waiting.append(wanted)
            if self._is_running:
                return
            self._is_running = True
        self._pool.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                facts = self._waiting.popleft()
            try:
                self._callback(**facts)
            except Exception:  # noqa: BLE001  # the user's: it must not hit the others
                _log.exception("the callback %r failed", self._callback)


def _names(callback: Callable[..., object]) -> set[str] | None:
    """The arguments that it names; None where it takes all, or does not say."""
    try:
        parameters = inspect.signature(callback).parameters.values()
    except ValueError:
        return None
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return None if takes_all else {each.name for each in parameters}
