"""SocketOrchestrator: the client of one orchestrator's command socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from trunkline.cli.agents.command_connection import CommandConnection
from trunkline.errors import TrunklineError

ANSWER_SECONDS: Final = 10.0
"""Seconds for the answer to a question; beyond it RequestTimeoutError."""
ACTION_SECONDS: Final = 120.0
"""Seconds for a start, a stop or a shutdown; beyond it RequestTimeoutError."""
PAGE_SIZE: Final = 1_000
"""Agents of one page."""
EVENTS_AT_A_TIME: Final = 100
"""Events of one answer, where all are asked for."""

THE_ONE: Final = ""
"""Name of a socket's orchestrator in `after`: its events do not name it."""

Data = dict[str, Any]


class SocketOrchestrator(CommandConnection):
    """The commands of an orchestrator. Each call raises as `ask`."""

    async def ps(self) -> Data:
        """Returns all agents, page by page."""
        return await self._pages("ps")

    async def stats(self) -> Data:
        """Returns the figures of all agents that were started, page by page."""
        return await self._pages("stats")

    async def status(self, name: str | None = None) -> Data:
        """Returns the facts of an agent, or of the orchestrator."""
        return await self._data("status", *([] if name is None else [name]))

    async def report(self) -> Data:
        """Returns the report."""
        return await self._data("report")

    async def dependencies(self) -> Data:
        """Returns the dependencies of agents."""
        return await self._data("dependencies")

    async def commands(self) -> Data:
        """Returns the allowed and the restricted commands."""
        return await self._data("commands")

    async def history_stats(self, agent: str | None = None) -> Data:
        """Returns the number of events of each type."""
        return await self._data("history-stats", *([] if agent is None else ["--agent", agent]))

    async def history(
        self, *, last: int | None = None, agent: str | None = None, type: str | None = None, after: Mapping[str, int]
    ) -> Data:
        """Returns the `last` events, or all that are kept, after the sequence that `after` has for THE_ONE."""
        after_seq = after.get(THE_ONE, 0)
        options = {"agent": agent, "type": type, "after_seq": after_seq, "last": last}
        filters = {name: value for name, value in options.items() if value}
        if last is not None:
            return await self._data("history", json.dumps(filters))
        events: list[Data] = []
        while True:
            page = filters | {"first": EVENTS_AT_A_TIME, "after_seq": events[-1]["seq"] if events else after_seq}
            data = await self._data("history", json.dumps(page))
            events += data["events"]
            if data["count"] < EVENTS_AT_A_TIME:
                return {**data, "events": events, "count": len(events), "filters": filters}

    async def start(self, name: str) -> Data:
        """Starts an agent; returns a `message`."""
        return await self._message("start", name)

    async def stop(self, name: str) -> Data:
        """Stops an agent; returns a `message`."""
        return await self._message("stop", name)

    async def shutdown(self, orchestrator: str | None = None) -> Data:
        """Begins the shutdown; returns a `message`. A name is ignored: a socket has one orchestrator."""
        return await self._message("shutdown")

    # Asking.

    async def _pages(self, command: str) -> Data:
        agents: list[Data] = []
        token: list[str] = []
        while True:
            data = await self._data(command, f"--page-size={PAGE_SIZE}", *token)
            agents += data["agents"]
            if not (more := data.pop("next_page_token", None)):
                return {**data, "agents": agents}
            token = [f"--page-token={more}"]

    async def _data(self, command: str, *args: str) -> Data:
        data = (await self.ask(command, args, ANSWER_SECONDS)).get("data")
        if not isinstance(data, dict):
            raise TrunklineError(f"{self.path} answered {command!r} without data: is that an orchestrator?")
        return data

    async def _message(self, command: str, *args: str) -> Data:
        return {"message": str((await self.ask(command, args, ACTION_SECONDS)).get("message", "done"))}
