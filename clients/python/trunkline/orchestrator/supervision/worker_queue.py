"""WorkerQueue: which of the agents that wait may start."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.registry import AgentEntry, Memory, Stage


class WorkerQueue:
    """The agents that wait, in their order, and those that take a worker's place.

    Only the supervisor's thread changes it; any thread may look at the counts.

    Args:
        max_workers: agents that run at a time.
    """

    def __init__(self, memory: Memory, graph: DependencyGraph, max_workers: int) -> None:
        self._memory = memory
        self._graph = graph
        self.max_workers = max_workers
        self._waiting: dict[str, AgentEntry] = {}
        self._running: set[str] = set()

    @property
    def running_count(self) -> int:
        """Agents that take a worker's place."""
        return len(self._running)

    @property
    def waiting_count(self) -> int:
        """Agents that wait."""
        return len(self._waiting)

    def to_start(self, names: Collection[str]) -> list[AgentEntry]:
        """Which agents are to be started, for these to run: these, as far as they do not, and what they need and have
        not had."""
        entries = map(self._memory.get_agent, self._graph.order(names))
        return [
            each for each in entries if not each.is_active and (each.name in names or each.stage != Stage.COMPLETED)
        ]

    def enter(self, entry: AgentEntry) -> None:
        """Waits, behind the others."""
        self._waiting[entry.name] = entry

    def leave(self, entry: AgentEntry) -> None:
        """Waits no more; fine for one that does not."""
        self._waiting.pop(entry.name, None)

    def hold(self, entry: AgentEntry) -> None:
        """Takes a worker's place."""
        self._running.add(entry.name)

    def free(self, entry: AgentEntry) -> None:
        """Gives its place back; fine for one that has none."""
        self._running.discard(entry.name)

    def who_may_start(self) -> Iterator[AgentEntry]:
        """Takes out of the queue, in their order, those that can start now. Whoever is given one holds a place for it
        before asking for the next."""
        for entry in list(self._waiting.values()):
            if len(self._running) >= self.max_workers:
                entry.reason = f"{len(self._running)} of {self.max_workers} agents run"
                return
            needed = self._needed_by(entry)
            pending = next((each for each in needed if each.stage not in (Stage.READY, Stage.COMPLETED)), None)
            if pending is None:
                self.leave(entry)
                yield entry
            else:
                entry.reason = f"it needs {pending.name!r}, which is {pending.stage.value}"

    def who_waits_in_vain(self) -> list[tuple[AgentEntry, AgentEntry]]:
        """Takes those out of the queue that need an agent which will not become ready by itself; each with that one.
        Those that need them in turn are next time's."""
        found = []
        for name in list(self._graph.dependencies):
            entry = self._waiting.get(name)
            broken = entry and next((each for each in self._needed_by(entry) if each.is_broken), None)
            if entry is not None and broken is not None:
                self.leave(entry)
                found.append((entry, broken))
        return found

    def _needed_by(self, entry: AgentEntry) -> list[AgentEntry]:
        return [self._memory.get_agent(name) for name in self._graph.of(entry.name)]
