"""Placement: the spread agents that an orchestrator takes.

There is no scheduler: each orchestrator takes an agent when it is the least loaded one alive. It leaves an agent to
each less loaded one for PLACEMENT_PATIENCE; one that has not taken it by then does not have it registered, or cannot
start it, and is not waited for again until its load changes. The first orchestrator that claims an agent has it.
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
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.peers import Peer, Peers
from trunkline.orchestrator.fleet.records import holder_of, is_taken_over
from trunkline.orchestrator.limits import PLACEMENT_PATIENCE, RECORDS_AT_A_TIME
from trunkline.orchestrator.registry.entry import AgentEntry, Stage

_log = logging.getLogger(__name__)


class Placement:
    """The placement of one orchestrator, in the loop's thread.

    Args:
        holder: the orchestrator.
        peers: the other orchestrators.
        state: the store.
        candidates: returns the spread agents that do not run here.
        load: returns the load of this orchestrator: (running + waiting) / max_workers.
        take: claims an agent and starts it here.
    """

    def __init__(
        self,
        holder: Holder,
        peers: Peers,
        state: StateManager,
        *,
        candidates: Callable[[], list[AgentEntry]],
        load: Callable[[], float],
        take: Callable[[str], Awaitable[object]],
    ) -> None:
        self._holder = holder
        self._peers = peers
        self._state = state
        self._candidates = candidates
        self._load = load
        self._take = take
        self._woken = asyncio.Event()
        self._unplaced: dict[str, float] = {}
        """Agents that run nowhere, with the time before which they are not tried again."""
        self._next_since = 0.0
        """Time at which the first of them became the first."""
        self._passed_over: dict[str, float] = {}
        """Orchestrators that did not take an agent, and their load then."""
        self._requested: set[str] = set()
        """Agents whose start was requested here."""
        self._is_serving = False
        self._must_look = False

    def serve(self, names: Iterable[str]) -> None:
        """Takes agents from now on, and has these run somewhere in the fleet."""
        for name in names:
            self._requested.add(name)
            self._add(name)
        self._is_serving = self._must_look = True
        self.wake()

    def stop(self) -> None:
        """Takes no more agents."""
        self._is_serving = False

    def wake(self) -> None:
        """Has `run` look again, since the fleet may have changed."""
        self._woken.set()

    def look(self) -> None:
        """Has `run` look who runs which agent, since this orchestrator was not part of the fleet for a time."""
        self._must_look = True
        self.wake()

    async def run(self) -> None:
        """Takes agents until it is cancelled."""
        before: set[Holder] = set()
        while True:
            live = {peer.holder for peer in self._peers.live()}
            if dead := before - live:
                _log.warning("gone from the fleet: %s", ", ".join(sorted(each.name for each in dead)))
                self._must_look = True
            before = live
            if self._must_look and self._is_serving:
                await self._look()
            wait = self._delay()
            if self._must_look and self._is_serving:  # it failed
                wait = PLACEMENT_PATIENCE if wait is None else min(wait, PLACEMENT_PATIENCE)
            if wait is not None and wait <= 0:
                await self._take_next()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            self._woken.clear()

    def _add(self, name: str, wait: float = 0.0) -> None:
        if not self._unplaced:
            self._next_since = time.monotonic()
        self._unplaced.setdefault(name, time.monotonic() + wait)

    def _delay(self) -> float | None:
        """Returns the seconds until the next agent may be taken; None where there is none."""
        if not self._unplaced or not self._is_serving:
            return None
        since = max(self._next_since, next(iter(self._unplaced.values())))
        return since + len(self._ahead()) * PLACEMENT_PATIENCE - time.monotonic()

    def _ahead(self) -> list[Peer]:
        """Returns the less loaded orchestrators that may take the next agent."""
        own = self._load(), self._holder.name
        return [
            peer
            for peer in self._peers.live()
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
            return  # another orchestrator has taken it
        except DependencyError as error:
            _log.error("agent %r cannot be started: %s", name, error)
        except TrunklineError as error:
            _log.warning("agent %r cannot be taken now: %s", name, error)
            self._add(name, PLACEMENT_PATIENCE)

    async def _look(self) -> None:
        """Finds the agents that run nowhere: requested here, released, or of a dead orchestrator."""
        entries = self._candidates()
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
            return entry.name in self._requested
        other = holder_of(record)
        if other.id == self._holder.id or not is_taken_over(record):
            return False
        return other.name == self._holder.name or not self._peers.lives(other)
