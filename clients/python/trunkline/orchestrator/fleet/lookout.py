"""Lookout: sees which other orchestrators there are, and fills the roster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psutil

from trunkline import AgentState, AgentStatus, ChangeType, RetryPolicy, StateManager
from trunkline.orchestrator.errors import OrchestratorExistsError
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, Holder, holder_of, is_orchestrator
from trunkline.orchestrator.fleet.roster import Roster, beats, peer_of
from trunkline.orchestrator.limits import FORGET_SECONDS, MAX_CLOCK_SKEW, RECORD_RETRY_MAX, RECORD_RETRY_MIN

_log = logging.getLogger(__name__)

STATE_RETRY = RetryPolicy(initial_delay=RECORD_RETRY_MIN, max_delay=RECORD_RETRY_MAX)
"""How late a state store that is away is tried again, each time."""


class Lookout:
    """Of one orchestrator, in the loop's thread.

    Args:
        state: the store, connected.
        holder: the orchestrator.
        roster: what is filled.
        interval: how often a store that cannot be watched is looked at, in seconds.
        changed: called after each change of the roster.
    """

    def __init__(
        self, state: StateManager, holder: Holder, roster: Roster, interval: float, changed: Callable[[], object]
    ) -> None:
        self._state = state
        self._holder = holder
        self._roster = roster
        self._interval = interval
        self._changed = changed
        self._namesake: AgentState | None = None
        self._namesake_beat = asyncio.Event()
        self.synced = asyncio.Event()
        """Set when all that were there are known."""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        attempt = 0
        while True:
            try:
                await self._follow()
            except NotImplementedError:
                await self._look_around()
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                attempt += 1
                _log.warning("the fleet cannot be watched: %s", error)
            await asyncio.sleep(STATE_RETRY.delay(max(1, attempt)))

    async def meet_namesake(self) -> OrchestratorExistsError | None:
        """Finds out whether another one of the same name lives; one that has died is succeeded."""
        namesake = self._namesake
        if namesake is None or _is_certainly_dead(namesake, self._holder.host):
            return None
        try:
            async with asyncio.timeout(peer_of(namesake, 0.0).timeout):
                await self._namesake_beat.wait()
        except TimeoutError:
            return None
        host = holder_of(namesake).host
        return OrchestratorExistsError(
            f"another orchestrator is called {self._holder.name!r}: process {namesake.metadata.get('pid')} on {host}",
            details={"orchestrator": self._holder.name, "host": host},
        )

    async def forget_the_dead(self) -> None:
        """Deletes the records of orchestrators that were not heard of for FORGET_SECONDS: programs whose names change
        with each start would leave more and more of them."""
        before = datetime.now(UTC) - timedelta(seconds=FORGET_SECONDS)
        for peer in self._roster.peers:
            if peer.last_beat is not None and peer.last_beat < before:
                try:
                    await self._state.delete_agent_state(peer.holder.name)
                except Exception as error:  # noqa: BLE001  # as above; it can be forgotten another time
                    _log.warning("orchestrator %r is not forgotten: %s", peer.holder.name, error)

    async def _follow(self) -> None:
        async for change in self._state.watch("agent_state", type=ORCHESTRATOR):
            if isinstance(change.record, AgentState) and is_orchestrator(change.record):
                self._saw(change.record)
            elif change.type is ChangeType.SYNCED:
                self.synced.set()
            elif change.id is not None:
                self._roster.gone(change.id)
            self._changed()

    async def _look_around(self) -> None:
        """For a store that cannot be watched."""
        while True:
            try:
                for record in await self._state.list_agent_states():
                    if is_orchestrator(record):
                        self._saw(record)
                self.synced.set()
                self._changed()
            except Exception as error:  # noqa: BLE001  # as above
                _log.warning("the fleet cannot be looked at: %s", error)
            await asyncio.sleep(self._interval)

    def _saw(self, record: AgentState) -> None:
        if record.agent_id != self._holder.name:
            self._roster.saw(record)
        elif holder_of(record).id != self._holder.id and record.status == AgentStatus.RUNNING:
            before, self._namesake = self._namesake, record
            if before is not None and before.last_heartbeat != record.last_heartbeat:
                self._namesake_beat.set()


def _is_certainly_dead(record: AgentState, host: str) -> bool:
    """Whether an orchestrator of this host, or of long ago, is dead; of another one that cannot be told so soon."""
    pid = record.metadata.get("pid")
    if holder_of(record).host == host and isinstance(pid, int) and not psutil.pid_exists(pid):
        return True
    return not beats(record, datetime.now(UTC) - timedelta(seconds=MAX_CLOCK_SKEW))
