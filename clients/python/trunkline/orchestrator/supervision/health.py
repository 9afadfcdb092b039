"""HealthMonitor: watches the readiness and the heartbeats of agents."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from trunkline.agents import AgentEvent
from trunkline.agents.events import ERROR_PREFIX, result_in
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.limits import CLOSE_GRACE
from trunkline.orchestrator.message_thread import MessageThread
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.supervision.supervisor_loop import SupervisorLoop

GiveUp = Callable[[AgentEntry, Life, str], object]


def record_status(entry: AgentEntry, life: Life, message: ServiceMessage) -> bool:
    """Records a STATUS message in the agent's entry and life.

    Returns:
        False for a message that is no news: of an earlier life, a second end, and a heartbeat after the end.
    """
    if message.life is not None and message.life != life.number:
        return False
    payload = message.payload
    if payload == AgentEvent.AGENT_HEARTBEAT.value and life.is_closed:
        return False
    if payload == AgentEvent.AGENT_CLOSE.value and not life.close():
        return False
    life.last_seen = time.monotonic()
    entry.last_heartbeat = message.timestamp
    entry.state_events.record(payload)
    if payload.startswith(ERROR_PREFIX):
        life.last_error = payload.removeprefix(ERROR_PREFIX).strip()
        entry.note_error(life.last_error)
    else:
        for result in result_in(payload):
            life.result = result
    return True


class HealthMonitor:
    """Watches the lives of agents, in the supervisor's thread.

    Silence counts only once every message received so far has been handled: where the whole program stood still for a
    while, the messages of its agents still wait to be read.

    Args:
        loop: the supervisor's.
        messages: tells when the messages received so far have been handled.
        hung: called with the reason when a life was silent for its heartbeat timeout.
        unready: called with the reason when a life was not ready within its ready timeout.
        is_back: called when a life that was given up as hung sends a message.
    """

    def __init__(
        self,
        loop: SupervisorLoop,
        messages: MessageThread,
        hung: GiveUp,
        unready: GiveUp,
        is_back: Callable[[AgentEntry, Life], object],
    ) -> None:
        self._loop = loop
        self._messages = messages
        self._hung = hung
        self._unready = unready
        self._is_back = is_back

    def watch_readiness(self, entry: AgentEntry, life: Life) -> None:
        """Gives a life its ready timeout from now on."""
        self._loop.later(entry.config.ready_timeout, self._check_readiness, entry, life)

    def watch_heartbeats(self, entry: AgentEntry, life: Life) -> None:
        """Checks a life until its end, each time at the earliest moment at which its next heartbeat can be overdue."""
        if life is not entry.life or life.has_ended:
            return
        left = _left(entry, life)
        if left > 0 and life.verdict is not None and entry.stage == Stage.READY:
            self._is_back(entry, life)
        if left > 0 or life.verdict is not None:
            life.is_overdue = False
        elif life.is_overdue and not self._messages.is_stuck():
            # Some agent sends without a pause, so that "all messages are handled" never comes.
            self._judge_heartbeat(entry, life)
        else:
            life.is_overdue = True
            self._when_handled(self._judge_heartbeat, entry, life)
        self._loop.later(left if left > 0 else entry.config.heartbeat_timeout, self.watch_heartbeats, entry, life)

    def _judge_heartbeat(self, entry: AgentEntry, life: Life) -> None:
        if _is_judged(entry, life) and _left(entry, life) <= 0:
            self._hung(entry, life, f"it hangs: nothing was heard of it for {entry.config.heartbeat_timeout:g} s")

    def _check_readiness(self, entry: AgentEntry, life: Life) -> None:
        self._when_handled(self._judge_readiness, entry, life)
        self._loop.later(CLOSE_GRACE, self._judge_readiness, entry, life)

    def _judge_readiness(self, entry: AgentEntry, life: Life) -> None:
        if _is_judged(entry, life) and entry.stage == Stage.STARTED:
            self._unready(entry, life, f"it was not ready within {entry.config.ready_timeout:g} s")

    def _when_handled(self, judge: Callable[[AgentEntry, Life], object], entry: AgentEntry, life: Life) -> None:
        self._messages.when_handled(partial(self._loop.offer, judge, entry, life))


def _left(entry: AgentEntry, life: Life) -> float:
    """Returns the seconds until the next heartbeat is overdue."""
    return life.last_seen + entry.config.heartbeat_timeout - time.monotonic()


def _is_judged(entry: AgentEntry, life: Life) -> bool:
    return life is entry.life and not life.has_ended and life.verdict is None
