"""Pending: changes of agents that wait to be written to the state store."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from trunkline import AgentState, TaskResult, TaskStatus
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.records import PastLives, life_record, without_output
from trunkline.orchestrator.limits import MAX_PENDING_RESULTS
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.life import Life

_log = logging.getLogger(__name__)


class Pending:
    """Of each agent one change waits, whatever happens to it; results wait up to MAX_PENDING_RESULTS.

    Args:
        holder: the orchestrator.
    """

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._lock = threading.Lock()
        self._changed: dict[str, AgentEntry] = {}
        self._beaten: dict[str, AgentEntry] = {}
        self._past: dict[str, PastLives] = {}
        self._results: deque[TaskResult] = deque()
        self._dropped = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._is_awake = False

    # What any thread may call.

    def changed(self, entry: AgentEntry) -> None:
        """Notes a change of an agent; its record is written at once."""
        with self._lock:
            self._changed[entry.name] = entry
            self._wake_writer()

    def beat(self, entry: AgentEntry) -> None:
        """Notes a heartbeat of an agent; its record is written with the next ones, at intervals."""
        with self._lock:
            self._beaten[entry.name] = entry

    def ended(self, entry: AgentEntry, life: Life) -> None:
        """Notes the end of a life; its result is written at once. Beyond the limit the oldest result is dropped."""
        result = _result(entry, life, self._holder)
        with self._lock:
            self._results.append(result)
            self._changed[entry.name] = entry
            if len(self._results) > MAX_PENDING_RESULTS:
                self._results.popleft()
                self._dropped += 1
                if self._dropped == 1:
                    _log.error("%d results wait for the state store; older ones are dropped", MAX_PENDING_RESULTS)
            self._wake_writer()

    def recorded(self, results: Iterable[TaskResult]) -> None:
        """Adds lives to the past ones of their agents, which their records name: their results are written before.
        Those that were put back are there already."""
        with self._lock:
            for result in results:
                past = self._past.setdefault(result.agent_id, PastLives())
                lives = past.completed if result.status == TaskStatus.COMPLETED else past.failed
                if result.task_id not in lives:
                    lives.append(result.task_id)

    def knows_past(self, agent: str) -> bool:
        """Tells whether `past_lives` was called for an agent, or a result of it was recorded."""
        with self._lock:
            return agent in self._past

    def past_lives(self, agent: str, record: AgentState | None) -> PastLives:
        """Returns a copy of an agent's past lives; at the first call those of the record that was there before."""
        with self._lock:
            return self._past.setdefault(agent, PastLives(record)).copy()

    def _wake_writer(self) -> None:
        if not self._is_awake and self._loop is not None:
            self._is_awake = True
            self._loop.call_soon_threadsafe(self._wake.set)

    # What the writer calls, in its loop.

    def open(self) -> None:
        """Lets changes wake the running loop's `wait`."""
        with self._lock:
            self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Ends that; changes are still taken."""
        with self._lock:
            self._loop = None

    async def wait(self, seconds: float) -> None:
        """Waits for a change since `take`, `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def include_heartbeats(self) -> None:
        """Makes changes of the heartbeats that were noted, of agents that still run."""
        with self._lock:
            beaten = {name: entry for name, entry in self._beaten.items() if entry.is_active}
            self._changed = {**beaten, **self._changed}
            self._beaten = {}

    def take(self) -> tuple[dict[str, AgentEntry], list[TaskResult]]:
        """Takes all agents that have changed, and all results."""
        with self._lock:
            entries, self._changed = self._changed, {}
            results = list(self._results)
            self._results.clear()
            self._wake.clear()
            self._is_awake = False
        return entries, results

    def put_back(self, entries: Mapping[str, AgentEntry], results: Sequence[TaskResult]) -> None:
        """Undoes `take`, where they could not be written."""
        with self._lock:
            self._changed = {**entries, **self._changed}
            self._results.extendleft(reversed(results))


def _result(entry: AgentEntry, life: Life, holder: Holder) -> TaskResult:
    try:
        return life_record(entry, life, holder, life.result)
    except ValueError as error:  # pydantic's: a result that cannot be kept must not hide that there was a life
        return without_output(life_record(entry, life, holder, None), str(error))
