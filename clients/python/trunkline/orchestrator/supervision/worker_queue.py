"""WorkerQueue: agents that wait for a worker."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.entry import AgentEntry, Stage
from trunkline.orchestrator.registry.registry import AgentRegistry


class WorkerQueue:
    """The agents that wait, in their order, and those that occupy a worker. The supervisor's thread alone changes the
    queue; any thread may read the counts.

    Args:
        registry: the agents.
        graph: their dependencies.
        max_workers: agents that run at a time.
    """

    def __init__(self, registry: AgentRegistry, graph: DependencyGraph, max_workers: int) -> None:
        self._registry = registry
        self._graph = graph
        self.max_workers = max_workers
        self._waiting: dict[str, AgentEntry] = {}
        self._running: set[str] = set()

    @property
    def running_count(self) -> int:
        """Number of agents that occupy a worker."""
        return len(self._running)

    @property
    def waiting_count(self) -> int:
        """Number of agents that wait."""
        return len(self._waiting)

    def to_start(self, names: Collection[str]) -> list[AgentEntry]:
        """Returns the agents to start so that these run: these, unless they are active, and their dependencies, unless
        they are active or have completed; each after its dependencies."""
        entries = map(self._registry.get_agent, self._graph.order(names))
        return [
            each for each in entries if not each.is_active and (each.name in names or each.stage != Stage.COMPLETED)
        ]

    def enter(self, entry: AgentEntry) -> None:
        """Adds an agent at the end of the queue."""
        self._waiting[entry.name] = entry

    def leave(self, entry: AgentEntry) -> None:
        """Removes an agent from the queue; without effect for one that does not wait."""
        self._waiting.pop(entry.name, None)

    def hold(self, entry: AgentEntry) -> None:
        """Marks an agent as occupying a worker."""
        self._running.add(entry.name)

    def free(self, entry: AgentEntry) -> None:
        """Frees the worker of an agent; without effect for one that has none."""
        self._running.discard(entry.name)

    def startable(self) -> Iterator[AgentEntry]:
        """Takes the agents out of the queue that can start now, in their order. The caller must `hold` a worker for
        each before it takes the next."""
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

    def take_broken(self) -> list[tuple[AgentEntry, AgentEntry]]:
        """Takes the agents out of the queue that depend on a broken agent; returns each with that one. Agents that
        depend on these in turn are found by the next call."""
        found = []
        for name in list(self._graph.dependencies):
            entry = self._waiting.get(name)
            broken = entry and next((each for each in self._needed_by(entry) if each.is_broken), None)
            if entry is not None and broken is not None:
                self.leave(entry)
                found.append((entry, broken))
        return found

    def _needed_by(self, entry: AgentEntry) -> list[AgentEntry]:
        return [self._registry.get_agent(name) for name in self._graph.of(entry.name)]
