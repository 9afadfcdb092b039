"""Supervisor: starts agents, notices how they end, and starts them again where their policy says so.

One thread makes all decisions, one after the other, so that none of them needs a lock. It sleeps until a process ends,
a timer is due, or another thread calls. Agents' own code (constructors, `on_stop`) never runs in that thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from trunkline.agents import AgentEvent, BaseAgent
from trunkline.agents.events import LIFE_CYCLE
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.errors import AgentStateError, OrchestratorError
from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.limits import CLOSE_GRACE
from trunkline.orchestrator.message_thread import MessageThread
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentRegistry
from trunkline.orchestrator.supervision.health import HealthMonitor, record_status
from trunkline.orchestrator.supervision.launcher import Launcher
from trunkline.orchestrator.supervision.observer import Observer
from trunkline.orchestrator.supervision.restarter import Restarter
from trunkline.orchestrator.supervision.stopping import Stopping
from trunkline.orchestrator.supervision.supervisor_loop import SupervisorLoop, settle
from trunkline.orchestrator.supervision.worker_queue import WorkerQueue


class Supervisor:
    """Runs the agents of one orchestrator.

    Args:
        registry: the agents.
        graph: their dependencies.
        make: makes an agent object for one life; called in a thread of its own.
        event_log: gets the events of agents.
        messages: tells when the messages received so far have been handled.
        max_workers: agents that run at a time; the others wait in their order.
    """

    def __init__(
        self,
        registry: AgentRegistry,
        graph: DependencyGraph,
        make: Callable[[AgentEntry], BaseAgent],
        event_log: EventLog,
        messages: MessageThread,
        max_workers: int,
    ) -> None:
        self._registry = registry
        self._event_log = event_log
        self._messages = messages
        self._observers: tuple[Observer, ...] = ()
        self.queue = WorkerQueue(registry, graph, max_workers)
        self.all_done = threading.Event()
        """Set while no agent runs or waits to run."""
        self.all_done.set()
        self._is_closing = False
        self._loop = SupervisorLoop("OrchestratorSupervisor")
        self._stopping = Stopping(
            registry,
            self._loop,
            set_stage=self._set_stage,
            cancel=self._cancel,
            kill=self._kill,
            release=self._release,
        )
        self._launcher = Launcher(self._loop, make, self._launched, self._conclude, self._ended)
        self._restarter = Restarter(self._loop, event_log, self._set_stage, self._start_again)
        self._health = HealthMonitor(self._loop, messages, self._hung, self._give_up, self._is_back)

    def observe(self, *observers: Observer) -> None:
        """Notifies observers from now on, in this order. To be called once, before the first start."""
        self._observers = observers

    # What any thread may call.

    @property
    def running_count(self) -> int:
        """Number of agents that occupy a worker. A thread that was given up, and cannot be ended, does not count."""
        return self.queue.running_count

    @property
    def waiting_count(self) -> int:
        """Number of agents in the queue."""
        return self.queue.waiting_count

    def start(self, names: list[str]) -> Future[str]:
        """Starts these agents and their dependencies, unless they are active. The future gets "started", or why the
        last one waits."""
        return self._loop.ask(partial(self._start, names))

    def to_start(self, names: Collection[str]) -> list[AgentEntry]:
        """Returns the agents that `start` would start; see `WorkerQueue.to_start`."""
        return self.queue.to_start(names)

    def pass_on(self, done: Future[str]) -> Future[str]:
        """Returns a future with the same outcome whose callbacks run in the supervisor's thread, as those of
        `start`."""
        return self._loop.pass_on(done)

    def stop(self, name: str) -> Future[str]:
        """Asks an agent to stop, and kills its process when it does not end in time; done when it has ended."""
        done: Future[str] = Future()
        self._loop.call(settle, done, partial(self._stopping.stop, name, done))
        return done

    def stop_all(self) -> list[Future[str]]:
        """Stops every agent that runs or waits to run."""
        return self._loop.ask(self._stopping.stop_all).result()

    @contextmanager
    def hearing(self, message: ServiceMessage) -> Iterator[bool]:
        """Records a STATUS message of an agent. Within the context the caller reports it, unless the value is False
        because it is no news; the supervisor acts on it afterwards."""
        entry = self._registry.find(message.sender)
        life = None if entry is None else entry.life
        if entry is None or life is None:
            yield True
            return
        is_news = record_status(entry, life, message)
        try:
            yield is_news
        finally:
            if is_news and message.payload in LIFE_CYCLE:
                self._loop.offer(self._act_on, entry, life, message.payload)

    def close(self) -> None:
        """Stops every agent, and ends the supervisor's thread. A thread of an agent that does not end in time is left
        behind. Idempotent."""
        self._is_closing = True
        try:
            ending = self.stop_all()
        except OrchestratorError:
            return  # closed already
        patience = max((entry.config.stop_timeout for entry in self._registry.agents if entry.is_active), default=0.0)
        self._stopping.wait(ending, patience + CLOSE_GRACE * 2)
        self._loop.close()
        self._stopping.abandon()

    # Starting.

    def _start(self, names: list[str]) -> str:
        if self._is_closing:
            raise OrchestratorError("the orchestrator is shutting down")
        last = self._registry.get_agent(names[-1]) if names else None
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
        self._set_stage(entry, Stage.WAITING, "others are before it")

    def _start_again(self, entry: AgentEntry) -> None:
        self._enqueue(entry)
        self._fill()

    def _fill(self, *, something_broke: bool = False) -> None:
        """Starts the agents that can start; fails those that depend on a broken agent."""
        while something_broke and (failing := self.queue.take_broken()):
            for entry, broken in failing:
                entry.note_error(f"it needs {broken.name!r}, which is {broken.state}")
                self._set_stage(entry, Stage.FAILED, entry.errors[-1][1])
                self._event_log.record(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=entry.errors[-1][1])
        if not self._is_closing:
            for entry in self.queue.startable():
                self._launch(entry)
        self._check_all_done()

    def _launch(self, entry: AgentEntry) -> None:
        entry.life = life = Life(1 if entry.life is None else entry.life.number + 1)
        entry.state_events.clear()
        self.queue.hold(entry)
        self._set_stage(entry, Stage.STARTED)
        self._health.watch_readiness(entry, life)
        self._launcher.launch(entry, life)

    def _launched(self, entry: AgentEntry, life: Life, instance: BaseAgent) -> None:
        life.instance = instance
        if life.runner is not None and life.runner.sentinel is not None:
            self._loop.when_readable(life.runner.sentinel, self._ended, entry, life, instance)
        if life.verdict is not None:  # given up while it was being made
            self._kill(life)
        elif entry.stage == Stage.STOPPING:
            instance.stop()

    # Status messages.

    def _act_on(self, entry: AgentEntry, life: Life, payload: str) -> None:
        if life is not entry.life:
            return
        if payload == AgentEvent.AGENT_START.value and not life.is_watched:
            life.is_watched = True
            self._health.watch_heartbeats(entry, life)
        elif payload == AgentEvent.AGENT_READY.value and entry.stage == Stage.STARTED:
            self._is_back(entry, life)
        elif payload == AgentEvent.AGENT_CLOSE.value:
            life.is_closed = True
            if life.has_ended:
                self._conclude(entry, life, life.died_of())

    def _is_back(self, entry: AgentEntry, life: Life) -> None:
        """Handles readiness: of a new life, and of a thread that was given up and sends messages again."""
        if life.was_killed or life.has_ended:
            return
        if life.verdict is not None:
            life.verdict = None
            self.queue.hold(entry)
            if entry.stage == Stage.READY:
                self._event_log.record(OrchestratorEvent.AGENT_RECOVERED, entry.name)
        self._set_stage(entry, Stage.READY)
        self._fill()

    def _hung(self, entry: AgentEntry, life: Life, why: str) -> None:
        self._event_log.record(OrchestratorEvent.AGENT_HUNG, entry.name, error_message=why)
        self._give_up(entry, life, why)

    def _give_up(self, entry: AgentEntry, life: Life, why: str) -> None:
        """Kills a process; asks a thread, which cannot be killed, to end, and frees its worker."""
        life.verdict = why
        life.last_error = why
        entry.note_error(why)
        self._event_log.record(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=why)
        if not self._kill(life):
            self._set_stage(entry, entry.stage, why)
            self._release(entry)

    # Ending.

    def _ended(self, entry: AgentEntry, life: Life, instance: BaseAgent) -> None:
        """Handles the end of a thread or process. Its last messages may still be on their way, and are reported
        first."""
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
            self._messages.when_handled(partial(self._loop.offer, self._conclude, entry, life, failure))
            self._loop.later(CLOSE_GRACE, self._conclude, entry, life, failure)

    def _conclude(self, entry: AgentEntry, life: Life, failure: str | None) -> None:
        if life is not entry.life or life.ended_at is not None:
            return
        life.has_ended = True
        life.ended_at = datetime.now(UTC)
        was_stopped = entry.stage == Stage.STOPPING
        life.failure = None if was_stopped and life.was_killed else life.verdict or failure
        self.queue.free(entry)
        if life.failure is not None and not life.is_reported:
            entry.note_error(life.failure)
            self._event_log.record(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=life.failure)
        if life.close():
            entry.state_events.close_event.set()
            self._event_log.record(OrchestratorEvent.AGENT_TERMINATED, entry.name)
        if was_stopped:
            self._set_stage(entry, Stage.STOPPED, entry.reason)
        elif self._is_closing or not self._restarter.schedule(entry, life):
            last = entry.errors[-1][1] if entry.errors else None
            self._set_stage(entry, Stage.FAILED if life.failure else Stage.COMPLETED, life.failure and last)
        for observer in self._observers:
            observer.concluded(entry, life)
        self._stopping.ended(entry)
        self._fill(something_broke=entry.is_broken)

    # What the parts above call.

    def _cancel(self, entries: Iterable[AgentEntry]) -> None:
        """Takes agents out of the queue."""
        for entry in entries:
            self.queue.leave(entry)
            self._set_stage(entry, Stage.STOPPED)
        self._fill(something_broke=True)

    def _release(self, entry: AgentEntry) -> None:
        """Frees the worker of an agent that cannot be ended, so that others start."""
        self.queue.free(entry)
        self._fill(something_broke=True)

    def _kill(self, life: Life) -> bool:
        """Kills a process, or asks a thread to end; returns whether it was a process."""
        life.was_killed = life.runner is not None and life.runner.kill()
        if not life.was_killed and life.instance is not None:
            life.instance.stop()
        return life.was_killed

    def _set_stage(self, entry: AgentEntry, stage: Stage, reason: str | None = None) -> None:
        """Sets the stage of an agent, and its reason."""
        entry.stage = stage
        entry.reason = reason
        for observer in self._observers:
            observer.changed(entry)

    def _check_all_done(self) -> None:
        if self.all_done.is_set() or self.queue.running_count or self.queue.waiting_count:
            return
        if any(entry.is_active or entry.is_hung for entry in self._registry.agents):
            return
        self._event_log.record(OrchestratorEvent.ALL_AGENTS_TERMINATED, None)
        self.all_done.set()
