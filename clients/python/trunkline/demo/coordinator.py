"""Coordinator: stores a task for each file, and hears what came of it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trunkline import (
    AgentMessage,
    AgentStatus,
    AgentType,
    BusDisconnectedError,
    MessageType,
    Priority,
    RevisionMismatchError,
    TaskDefinition,
    TaskResult,
    TaskStatus,
)
from trunkline.demo import kept
from trunkline.demo.accident import Accident
from trunkline.demo.agent import PATIENCE
from trunkline.demo.ledger import Again, Ledger
from trunkline.demo.limits import MAX_EVENTS, PUBLISHES_IN_FLIGHT, QUIET_TICKS, TICK_SECONDS
from trunkline.demo.narrator import Narrator
from trunkline.demo.posts import COORDINATOR, SETTINGS, Job
from trunkline.demo.programs import Addresses
from trunkline.demo.team import Member, Team
from trunkline.sync import MessageBus, StateManager


class _Tasks:
    """Tasks that are given to the bus: those of one half of the files first, the others when that is measured, or no
    more of it can be. So there is work left for whom the accident befalls, however late it is seen that it is time.

    Args:
        paths: the files.
        assign: begins to give the task of one to the bus.
    """

    def __init__(self, paths: list[str], assign: Callable[[str], Future[None]]) -> None:
        half = -(-len(paths) // 2)
        self._assign = assign
        self.later = paths[half:]
        """Files whose tasks are not given to it yet."""
        self.begun = [assign(path) for path in paths[:half]]
        """Tasks of which it is not known that they are stored."""

    def begin_later(self) -> None:
        """Gives it those that are left."""
        self.begun += [self._assign(path) for path in self.later]
        self.later = []

    def are_stored(self) -> bool:
        """Returns True when all of them are, once. Raises what one of them raised."""
        if not self.begun or not all(each.done() for each in self.begun):
            return False
        for each in self.begun:
            each.result()
        self.begun = []
        return not self.later


class Coordinator:
    """Gets every file of a ledger done by a team.

    It gives each task to the bus once, and keeps no deadlines: the bus has the task on disk, hands it to an agent that
    is free, and to another when that one dies, until it is acked. What came of it the coordinator hears by a
    durable subscription of its own, so that no notice is lost either. That a file done twice is stored once is for the
    state service to see to (see `ReviewAgent`).

    Args:
        check: called now and then; what it raises ends the work.
    """

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        addresses: Addresses,
        bus: MessageBus,
        state: StateManager,
        narrator: Narrator,
        check: Callable[[], None],
    ) -> None:
        self.duplicates = 0
        self.rejections = 0
        self.waited = 0.0
        """Seconds without any message: the bus was coming back, or the leases of the dead had to end."""
        self._job = job
        self._ledger = ledger
        self._addresses = addresses
        self._bus = bus
        self._state = state
        self._narrator = narrator
        self._measured: set[str] = set()
        self._quiet = 0
        """Ticks since something was heard."""
        self._check = check
        self._patience = replace(PATIENCE, pause=self._pause)
        self._events: queue.Queue[AgentMessage] = queue.Queue(MAX_EVENTS)
        bus.subscribe(job.notices, self._events.put, durable=job.durable(COORDINATOR), settings=SETTINGS)
        bus.subscribe(job.reviews, self._look_on)

    def run(self, team: Team, accident: Accident, until: float) -> bool:
        """Works until every file is done or given up. False: `until` (a monotonic time) came first."""
        with ThreadPoolExecutor(PUBLISHES_IN_FLIGHT) as publishers:
            tasks = _Tasks(self._ledger.paths, lambda path: publishers.submit(self._assign, path))
            try:
                return self._attend(tasks, team, accident, until)
            finally:
                publishers.shutdown(cancel_futures=True)

    def _attend(self, tasks: _Tasks, team: Team, accident: Accident, until: float) -> bool:
        while tasks.begun or not self._ledger.is_finished:
            self._check()
            if time.monotonic() > until:
                return False
            self._narrate(accident)
            if accident.has_begun or self._ledger.open <= len(tasks.later):
                tasks.begin_later()
            self._listen()
            for member in team.failed():
                self._mourn(member)
            if tasks.are_stored():
                self._narrator.say(f"{'':<12}{len(self._ledger.receipts)} tasks are stored, with a receipt for each")
        return True

    def settle(self) -> None:
        """Hears what was still on its way when everything was done, and lets the bus know that it did."""
        with suppress(BusDisconnectedError):  # it says so of an accident that is long over, too
            self._bus.flush()
        while not self._events.empty():
            self._hear(self._events.get())

    def _pause(self, seconds: float) -> None:
        self._check()
        time.sleep(seconds)

    def _look_on(self, figures: AgentMessage) -> None:
        """Gets a copy of what the review agents get, to know how far the coding agents are."""
        self._measured.add(str(figures.payload["path"]))

    def _assign(self, path: str, priority: Priority = Priority.MEDIUM) -> None:
        task = self._job.task_id(path)
        definition = TaskDefinition(task_id=task, name=f"measure {path}", assigned_to=AgentType.CODING)
        number = self._ledger.round_of(path)
        assignment = AgentMessage(
            message_id=f"{task}#{number}",
            message_type=MessageType.TASK_ASSIGNMENT,
            sender_id=COORDINATOR,
            priority=priority,
            payload={"path": path, "round": number, "task": definition.model_dump(mode="json")},
        )
        receipt = self._patience.run(lambda: self._bus.publish(self._job.assignments, assignment, stored=True))
        self._ledger.stored(path, receipt.sequence)

    def _narrate(self, accident: Accident) -> None:
        measured, total = len(self._measured), self._ledger.total
        for killed in accident.go_on(measured, total):
            if killed.away_seconds is None:
                self._narrator.warn(f"{killed.name} (pid {killed.pid}) is killed with work in its hands")
                continue
            left = f"{total - measured} files to be measured and {total - len(self._ledger.done)} to be reviewed"
            back = f"it was back after {killed.away_seconds:.1f} s"
            self._narrator.warn(f"the bus itself (pid {killed.pid}) is killed with {left}; {back}")

    def _listen(self) -> None:
        try:
            self._hear(self._events.get(timeout=TICK_SECONDS))
            self._quiet = 0
        except queue.Empty:
            self.waited += TICK_SECONDS
            self._quiet += 1
            if self._quiet % QUIET_TICKS == 0:
                self._look_for_dead_letters()

    def _hear(self, message: AgentMessage) -> None:
        facts: dict[str, Any] = message.payload
        path = str(facts["path"])
        match message.message_type:
            case MessageType.TASK_RESULT:
                self._finished(path, facts, message.sender_id)
            case MessageType.FEEDBACK if self._ledger.reject(path):
                self.rejections += 1
                self._narrator.warn(f"{path}: the review rejected it ({facts['reason']}); assigned anew")
                self._assign(path, Priority.HIGH)  # before those that wait
            case MessageType.FEEDBACK | MessageType.ERROR:
                self._give_up(path, str(facts["reason"]))

    def _finished(self, path: str, facts: dict[str, Any], reviewer: str) -> None:
        self.duplicates += not facts["stored"]
        if not self._ledger.finished(path, str(facts["coded_by"])):
            return
        for (durable, attempt), agent in zip(facts["attempts"].items(), (facts["coded_by"], reviewer), strict=True):
            if attempt > 1:
                again = Again(path, durable, attempt, agent.removeprefix(f"{self._job.id}."))
                self._ledger.again.append(again)
                self._narrator.warn(
                    f"{path} was handed out again ({durable}, attempt {attempt}): {again.done_by} did it"
                )

    def _look_for_dead_letters(self) -> None:
        for message_id, reason in kept.dead_letters(self._addresses.bus, self._job).items():
            path = self._job.path_of(message_id.rpartition("#")[0])
            if path is not None:
                self._give_up(path, f"it is a dead letter: {reason}")

    def _mourn(self, member: Member) -> None:
        self._narrator.warn(f"{member.post.name} is gone ({member.failure}); the bus hands what it held to others")
        state = self._state.get_agent_state(member.post.agent_id)
        if state is not None:
            state.status = AgentStatus.FAILED
            self._state.save_agent_state(state)

    def _give_up(self, path: str, reason: str) -> None:
        if not self._ledger.give_up(path, reason):
            return
        self._narrator.warn(f"{path}: {reason}; given up")
        failed = TaskResult(
            task_id=self._job.task_id(path), agent_id=COORDINATOR, status=TaskStatus.FAILED, error_message=reason
        )
        try:
            self._state.save_task_result(failed, expected_revision=0)
        except RevisionMismatchError:  # it was stored after all, and the notice is still to come
            self.duplicates += 1
            self._ledger.finished(path, "")
