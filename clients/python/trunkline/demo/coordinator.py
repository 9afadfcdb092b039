"""Coordinator: assigns files, keeps deadlines, and gives the work of agents that fell to others."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
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
        self.waited = 0.0
        """Seconds in which nobody said anything: nothing was left to do but to wait for a deadline."""
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
        window = min(coding * WINDOW_PER_AGENT, max(1, self._ledger.total // 4))
        while not self._ledger.is_finished:
            check()
            if time.monotonic() > until:
                return False
            if accident.is_due(len(self._ledger.done), self._ledger.total):
                self._let_happen(accident)
            self._assign(window)
            try:
                self._hear(self._events.get(timeout=TICK_SECONDS))
            except queue.Empty:
                self.waited += TICK_SECONDS
            for member in team.fallen():
                self._replace(member)
            for task in self._ledger.overdue(time.monotonic()):
                self._hand_over(task.path, "its deadline passed")
        return True

    def settle(self) -> None:
        """Hears what was still on its way when everything was done."""
        self._bus.flush()
        while not self._events.empty():
            self._hear(self._events.get())

    def _assign(self, window: int) -> None:
        while len(self._ledger.under_way) < window and (task := self._ledger.assign(time.monotonic())) is not None:
            self._bus.publish(self._job.assignments, self._assignment(task))

    def _let_happen(self, accident: Accident) -> None:
        """Assigns a file to the victim alone, which will not do it."""
        task = self._ledger.assign(time.monotonic())
        if task is None or accident.victim is None:
            return
        post = accident.victim.post
        self._ledger.started(task.path, post.agent_id, time.monotonic())

        def assign() -> None:
            self._bus.publish(post.own_channel, self._assignment(task))
            self._bus.flush()

        killed = accident.happen(task.path, assign)
        self._narrator.warn(f"{killed.name} (pid {killed.pid}) is killed while it holds {killed.path}")

    def _assignment(self, task: Task) -> AgentMessage:
        definition = TaskDefinition(
            task_id=self._job.task_id(task.path), name=f"measure {task.path}", assigned_to=AgentType.CODING
        )
        return AgentMessage(
            message_type=MessageType.TASK_ASSIGNMENT,
            sender_id=COORDINATOR,
            payload={"path": task.path, "attempt": task.attempt, "task": definition.model_dump(mode="json")},
        )

    def _hear(self, message: AgentMessage) -> None:
        facts: dict[str, Any] = message.payload
        path, sender = str(facts["path"]), message.sender_id
        match message.message_type:
            case MessageType.STATUS_UPDATE:
                self._ledger.started(path, sender, time.monotonic())
            case MessageType.TASK_RESULT if "figures" in facts:
                self._ledger.measured(path, time.monotonic())
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
