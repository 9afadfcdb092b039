"""What a fleet needs of its state store, and how it does with a store of the user's own that has only the verbs.

Such a store needs no filters, no leases and no watch: then all records are listed, nobody notices that an orchestrator
has died, the last write wins, and the orchestrators are listed at intervals. Spread agents need leases; see
`FleetMember.check`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final

from trunkline import AgentState, Change, ChangeType, LeaseInfo, Operation, Outcome, RetryPolicy, StateManager
from trunkline.errors import (
    InvalidRecordError,
    MessageTooLargeError,
    OverloadedError,
    RevisionMismatchError,
    StateError,
)
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, is_orchestrator
from trunkline.orchestrator.limits import RECORD_RETRY_MAX, RECORD_RETRY_MIN, RECORDS_AT_A_TIME

_log = logging.getLogger(__name__)

STATE_RETRY: Final = RetryPolicy(initial_delay=RECORD_RETRY_MIN, max_delay=RECORD_RETRY_MAX)
"""Delays between tries to reach a state store that is away."""


def has_leases(state: StateManager) -> bool:
    """Tells whether a store keeps leases, and what is bound to them."""
    return type(state).acquire is not StateManager.acquire


async def leases_in(state: StateManager) -> list[LeaseInfo]:
    """Returns all leases."""
    return await state.list_leases() if has_leases(state) else []


async def orchestrators_in(state: StateManager) -> list[AgentState]:
    """Returns the records of all orchestrators."""
    if "type" in inspect.signature(state.list_agent_states).parameters:
        return await state.list_agent_states(type=ORCHESTRATOR)
    return list(filter(is_orchestrator, await state.list_agent_states()))


async def execute(state: StateManager, operations: Sequence[Operation]) -> list[Outcome]:
    """Executes operations in order, in calls of bounded size. A call that is refused is divided, until the refused
    operation is found."""
    done: list[Outcome] = []
    size = RECORDS_AT_A_TIME
    while len(done) < len(operations):
        part = operations[len(done) : len(done) + size]
        try:
            done += await state.batch(part)
            size = min(RECORDS_AT_A_TIME, size * 2)
        except (InvalidRecordError, MessageTooLargeError) as error:
            if len(part) == 1:
                done.append(error)
            size = max(1, len(part) // 2)
    return done


def is_refused(outcome: Outcome) -> bool:
    """Tells whether the store refuses a record for good: it cannot take it, or the lease has too many already."""
    if isinstance(outcome, OverloadedError):
        return outcome.details.get("limit") == "bound_records"
    return isinstance(outcome, InvalidRecordError | MessageTooLargeError)


def check_outcome(outcome: Outcome) -> None:
    """Raises the error of an operation that is to be tried again. A refused record is logged; a mismatch of revisions
    is left to the caller."""
    if is_refused(outcome):
        _log.error("the state store does not take a record: %s", outcome)
    elif isinstance(outcome, StateError) and not isinstance(outcome, RevisionMismatchError):
        raise outcome


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
