"""FleetWatcher: watches the other orchestrators of a fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trunkline import AgentState, Change, ChangeType, StateManager
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.records import is_orchestrator
from trunkline.orchestrator.fleet.store import STATE_RETRY, watch_orchestrators

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
        self._listed: set[str] = set()
        """The orchestrators that a watch has told of before SYNCED: all that there are."""
        self.synced = asyncio.Event()
        """Set when all orchestrators that the store has are known."""

    async def run(self) -> None:
        """Watches until it is cancelled. A watch that fails is begun anew, after a delay that grows until one gives a
        change again."""
        failures = 0
        while True:
            self._listed.clear()
            try:
                async for change in watch_orchestrators(self._state, self._interval):
                    failures = 0
                    self._take(change)
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                failures += 1
                _log.warning("the fleet cannot be watched: %s", error)
            await asyncio.sleep(STATE_RETRY.delay(max(1, failures)))

    def _take(self, change: Change) -> None:
        record = change.record
        if isinstance(record, AgentState) and is_orchestrator(record):
            if record.agent_id != self._holder.name:
                self._listed.add(record.agent_id)
                self._peers.saw(record)
        elif change.type is ChangeType.SYNCED:
            self._peers.keep(self._listed)
            self._listed.clear()
            self.synced.set()
        elif change.id is not None:
            self._peers.gone(change.id)
        self._changed()
