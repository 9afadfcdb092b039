"""FleetOrchestrators: a fleet, with the answers of one orchestrator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.orchestrator import Fleet

Data = dict[str, Any]


class FleetOrchestrators(Fleet):
    """A `Fleet` whose answers have the form that `trunkline` prints: facts of orchestrators are lists whose items carry
    the name, and each change has a message."""

    async def start(self, name: str) -> Data:
        return _with_place(await super().start(name))

    async def stop(self, name: str) -> Data:
        return _with_place(await super().stop(name))

    async def status(self, name: str | None = None) -> Data:
        answer = await super().status(name)
        if name is not None:
            return answer
        return {"orchestrators": [{"orchestrator": each, **facts} for each, facts in answer["orchestrators"].items()]}

    async def report(self) -> Data:
        answer = await super().report()
        reports = answer["orchestrators"]
        silent = {name: report["error"] for name, report in reports.items() if "error" in report}
        return {
            "time": answer["time"],
            "fleet": answer["fleet"],
            "silent": silent,
            "reports": [report for name, report in reports.items() if name not in silent],
        }

    async def stats(self) -> Data:
        answer = await super().stats()
        each = answer["orchestrators"].items()
        return {
            "timestamp": answer["timestamp"],
            "orchestrators": [{**facts.get("orchestrator", facts), "name": name} for name, facts in each],
            "agents": [{**agent, "orchestrator": name} for name, facts in each for agent in facts.get("agents", ())],
        }

    async def history(
        self,
        last: int | None = None,
        agent: str | None = None,
        type: str | None = None,
        after: Mapping[str, int] | None = None,
    ) -> Data:
        filters = {name: value for name, value in (("last", last), ("agent", agent), ("type", type)) if value}
        return {**await super().history(last, agent, type, after), "filters": filters}

    async def shutdown(self, orchestrator: str | None = None) -> Data:
        answer = await super().shutdown(orchestrator)
        return {**answer, "message": f"Shutdown initiated on {', '.join(answer['orchestrators'])}"}


def _with_place(answer: Data) -> Data:
    return {**answer, "message": f"{answer['message']} on {answer['orchestrator']}"}
