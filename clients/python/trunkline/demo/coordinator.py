"""Coordinator: assigns files, keeps deadlines, and gives the work of agents that fell to others."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trunkline import (
    AgentMessage,
    AgentStatus,
    AgentType,
    MessageType,
    RevisionMismatchError,
    TaskDefinition,
    TaskResult,
    TaskStatus,
)
from trunkline.demo.accident import Accident
from trunkline.demo.ledger import Ledger, Task
from trunkline.demo.limits import MAX_EVENTS, TICK_SECONDS, WINDOW_PER_AGENT
from trunkline.demo.narrator import Narrator
from trunkline.demo.posts import COORDINATOR, Job
from trunkline.demo.team import Member, Team
from trunkline.sync import MessageBus, StateManager


class Coordinator:
    """Gets every file of a ledger done by a team.

    Live delivery is at most once: what an agent held when it died is gone, and nobody is told. So each task has a
    deadline here, and one that passes, or a fallen agent's, is assigned anew. That a file done twice is stored once is
    not for the coordinator to see to, but for the state service (see `ReviewAgent`).
    """

    def __init__(self, job: Job, ledger: Ledger, bus: MessageBus, state: StateManager, narrator: Narrator) -> None:
        self.duplicates = 0
        self.rejections = 0
        self._job = job
        self._ledger = ledger
        self._bus = bus
        self._state = state
        self._narrator = narrator
        self._events: queue.Queue[AgentMessage] = queue.Queue(MAX_EVENTS)
        bus.subscribe(job.notices, self._events.put)
        bus.subscribe(job.reviews, self._events.put)  # outside the review group: a copy of each, to know how far it is

    def run(self, team: Team, accident: Accident, until: float, check: Callable[[], None]) -> bool:
        """Works until every file is done or given up. False: `until` (a monotonic time) came first.

        Args:
            check: called now and then; what it raises ends the work.
        """
        coding = sum(member.post.type == AgentType.CODING for member in team.members)
        while not self._ledger.is_finished or accident.is_pending:
            check()
            now = time.monotonic()
            if now > until:
                accident.call_off()
                return False
            self._assign(coding * WINDOW_PER_AGENT, now)
            with suppress(queue.Empty):
                self._hear(self._events.get(timeout=TICK_SECONDS), accident)
            if accident.strike(time.monotonic()) and (killed := accident.killed) is not None:
                self._narrator.warn(f"{killed.name} (pid {killed.pid}) is killed while it holds {killed.path}")
            for member in team.fallen():
                self._replace(member)
            for task in self._ledger.overdue(time.monotonic()):
                self._hand_over(task.path, "its deadline passed")
        return True

    def settle(self, accident: Accident) -> None:
        """Hears what was still on its way when everything was done."""
        self._bus.flush()
        while not self._events.empty():
            self._hear(self._events.get(), accident)

    def _assign(self, window: int, now: float) -> None:
        while len(self._ledger.under_way) < window and (task := self._ledger.assign(now)) is not None:
            self._bus.publish(self._job.assignments, self._assignment(task))

    def _assignment(self, task: Task) -> AgentMessage:
        definition = TaskDefinition(
            task_id=self._job.task_id(task.path), name=f"measure {task.path}", assigned_to=AgentType.CODING
        )
        return AgentMessage(
            message_type=MessageType.TASK_ASSIGNMENT,
            sender_id=COORDINATOR,
            payload={"path": task.path, "attempt": task.attempt, "task": definition.model_dump(mode="json")},
        )

    def _hear(self, message: AgentMessage, accident: Accident) -> None:
        facts: dict[str, Any] = message.payload
        path, sender = str(facts["path"]), message.sender_id
        match message.message_type:
            case MessageType.STATUS_UPDATE:
                self._ledger.started(path, sender, time.monotonic())
                if 2 * len(self._ledger.done) >= self._ledger.total:
                    accident.started(sender, path, time.monotonic())
            case MessageType.TASK_RESULT if "figures" in facts:
                self._ledger.measured(path, time.monotonic())
                accident.measured(sender, path)
            case MessageType.TASK_RESULT:
                self.duplicates += not facts["stored"]
                self._ledger.finished(path, str(facts["coded_by"]))
            case MessageType.FEEDBACK:
                self.rejections += 1
                self._hand_over(path, f"the review rejected it ({facts['reason']})")
            case MessageType.ERROR:
                self._hand_over(path, str(facts["reason"]))

    def _replace(self, member: Member) -> None:
        held = self._ledger.held_by(member.post.agent_id)
        names = ", ".join(task.path for task in held) or "nothing"
        code = getattr(member.runner, "exitcode", None)
        self._narrator.warn(f"{member.post.name} is gone (exit code {code}); it held {names}")
        for task in held:
            self._hand_over(task.path, f"{member.post.name} is gone")
        state = self._state.get_agent_state(member.post.agent_id)
        if state is not None:
            state.status = AgentStatus.FAILED
            state.failed_tasks = [*state.failed_tasks, *(task.path for task in held)]
            self._state.save_agent_state(state)

    def _hand_over(self, path: str, reason: str) -> None:
        fate = self._ledger.hand_over(path, reason)
        if fate is not None:
            self._narrator.warn(f"{path}: {reason}; {fate}")
        if fate == "given up":
            self._store_failure(path, reason)

    def _store_failure(self, path: str, reason: str) -> None:
        failed = TaskResult(
            task_id=self._job.task_id(path), agent_id=COORDINATOR, status=TaskStatus.FAILED, error_message=reason
        )
        try:
            self._state.save_task_result(failed, expected_revision=0)
        except RevisionMismatchError:  # somebody stored it after all, and the notice is still to come
            self.duplicates += 1
            self._ledger.finished(path, "")
