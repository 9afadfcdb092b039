"""Supervisor: starts agents, notices how they end, and starts them again where their policy says so.

All its decisions are made in one thread, one after the other, so none of them needs a lock. It sleeps until a process
ends, a timer is due, or somebody asks. Agents' own code (making one, stopping one) never runs in that thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from trunkline.agents import AgentEvent, BaseAgent
from trunkline.agents.vessel import FAILED_ITSELF
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.dependencies import DependencyGraph
from trunkline.orchestrator.errors import AgentStateError, OrchestratorError
from trunkline.orchestrator.events import OrchestratorEvent
from trunkline.orchestrator.launcher import Launcher
from trunkline.orchestrator.limits import CLOSE_GRACE
from trunkline.orchestrator.loop_thread import LoopThread, settle
from trunkline.orchestrator.memory import AgentEntry, Life, Memory, Stage
from trunkline.orchestrator.restart import TooManyRestartsError
from trunkline.orchestrator.vital_signs import VitalSigns, take_note
from trunkline.orchestrator.worker_queue import WorkerQueue

_LIFE_CYCLE = frozenset(
    event.value for event in (AgentEvent.AGENT_START, AgentEvent.AGENT_READY, AgentEvent.AGENT_CLOSE)
)


class Owner(Protocol):
    """What the supervisor asks of its orchestrator."""

    def make(self, entry: AgentEntry) -> BaseAgent:
        """A new object of the agent, for one life. Called in a thread of its own."""

    def tell(self, event: OrchestratorEvent, entry: AgentEntry | None, **facts: Any) -> None:
        """Something happened."""

    def changed(self, entry: AgentEntry) -> None:
        """An agent stands elsewhere than before."""

    def concluded(self, entry: AgentEntry, life: Life) -> None:
        """A life is over, and what comes of it is decided."""


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
        self._stopping: dict[str, list[Future[str]]] = {}
        self._is_closing = False
        self._loop = LoopThread("OrchestratorSupervisor")
        self._launcher = Launcher(self._loop, owner.make, self._launched, self._conclude, self._ended)
        self._vital_signs = VitalSigns(self._loop, self._hung, self._give_up, self._is_back)

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
        entries = map(self._memory.get_agent, self._graph.order(names))
        return [
            each for each in entries if not each.is_active and (each.name in names or each.stage != Stage.COMPLETED)
        ]

    def pass_on(self, done: Future[str]) -> Future[str]:
        """The same future, but its callbacks are called in the supervisor's thread, as those of `start` are."""
        passed: Future[str] = Future()

        def pass_it(done: Future[str]) -> None:
            action = partial(settle, passed, lambda: passed.set_result(_result(done)))
            try:
                self._loop.call(action)
            except OrchestratorError:  # it has shut down meanwhile
                action()

        done.add_done_callback(pass_it)
        return passed

    def stop(self, name: str) -> Future[str]:
        """Asks an agent to end, and kills its process when it does not; done when it has ended."""
        done: Future[str] = Future()
        self._loop.call(settle, done, partial(self._stop, name, done))
        return done

    def stop_all(self) -> list[Future[str]]:
        """As `stop`, of every agent that runs or waits to run."""
        return self._loop.ask(self._stop_all).result()

    def heard(self, message: ServiceMessage) -> bool:
        """Takes note of what an agent said; False where nobody is to be told, because that was known."""
        entry = self._memory.get_agent(message.sender) if message.sender in self._memory else None
        life = None if entry is None else entry.life
        if entry is None or life is None:
            return True
        if not take_note(entry, life, message):
            return False
        if message.payload in _LIFE_CYCLE:
            self._loop.call(self._heard, entry, life, message.payload)
        return True

    def close(self) -> None:
        """Stops every agent, and ends. A thread that does not end in time is left behind. Idempotent."""
        self._is_closing = True
        try:
            ending = self.stop_all()
        except OrchestratorError:
            return  # it is closed already
        patience = max((entry.config.stop_timeout for entry in self._memory.agents if entry.is_active), default=0.0)
        until = time.monotonic() + patience + CLOSE_GRACE * 2
        for done in ending:
            try:
                done.result(max(0.0, until - time.monotonic()))
            except (OrchestratorError, TimeoutError):
                continue  # a thread that cannot be ended; it was told
        self._loop.close()
        for done in [done for waiting in self._stopping.values() for done in waiting]:
            done.set_exception(OrchestratorError("the orchestrator was shut down before the agent had ended"))

    # Starting.

    def _start(self, names: list[str]) -> str:
        if self._is_closing:
            raise OrchestratorError("the orchestrator is shutting down")
        last = self._memory.get_agent(names[-1]) if names else None
        if last is not None and len(names) == 1 and last.is_active:
            raise AgentStateError(
                f"agent {last.name!r} is {last.state} already", details={"agent": last.name, "state": last.state}
            )
        for entry in self.to_start(names):
            self._enqueue(entry)
        self._fill(something_broke=True)
        if last is None or last.stage != Stage.WAITING:
            return "started"
        return f"waiting: {last.reason}"

    def _enqueue(self, entry: AgentEntry) -> None:
        self.all_done.clear()
        self.queue.enter(entry)
        self._stand(entry, Stage.WAITING)

    def _fill(self, *, something_broke: bool = False) -> None:
        """Starts of those that wait who can; sends home who waits for one that will not come."""
        while something_broke and (in_vain := self.queue.who_waits_in_vain()):
            for entry, broken in in_vain:
                entry.note_error(f"it needs {broken.name!r}, which is {broken.state}")
                self._stand(entry, Stage.FAILED, entry.errors[-1][1])
                self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=entry.errors[-1][1])
        if not self._is_closing:
            for entry in self.queue.who_may_start():
                self._launch(entry)
        self._look_around()

    def _launch(self, entry: AgentEntry) -> None:
        entry.life = life = Life(1 if entry.life is None else entry.life.number + 1)
        entry.state_events.clear()
        self.queue.hold(entry)
        self._stand(entry, Stage.STARTED)
        self._vital_signs.expect_ready(entry, life)
        self._launcher.launch(entry, life)

    def _launched(self, entry: AgentEntry, life: Life, instance: BaseAgent) -> None:
        life.instance = instance
        if life.vessel is not None and life.vessel.sentinel is not None:
            self._loop.when_readable(life.vessel.sentinel, self._ended, entry, life, instance)
        if life.doom is not None:  # while it was being made
            self._kill(life)
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
        elif payload == AgentEvent.AGENT_CLOSE.value and life.has_ended:
            self._conclude(entry, life, _failure(life))

    def _is_back(self, entry: AgentEntry, life: Life) -> None:
        """It is ready; also a thread that was given up, and is heard again."""
        if life.was_killed or life.has_ended:
            return
        if life.doom is not None:
            life.doom = None
            self.queue.hold(entry)
            if entry.stage == Stage.READY:
                self._owner.tell(OrchestratorEvent.AGENT_RECOVERED, entry)
        self._stand(entry, Stage.READY)
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
        if not self._kill(life):
            self.queue.free(entry)
            self._stand(entry, entry.stage, why)
            self._fill(something_broke=True)

    def _kill(self, life: Life) -> bool:
        """Ends a process at once; asks a thread to end. Whether it was a process."""
        life.was_killed = life.vessel is not None and life.vessel.kill()
        if not life.was_killed and life.instance is not None:
            life.instance.stop()
        return life.was_killed

    # Ending.

    def _stop(self, name: str, done: Future[str]) -> None:
        entry = self._memory.get_agent(name)
        life = entry.life
        if entry.stage in (Stage.WAITING, Stage.BACKING_OFF):
            self.queue.leave(entry)
            self._stand(entry, Stage.STOPPED)
            done.set_result("stopped")
            self._fill(something_broke=True)
        elif entry.stage == Stage.STOPPING and life is not None and life.doom is not None:
            raise AgentStateError(f"agent {name!r}: {life.doom}", details={"agent": name, "state": entry.state})
        elif entry.stage == Stage.STOPPING:
            self._stopping[name].append(done)
        elif entry.is_active and life is not None:
            self._stopping[name] = [done]
            self._stand(entry, Stage.STOPPING)
            if life.instance is not None:
                life.instance.stop()
            self._loop.later(entry.config.stop_timeout, self._insist, entry, life)
        else:
            raise AgentStateError(
                f"agent {name!r} does not run: it is {entry.state}", details={"agent": name, "state": entry.state}
            )

    def _insist(self, entry: AgentEntry, life: Life) -> None:
        if life is not entry.life or life.has_ended:
            return
        within = f"within {entry.config.stop_timeout:g} s of being asked to"
        if self._kill(life):
            entry.reason = f"it was killed, because it did not end {within}"
            return
        life.doom = f"it cannot be ended, and did not end {within}"
        self.queue.free(entry)
        self._stand(entry, entry.stage, life.doom)
        for done in self._stopping.pop(entry.name, ()):
            done.set_exception(AgentStateError(f"agent {entry.name!r}: {life.doom}", details={"agent": entry.name}))
        self._fill(something_broke=True)

    def _stop_all(self) -> list[Future[str]]:
        ending: list[Future[str]] = []
        active = [entry for entry in self._memory.agents if entry.is_active]
        for entry in sorted(active, key=lambda entry: entry.stage != Stage.WAITING):  # else they took freed places
            done: Future[str] = Future()
            settle(done, partial(self._stop, entry.name, done))
            ending.append(done)
        return ending

    def _ended(self, entry: AgentEntry, life: Life, instance: BaseAgent) -> None:
        """A thread or process is gone. What it said last may still be on its way; it is waited for a moment."""
        if life.has_ended:
            return
        life.has_ended = True
        life.instance = instance
        if life.vessel is not None:
            if life.vessel.sentinel is not None:
                self._loop.forget(life.vessel.sentinel)
            life.vessel.reap()
        failure = _failure(life)
        if life.is_closed or (failure is not None and failure.startswith("killed")):
            self._conclude(entry, life, failure)
        else:
            grace = min(CLOSE_GRACE, entry.config.heartbeat_timeout)
            self._loop.later(grace, self._conclude, entry, life, failure)

    def _conclude(self, entry: AgentEntry, life: Life, failure: str | None) -> None:
        if life is not entry.life or life.ended_at is not None:
            return
        life.has_ended = True
        life.ended_at = datetime.now(UTC)
        was_stopped = entry.stage == Stage.STOPPING
        life.failure = None if was_stopped and life.was_killed else life.doom or failure
        self.queue.free(entry)
        if life.failure is not None and not _is_told(life):
            entry.note_error(life.failure)
            self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=life.failure)
        if life.close():
            entry.state_events.close_event.set()
            self._owner.tell(OrchestratorEvent.AGENT_TERMINATED, entry)
        if was_stopped:
            self._stand(entry, Stage.STOPPED, entry.reason)
        elif not self._restart(entry, life):
            last = entry.errors[-1][1] if entry.errors else None
            self._stand(entry, Stage.FAILED if life.failure else Stage.COMPLETED, life.failure and last)
        self._owner.concluded(entry, life)
        for done in self._stopping.pop(entry.name, ()):
            done.set_result("stopped")
        self._fill(something_broke=entry.is_broken)

    def _restart(self, entry: AgentEntry, life: Life) -> bool:
        """Whether it is started again."""
        if self._is_closing or not entry.restarts.policy.wants(failed=life.failure is not None):
            return False
        try:
            delay = entry.restarts.next_delay(time.monotonic())
        except TooManyRestartsError as error:
            entry.note_error(f"it stays down: {error.message}; the last time: {life.failure or 'it ended well'}")
            self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=entry.errors[-1][1])
            life.failure = life.failure or error.message
            return False
        self._stand(entry, Stage.BACKING_OFF, life.failure)
        self._loop.later(delay, self._start_again, entry, life, delay)
        return True

    def _start_again(self, entry: AgentEntry, life: Life, delay: float) -> None:
        if life is entry.life and entry.stage == Stage.BACKING_OFF:
            self._owner.tell(OrchestratorEvent.AGENT_RESTARTED, entry, restarts=entry.restarts.count, delay=delay)
            self._enqueue(entry)
            self._fill()

    # Standing.

    def _stand(self, entry: AgentEntry, stage: Stage, reason: str | None = None) -> None:
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


def _failure(life: Life) -> str | None:
    return None if life.vessel is None else life.vessel.failure()


def _is_told(life: Life) -> bool:
    """Whether its failure was told: by the supervisor, or by the agent itself."""
    return life.failure == life.told or (life.told is not None and life.failure == FAILED_ITSELF)


def _result(done: Future[str]) -> str:
    if done.cancelled():
        raise OrchestratorError("the orchestrator was shut down meanwhile")
    return done.result()
