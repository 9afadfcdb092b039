"""DependencyGraph: the agents that each agent waits for."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trunkline.orchestrator.errors import DependencyCycleError, DependencyError


class DependencyGraph:
    """The dependencies of agents. An agent starts when all its dependencies are ready or have completed."""

    def __init__(self) -> None:
        self.dependencies: dict[str, list[str]] = {}
        """Dependencies of each agent that has some."""

    def add(self, agent: str, needed: Iterable[str]) -> None:
        """Adds dependencies of an agent; keeps the order, and drops repetitions."""
        known = self.dependencies.get(agent, [])
        found = [*known, *(name for name in dict.fromkeys(needed) if name not in known)]
        if found:
            self.dependencies[agent] = found

    def of(self, agent: str) -> list[str]:
        """Returns the dependencies of an agent."""
        return self.dependencies.get(agent, [])

    def check(self, registered: Collection[str]) -> None:
        """Checks that all dependencies can be met.

        Raises:
            DependencyError: a dependency is not registered.
            DependencyCycleError: agents wait for each other.
        """
        for agent, needed in list(self.dependencies.items()):
            for name in needed:
                if name not in registered:
                    raise DependencyError(
                        f"agent {agent!r} depends on {name!r}, which is not registered",
                        details={"agent": agent, "dependency": name},
                    )
        self.order(list(self.dependencies))

    def order(self, agents: Iterable[str]) -> list[str]:
        """Returns these agents and all that they need, each after its dependencies.

        Raises:
            DependencyCycleError: agents wait for each other.
        """
        done: dict[str, None] = {}
        for start in agents:
            path: dict[str, None] = {}
            stack = [(start, iter(self.of(start)))] if start not in done else []
            path[start] = None
            while stack:
                agent, rest = stack[-1]
                needed = next((name for name in rest if name not in done), None)
                if needed is None:
                    stack.pop()
                    path.pop(agent, None)
                    done[agent] = None
                elif needed in path:
                    names = list(path)
                    cycle = [*names[names.index(needed) :], needed]
                    raise DependencyCycleError(
                        f"agents wait for each other: {' -> '.join(cycle)}", details={"cycle": cycle}
                    )
                else:
                    path[needed] = None
                    stack.append((needed, iter(self.of(needed))))
        return list(done)
