"""OrchestratorEvent and EventManager: events of an orchestrator, and their callbacks."""

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


_Kind = tuple[type[Enum], str]
"""An enum, and the name of a member."""


class OrchestratorEvent(Enum):
    """Events of agents, with `agent_name`, and the last one of the orchestrator."""

    AGENT_STARTED = "agent_started"
    AGENT_READY = "agent_ready"
    AGENT_HEARTBEAT = "agent_heartbeat"
    AGENT_ERROR = "agent_error"
    """With `error_message`. Also for an agent that was killed, hung or never became ready."""
    AGENT_RESULT = "agent_result"
    """With `result`: the return value of `execute`."""
    AGENT_MESSAGE = "agent_message"
    """With `message`: any other STATUS payload of the agent."""
    AGENT_HUNG = "agent_hung"
    """With `error_message`: the agent sent no message within its heartbeat timeout."""
    AGENT_RECOVERED = "agent_recovered"
    """A thread that counted as hung sends messages again."""
    AGENT_TERMINATED = "agent_terminated"
    """Once for each life, after success and after failure."""
    AGENT_RESTARTED = "agent_restarted"
    """With `restarts` (their number so far) and `delay` (seconds of the wait): the agent is about to be started
    again."""
    ALL_AGENTS_TERMINATED = "all_agents_terminated"
    """No agent runs or waits to run."""


_OF_LIFE = {
    AgentEvent.AGENT_START.value: OrchestratorEvent.AGENT_STARTED,
    AgentEvent.AGENT_READY.value: OrchestratorEvent.AGENT_READY,
    AgentEvent.AGENT_CLOSE.value: OrchestratorEvent.AGENT_TERMINATED,
    AgentEvent.AGENT_HEARTBEAT.value: OrchestratorEvent.AGENT_HEARTBEAT,
}


def event_of(payload: str) -> tuple[OrchestratorEvent, dict[str, Any]]:
    """Returns the event of an agent's STATUS payload, and its details."""
    if (event := _OF_LIFE.get(payload)) is not None:
        return event, {}
    if payload.startswith(ERROR_PREFIX):
        return OrchestratorEvent.AGENT_ERROR, {"error_message": payload.removeprefix(ERROR_PREFIX).strip()}
    for result in result_in(payload):
        return OrchestratorEvent.AGENT_RESULT, {"result": result}
    return OrchestratorEvent.AGENT_MESSAGE, {"message": payload}


class EventManager:
    """Calls callbacks in threads of their own.

    A callback gets the keyword arguments that it names (all, where it takes `**kwargs`), and `event_date` and
    `event_time` (ISO 8601, this machine's time). One callback gets its events one after the other, in their order;
    different callbacks run side by side, so that a slow one delays no other. Exceptions are logged.

    Args:
        max_workers: callbacks that run at a time.
    """

    def __init__(self, max_workers: int = EVENT_WORKERS) -> None:
        self._pool = CallbackPool(max_workers, "OrchestratorEvents")
        self._listeners: dict[_Kind, list[_Listener]] = {}
        self._of: dict[object, _Listener] = {}

    def register_event(self, event: Enum, callback: Callable[..., object]) -> None:
        """Calls a callback at each event of a kind from now on. Members of different enums are different kinds, also
        where their names or values are equal.

        Raises:
            TypeError: `callback` is not callable, or `event` is no member of an enum.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        kind = _kind(event)
        key = callback if isinstance(callback, Hashable) else id(callback)
        listener = self._of.get(key)
        if listener is None:
            listener = self._of[key] = _Listener(callback, self._pool)
        self._listeners.setdefault(kind, []).append(listener)

    def emit(self, event: Enum, **kwargs: Any) -> None:
        """Passes an event on to its callbacks; returns at once. Without effect after `shutdown`. Raises TypeError for
        what is no member of an enum."""
        listeners = self._listeners.get(_kind(event))
        if not listeners:
            return
        now = datetime.now()
        details = {**kwargs, "event_date": now.date().isoformat(), "event_time": now.time().isoformat()}
        for listener in listeners:
            listener.put(details)

    @property
    def dropped(self) -> int:
        """Number of events that were dropped because callbacks are too slow."""
        return sum(listener.dropped for listener in list(self._of.values()))

    def shutdown(self, wait: bool = True) -> None:
        """Takes no more events. With `wait`, returns when the callbacks of all events have returned, or after
        CALLBACK_GRACE seconds. Idempotent."""
        if not self._pool.close(CALLBACK_GRACE if wait else 0) and wait:
            _log.warning("callbacks did not return within %g s; they are not waited for", CALLBACK_GRACE)


class _Listener:
    """A callback, and the events that wait for it."""

    def __init__(self, callback: Callable[..., object], pool: CallbackPool) -> None:
        self._callback = callback
        self._pool = pool
        self._names = _names(callback)
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._is_running = False
        self.dropped = 0

    def put(self, details: dict[str, Any]) -> None:
        named = details if self._names is None else {k: v for k, v in details.items() if k in self._names}
        with self._lock:
            if len(self._waiting) >= MAX_WAITING_EVENTS:
                self.dropped += 1
                if self.dropped == 1:
                    _log.warning("%d events wait for %r; newer ones are dropped", MAX_WAITING_EVENTS, self._callback)
                return
            self._waiting.append(named)
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
                details = self._waiting.popleft()
            try:
                self._callback(**details)
            except Exception:  # noqa: BLE001  # the user's code must not stop the others
                _log.exception("the callback %r failed", self._callback)


def _kind(event: Enum) -> _Kind:
    """Returns what listeners are found by. The member itself would not do: those of two `StrEnum` may be equal."""
    if not isinstance(event, Enum):
        raise TypeError(f"event must be a member of an enum, such as OrchestratorEvent.AGENT_READY, not {event!r}")
    return type(event), event.name


def _names(callback: Callable[..., object]) -> set[str] | None:
    """Returns the names of a callback's arguments; None where it takes all, or its signature is unknown."""
    try:
        parameters = inspect.signature(callback).parameters.values()
    except ValueError:
        return None
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return None if takes_all else {each.name for each in parameters}
