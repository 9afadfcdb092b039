"""SocketOrchestrator: one orchestrator, asked through its command socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from trunkline.cli.agents.command_connection import CommandConnection
from trunkline.errors import TrunklineError

ANSWER_SECONDS: Final = 10.0
"""What an orchestrator gets to answer a question; beyond it RequestTimeoutError."""
DEED_SECONDS: Final = 120.0
"""What it gets to start or stop an agent."""
PAGE_SIZE: Final = 1_000
"""Agents of one answer; all of them are asked for, page by page."""
EVENTS_AT_A_TIME: Final = 100
"""Events of one answer; all are asked for, where nobody says how many of the last ones."""

THE_ONE: Final = ""
"""The orchestrator of a socket, whose events do not name it."""

Data = dict[str, Any]


class SocketOrchestrator(CommandConnection):
    """What can be asked of an orchestrator. Each call raises as `ask`."""

    async def ps(self) -> Data:
        """The agents, all of them."""
        return await self._pages("ps")

    async def stats(self) -> Data:
        """Figures that change, of all agents that were started."""
        return await self._pages("stats")

    async def status(self, name: str | None = None) -> Data:
        """Of an agent, or of the orchestrator."""
        return await self._data("status", *([] if name is None else [name]))

    async def report(self) -> Data:
        """All that somebody elsewhere needs."""
        return await self._data("report")

    async def dependencies(self) -> Data:
        """Who needs whom."""
        return await self._data("dependencies")

    async def commands(self) -> Data:
        """What is allowed."""
        return await self._data("commands")

    async def history_stats(self, agent: str | None = None) -> Data:
        """How often which event happened."""
        return await self._data("history-stats", *([] if agent is None else ["--agent", agent]))

    async def history(
        self, *, last: int | None = None, agent: str | None = None, type: str | None = None, after: Mapping[str, int]
    ) -> Data:
        """Events: the `last` ones, or all that are kept, behind the one that `after` says of THE_ONE."""
        after_seq = after.get(THE_ONE, 0)
        wanted = {"agent": agent, "type": type, "after_seq": after_seq, "last": last}
        filters = {name: value for name, value in wanted.items() if value}
        if last is not None:
            return await self._data("history", json.dumps(filters))
        events: list[Data] = []
        while True:
            page = filters | {"first": EVENTS_AT_A_TIME, "after_seq": events[-1]["seq"] if events else after_seq}
            data = await self._data("history", json.dumps(page))
            events += data["events"]
            if data["count"] < EVENTS_AT_A_TIME:
                return {**data, "events": events, "count": len(events), "filters": filters}

    async def start(self, name: str) -> str:
        """Starts an agent; says what came of it."""
        return await self._message("start", name)

    async def stop(self, name: str) -> str:
        """Ends an agent; says what came of it."""
        return await self._message("stop", name)

    async def shutdown(self, orchestrator: str | None = None) -> str:
        """Begins to end the orchestrator with its agents; there is no other to be named."""
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

    async def _message(self, command: str, *args: str) -> str:
        return str((await self.ask(command, args, DEED_SECONDS)).get("message", "done"))
