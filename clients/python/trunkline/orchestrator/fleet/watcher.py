"""FleetWatcher: watches the other orchestrators of a fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psutil

from trunkline import AgentState, AgentStatus, Change, ChangeType, StateManager
from trunkline.orchestrator.errors import OrchestratorExistsError
from trunkline.orchestrator.fleet.peers import Peers, peer_of
from trunkline.orchestrator.fleet.records import Holder, holder_of, is_orchestrator
from trunkline.orchestrator.fleet.store import STATE_RETRY, watch_orchestrators
from trunkline.orchestrator.limits import FORGET_SECONDS, MAX_CLOCK_SKEW

_log = logging.getLogger(__name__)


class FleetWatcher:
    """Keeps the `Peers` of one orchestrator up to date, in the loop's thread.

    Args:
        state: the store, connected.
        holder: the orchestrator.
        peers: kept up to date.
        interval: seconds between two looks at a store that has no watch.
        changed: called after each change of the peers.
    """

    def __init__(
        self, state: StateManager, holder: Holder, peers: Peers, interval: float, changed: Callable[[], object]
    ) -> None:
        self._state = state
        self._holder = holder
        self._peers = peers
        self._interval = interval
        self._changed = changed
        self._namesake: AgentState | None = None
        self._namesake_beat = asyncio.Event()
        self.synced = asyncio.Event()
        """Set when all orchestrators that the store has are known."""

    async def run(self) -> None:
        """Watches until it is cancelled. A watch that fails is begun anew, after a delay that grows until one gives a
        change again."""
        failures = 0
        while True:
            try:
                async for change in watch_orchestrators(self._state, self._interval):
                    failures = 0
                    self._take(change)
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                failures += 1
                _log.warning("the fleet cannot be watched: %s", error)
            await asyncio.sleep(STATE_RETRY.delay(max(1, failures)))

    async def meet_namesake(self) -> OrchestratorExistsError | None:
        """Returns an error where another orchestrator of this name is alive; the name of a dead one is taken over."""
        namesake = self._namesake
        if namesake is None or _is_certainly_dead(namesake, self._holder.host):
            return None
        try:
            async with asyncio.timeout(peer_of(namesake).timeout):
                await self._namesake_beat.wait()
        except TimeoutError:
            return None
        host = holder_of(namesake).host
        return OrchestratorExistsError(
            f"another orchestrator is called {self._holder.name!r}: process {namesake.metadata.get('pid')} on {host}",
            details={"orchestrator": self._holder.name, "host": host},
        )

    async def forget_the_dead(self) -> None:
        """Deletes the records of orchestrators that sent no heartbeat for FORGET_SECONDS: programs whose names change
        with each start would leave more and more of them."""
        before = datetime.now(UTC) - timedelta(seconds=FORGET_SECONDS)
        for peer in self._peers.all:
            if peer.last_beat is not None and peer.last_beat < before:
                try:
                    await self._state.delete_agent_state(peer.holder.name)
                except Exception as error:  # noqa: BLE001  # as above; the next orchestrator that starts tries again
                    _log.warning("orchestrator %r is not forgotten: %s", peer.holder.name, error)

    def _take(self, change: Change) -> None:
        if isinstance(change.record, AgentState) and is_orchestrator(change.record):
            self._saw(change.record)
        elif change.type is ChangeType.SYNCED:
            self.synced.set()
        elif change.id is not None:
            self._peers.gone(change.id)
        self._changed()

    def _saw(self, record: AgentState) -> None:
        if record.agent_id != self._holder.name:
            self._peers.saw(record)
        elif holder_of(record).id != self._holder.id and record.status == AgentStatus.RUNNING:
            before, self._namesake = self._namesake, record
            if before is not None and before.last_heartbeat != record.last_heartbeat:
                self._namesake_beat.set()


def _is_certainly_dead(record: AgentState, host: str) -> bool:
    """Tells whether an orchestrator of this host, or of long ago, is dead; False where only time can tell."""
    pid = record.metadata.get("pid")
    if holder_of(record).host == host and isinstance(pid, int) and not psutil.pid_exists(pid):
        return True
    return not peer_of(record).beats(datetime.now(UTC) - timedelta(seconds=MAX_CLOCK_SKEW))
