"""Supervisor: starts agents, notices how they end, and starts them again where their policy says so.

All its decisions are made in one thread, by the callbacks of one event loop, so none of them needs a lock. It sleeps
until a process ends, a timer is due, or somebody asks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from trunkline.agents import BaseAgent
from trunkline.orchestrator.dependencies import DependencyGraph
from trunkline.orchestrator.errors import AgentStateError, OrchestratorError
from trunkline.orchestrator.events import OrchestratorEvent
from trunkline.orchestrator.limits import CLOSE_GRACE
from trunkline.orchestrator.memory import AgentEntry, Life, Memory, Stage
from trunkline.orchestrator.restart import TooManyRestartsError

T = TypeVar("T")


class Owner(Protocol):
    """What the supervisor asks of its orchestrator."""

    def make(self, entry: AgentEntry) -> BaseAgent:
        """A new object of the agent, for one life."""

    def tell(self, event: OrchestratorEvent, entry: AgentEntry | None, **facts: Any) -> None:
        """Something happened."""

    def changed(self, entry: AgentEntry) -> None:
        """An agent stands elsewhere than before."""


class Supervisor:
    """Of one orchestrator.

    Args:
        max_workers: agents that run at a time; the others wait in their order.
    """

    def __init__(self, memory: Memory, graph: DependencyGraph, owner: Owner, max_workers: int) -> None:
        self._memory = memory
        self._graph = graph
        self._owner = owner
        self.max_workers = max_workers
        self.all_done = threading.Event()
        """Set while nothing runs and nothing waits to run."""
        self.all_done.set()
        self._waiting: dict[str, AgentEntry] = {}
        self._holding: set[str] = set()
        """Who takes a worker's place. A thread that was given up does not: it cannot be ended, and others go on."""
        self._stopping: dict[str, list[Future[str]]] = {}
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="OrchestratorSupervisor", daemon=True)
        self._thread.start()

    # What any thread may call.

    @property
    def running_count(self) -> int:
        """Agents that take a worker's place."""
        return len(self._holding)

    @property
    def waiting_count(self) -> int:
        """Agents in the queue."""
        return len(self._waiting)

    def start(self, names: list[str]) -> Future[str]:
        """Starts these agents and what they need, as far as they do not run; says of the last how it stands."""
        return self._ask(partial(self._start, names))

    def stop(self, name: str) -> Future[str]:
        """Asks an agent to end, and kills its process when it does not; done when it has ended."""
        done: Future[str] = Future()
        self._loop.call_soon_threadsafe(self._settle, done, partial(self._stop, name, done))
        return done

    def heard(self, entry: AgentEntry, life: Life, payload: str) -> None:
        """An agent said how it stands: `agent_started`, `agent_ready` or `agent_close`."""
        self._loop.call_soon_threadsafe(self._heard, entry, life, payload)

    def close(self) -> None:
        """Stops every agent, and ends. A thread that does not end in time is left behind. Idempotent."""
        if not self._thread.is_alive():
            return
        patience = max((entry.config.stop_timeout for entry in self._memory.agents if entry.is_alive()), default=0.0)
        ending: list[Future[str]] = self._ask(self._stop_all).result()
        until = time.monotonic() + patience + CLOSE_GRACE * 2
        for done in ending:
            try:
                done.result(max(0.0, until - time.monotonic()))
            except (OrchestratorError, TimeoutError):
                continue  # a thread that cannot be ended; it was told
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # The loop.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _ask(self, action: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()

        def answer() -> None:
            done.set_result(action())

        self._loop.call_soon_threadsafe(self._settle, done, answer)
        return done

    def _settle(self, done: Future[Any], action: Callable[[], object]) -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001  # whoever asked gets it
            done.set_exception(error)

    # Starting.

    def _start(self, names: list[str]) -> str:
        if self._is_closing:
            raise OrchestratorError("the orchestrator is shutting down")
        last = self._memory.get_agent(names[-1]) if names else None
        if last is not None and len(names) == 1 and last.is_active:
            raise AgentStateError(
                f"agent {last.name!r} is {last.stage.value} already", details={"agent": last.name, "state": last.stage}
            )
        for name in self._graph.order(names):
            entry = self._memory.get_agent(name)
            if not entry.is_active and (name in names or entry.stage != Stage.COMPLETED):
                self._enqueue(entry)
        self._fill()
        if last is None or last.stage != Stage.WAITING:
            return "started"
        return f"waiting: {last.reason}"

    def _enqueue(self, entry: AgentEntry) -> None:
        self.all_done.clear()
        self._waiting[entry.name] = entry
        self._stand(entry, Stage.WAITING)

    def _fill(self) -> None:
        """Starts of those that wait who can, in their order."""
        for entry in list(self._waiting.values()):
            if len(self._holding) >= self.max_workers:
                entry.reason = f"{len(self._holding)} of {self.max_workers} agents run"
                break
            needed = [self._memory.get_agent(name) for name in self._graph.of(entry.name)]
            broken = next((each for each in needed if _is_broken(each)), None)
            pending = next((each for each in needed if each.stage not in (Stage.READY, Stage.COMPLETED)), None)
            if broken is not None:
                self._give_back(entry, broken)
            elif pending is not None:
                entry.reason = f"it needs {pending.name!r}, which is {pending.stage.value}"
            else:
                del self._waiting[entry.name]
                self._launch(entry)
        self._look_around()

    def _give_back(self, entry: AgentEntry, broken: AgentEntry) -> None:
        del self._waiting[entry.name]
        state = "given up" if broken.is_hung else broken.stage.value
        entry.note_error(f"it needs {broken.name!r}, which is {state}")
        self._stand(entry, Stage.FAILED, entry.errors[-1][1])
        self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=entry.errors[-1][1])
        self._loop.call_soon(self._fill)  # others may need this one

    def _launch(self, entry: AgentEntry) -> None:
        life = Life(1 if entry.life is None else entry.life.number + 1, datetime.now(UTC))
        entry.life = life
        self._holding.add(entry.name)
        try:
            entry.instance = instance = self._owner.make(entry)
            instance.start(partial(self._loop.call_soon_threadsafe, self._ended, entry, life))
        except Exception as error:  # noqa: BLE001  # the agent's own code: it fails, and the orchestrator goes on
            self._conclude(entry, life, f"it cannot be started: {type(error).__name__}: {error}")
            return
        self._stand(entry, Stage.STARTED)
        if instance.vessel is not None and instance.vessel.sentinel is not None:
            self._loop.add_reader(instance.vessel.sentinel, self._ended, entry, life)
        self._loop.call_later(entry.config.ready_timeout, self._check_ready, entry, life)

    # Hearing.

    def _heard(self, entry: AgentEntry, life: Life, payload: str) -> None:
        if life is not entry.life:
            return
        if payload == "agent_started":
            self._check_pulse(entry, life)
        elif payload == "agent_ready" and entry.stage == Stage.STARTED:
            life.doom = None
            self._stand(entry, Stage.READY)
            self._fill()
        elif payload == "agent_close" and life.has_ended:
            self._conclude(entry, life, _failure(entry))

    def _check_ready(self, entry: AgentEntry, life: Life) -> None:
        if life is entry.life and not life.has_ended and entry.stage == Stage.STARTED:
            why = f"it was not ready within {entry.config.ready_timeout:g} s"
            self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=why)
            self._doom(entry, life, why)

    def _check_pulse(self, entry: AgentEntry, life: Life) -> None:
        """Looks again when the next heartbeat is overdue at the earliest."""
        if life is not entry.life or life.has_ended:
            return
        timeout = entry.config.heartbeat_timeout
        left = life.last_seen + timeout - time.monotonic()
        if left > 0:
            if life.doom is not None and entry.stage == Stage.READY:
                life.doom = None  # a thread that came back
                self._holding.add(entry.name)
                self._stand(entry, Stage.READY)
            self._loop.call_later(left, self._check_pulse, entry, life)
            return
        if life.doom is None:
            why = f"it hangs: nothing was heard of it for {timeout:g} s"
            self._owner.tell(OrchestratorEvent.AGENT_HUNG, entry, error_message=why)
            self._doom(entry, life, why)
        self._loop.call_later(timeout, self._check_pulse, entry, life)

    def _doom(self, entry: AgentEntry, life: Life, why: str) -> None:
        """Gives a life up: a process is killed; a thread, which cannot be, is asked to end and loses its place."""
        life.doom = why
        entry.note_error(why)
        instance = entry.instance
        if instance is None or instance.vessel is None or instance.vessel.kill():
            return
        instance.stop()
        self._holding.discard(entry.name)
        self._stand(entry, entry.stage, why)
        self._fill()

    # Ending.

    def _stop(self, name: str, done: Future[str]) -> None:
        entry = self._memory.get_agent(name)
        if entry.stage in (Stage.WAITING, Stage.BACKING_OFF):
            self._waiting.pop(name, None)
            self._stand(entry, Stage.STOPPED)
            done.set_result("stopped")
            self._fill()
        elif entry.stage == Stage.STOPPING:
            self._stopping[name].append(done)
        elif entry.instance is not None and entry.life is not None and entry.is_active:
            self._stopping[name] = [done]
            self._stand(entry, Stage.STOPPING)
            entry.instance.stop()
            self._loop.call_later(entry.config.stop_timeout, self._insist, entry, entry.life)
        else:
            raise AgentStateError(
                f"agent {name!r} does not run: it is {entry.stage.value}",
                details={"agent": name, "state": entry.stage.value},
            )

    def _insist(self, entry: AgentEntry, life: Life) -> None:
        if life is not entry.life or life.has_ended or entry.instance is None or entry.instance.vessel is None:
            return
        if not entry.instance.vessel.kill():
            why = f"it is a thread and did not end within {entry.config.stop_timeout:g} s of being asked to"
            life.doom = why
            self._holding.discard(entry.name)
            self._stand(entry, entry.stage, why)
            for done in self._stopping.pop(entry.name, ()):
                done.set_exception(AgentStateError(f"agent {entry.name!r}: {why}", details={"agent": entry.name}))
            self._stopping[entry.name] = []
            self._fill()

    def _stop_all(self) -> list[Future[str]]:
        self._is_closing = True
        ending: list[Future[str]] = []
        for entry in self._memory.agents:
            if entry.is_active:
                done: Future[str] = Future()
                self._settle(done, partial(self._stop, entry.name, done))
                ending.append(done)
        return ending

    def _ended(self, entry: AgentEntry, life: Life) -> None:
        """A thread or process is gone. What it said last may still be on its way; it is waited for a moment."""
        if life.has_ended:
            return
        life.has_ended = True
        vessel = None if entry.instance is None else entry.instance.vessel
        if vessel is not None and vessel.sentinel is not None:
            self._loop.remove_reader(vessel.sentinel)
        if vessel is not None:
            vessel.join()
        failure = _failure(entry)
        was_killed = failure is not None and failure.startswith("killed")
        if life.is_closed or was_killed:
            self._conclude(entry, life, failure)
        else:
            self._loop.call_later(CLOSE_GRACE, self._conclude, entry, life, failure)

    def _conclude(self, entry: AgentEntry, life: Life, failure: str | None) -> None:
        if life is not entry.life or life.ended_at is not None:
            return
        life.has_ended = True
        life.ended_at = datetime.now(UTC)
        was_stopped = entry.stage == Stage.STOPPING
        life.failure = life.doom or failure
        if was_stopped and life.doom is None:
            life.failure = failure if failure is not None and not failure.startswith("killed") else None
        self._holding.discard(entry.name)
        if life.failure is not None and not life.said_error:
            if life.doom is None:
                entry.note_error(life.failure)
            self._owner.tell(OrchestratorEvent.AGENT_ERROR, entry, error_message=life.failure)
        if not life.is_closed:
            life.is_closed = True
            self._owner.tell(OrchestratorEvent.AGENT_TERMINATED, entry)
        if was_stopped:
            self._stand(entry, Stage.STOPPED)
        elif not self._restart(entry, life):
            last = entry.errors[-1][1] if entry.errors else None
            self._stand(entry, Stage.FAILED if life.failure else Stage.COMPLETED, life.failure and last)
        for done in self._stopping.pop(entry.name, ()):
            done.set_result("stopped")
        self._fill()

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
        self._loop.call_later(delay, self._start_again, entry, life, delay)
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
        if self.all_done.is_set() or self._holding or self._waiting:
            return
        if any(entry.is_active or entry.is_hung for entry in self._memory.agents):
            return
        self._owner.tell(OrchestratorEvent.ALL_AGENTS_TERMINATED, None)
        self.all_done.set()


def _is_broken(entry: AgentEntry) -> bool:
    """Whether it will not become ready any more, unless somebody does something."""
    return entry.stage in (Stage.FAILED, Stage.STOPPED) or entry.is_hung


def _failure(entry: AgentEntry) -> str | None:
    vessel = None if entry.instance is None else entry.instance.vessel
    return None if vessel is None else vessel.failure()
