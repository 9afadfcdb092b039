"""Dependencies: who waits for whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trunkline.orchestrator.errors import DependencyCycleError, DependencyError


class DependencyGraph:
    """Which agents each agent needs. An agent starts when all that it needs are ready, or have completed."""

    def __init__(self) -> None:
        self.dependencies: dict[str, list[str]] = {}
        """Of those that need any."""

    def add(self, agent: str, needed: Iterable[str]) -> None:
        """Adds to what an agent needs; the order is kept, repetitions are not."""
        known = self.dependencies.get(agent, [])
        found = [*known, *(name for name in dict.fromkeys(needed) if name not in known)]
        if found:
            self.dependencies[agent] = found

    def of(self, agent: str) -> list[str]:
        """What an agent needs."""
        return self.dependencies.get(agent, [])

    def check(self, registered: Collection[str]) -> None:
        """Checks that all can be met.

        Raises:
            DependencyError: somebody needs an agent that is not registered.
            DependencyCycleError: some wait for each other.
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
        """These agents and all that they need, each after what it needs.

        Raises:
            DependencyCycleError: some wait for each other.
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
