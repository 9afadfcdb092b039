"""Vital signs: what an agent says of its life, and what it means that it says nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from trunkline.agents import AgentEvent
from trunkline.agents.events import ERROR_PREFIX, result_in
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.limits import CLOSE_GRACE
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry, Stage
from trunkline.orchestrator.supervision.loop_thread import LoopThread
from trunkline.orchestrator.supervision.owner import Owner

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
    entry.state_events.record(payload)
    if payload.startswith(ERROR_PREFIX):
        life.told = payload.removeprefix(ERROR_PREFIX).strip()
        entry.note_error(life.told)
    else:
        for result in result_in(payload):
            life.result = result
    return True


class VitalSigns:
    """Waits for readiness and for heartbeats. Everything here runs in the loop's thread.

    Nobody is judged by silence before everything was heard that had been said: where the whole program stood still for
    a while, the words of its agents only wait to be read.

    Args:
        owner: says when everything was heard.
        hung: called when nothing was heard of a life for its heartbeat timeout, with a sentence that says so.
        unready: called when it was not ready within its ready timeout.
        is_back: called when a life that was given up as hung is heard again.
    """

    def __init__(
        self,
        loop: LoopThread,
        owner: Owner,
        hung: GiveUp,
        unready: GiveUp,
        is_back: Callable[[AgentEntry, Life], object],
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._hung = hung
        self._unready = unready
        self._is_back = is_back

    def expect_ready(self, entry: AgentEntry, life: Life) -> None:
        """From now on."""
        self._loop.later(entry.config.ready_timeout, self._look_whether_ready, entry, life)

    def expect_pulse(self, entry: AgentEntry, life: Life) -> None:
        """Looks again and again until the life's end, each time when the next heartbeat is overdue at the earliest."""
        if life is not entry.life or life.has_ended:
            return
        left = _left(entry, life)
        if left > 0 and life.doom is not None and entry.stage == Stage.READY:
            self._is_back(entry, life)
        if left > 0 or life.doom is not None:
            life.is_overdue = False
        elif (
            life.is_overdue and not self._owner.is_stuck()
        ):  # everything is never heard: somebody does not stop talking
            self._judge_pulse(entry, life)
        else:
            life.is_overdue = True
            self._when_heard(self._judge_pulse, entry, life)
        self._loop.later(left if left > 0 else entry.config.heartbeat_timeout, self.expect_pulse, entry, life)

    def _judge_pulse(self, entry: AgentEntry, life: Life) -> None:
        if _is_judged(entry, life) and _left(entry, life) <= 0:
            self._hung(entry, life, f"it hangs: nothing was heard of it for {entry.config.heartbeat_timeout:g} s")

    def _look_whether_ready(self, entry: AgentEntry, life: Life) -> None:
        self._when_heard(self._judge_readiness, entry, life)
        self._loop.later(CLOSE_GRACE, self._judge_readiness, entry, life)

    def _judge_readiness(self, entry: AgentEntry, life: Life) -> None:
        if _is_judged(entry, life) and entry.stage == Stage.STARTED:
            self._unready(entry, life, f"it was not ready within {entry.config.ready_timeout:g} s")

    def _when_heard(self, judge: Callable[[AgentEntry, Life], object], entry: AgentEntry, life: Life) -> None:
        self._owner.when_heard(partial(self._loop.offer, judge, entry, life))


def _left(entry: AgentEntry, life: Life) -> float:
    """Seconds until the next heartbeat is overdue."""
    return life.last_seen + entry.config.heartbeat_timeout - time.monotonic()


def _is_judged(entry: AgentEntry, life: Life) -> bool:
    return life is entry.life and not life.has_ended and life.doom is None
