"""Supervisor: starts agents, notices how they end, and starts them again where their policy says so.

All its decisions are made in one thread, one after the other, so none of them needs a lock. It sleeps until a process
ends, a timer is due, or somebody asks. Agents' own code (making one, stopping one) never runs in that thread.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from trunkline.agents import AgentEvent, BaseAgent
from trunkline.agents.events import LIFE_CYCLE
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.errors import AgentStateError, OrchestratorError
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.limits import CLOSE_GRACE
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry, Memory, Stage
from trunkline.orchestrator.supervision.launcher import Launcher
from trunkline.orchestrator.supervision.loop_thread import LoopThread, settle
from trunkline.orchestrator.supervision.owner import Owner
from trunkline.orchestrator.supervision.restarter import Restarter
from trunkline.orchestrator.supervision.stopping import Stopping
from trunkline.orchestrator.supervision.vital_signs import VitalSigns, take_note
from trunkline.orchestrator.supervision.worker_queue import WorkerQueue


class Supervisor:
    """Of one orchestrator.

    Args:
        max_workers: agents that run at a time; the others wait in their order.
    """

    def __init__(self, memory: Memory, graph: DependencyGraph, owner: Owner, max_workers: int) -> None:
        self._memory = memory
        self._graph = graph
        self._owner = owner
        self.queue = WorkerQueue(memory, graph, max_workers)
        self.all_done = threading.Event()
        """Set while nothing runs and nothing waits to run."""
        self.all_done.set()
        self._is_closing = False
        self._loop = LoopThread("OrchestratorSupervisor")
        self._stopping = Stopping(memory, self._loop, self)
        self._launcher = Launcher(self._loop, owner.make, self._launched, self._conclude, self._ended)
        self._restarter = Restarter(self._loop, owner, self.stand, self._start_again)
        self._vital_signs = VitalSigns(self._loop, owner, self._hung, self._give_up, self._is_back)

    # What any thread may call.

    @property
    def running_count(self) -> int:
        """Agents that take a worker's place. A thread that was given up does not: it cannot be ended."""
        return self.queue.running_count

    @property
    def waiting_count(self) -> int:
        """Agents in the queue."""
        return self.queue.waiting_count

    def start(self, names: list[str]) -> Future[str]:
        """Starts these agents and what they need, as far as they do not run; says of the last how it stands."""
        return self._loop.ask(partial(self._start, names))

    def to_start(self, names: Collection[str]) -> list[AgentEntry]:
        """Which agents `start` would start: these, as far as they do not run, and what they need and have not had."""
        return self.queue.to_start(names)

    def pass_on(self, done: Future[str]) -> Future[str]:
        """The same future, but its callbacks are called in the supervisor's thread, as those of `start` are."""
        return self._loop.pass_on(done)

    def stop(self, name: str) -> Future[str]:
        """Asks an agent to end, and kills its process when it does not; done when it has ended."""
        done: Future[str] = Future()
        self._loop.call(settle, done, partial(self._stopping.stop, name, done))
        return done

    def stop_all(self) -> list[Future[str]]:
        """As `stop`, of every agent that runs or waits to run."""
        return self._loop.ask(self._stopping.stop_all).result()

    @contextmanager
    def hearing(self, message: ServiceMessage) -> Iterator[bool]:
        """Takes note of what an agent said. Within, everybody is told, unless this is False because it was known; what
        follows from it is decided afterwards."""
        entry = self._memory.find(message.sender)
        life = None if entry is None else entry.life
        if entry is None or life is None:
            yield True
            return
        is_news = take_note(entry, life, message)
        try:
            yield is_news
        finally:
            if is_news and message.payload in LIFE_CYCLE:
                self._loop.offer(self._heard, entry, life, message.payload)

    def close(self) -> None:
        """Stops every agent, and ends. A thread that does not end in time is left behind. Idempotent."""
        self._is_closing = True
        try:
            ending = self.stop_all()
        except OrchestratorError:
            return  # it is closed already
        patience = max((entry.config.stop_timeout for entry in self._memory.agents if entry.is_active), default=0.0)
        self._stopping.wait(ending, patience + CLOSE_GRACE * 2)
        self._loop.close()
        self._stopping.abandon()

    # Starting.

    def _start(self, names: list[str]) -> str:
        if self._is_closing:
            raise OrchestratorError("the orchestrator is shutting down")
        last = self._memory.get_agent(names[-1]) if names else None
        if last is not None and len(names) == 1 and last.is_active:
            raise AgentStateError(
                f"agent {last.name!r} is {last.state} already", details={"agent": last.name, "state": last.state}
            )
        for entry in self.queue.to_start(names):
            self._enqueue(entry)
        self._fill(something_broke=True)
        if last is None or last.stage != Stage.WAITING:
            return "started"
        return f"waiting: {last.reason}"

    def _enqueue(self, entry: AgentEntry) -> None:
        self.all_done.clear()
        self.queue.enter(entry)
        self.stand(entry, Stage.WAITING, "others are before it")

    def _start_again(self, entry: AgentEntry) -> None:
        self._enqueue(entry)
        self._fill()

    def _fill(self, *, something_broke: bool = False) -> None:
        """Starts of those that wait who can; sends home who waits for one that will not come."""
        while something_broke and (in_vain := self.queue.who_waits_in_vain()):
            for entry, broken in in_vain:
                entry.note_error(f"it needs {broken.name!r}, which is {broken.state}")
                self.stand(entry, Stage.FAILED, entry.errors[-1][1])
                self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=entry.errors[-1][1])
        if not self._is_closing:
            for entry in self.queue.who_may_start():
                self._launch(entry)
        self._look_around()

    def _launch(self, entry: AgentEntry) -> None:
        entry.life = life = Life(1 if entry.life is None else entry.life.number + 1)
        entry.state_events.clear()
        self.queue.hold(entry)
        self.stand(entry, Stage.STARTED)
        self._vital_signs.expect_ready(entry, life)
        self._launcher.launch(entry, life)

    def _launched(self, entry: AgentEntry, life: Life, instance: BaseAgent) -> None:
        life.instance = instance
        if life.runner is not None and life.runner.sentinel is not None:
            self._loop.when_readable(life.runner.sentinel, self._ended, entry, life, instance)
        if life.doom is not None:  # while it was being made
            self.kill(life)
        elif entry.stage == Stage.STOPPING:
            instance.stop()

    # Hearing.

    def _heard(self, entry: AgentEntry, life: Life, payload: str) -> None:
        if life is not entry.life:
            return
        if payload == AgentEvent.AGENT_START.value and not life.is_watched:
            life.is_watched = True
            self._vital_signs.expect_pulse(entry, life)
        elif payload == AgentEvent.AGENT_READY.value and entry.stage == Stage.STARTED:
            self._is_back(entry, life)
        elif payload == AgentEvent.AGENT_CLOSE.value:
            life.is_closed = True
            if life.has_ended:
                self._conclude(entry, life, life.died_of())

    def _is_back(self, entry: AgentEntry, life: Life) -> None:
        """It is ready; also a thread that was given up, and is heard again."""
        if life.was_killed or life.has_ended:
            return
        if life.doom is not None:
            life.doom = None
            self.queue.hold(entry)
            if entry.stage == Stage.READY:
                self._owner.tell(OrchestratorEvent.AGENT_RECOVERED, entry)
        self.stand(entry, Stage.READY)
        self._fill()

    def _hung(self, entry: AgentEntry, life: Life, why: str) -> None:
        self._owner.tell(OrchestratorEvent.AGENT_HUNG, entry, error_message=why)
        self._give_up(entry, life, why)

    def _give_up(self, entry: AgentEntry, life: Life, why: str) -> None:
        """Ends a process; a thread, which cannot be ended, is asked to end and loses its place."""
        life.doom = why
        life.told = why
        entry.note_error(why)
        self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=why)
        if not self.kill(life):
            self.stand(entry, entry.stage, why)
            self.vacate(entry)

    # Ending.

    def _ended(self, entry: AgentEntry, life: Life, instance: BaseAgent) -> None:
        """A thread or process is gone. What it said last may still be on its way, and is told before its end."""
        if life.has_ended:
            return
        life.has_ended = True
        life.instance = instance
        if life.runner is not None:
            if life.runner.sentinel is not None:
                self._loop.forget(life.runner.sentinel)
            life.runner.reap()
        failure = life.died_of()
        if life.is_closed:
            self._conclude(entry, life, failure)
        else:
            self._owner.when_heard(partial(self._loop.offer, self._conclude, entry, life, failure))
            self._loop.later(CLOSE_GRACE, self._conclude, entry, life, failure)

    def _conclude(self, entry: AgentEntry, life: Life, failure: str | None) -> None:
        if life is not entry.life or life.ended_at is not None:
            return
        life.has_ended = True
        life.ended_at = datetime.now(UTC)
        was_stopped = entry.stage == Stage.STOPPING
        life.failure = None if was_stopped and life.was_killed else life.doom or failure
        self.queue.free(entry)
        if life.failure is not None and not life.is_told:
            entry.note_error(life.failure)
            self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=life.failure)
        if life.close():
            entry.state_events.close_event.set()
            self._owner.tell(OrchestratorEvent.AGENT_TERMINATED, entry)
        if was_stopped:
            self.stand(entry, Stage.STOPPED, entry.reason)
        elif self._is_closing or not self._restarter.takes(entry, life):
            last = entry.errors[-1][1] if entry.errors else None
            self.stand(entry, Stage.FAILED if life.failure else Stage.COMPLETED, life.failure and last)
        self._owner.concluded(entry, life)
        self._stopping.ended(entry)
        self._fill(something_broke=entry.is_broken)

    # What its parts ask.

    def withdraw(self, entries: Iterable[AgentEntry]) -> None:
        """Agents that wait to run do not any more."""
        for entry in entries:
            self.queue.leave(entry)
            self.stand(entry, Stage.STOPPED)
        self._fill(something_broke=True)

    def vacate(self, entry: AgentEntry) -> None:
        """An agent that cannot be ended loses its place, and others go on."""
        self.queue.free(entry)
        self._fill(something_broke=True)

    def kill(self, life: Life) -> bool:
        """Ends a process at once; asks a thread to end. Whether it was a process."""
        life.was_killed = life.runner is not None and life.runner.kill()
        if not life.was_killed and life.instance is not None:
            life.instance.stop()
        return life.was_killed

    def stand(self, entry: AgentEntry, stage: Stage, reason: str | None = None) -> None:
        """An agent stands elsewhere than before."""
        entry.stage = stage
        entry.reason = reason
        self._owner.changed(entry)

    def _look_around(self) -> None:
        if self.all_done.is_set() or self.queue.running_count or self.queue.waiting_count:
            return
        if any(entry.is_active or entry.is_hung for entry in self._memory.agents):
            return
        self._owner.tell(OrchestratorEvent.ALL_AGENTS_TERMINATED, None)
        self.all_done.set()
