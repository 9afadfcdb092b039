"""Vital signs: what an agent says of its life, and what it means that it says nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from trunkline.agents import AgentEvent
from trunkline.agents.events import ERROR_PREFIX, result_in
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.life import Life
from trunkline.orchestrator.loop_thread import LoopThread
from trunkline.orchestrator.memory import AgentEntry, Stage

GiveUp = Callable[[AgentEntry, Life, str], object]


def take_note(entry: AgentEntry, life: Life, message: ServiceMessage) -> bool:
    """Writes down what an agent said; False for what is to be told nobody: words of a life before, the end of one
    that was said already, and a heartbeat after it."""
    if message.life is not None and message.life != life.number:
        return False
    payload = message.payload
    if payload == AgentEvent.AGENT_HEARTBEAT.value and life.is_closed:
        return False
    if payload == AgentEvent.AGENT_CLOSE.value and not life.close():
        return False
    life.last_seen = time.monotonic()
    entry.last_heartbeat = message.timestamp
    entry.state_events.said(payload)
    if payload.startswith(ERROR_PREFIX):
        life.told = payload.removeprefix(ERROR_PREFIX).strip()
        entry.note_error(life.told)
    else:
        for result in result_in(payload):
            life.result = result
    return True


class VitalSigns:
    """Waits for readiness and for heartbeats. Everything here runs in the loop's thread.

    Args:
        hung: called when nothing was heard of a life for its heartbeat timeout, with a sentence that says so.
        unready: called when it was not ready within its ready timeout.
        is_back: called when a life that was given up as hung is heard again.
    """

    def __init__(
        self, loop: LoopThread, hung: GiveUp, unready: GiveUp, is_back: Callable[[AgentEntry, Life], object]
    ) -> None:
        self._loop = loop
        self._hung = hung
        self._unready = unready
        self._is_back = is_back

    def expect_ready(self, entry: AgentEntry, life: Life) -> None:
        """From now on."""
        self._loop.later(entry.config.ready_timeout, self._check_ready, entry, life)

    def expect_pulse(self, entry: AgentEntry, life: Life) -> None:
        """Looks again and again until the life's end, each time when the next heartbeat is overdue at the earliest."""
        if life is not entry.life or life.has_ended:
            return
        timeout = entry.config.heartbeat_timeout
        left = life.last_seen + timeout - time.monotonic()
        if left > 0:
            if life.doom is not None and entry.stage == Stage.READY:
                self._is_back(entry, life)
        else:
            if life.doom is None:
                self._hung(entry, life, f"it hangs: nothing was heard of it for {timeout:g} s")
            left = timeout
        self._loop.later(left, self.expect_pulse, entry, life)

    def _check_ready(self, entry: AgentEntry, life: Life) -> None:
        if life is entry.life and not life.has_ended and life.doom is None and entry.stage == Stage.STARTED:
            self._unready(entry, life, f"it was not ready within {entry.config.ready_timeout:g} s")
