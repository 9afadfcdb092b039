"""Stopping: ends agents, and kills processes that do not end in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from trunkline.orchestrator.errors import AgentStateError, OrchestratorError
from trunkline.orchestrator.limits import KILL_GRACE
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentRegistry
from trunkline.orchestrator.supervision.supervisor_loop import SupervisorLoop, settle

_NOT_YET = (Stage.WAITING, Stage.BACKING_OFF)


class Stopping:
    """Keeps the agents that were asked to stop, and the callers that wait for their end. All methods but `wait` run in
    the supervisor's thread.

    Args:
        registry: the agents.
        loop: the supervisor's.
        set_stage: sets an agent's stage, and its reason.
        cancel: takes agents out of the queue, as stopped.
        kill: kills a process, or asks a thread to end; returns whether it was a process.
        release: frees the worker's place of an agent that does not end, so that others start.
    """

    def __init__(
        self,
        registry: AgentRegistry,
        loop: SupervisorLoop,
        *,
        set_stage: Callable[[AgentEntry, Stage, str | None], object],
        cancel: Callable[[Iterable[AgentEntry]], object],
        kill: Callable[[Life], bool],
        release: Callable[[AgentEntry], object],
    ) -> None:
        self._registry = registry
        self._loop = loop
        self._set_stage = set_stage
        self._cancel = cancel
        self._kill = kill
        self._release = release
        self._waiting: dict[str, list[Future[str]]] = {}

    def stop(self, name: str, done: Future[str]) -> None:
        """Asks an agent to stop, and kills its process when it does not end in time.

        Args:
            name: the agent's.
            done: gets "stopped" when the agent has ended; AgentStateError where a thread does not end in time.

        Raises:
            AgentNotFoundError, AgentStateError: the agent is not registered, does not run, or did not end before.
        """
        entry = self._registry.get_agent(name)
        life = entry.life
        if entry.stage in _NOT_YET:
            self._cancel([entry])
            done.set_result("stopped")
        elif entry.stage == Stage.STOPPING and life is not None and life.verdict is not None:
            raise AgentStateError(f"agent {name!r}: {life.verdict}", details={"agent": name, "state": entry.state})
        elif entry.stage == Stage.STOPPING:
            self._waiting[name].append(done)
        elif entry.is_active and life is not None:
            self._waiting[name] = [done]
            self._set_stage(entry, Stage.STOPPING, None)
            if life.instance is not None:
                life.instance.stop()
            self._loop.later(entry.config.stop_timeout, self._insist, entry, life)
        else:
            raise AgentStateError(
                f"agent {name!r} does not run: it is {entry.state}", details={"agent": name, "state": entry.state}
            )

    def stop_all(self) -> list[Future[str]]:
        """Stops every agent that runs, and cancels those in the queue; returns a future for each that runs."""
        self._cancel([entry for entry in self._registry.agents if entry.stage in _NOT_YET])
        ending: list[Future[str]] = []
        for entry in self._registry.agents:
            if entry.is_active:
                done: Future[str] = Future()
                settle(done, partial(self.stop, entry.name, done))
                ending.append(done)
        return ending

    @staticmethod
    def wait(ending: Iterable[Future[str]], seconds: float) -> None:
        """Waits until these futures are done, `seconds` at most. Not to be called in the supervisor's thread."""
        until = time.monotonic() + seconds
        for done in ending:
            with suppress(OrchestratorError, TimeoutError):  # a thread that does not end; the error was reported
                done.result(max(0.0, until - time.monotonic()))

    def ended(self, entry: AgentEntry) -> None:
        """Settles the futures of an agent that has ended."""
        for done in self._waiting.pop(entry.name, ()):
            done.set_result("stopped")

    def abandon(self) -> None:
        """Fails the futures that are left when the loop has ended."""
        for done in [done for waiting in self._waiting.values() for done in waiting]:
            done.set_exception(OrchestratorError("the orchestrator was shut down before the agent had ended"))
        self._waiting.clear()

    def _insist(self, entry: AgentEntry, life: Life) -> None:
        if life is not entry.life or life.has_ended:
            return
        within = f"within {entry.config.stop_timeout:g} s of being asked to"
        if self._kill(life):
            entry.reason = f"it was killed, because it did not end {within}"
            self._loop.later(KILL_GRACE, self._give_up, entry, life, "it was killed, and has not ended")
        else:
            self._give_up(entry, life, f"it cannot be ended, and did not end {within}")

    def _give_up(self, entry: AgentEntry, life: Life, why: str) -> None:
        """Gives an agent up that does not end, and goes on without it."""
        if life is not entry.life or life.has_ended:
            return
        life.verdict = why
        self._set_stage(entry, entry.stage, why)
        for done in self._waiting.pop(entry.name, ()):
            done.set_exception(AgentStateError(f"agent {entry.name!r}: {why}", details={"agent": entry.name}))
        self._release(entry)
