"""FleetWatcher: what it does when the watch of the store fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.fleet.test_peers import record
from tests.patience import PATIENCE
from trunkline import AgentState, Change, ChangeType, InMemoryStateManager, RetryPolicy, StateDisconnectedError
from trunkline.orchestrator.fleet import watcher
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.watcher import FleetWatcher

FAIL, SYNC = "fail", "sync"


class Failing(InMemoryStateManager):
    """Its watches end with an error, some of them after they have synced; the last one goes on."""

    def __init__(self, *watches: str) -> None:
        super().__init__()
        self._script = list(watches)
        self.records: list[AgentState] = []
        self.is_done = asyncio.Event()

    async def watch(self, *kinds: Any, **filters: Any) -> AsyncIterator[Change]:
        if not self._script:
            self.is_done.set()
            await asyncio.Event().wait()
        if self._script.pop(0) == SYNC:
            for record in self.records:
                yield Change(ChangeType.SAVED, 0, "agent_state", record.agent_id, record)
            yield Change(ChangeType.SYNCED, 0)
        raise StateDisconnectedError("away")


class Noting(RetryPolicy):
    """Waits for nothing, and notes the tries that it was asked for."""

    def delay(self, attempt: int) -> float:
        TRIES.append(attempt)
        return 0.0


TRIES: list[int] = []


async def test_who_ended_while_the_watch_was_away_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that begins anew tells who is there; the others are not."""
    monkeypatch.setattr(watcher, "STATE_RETRY", Noting())
    peers = Peers()
    for name in ("gone", "there"):
        peers.saw(record(name))
    state = Failing(SYNC)
    state.records = [record("there")]
    watching = asyncio.create_task(FleetWatcher(state, Holder("a", "1"), peers, 1.0, lambda: None).run())
    try:
        await asyncio.wait_for(state.is_done.wait(), PATIENCE)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert [peer.holder.name for peer in peers.live()] == ["there"]


async def test_each_outage_begins_with_the_shortest_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that gave a change has ended the outage before: its failures do not count any more."""
    TRIES.clear()
    monkeypatch.setattr(watcher, "STATE_RETRY", Noting())
    state = Failing(FAIL, FAIL, FAIL, SYNC, FAIL, SYNC)
    watching = asyncio.create_task(FleetWatcher(state, Holder("a", "1"), Peers(), 1.0, lambda: None).run())
    try:
        await asyncio.wait_for(state.is_done.wait(), PATIENCE)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert TRIES == [1, 2, 3, 1, 2, 1]
