"""What a fleet needs of its state store, and how it does with a store of the user's own that has only the verbs.

Such a store needs no filters, no revisions and no watch: then all records are listed, the last write wins, and the
orchestrators are listed at intervals. Spread agents need revisions; see `FleetMember.check`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Final

from trunkline import AgentState, Change, ChangeType, RetryPolicy, StateManager
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, is_orchestrator
from trunkline.orchestrator.limits import RECORD_RETRY_MAX, RECORD_RETRY_MIN

STATE_RETRY: Final = RetryPolicy(initial_delay=RECORD_RETRY_MIN, max_delay=RECORD_RETRY_MAX)
"""Delays between tries to reach a state store that is away."""


def has_revisions(state: StateManager) -> bool:
    """Tells whether a store guards writes by revisions."""
    return "expected_revision" in inspect.signature(state.save_agent_state).parameters


async def orchestrators_in(state: StateManager) -> list[AgentState]:
    """Returns the records of all orchestrators."""
    if "type" in inspect.signature(state.list_agent_states).parameters:
        return await state.list_agent_states(type=ORCHESTRATOR)
    return list(filter(is_orchestrator, await state.list_agent_states()))


async def watch_orchestrators(state: StateManager, interval: float) -> AsyncIterator[Change]:
    """Yields the records of the orchestrators, SYNCED, and then each change.

    Args:
        state: the store, connected.
        interval: seconds between two looks at a store that has no watch. Each look yields all records, and SYNCED.

    Raises:
        As the store.
    """
    try:
        changes = state.watch("agent_state", type=ORCHESTRATOR)
    except NotImplementedError:
        changes = _list_again_and_again(state, interval)
    async for change in changes:
        yield change


async def _list_again_and_again(state: StateManager, interval: float) -> AsyncIterator[Change]:
    while True:
        for record in await orchestrators_in(state):
            yield Change(ChangeType.SAVED, 0, "agent_state", record.agent_id, record)
        yield Change(ChangeType.SYNCED, 0)
        await asyncio.sleep(interval)
