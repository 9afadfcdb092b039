"""Stopping: agents that were asked to end, and who waits for that."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Protocol

from trunkline.orchestrator.errors import AgentStateError, OrchestratorError
from trunkline.orchestrator.limits import KILL_GRACE
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry, Memory, Stage
from trunkline.orchestrator.supervision.loop_thread import LoopThread, settle

_NOT_YET = (Stage.WAITING, Stage.BACKING_OFF)


class Board(Protocol):
    """What stopping needs of the supervisor."""

    def stand(self, entry: AgentEntry, stage: Stage, reason: str | None = None) -> None:
        """An agent stands elsewhere than before."""

    def withdraw(self, entries: Iterable[AgentEntry]) -> None:
        """Agents that wait to run do not any more."""

    def kill(self, life: Life) -> bool:
        """Ends a process at once; asks a thread to end. Whether it was a process."""

    def vacate(self, entry: AgentEntry) -> None:
        """An agent that cannot be ended loses its place, and others go on."""


class Stopping:
    """Everything here but `wait` runs in the loop's thread."""

    def __init__(self, memory: Memory, loop: LoopThread, board: Board) -> None:
        self._memory = memory
        self._loop = loop
        self._board = board
        self._waiting: dict[str, list[Future[str]]] = {}

    def stop(self, name: str, done: Future[str]) -> None:
        """Asks an agent to end, and kills its process when it does not.

        Args:
            name: the agent's.
            done: has "stopped" when it has ended; AgentStateError where it is a thread that does not end in time.

        Raises:
            AgentNotFoundError, AgentStateError: it is not there, does not run, or is known not to end.
        """
        entry = self._memory.get_agent(name)
        life = entry.life
        if entry.stage in _NOT_YET:
            self._board.withdraw([entry])
            done.set_result("stopped")
        elif entry.stage == Stage.STOPPING and life is not None and life.doom is not None:
            raise AgentStateError(f"agent {name!r}: {life.doom}", details={"agent": name, "state": entry.state})
        elif entry.stage == Stage.STOPPING:
            self._waiting[name].append(done)
        elif entry.is_active and life is not None:
            self._waiting[name] = [done]
            self._board.stand(entry, Stage.STOPPING)
            if life.instance is not None:
                life.instance.stop()
            self._loop.later(entry.config.stop_timeout, self._insist, entry, life)
        else:
            raise AgentStateError(
                f"agent {name!r} does not run: it is {entry.state}", details={"agent": name, "state": entry.state}
            )

    def stop_all(self) -> list[Future[str]]:
        """As `stop`, of every agent that runs; those that wait to run are not started."""
        self._board.withdraw([entry for entry in self._memory.agents if entry.stage in _NOT_YET])
        ending: list[Future[str]] = []
        for entry in self._memory.agents:
            if entry.is_active:
                done: Future[str] = Future()
                settle(done, partial(self.stop, entry.name, done))
                ending.append(done)
        return ending

    @staticmethod
    def wait(ending: Iterable[Future[str]], seconds: float) -> None:
        """Outside of the loop: waits until these are done, or will not be."""
        until = time.monotonic() + seconds
        for done in ending:
            with suppress(OrchestratorError, TimeoutError):  # a thread that cannot be ended; it was told
                done.result(max(0.0, until - time.monotonic()))

    def ended(self, entry: AgentEntry) -> None:
        """An agent has ended: whoever waited for it is told."""
        for done in self._waiting.pop(entry.name, ()):
            done.set_result("stopped")

    def abandon(self) -> None:
        """The loop has ended: whoever waits still is told that nothing comes of it."""
        for done in [done for waiting in self._waiting.values() for done in waiting]:
            done.set_exception(OrchestratorError("the orchestrator was shut down before the agent had ended"))
        self._waiting.clear()

    def _insist(self, entry: AgentEntry, life: Life) -> None:
        if life is not entry.life or life.has_ended:
            return
        within = f"within {entry.config.stop_timeout:g} s of being asked to"
        if self._board.kill(life):
            entry.reason = f"it was killed, because it did not end {within}"
            self._loop.later(KILL_GRACE, self._leave, entry, life, "it was killed, and has not ended")
        else:
            self._leave(entry, life, f"it cannot be ended, and did not end {within}")

    def _leave(self, entry: AgentEntry, life: Life, why: str) -> None:
        """Goes on without it."""
        if life is not entry.life or life.has_ended:
            return
        life.doom = why
        self._board.stand(entry, entry.stage, why)
        for done in self._waiting.pop(entry.name, ()):
            done.set_exception(AgentStateError(f"agent {entry.name!r}: {why}", details={"agent": entry.name}))
        self._board.vacate(entry)
