"""Placement: which of the agents that may run anywhere in a fleet this orchestrator takes.

Nobody places them: each orchestrator takes one when it is the least loaded that lives. To those that are less loaded it
leaves an agent for a while each; who has not taken it by then does not know it, or cannot, and is not waited for again
until its load changes. Whoever claims an agent first has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from trunkline import AgentState, Get, StateManager
from trunkline.errors import StateError, TrunklineError
from trunkline.orchestrator.errors import AgentStateError, DependencyError
from trunkline.orchestrator.fleet.records import Holder, holder_of, is_wanted
from trunkline.orchestrator.fleet.roster import Peer, Roster
from trunkline.orchestrator.limits import PLACEMENT_PATIENCE, RECORDS_AT_A_TIME
from trunkline.orchestrator.registry.registry import AgentEntry, Stage

_log = logging.getLogger(__name__)


class Placement:
    """Of one orchestrator, in the loop's thread.

    Args:
        holder: the orchestrator.
        roster: who else lives.
        state: the store.
        anywhere: the agents that may run anywhere, and do not run here.
        load: how loaded this one is: (running + waiting) / max_workers.
        take: claims an agent and starts it here.
    """

    def __init__(
        self,
        holder: Holder,
        roster: Roster,
        state: StateManager,
        *,
        anywhere: Callable[[], list[AgentEntry]],
        load: Callable[[], float],
        take: Callable[[str], Awaitable[object]],
    ) -> None:
        self._holder = holder
        self._roster = roster
        self._state = state
        self._anywhere = anywhere
        self._load = load
        self._take = take
        self._stirred = asyncio.Event()
        self._unplaced: dict[str, float] = {}
        """Agents that run nowhere, as far as is known, with the time before which they are not to be tried again."""
        self._next_since = 0.0
        """When the first of them became the first."""
        self._passed_over: dict[str, float] = {}
        """Orchestrators that left an agent, and their load then."""
        self._asked: set[str] = set()
        """Agents that somebody here asked to be started."""
        self._is_serving = False
        self._must_look = False

    def serve(self, names: Iterable[str]) -> None:
        """From now on it takes agents; these ones shall run somewhere."""
        for name in names:
            self._asked.add(name)
            self._add(name)
        self._is_serving = self._must_look = True
        self.stir()

    def stop(self) -> None:
        """It takes nothing any more."""
        self._is_serving = False

    def stir(self) -> None:
        """The fleet is not as it was, perhaps."""
        self._stirred.set()

    async def run(self) -> None:
        """Takes what it can, until it is cancelled."""
        lived: set[Holder] = set()
        while True:
            live = {peer.holder for peer in self._roster.live()}
            if dead := lived - live:
                _log.warning("gone from the fleet: %s", ", ".join(sorted(each.name for each in dead)))
                self._must_look = True
            lived = live
            if self._must_look and self._is_serving:
                await self._look()
            wait = self._patience()
            if wait is not None and wait <= 0:
                await self._take_next()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stirred.wait()
            self._stirred.clear()

    def _add(self, name: str, wait: float = 0.0) -> None:
        if not self._unplaced:
            self._next_since = time.monotonic()
        self._unplaced.setdefault(name, time.monotonic() + wait)

    def _patience(self) -> float | None:
        """In how many seconds the next agent may be taken; None where there is none."""
        if not self._unplaced or not self._is_serving:
            return None
        since = max(self._next_since, next(iter(self._unplaced.values())))
        return since + len(self._ahead()) * PLACEMENT_PATIENCE - time.monotonic()

    def _ahead(self) -> list[Peer]:
        """The live ones that are less loaded and may want the next agent."""
        own = self._load(), self._holder.name
        return [
            peer
            for peer in self._roster.live()
            if peer.holder.name != self._holder.name
            and (peer.load, peer.holder.name) < own
            and self._passed_over.get(peer.holder.name) != peer.load
        ]

    async def _take_next(self) -> None:
        self._passed_over |= {peer.holder.name: peer.load for peer in self._ahead()}
        name = next(iter(self._unplaced))
        del self._unplaced[name]
        self._next_since = time.monotonic()
        try:
            await self._take(name)
            _log.info("orchestrator %r took agent %r", self._holder.name, name)
        except AgentStateError:
            return  # somebody has it
        except DependencyError as error:
            _log.error("agent %r cannot be started: %s", name, error)
        except TrunklineError as error:
            _log.warning("agent %r cannot be taken now: %s", name, error)
            self._add(name, PLACEMENT_PATIENCE)

    async def _look(self) -> None:
        """Finds the agents whose orchestrator is gone."""
        entries = self._anywhere()
        try:
            for first in range(0, len(entries), RECORDS_AT_A_TIME):
                part = entries[first : first + RECORDS_AT_A_TIME]
                records = await self._state.batch([Get("agent_state", entry.name) for entry in part])
                for entry, record in zip(part, records, strict=True):
                    if isinstance(record, StateError):
                        raise record
                    if self._is_unplaced(entry, record if isinstance(record, AgentState) else None):
                        self._add(entry.name)
        except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it looks again
            _log.warning("who runs which agent is not known: %s", error)
            return
        self._must_look = False

    def _is_unplaced(self, entry: AgentEntry, record: AgentState | None) -> bool:
        if record is None or record.metadata.get("state") == Stage.REGISTERED:
            return entry.name in self._asked
        other = holder_of(record)
        if other.id == self._holder.id or not is_wanted(record):
            return False
        return other.name == self._holder.name or not self._roster.lives(other)
