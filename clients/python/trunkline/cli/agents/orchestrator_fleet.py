"""FleetOrchestrators: a fleet, asked as one orchestrator is."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from trunkline.orchestrator import Fleet

Data = dict[str, Any]


class FleetOrchestrators:
    """What can be asked of a fleet. Each call raises as `Fleet`.

    Args:
        bus, state: where they are.
    """

    def __init__(self, bus: str, state: str) -> None:
        self._fleet = Fleet(bus, state)

    async def __aenter__(self) -> Self:
        await self._fleet.connect()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._fleet.disconnect()

    async def ps(self) -> Data:
        """The agents and the orchestrators."""
        return await self._fleet.ps()

    async def start(self, name: str) -> str:
        """Starts an agent; says where."""
        return _told(await self._fleet.start(name))

    async def stop(self, name: str) -> str:
        """Ends an agent; says where."""
        return _told(await self._fleet.stop(name))

    async def status(self, name: str | None = None) -> Data:
        """Of an agent, or of each orchestrator."""
        found = await self._fleet.status(name)
        return found if name is not None else {"orchestrators": _each(found["orchestrators"], "orchestrator")}

    async def report(self) -> Data:
        """How the fleet stands, and each orchestrator's report."""
        found = await self._fleet.report()
        reports = found["orchestrators"]
        silent = {name: report["error"] for name, report in reports.items() if "error" in report}
        return {
            "time": found["time"],
            "fleet": found["fleet"],
            "silent": silent,
            "reports": [report for name, report in reports.items() if name not in silent],
        }

    async def stats(self) -> Data:
        """The figures of each orchestrator, and of all agents."""
        found = await self._fleet.stats()
        told = found["orchestrators"]
        return {
            "timestamp": found["timestamp"],
            "orchestrators": [{**answer.get("orchestrator", answer), "name": name} for name, answer in told.items()],
            "agents": [
                {**agent, "orchestrator": name} for name, answer in told.items() for agent in answer.get("agents", ())
            ],
        }

    async def history(
        self, *, last: int | None = None, agent: str | None = None, type: str | None = None, after: Mapping[str, int]
    ) -> Data:
        """Events of all, each with its `orchestrator`; those count each for itself, so `after` is by their names."""
        filters = {name: value for name, value in (("last", last), ("agent", agent), ("type", type)) if value}
        return {**await self._fleet.history(last=last, agent=agent, type=type, after=after), "filters": filters}

    async def dependencies(self) -> Data:
        """Who needs whom, on any of them."""
        return await self._fleet.dependencies()

    async def shutdown(self, orchestrator: str | None = None) -> str:
        """Begins to end one, or all."""
        ended = (await self._fleet.shutdown(orchestrator))["orchestrators"]
        return f"Shutdown initiated on {', '.join(ended)}"


def _told(found: Data) -> str:
    return f"{found['message']} on {found['orchestrator']}"


def _each(found: dict[str, Data], key: str) -> list[Data]:
    """What each says, with its name."""
    return [{key: name, **facts} for name, facts in found.items()]
